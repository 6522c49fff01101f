"""SageMaker as the reconciliation sees it: what a test says there is. moto knows neither weights nor capture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

LONG_AGO = datetime.now(UTC) - timedelta(days=30)
PAGES = {
    "list_endpoints": "Endpoints",
    "list_models": "Models",
    "list_endpoint_configs": "EndpointConfigs",
    "list_model_package_groups": "ModelPackageGroupSummaryList",
    "list_model_packages": "ModelPackageSummaryList",
}


@dataclass
class FakeSageMaker:
    """Lists come in pages of one, so that nobody gets by with the first."""

    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    configs: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    created: datetime = LONG_AGO

    # --- what tests make ---

    def serve(self, fleet: str, config: str, weights: dict[str, float], **members: Any) -> None:
        """An endpoint in service, with Data Capture."""
        name = f"onwing-{fleet}"
        capture = {"EnableCapture": True, "CaptureStatus": "Started", "CurrentSamplingPercentage": 100}
        self.endpoints[name] = {
            "EndpointName": name,
            "EndpointStatus": "InService",
            "EndpointConfigName": config,
            "LastModifiedTime": LONG_AGO,
            "ProductionVariants": [
                {"VariantName": variant, "CurrentWeight": weight, "CurrentInstanceCount": 1}
                for variant, weight in weights.items()
            ],
            "DataCaptureConfig": {**capture, "DestinationS3Uri": "s3://onwing-bucket/monitoring/capture"},
            **members,
        }

    def register(self, fleet: str, status: str, *, modified: datetime = LONG_AGO) -> str:
        """The next package of a fleet; its ARN."""
        version = 1 + sum(p["ModelPackageGroupName"] == f"onwing-{fleet}" for p in self.packages.values())
        arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/onwing-{fleet}/{version}"
        self.packages[arn] = {
            "ModelPackageArn": arn,
            "ModelPackageGroupName": f"onwing-{fleet}",
            "ModelPackageVersion": version,
            "ModelApprovalStatus": status,
            "LastModifiedTime": modified,
        }
        return arn

    # --- the client's operations ---

    def get_paginator(self, operation: str) -> FakePaginator:
        return FakePaginator(self, operation)

    def describe_endpoint(self, EndpointName: str) -> dict[str, Any]:
        return self._find(self.endpoints, EndpointName, "DescribeEndpoint")

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:
        model = EndpointConfigName.removesuffix("-canary")
        return {"ProductionVariants": [{"VariantName": f"v{model.split('-v')[1].split('-')[0]}", "ModelName": model}]}

    def describe_model_package(self, ModelPackageName: str) -> dict[str, Any]:
        return self._find(self.packages, ModelPackageName, "DescribeModelPackage")

    def update_model_package(self, ModelPackageArn: str, **members: Any) -> None:
        self.packages[ModelPackageArn].update(members, LastModifiedTime=datetime.now(UTC))

    def _find(self, things: dict[str, dict[str, Any]], name: str, operation: str) -> dict[str, Any]:
        if operation in self.broken:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, operation)
        if name not in things:
            message = f"{name} does not exist."
            raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)
        return dict(things[name])


@dataclass
class FakePaginator:
    """Pages of one entry."""

    sagemaker: FakeSageMaker
    operation: str

    def paginate(self, ModelPackageGroupName: str = "", **_: Any) -> Iterator[dict[str, Any]]:
        if self.operation in self.sagemaker.broken:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, self.operation)
        created = self.sagemaker.created
        groups = {p["ModelPackageGroupName"] for p in self.sagemaker.packages.values()}
        listed: dict[str, list[dict[str, Any]]] = {
            "list_endpoints": list(self.sagemaker.endpoints.values()),
            "list_models": [{"ModelName": name, "CreationTime": created} for name in self.sagemaker.models],
            "list_endpoint_configs": [
                {"EndpointConfigName": name, "CreationTime": created} for name in self.sagemaker.configs
            ],
            "list_model_package_groups": [{"ModelPackageGroupName": name} for name in sorted(groups)],
            "list_model_packages": [
                p for p in self.sagemaker.packages.values() if p["ModelPackageGroupName"] == ModelPackageGroupName
            ],
        }
        for entry in listed[self.operation]:
            yield {PAGES[self.operation]: [entry]}
        yield {PAGES[self.operation]: []}
