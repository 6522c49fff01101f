"""Models: an image, where its artefact is, its environment, and the role under which it serves.

docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from localcloud.containers.container_contract import ContractError
from localcloud.errors import ValidationException
from localcloud.jobs.platform import Platform
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import echo, project, service_model
from localcloud.sagemaker.model_registry import PACKAGE
from localcloud.sagemaker.tags import Tags
from localcloud.serving import model_artefact
from localcloud.store import Record, Scope, now

KIND = "model"


class Models:
    """CreateModel and its family."""

    operations = ("CreateModel", "DescribeModel", "ListModels", "DeleteModel")
    partial: ClassVar[dict[str, str]] = {
        "CreateModel": "one container: inference pipelines, multi-model containers and additional model data sources "
        "are refused. VpcConfig and EnableNetworkIsolation are kept and described, not enforced."
    }

    def __init__(self, platform: Platform, tags: Tags) -> None:
        self._platform = platform
        self._store = platform.store
        self._tags = tags

    def create_model(self, scope: Scope, request: Record) -> Record:
        """Create a model; nothing runs yet."""
        name = request["ModelName"]
        arn = scope.arn(KIND, name)
        container = _one_container(request)
        record: Record = {
            "Arn": arn,
            "ModelArn": arn,
            "EnableNetworkIsolation": False,
            **echo(request, "CreateModel", "DescribeModel"),
            "CreationTime": now(),
        }
        with self._store.lock:
            self._refuse_second(scope, name)
            served = self._served(scope, container)
        self._platform.image(served["Image"])
        served["RoleArn"] = request.get("ExecutionRoleArn", "")
        self._check_artefact(scope, served)
        record["_served"] = served
        with self._store.lock:
            self._refuse_second(scope, name)
            table = self._store.table(scope, KIND)
            if "Mode" not in container and "PrimaryContainer" in record:
                record["PrimaryContainer"]["Mode"] = "SingleModel"
            self._tags.put(scope, arn, request.get("Tags", []))
            table[name] = record
        self._emit(scope, record)
        return {"ModelArn": arn}

    def describe_model(self, scope: Scope, request: Record) -> Record:
        """Everything about one model."""
        with self._store.lock:
            return _described(find(self._platform, scope, request["ModelName"]))

    def list_models(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        with self._store.lock:
            found = listing.select(self._store.table(scope, KIND).values(), request, name="ModelName")
            sort = {"Name": "ModelName", "CreationTime": "CreationTime"}
            chosen, token = listing.page(found, request, sort=sort)
            shape = service_model("sagemaker").shape_for("ModelSummary")
            return {"Models": [copy.deepcopy(project(shape, each)) for each in chosen], "NextToken": token}  # type: ignore[arg-type]

    def delete_model(self, scope: Scope, request: Record) -> Record:
        """Delete a model; endpoints that serve it go on, as on AWS."""
        with self._store.lock:
            record = find(self._platform, scope, request["ModelName"])
            del self._store.table(scope, KIND)[record["ModelName"]]
            self._tags.drop(scope, record["Arn"])
        self._emit(scope, record)
        return {}

    def _refuse_second(self, scope: Scope, name: str) -> None:
        if name in self._store.table(scope, KIND):
            raise ValidationException(f'Cannot create already existing model "{scope.arn(KIND, name)}".')

    def _check_artefact(self, scope: Scope, served: Record) -> None:
        try:
            role = served["RoleArn"]
            model_artefact.check(self._platform.s3(scope, role), served.get("Artefact"), role)
        except ContractError as error:
            raise ValidationException(str(error)) from error

    def _served(self, scope: Scope, container: Mapping[str, Any]) -> Record:
        """What a model server needs: image, artefact, environment. A package version lends what it has."""
        environment = dict(container.get("Environment", {}))
        source: Mapping[str, Any] = container
        if "ModelPackageName" in container:
            source = self._packaged(scope, container)
            environment = {**source.get("Environment", {}), **environment}
        elif "Image" not in container:
            raise ValidationException("The container definition must have an Image or a ModelPackageName.")
        return {"Image": source["Image"], "Environment": environment, **_artefact(source)}

    def _packaged(self, scope: Scope, container: Mapping[str, Any]) -> Mapping[str, Any]:
        if "Image" in container or "ModelDataUrl" in container or "ModelDataSource" in container:
            raise ValidationException("ModelPackageName cannot be given together with Image or ModelDataUrl.")
        name = container["ModelPackageName"]
        arn = name if name.startswith("arn:") else scope.arn(PACKAGE, name)
        package = self._store.table(scope, PACKAGE).get(arn)
        if package is None:
            raise ValidationException(f"ModelPackage {arn} does not exist.")
        specification = package.get("InferenceSpecification", {})
        if wanted := container.get("InferenceSpecificationName"):
            found = [each for each in package.get("AdditionalInferenceSpecifications", []) if each["Name"] == wanted]
            if not found:
                raise ValidationException(f"ModelPackage {arn} has no inference specification {wanted}.")
            specification = found[0]
        containers = specification.get("Containers", [])
        if len(containers) != 1:
            raise ValidationException(
                f"ModelPackage {arn} has {len(containers)} containers in its inference specification; localcloud "
                "serves one."
            )
        packaged: Mapping[str, Any] = containers[0]
        if "Image" not in packaged:
            raise ValidationException(f"ModelPackage {arn} names no image.")
        return packaged

    def _emit(self, scope: Scope, record: Record) -> None:
        detail = {**_described(record), "Tags": self._tags.of(scope, record["Arn"])}
        self._platform.events.emit(scope, "SageMaker Model State Change", record["Arn"], detail)


def find(platform: Platform, scope: Scope, name: str) -> Record:
    """A model's record; raises ValidationException as AWS does. The caller holds the store's lock."""
    record = platform.store.table(scope, KIND).get(name)
    if record is None:
        raise ValidationException(f'Could not find model "{scope.arn(KIND, name)}".')
    return record


def _one_container(request: Mapping[str, Any]) -> Mapping[str, Any]:
    primary, several = request.get("PrimaryContainer"), request.get("Containers")
    if primary is not None and several:
        raise ValidationException("Only one of PrimaryContainer and Containers can be specified.")
    if primary is None and not several:
        raise ValidationException("One of PrimaryContainer and Containers must be specified.")
    if several and len(several) > 1:
        raise ValidationException("localcloud serves models of one container; inference pipelines are not implemented.")
    container: Mapping[str, Any] = primary if primary is not None else several[0]  # type: ignore[index]
    if container.get("Mode") == "MultiModel":
        raise ValidationException("localcloud does not implement multi-model containers (Mode MultiModel).")
    if container.get("AdditionalModelDataSources"):
        raise ValidationException("localcloud does not implement AdditionalModelDataSources.")
    return container


def _artefact(source: Mapping[str, Any]) -> Record:
    """Where the artefact is and how it is packed; nothing for an image that brings its own."""
    url, described = source.get("ModelDataUrl"), source.get("ModelDataSource")
    if url and described:
        raise ValidationException("Only one of ModelDataUrl and ModelDataSource can be specified.")
    if url:
        return {"Artefact": {"S3Uri": url, "S3DataType": "S3Object", "CompressionType": "Gzip"}}
    if described:
        at = described.get("S3DataSource", {})
        kind, compression = at.get("S3DataType"), at.get("CompressionType")
        if compression == "Gzip" and kind != "S3Object":
            raise ValidationException("S3DataType must be S3Object when CompressionType is Gzip.")
        return {"Artefact": {name: at[name] for name in ("S3Uri", "S3DataType", "CompressionType") if name in at}}
    return {}


def _described(record: Record) -> Record:
    shape = service_model("sagemaker").operation_model("DescribeModel").output_shape
    return copy.deepcopy(project(shape, record))  # type: ignore[arg-type]
