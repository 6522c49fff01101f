"""Job definitions of Model Monitor: what a schedule's jobs are to do, as resources of their own."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

from localcloud.errors import ResourceInUse, ResourceNotFound
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import echo, project, service_model
from localcloud.sagemaker.tags import Tags
from localcloud.store import Record, Scope, Store, now

NEVER_RUN = (
    "kept and described; a schedule that names it is refused, since its jobs are {image}, which localcloud has not"
)
MERGE_IMAGE = "preceded by AWS's ground truth merge container"
CLARIFY_IMAGE = "AWS's Clarify container"


@dataclass(frozen=True)
class DefinitionNames:
    """What one kind of job definition is called.

    Args:
        type: MonitoringType of the schedules that name it (``DataQuality``).
        kind: in ARNs and in the store.
    """

    type: str
    kind: str

    @property
    def create(self) -> str:
        """The operation that makes one."""
        return f"Create{self.type}JobDefinition"

    @property
    def describe(self) -> str:
        """The operation that describes one."""
        return f"Describe{self.type}JobDefinition"


DATA_QUALITY = DefinitionNames("DataQuality", "data-quality-job-definition")
MODEL_QUALITY = DefinitionNames("ModelQuality", "model-quality-job-definition")
MODEL_BIAS = DefinitionNames("ModelBias", "model-bias-job-definition")
MODEL_EXPLAINABILITY = DefinitionNames("ModelExplainability", "model-explainability-job-definition")
BY_TYPE = {each.type: each for each in (DATA_QUALITY, MODEL_QUALITY, MODEL_BIAS, MODEL_EXPLAINABILITY)}


class JobDefinitions:
    """One kind of job definition; a subclass has ``names`` and the operations under their own names."""

    names: ClassVar[DefinitionNames]
    partial: ClassVar[dict[str, str]] = {}

    def __init__(self, store: Store, tags: Tags) -> None:
        self._store = store
        self._tags = tags

    def create(self, scope: Scope, request: Record) -> Record:
        """Keep a new definition."""
        name, names = request["JobDefinitionName"], self.names
        arn = scope.arn(names.kind, name)
        record = {"Arn": arn, "JobDefinitionArn": arn, "CreationTime": now()}
        record.update(echo(request, names.create, names.describe))
        with self._store.lock:
            table = self._store.table(scope, names.kind)
            if name in table:
                raise ResourceInUse(f"Job definition with name {name} already exists ({arn})")
            self._tags.put(scope, arn, request.get("Tags", []))
            table[name] = record
        self._store.on_change()
        return {"JobDefinitionArn": arn}

    def describe(self, scope: Scope, request: Record) -> Record:
        """Everything about one."""
        shape = service_model("sagemaker").operation_model(self.names.describe).output_shape
        with self._store.lock:
            record = find(self._store, scope, self.names, request["JobDefinitionName"])
            return copy.deepcopy(project(shape, record))  # type: ignore[arg-type]

    def list(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        with self._store.lock:
            summaries = [
                {
                    "MonitoringJobDefinitionName": record["JobDefinitionName"],
                    "MonitoringJobDefinitionArn": record["JobDefinitionArn"],
                    "CreationTime": record["CreationTime"],
                    "EndpointName": record[f"{self.names.type}JobInput"]
                    .get("EndpointInput", {})
                    .get("EndpointName", ""),
                }
                for record in self._store.table(scope, self.names.kind).values()
            ]
        found = listing.select(
            summaries, request, name="MonitoringJobDefinitionName", extra={"EndpointName": "EndpointName"}
        )
        sort = {"Name": "MonitoringJobDefinitionName", "CreationTime": "CreationTime"}
        chosen, token = listing.page(found, request, sort=sort)
        return {"JobDefinitionSummaries": chosen, "NextToken": token}

    def delete(self, scope: Scope, request: Record) -> Record:
        """Delete one; schedules that name it fail from then on."""
        with self._store.lock:
            record = find(self._store, scope, self.names, request["JobDefinitionName"])
            del self._store.table(scope, self.names.kind)[request["JobDefinitionName"]]
            self._tags.drop(scope, record["Arn"])
        self._store.on_change()
        return {}


class DataQualityDefinitions(JobDefinitions):
    """CreateDataQualityJobDefinition and its family."""

    names = DATA_QUALITY
    operations = (
        "CreateDataQualityJobDefinition",
        "DescribeDataQualityJobDefinition",
        "ListDataQualityJobDefinitions",
        "DeleteDataQualityJobDefinition",
    )
    create_data_quality_job_definition = JobDefinitions.create
    describe_data_quality_job_definition = JobDefinitions.describe
    list_data_quality_job_definitions = JobDefinitions.list
    delete_data_quality_job_definition = JobDefinitions.delete


class ModelQualityDefinitions(JobDefinitions):
    """CreateModelQualityJobDefinition and its family."""

    names = MODEL_QUALITY
    partial: ClassVar[dict[str, str]] = {
        "CreateModelQualityJobDefinition": NEVER_RUN.format(image=MERGE_IMAGE),
    }
    operations = (
        "CreateModelQualityJobDefinition",
        "DescribeModelQualityJobDefinition",
        "ListModelQualityJobDefinitions",
        "DeleteModelQualityJobDefinition",
    )
    create_model_quality_job_definition = JobDefinitions.create
    describe_model_quality_job_definition = JobDefinitions.describe
    list_model_quality_job_definitions = JobDefinitions.list
    delete_model_quality_job_definition = JobDefinitions.delete


class ModelBiasDefinitions(JobDefinitions):
    """CreateModelBiasJobDefinition and its family."""

    names = MODEL_BIAS
    partial: ClassVar[dict[str, str]] = {"CreateModelBiasJobDefinition": NEVER_RUN.format(image=CLARIFY_IMAGE)}
    operations = (
        "CreateModelBiasJobDefinition",
        "DescribeModelBiasJobDefinition",
        "ListModelBiasJobDefinitions",
        "DeleteModelBiasJobDefinition",
    )
    create_model_bias_job_definition = JobDefinitions.create
    describe_model_bias_job_definition = JobDefinitions.describe
    list_model_bias_job_definitions = JobDefinitions.list
    delete_model_bias_job_definition = JobDefinitions.delete


class ModelExplainabilityDefinitions(JobDefinitions):
    """CreateModelExplainabilityJobDefinition and its family."""

    names = MODEL_EXPLAINABILITY
    partial: ClassVar[dict[str, str]] = {
        "CreateModelExplainabilityJobDefinition": NEVER_RUN.format(image=CLARIFY_IMAGE)
    }
    operations = (
        "CreateModelExplainabilityJobDefinition",
        "DescribeModelExplainabilityJobDefinition",
        "ListModelExplainabilityJobDefinitions",
        "DeleteModelExplainabilityJobDefinition",
    )
    create_model_explainability_job_definition = JobDefinitions.create
    describe_model_explainability_job_definition = JobDefinitions.describe
    list_model_explainability_job_definitions = JobDefinitions.list
    delete_model_explainability_job_definition = JobDefinitions.delete


def find(store: Store, scope: Scope, names: DefinitionNames, name: str) -> Record:
    """A definition's record, to be read under the lock.

    Raises:
        ResourceNotFound: there is none of that name.
    """
    record = store.table(scope, names.kind).get(name)
    if record is None:
        raise ResourceNotFound(f"Job definition {scope.arn(names.kind, name)} was not found.")
    return record


def as_inline(record: Record) -> dict[str, Any]:
    """A data quality definition as a schedule has it inline: a MonitoringJobDefinition."""
    application = dict(record["DataQualityAppSpecification"])
    environment = application.pop("Environment", {})
    return {
        "BaselineConfig": record.get("DataQualityBaselineConfig", {}),
        "MonitoringInputs": [record["DataQualityJobInput"]],
        "MonitoringOutputConfig": record["DataQualityJobOutputConfig"],
        "MonitoringResources": record["JobResources"],
        "MonitoringAppSpecification": application,
        "Environment": environment,
        **{name: record[name] for name in ("NetworkConfig", "StoppingCondition", "RoleArn") if name in record},
    }
