"""The Model Registry as an operator sees it: the fleets' packages, their figures, and where each came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from onwing.errors import NotFound, UsageError, error_code
from onwing.stack import Stack
from onwing.target import Target

PENDING, APPROVED, REJECTED = "PendingManualApproval", "Approved", "Rejected"


@dataclass(frozen=True)
class Package:
    """One model package. Figures are on the official test engines: RMSE in cycles, PHM08 summed; None if unknown."""

    arn: str
    fleet: str
    version: int
    status: str
    created: datetime
    rmse: float | None = None
    phm08: float | None = None
    rmse_unclipped: float | None = None
    phm08_unclipped: float | None = None
    dataset_version: str = ""
    simulated: bool = False
    description: str = ""
    comment: str = ""  # what was said when it was approved or rejected
    properties: Mapping[str, str] = field(default_factory=dict)
    model_data_url: str = ""
    image: str = ""
    documents: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How people name it: fleet/version."""
        return f"{self.fleet}/{self.version}"


def packages(target: Target, stack: Stack, *, fleet: str | None = None, limit: int = 20) -> list[Package]:
    """The newest packages of every fleet (or one), newest first within each fleet; at most `limit` a fleet."""
    arns = [arn for name in fleets(target, stack, fleet) for arn in _newest(target, stack, name, limit)]
    if not arns:
        return []
    target.client("sagemaker")  # made before the threads share it
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="describe") as pool:
        return list(pool.map(lambda arn: describe(target, stack, arn), arns))


def find(target: Target, stack: Stack, named: str) -> Package:
    """The package meant by its ARN, by fleet/version, or by the fleet alone (its newest). Raises NotFound."""
    if named.startswith("arn:"):
        return describe(target, stack, named)
    fleet, _, version = named.partition("/")
    if version and not version.isdigit():
        raise UsageError(f"'{named}' names no package.", todo="Give an ARN, a fleet, or fleet/version such as FD001/3.")
    arns = _newest(target, stack, fleet, 100 if version else 1)
    for arn in arns:
        if not version or arn.rpartition("/")[2] == str(int(version)):
            return describe(target, stack, arn)
    raise NotFound(
        f"There is no package {named}.",
        where=f"model package group {_group(stack, fleet)} on {target}",
        todo="See what there is: `onwing models`.",
    )


def describe(target: Target, stack: Stack, arn: str) -> Package:
    """One package by its ARN; NotFound when there is none."""
    try:
        found = target.client("sagemaker").describe_model_package(ModelPackageName=arn)
    except ClientError as error:
        if error_code(error) in ("ValidationException", "ResourceNotFound"):
            raise NotFound(f"There is no package {arn}.", where=str(target), todo="See `onwing models`.") from error
        raise
    own = found.get("CustomerMetadataProperties", {})
    container: Mapping[str, str] = next(iter(found.get("InferenceSpecification", {}).get("Containers", [])), {})
    group = found.get("ModelPackageGroupName", "")
    return Package(
        arn=found["ModelPackageArn"],
        fleet=own.get("fleet") or group.removeprefix(f"{stack.project}-"),
        version=int(found.get("ModelPackageVersion", 0)),
        status=found.get("ModelApprovalStatus", found.get("ModelPackageStatus", "")),
        created=found["CreationTime"],
        rmse=_number(own, "rmse"),
        phm08=_number(own, "phm08"),
        rmse_unclipped=_number(own, "rmse_unclipped"),
        phm08_unclipped=_number(own, "phm08_unclipped"),
        dataset_version=own.get("dataset_version", ""),
        simulated=own.get("simulated") == "true",
        description=found.get("ModelPackageDescription", ""),
        comment=found.get("ApprovalDescription", ""),
        properties=own,
        model_data_url=container.get("ModelDataUrl", ""),
        image=container.get("Image", ""),
        documents=_documents(found.get("ModelMetrics", {})),
    )


def report(target: Target, package: Package) -> dict[str, Any] | None:
    """The evaluation report that the package points to; None when it is not (or no longer) there."""
    url = urlsplit(package.documents.get("ModelQuality.Statistics", ""))
    if url.scheme != "s3":
        return None
    try:
        answer = target.client("s3").get_object(Bucket=url.netloc, Key=url.path.lstrip("/"))
    except ClientError as error:
        if error_code(error) in ("NoSuchKey", "NoSuchBucket", "404"):
            return None
        raise
    document: dict[str, Any] = json.loads(answer["Body"].read())
    return document


def _group(stack: Stack, fleet: str) -> str:
    return f"{stack.project}-{fleet}"


def fleets(target: Target, stack: Stack, fleet: str | None = None) -> list[str]:
    """The fleets that have a package group; `fleet` alone if it is given."""
    if fleet is not None:
        return [fleet]
    prefix = _group(stack, "")
    pages = target.client("sagemaker").get_paginator("list_model_package_groups").paginate(NameContains=prefix)
    names = [item["ModelPackageGroupName"] for page in pages for item in page["ModelPackageGroupSummaryList"]]
    # A fleet has no dash: what goes on with one belongs to a project with a longer name.
    found = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return sorted(name for name in found if name.isalnum())


def _newest(target: Target, stack: Stack, fleet: str, limit: int) -> list[str]:
    pages = (
        target.client("sagemaker")
        .get_paginator("list_model_packages")
        .paginate(
            ModelPackageGroupName=_group(stack, fleet),
            SortBy="CreationTime",
            SortOrder="Descending",
            PaginationConfig={"MaxItems": limit},
        )
    )
    try:
        return [item["ModelPackageArn"] for page in pages for item in page["ModelPackageSummaryList"]]
    except ClientError as error:
        if error_code(error) in ("ValidationException", "ResourceNotFound"):
            return []  # the fleet's group is made with its first package
        raise


def _number(properties: Mapping[str, str], key: str) -> float | None:
    try:
        return float(properties[key])
    except (KeyError, ValueError):
        return None


def _documents(metrics: Mapping[str, Any]) -> dict[str, str]:
    """`ModelQuality.Statistics` → S3 URI, and so on for whatever the package carries."""
    return {
        f"{section}.{name}": source["S3Uri"]
        for section, sources in metrics.items()
        for name, source in sources.items()
        if "S3Uri" in source
    }
