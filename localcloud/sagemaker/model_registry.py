"""The Model Registry: package groups, versioned packages, their approval."""

from __future__ import annotations

import copy
import json
from typing import Any, ClassVar

from localcloud.errors import ConflictException, ValidationException
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import echo, project, service_model
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.quotas import PACKAGE_GROUPS, Quotas
from localcloud.sagemaker.tags import Tags
from localcloud.store import Record, Scope, Store, now

GROUP = "model-package-group"
PACKAGE = "model-package"
MOST_PROPERTIES = 50

MOST_SPECIFICATIONS = 15

_UPDATABLE = (
    *("ApprovalDescription", "InferenceSpecification", "SourceUri", "ModelCard", "ModelLifeCycle"),
    "ModelPackageRegistrationType",
)
# Describe's members that the event does not carry.
_NOT_IN_EVENT = frozenset({"CreatedBy", "LastModifiedBy", "ModelCard", "SecurityConfig", "SkipModelValidation"})


class ModelRegistry:
    """CreateModelPackageGroup, CreateModelPackage and their families."""

    operations = (
        "CreateModelPackageGroup",
        "DescribeModelPackageGroup",
        "ListModelPackageGroups",
        "DeleteModelPackageGroup",
        "PutModelPackageGroupPolicy",
        "GetModelPackageGroupPolicy",
        "DeleteModelPackageGroupPolicy",
        "CreateModelPackage",
        "DescribeModelPackage",
        "BatchDescribeModelPackage",
        "ListModelPackages",
        "UpdateModelPackage",
        "DeleteModelPackage",
    )

    partial: ClassVar[dict[str, str]] = {
        "CreateModelPackage": "ValidationSpecification starts no validation: every package is Completed at once.",
        "PutModelPackageGroupPolicy": "the policy is kept, other accounts get no access by it.",
    }

    def __init__(self, store: Store, tags: Tags, events: Events, quotas: Quotas | None = None) -> None:
        self._store = store
        self._quotas = quotas or Quotas()
        self._tags = tags
        self._events = events

    # --- groups ---

    def create_model_package_group(self, scope: Scope, request: Record) -> Record:
        """Create a group."""
        name = request["ModelPackageGroupName"]
        arn = scope.arn(GROUP, name)
        record: Record = {
            "Arn": arn,
            "ModelPackageGroupName": name,
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": now(),
            "LastModifiedTime": now(),
            "CreatedBy": {},
            "_versions": 0,
        }
        for member in ("ModelPackageGroupDescription", "ManagedConfiguration"):
            if member in request:
                record[member] = request[member]
        with self._store.lock:
            table = self._store.table(scope, GROUP)
            if name in table:
                raise ValidationException(f"Model Package Group already exists: {arn}")
            self._quotas.check(PACKAGE_GROUPS, len(table), 1, "Model Package Groups")
            self._tags.put(scope, arn, request.get("Tags", []))
            table[name] = record
        return {"ModelPackageGroupArn": arn}

    def describe_model_package_group(self, scope: Scope, request: Record) -> Record:
        """Everything about one group."""
        with self._store.lock:
            return _describe(self._group(scope, request["ModelPackageGroupName"]), "DescribeModelPackageGroup")

    def list_model_package_groups(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        with self._store.lock:
            found = listing.select(self._store.table(scope, GROUP).values(), request, name="ModelPackageGroupName")
            sort = {"Name": "ModelPackageGroupName", "CreationTime": "CreationTime"}
            chosen, token = listing.page(found, request, sort=sort)
            return {
                "ModelPackageGroupSummaryList": _summaries(chosen, "ModelPackageGroupSummary"),
                "NextToken": token,
            }

    def delete_model_package_group(self, scope: Scope, request: Record) -> Record:
        """Delete an empty group."""
        with self._store.lock:
            record = self._group(scope, request["ModelPackageGroupName"])
            name = record["ModelPackageGroupName"]
            if any(
                package.get("ModelPackageGroupName") == name for package in self._store.table(scope, PACKAGE).values()
            ):
                raise ConflictException(
                    f"Model Package Group {record['Arn']} cannot be deleted because it still contains Model Packages."
                )
            del self._store.table(scope, GROUP)[name]
            self._tags.drop(scope, record["Arn"])
        return {}

    def put_model_package_group_policy(self, scope: Scope, request: Record) -> Record:
        """Attach a resource policy."""
        _check_policy(request["ResourcePolicy"])
        with self._store.changing(self._group(scope, request["ModelPackageGroupName"])) as record:
            record["_policy"] = request["ResourcePolicy"]
            return {"ModelPackageGroupArn": record["Arn"]}

    def get_model_package_group_policy(self, scope: Scope, request: Record) -> Record:
        """The resource policy."""
        with self._store.lock:
            record = self._group(scope, request["ModelPackageGroupName"])
            if "_policy" not in record:
                raise ValidationException(f"Cannot find resource policy for: {record['Arn']}")
            return {"ResourcePolicy": record["_policy"]}

    def delete_model_package_group_policy(self, scope: Scope, request: Record) -> Record:
        """Remove the resource policy."""
        with self._store.changing(self._group(scope, request["ModelPackageGroupName"])) as record:
            record.pop("_policy", None)
        return {}

    # --- packages ---

    def create_model_package(self, scope: Scope, request: Record) -> Record:
        """Register a package: the next version of a group, or one by itself."""
        name, group_name = request.get("ModelPackageName"), request.get("ModelPackageGroupName")
        if name and group_name:
            raise ValidationException(
                "Both ModelPackageName and ModelPackageGroupName are provided in the input. Cannot determine which one "
                "to use."
            )
        if not name and not group_name:
            raise ValidationException("Missing ARN.")
        check_properties(request.get("CustomerMetadataProperties", {}))
        with self._store.lock:
            if (again := self._of_token(scope, request)) is not None:
                return {"ModelPackageArn": again["ModelPackageArn"]}
            if group_name:
                if request.get("Tags"):
                    raise ValidationException("Tagging is not supported for versioned ModelPackage.")
                record = self._new_version(scope, self._group(scope, group_name))
            else:
                record = self._new_package(scope, str(name))
                self._tags.put(scope, record["Arn"], request.get("Tags", []))
            record.update(echo(request, "CreateModelPackage", "DescribeModelPackage", without=("ModelApprovalStatus",)))
            record.setdefault("CertifyForMarketplace", False)
            record["_token"] = request.get("ClientToken")
            if group_name or "ModelApprovalStatus" in request:
                record["ModelApprovalStatus"] = request.get("ModelApprovalStatus", "PendingManualApproval")
            self._store.table(scope, PACKAGE)[record["Arn"]] = record
            self._emit(scope, record)
        return {"ModelPackageArn": record["Arn"]}

    def describe_model_package(self, scope: Scope, request: Record) -> Record:
        """Everything about one package, by name or ARN."""
        with self._store.lock:
            return _describe(self._package(scope, request["ModelPackageName"]), "DescribeModelPackage")

    def batch_describe_model_package(self, scope: Scope, request: Record) -> Record:
        """Several packages by ARN; those that do not exist are named in the error map."""
        shape = service_model("sagemaker").shape_for("BatchDescribeModelPackageSummary")
        found: dict[str, Record] = {}
        errors: dict[str, Record] = {}
        with self._store.lock:
            for arn in request["ModelPackageArnList"]:
                try:
                    summary = copy.deepcopy(project(shape, self._package(scope, arn)))  # type: ignore[arg-type]
                    # Required in the response, though a package need not have one.
                    summary.setdefault("InferenceSpecification", {"Containers": []})
                    summary.setdefault("ModelPackageGroupName", arn.rsplit("/", 1)[-1])
                    found[arn] = summary
                except ValidationException as error:
                    errors[arn] = {"ErrorCode": error.code, "ErrorResponse": error.message}
        return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": errors}

    def list_model_packages(self, scope: Scope, request: Record) -> Record:
        """Summaries: of a group's versions, or, without a group, of the packages by themselves."""
        group = request.get("ModelPackageGroupName")
        kind = request.get("ModelPackageType") or ("Versioned" if group else "Unversioned")
        with self._store.lock:
            if group:
                group = self._group(scope, group)["ModelPackageGroupName"]
            records = [
                record
                for record in self._store.table(scope, PACKAGE).values()
                if (group is None or record.get("ModelPackageGroupName") == group)
                and (kind == "Both" or (kind == "Versioned") == ("ModelPackageVersion" in record))
            ]
            found = listing.select(
                records, request, name="_listed_name", extra={"ModelApprovalStatus": "ModelApprovalStatus"}
            )
            sort = {"Name": "_listed_name", "CreationTime": "CreationTime"}
            chosen, token = listing.page(found, request, sort=sort)
            summaries = _summaries(chosen, "ModelPackageSummary")
        for summary in summaries:
            if "ModelPackageVersion" in summary:
                summary.pop("ModelPackageName", None)  # AWS lists versions without a name
        return {"ModelPackageSummaryList": summaries, "NextToken": token}

    def update_model_package(self, scope: Scope, request: Record) -> Record:
        """Change the approval, the properties and whatever else may be changed."""
        with self._store.lock:
            record = self._package(scope, request["ModelPackageArn"])
            properties = dict(record.get("CustomerMetadataProperties", {}))
            properties.update(request.get("CustomerMetadataProperties", {}))
            for key in request.get("CustomerMetadataPropertiesToRemove", []):
                properties.pop(key, None)
            check_properties(properties)
            if "ModelApprovalStatus" in request and "ModelPackageVersion" not in record:
                raise ValidationException("ModelApprovalStatus can be updated for a versioned ModelPackage only.")
            specifications = [
                *record.get("AdditionalInferenceSpecifications", []),
                *copy.deepcopy(request.get("AdditionalInferenceSpecificationsToAdd", [])),
            ]
            _check_specifications(specifications)
            before = copy.deepcopy(record)
            with self._store.changing(record):
                if properties or "CustomerMetadataProperties" in record:
                    record["CustomerMetadataProperties"] = properties
                if "ModelApprovalStatus" in request:
                    record["ModelApprovalStatus"] = request["ModelApprovalStatus"]
                for member in _UPDATABLE:
                    if member in request:
                        record[member] = copy.deepcopy(request[member])
                if specifications:
                    record["AdditionalInferenceSpecifications"] = specifications
            changed = [
                member
                for member in record
                if not member.startswith("_") and member != "LastModifiedTime" and record[member] != before.get(member)
            ]
            self._emit(scope, record, changed)
        return {"ModelPackageArn": record["Arn"]}

    def delete_model_package(self, scope: Scope, request: Record) -> Record:
        """Delete one package; its version number is not given again."""
        with self._store.lock:
            record = self._package(scope, request["ModelPackageName"])
            del self._store.table(scope, PACKAGE)[record["Arn"]]
            self._tags.drop(scope, record["Arn"])
        return {}

    # --- inside ---

    def _of_token(self, scope: Scope, request: Record) -> Record | None:
        """The package that an earlier request with the same ClientToken has made: a retry makes no second one."""
        token = request.get("ClientToken")
        if token is None:
            return None
        packages = self._store.table(scope, PACKAGE).values()
        return next((package for package in packages if package.get("_token") == token), None)

    def _new_version(self, scope: Scope, group: Record) -> Record:
        group["_versions"] += 1
        name, version = group["ModelPackageGroupName"], group["_versions"]
        record = _new_record(scope.arn(PACKAGE, f"{name}/{version}"), f"{name}/{version}")
        record.update(ModelPackageName=name, ModelPackageGroupName=name, ModelPackageVersion=version)
        return record

    def _new_package(self, scope: Scope, name: str) -> Record:
        arn = scope.arn(PACKAGE, name)
        if arn in self._store.table(scope, PACKAGE):
            raise ConflictException(f"Model Package already exists: {arn}")
        record = _new_record(arn, name)
        record["ModelPackageName"] = name
        return record

    def _group(self, scope: Scope, name_or_arn: str) -> Record:
        name = name_or_arn.rsplit("/", 1)[-1] if name_or_arn.startswith("arn:") else name_or_arn
        record = self._store.table(scope, GROUP).get(name)
        if record is None:
            raise ValidationException(f"ModelPackageGroup {scope.arn(GROUP, name)} does not exist.")
        return record

    def _package(self, scope: Scope, name_or_arn: str) -> Record:
        arn = name_or_arn if name_or_arn.startswith("arn:") else scope.arn(PACKAGE, name_or_arn)
        record = self._store.table(scope, PACKAGE).get(arn)
        if record is None:
            raise ValidationException(f"ModelPackage {arn} does not exist.")
        return record

    def _emit(self, scope: Scope, record: Record, updated: list[str] | None = None) -> None:
        described = _describe(record, "DescribeModelPackage")
        detail = {member: value for member, value in described.items() if member not in _NOT_IN_EVENT}
        detail["UpdatedModelPackageFields"] = updated or []
        detail["Tags"] = self._tags.of(scope, record["Arn"])
        self._events.emit(scope, "SageMaker Model Package State Change", record["Arn"], detail)


def check_properties(properties: dict[str, Any]) -> None:
    """CustomerMetadataProperties: at most 50 (lengths and characters are in the service model)."""
    if len(properties) > MOST_PROPERTIES:
        raise ValidationException(
            f"1 validation error detected: Value at 'customerMetadataProperties' failed to satisfy constraint: Member "
            f"must have length less than or equal to {MOST_PROPERTIES}"
        )


def _check_specifications(specifications: list[Record]) -> None:
    names = [specification["Name"] for specification in specifications]
    if len(names) > MOST_SPECIFICATIONS:
        raise ValidationException(
            f"A model package can have at most {MOST_SPECIFICATIONS} AdditionalInferenceSpecifications, not "
            f"{len(names)}."
        )
    if len(set(names)) != len(names):
        raise ValidationException("The names of AdditionalInferenceSpecifications must be unique.")


def _check_policy(policy: str) -> None:
    try:
        statements = json.loads(policy)["Statement"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValidationException(f"Invalid resource policy: {type(error).__name__}: {error}") from error
    if not statements:
        raise ValidationException("Invalid resource policy: it has no Statement.")


def _new_record(arn: str, listed_name: str) -> Record:
    return {
        "Arn": arn,
        "_listed_name": listed_name,
        "ModelPackageArn": arn,
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CreationTime": now(),
        "LastModifiedTime": now(),
        "CreatedBy": {},
        "LastModifiedBy": {},
    }


def _describe(record: Record, operation: str) -> Record:
    shape = service_model("sagemaker").operation_model(operation).output_shape
    return copy.deepcopy(project(shape, record))  # type: ignore[arg-type]


def _summaries(records: list[Record], shape_name: str) -> list[Record]:
    shape = service_model("sagemaker").shape_for(shape_name)
    return [copy.deepcopy(project(shape, record)) for record in records]  # type: ignore[arg-type]
