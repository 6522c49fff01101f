"""Endpoint configurations: which models serve, on how many instances, with which share of the traffic.

docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from localcloud.errors import ValidationException
from localcloud.jobs.platform import Platform
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import echo, project, service_model
from localcloud.sagemaker.tags import Tags
from localcloud.serving import models
from localcloud.store import Record, Scope, now

KIND = "endpoint-config"
FREQUENCIES = (10, 30, 60, 120, 180, 240, 300)  # seconds, of MetricsConfig


class EndpointConfigs:
    """CreateEndpointConfig and its family."""

    operations = ("CreateEndpointConfig", "DescribeEndpointConfig", "ListEndpointConfigs", "DeleteEndpointConfig")
    partial: ClassVar[dict[str, str]] = {
        "CreateEndpointConfig": "AsyncInferenceConfig, ExplainerConfig and variants without a model (inference "
        "components) are refused. ServerlessConfig is served by one process that stays. Accepted without effect: "
        "InstanceType, volumes, accelerators, core dumps, managed scaling, RoutingConfig (always least outstanding "
        "requests), VpcConfig, ModelDataDownloadTimeoutInSeconds. Of MetricsConfig the frequency counts, down to 10 s; "
        "there are no metrics by instance or container."
    }

    def __init__(self, platform: Platform, tags: Tags) -> None:
        self._platform = platform
        self._store = platform.store
        self._tags = tags

    def create_endpoint_config(self, scope: Scope, request: Record) -> Record:
        """Create a configuration; nothing runs yet."""
        name = request["EndpointConfigName"]
        arn = scope.arn(KIND, name)
        record: Record = {
            "Arn": arn,
            "EndpointConfigArn": arn,
            "EnableNetworkIsolation": False,
            **echo(request, "CreateEndpointConfig", "DescribeEndpointConfig"),
            "CreationTime": now(),
        }
        _check(request)
        for variant in [*record["ProductionVariants"], *record.get("ShadowProductionVariants", [])]:
            variant.setdefault("InitialVariantWeight", 1.0)
        with self._store.lock:
            table = self._store.table(scope, KIND)
            if name in table:
                raise ValidationException(f'Cannot create already existing endpoint configuration "{arn}".')
            for variant in [*record["ProductionVariants"], *record.get("ShadowProductionVariants", [])]:
                models.find(self._platform, scope, variant["ModelName"])
            self._tags.put(scope, arn, request.get("Tags", []))
            table[name] = record
        self._emit(scope, record)
        return {"EndpointConfigArn": arn}

    def describe_endpoint_config(self, scope: Scope, request: Record) -> Record:
        """Everything about one configuration."""
        with self._store.lock:
            return _described(find(self._platform, scope, request["EndpointConfigName"]))

    def list_endpoint_configs(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        with self._store.lock:
            found = listing.select(self._store.table(scope, KIND).values(), request, name="EndpointConfigName")
            sort = {"Name": "EndpointConfigName", "CreationTime": "CreationTime"}
            chosen, token = listing.page(found, request, sort=sort)
            shape = service_model("sagemaker").shape_for("EndpointConfigSummary")
            return {
                "EndpointConfigs": [copy.deepcopy(project(shape, each)) for each in chosen],  # type: ignore[arg-type]
                "NextToken": token,
            }

    def delete_endpoint_config(self, scope: Scope, request: Record) -> Record:
        """Delete a configuration; an endpoint that was made of it goes on, as on AWS."""
        with self._store.lock:
            record = find(self._platform, scope, request["EndpointConfigName"])
            del self._store.table(scope, KIND)[record["EndpointConfigName"]]
            self._tags.drop(scope, record["Arn"])
        self._emit(scope, record)
        return {}

    def _emit(self, scope: Scope, record: Record) -> None:
        detail = {**_described(record), "Tags": self._tags.of(scope, record["Arn"])}
        self._platform.events.emit(scope, "SageMaker Endpoint Config State Change", record["Arn"], detail)


def find(platform: Platform, scope: Scope, name: str) -> Record:
    """A configuration's record; raises ValidationException as AWS does. The caller holds the store's lock."""
    record = platform.store.table(scope, KIND).get(name)
    if record is None:
        raise ValidationException(f'Could not find endpoint configuration "{scope.arn(KIND, name)}".')
    return record


def _check(request: Mapping[str, Any]) -> None:
    for refused in ("AsyncInferenceConfig", "ExplainerConfig"):
        if request.get(refused):
            raise ValidationException(f"localcloud does not implement {refused}: its endpoints answer in real time.")
    every = request.get("MetricsConfig", {}).get("MetricPublishFrequencyInSeconds")
    if every is not None and every not in FREQUENCIES:
        raise ValidationException(
            f"MetricPublishFrequencyInSeconds must be one of {', '.join(map(str, FREQUENCIES))}, not {every}."
        )
    production, shadow = request["ProductionVariants"], request.get("ShadowProductionVariants", [])
    names = [variant["VariantName"] for variant in [*production, *shadow]]
    if len(set(names)) != len(names):
        raise ValidationException(f"Variant names must be unique within an endpoint configuration: {names}.")
    if shadow and (len(production) != 1 or len(shadow) != 1):
        raise ValidationException(
            "An endpoint configuration with a shadow variant must have exactly one production variant and one shadow "
            "variant."
        )
    for variant in [*production, *shadow]:
        name = variant["VariantName"]
        if "ModelName" not in variant:
            raise ValidationException(
                f"ModelName is missing in variant {name}; localcloud does not implement inference components."
            )
        if "ServerlessConfig" in variant:
            if "InitialInstanceCount" in variant or "InstanceType" in variant:
                raise ValidationException(
                    f"Variant {name} has both a ServerlessConfig and instances; only one of them can be specified."
                )
        elif "InitialInstanceCount" not in variant or not ("InstanceType" in variant or "InstancePools" in variant):
            raise ValidationException(
                f"InitialInstanceCount and InstanceType are required for variant {name} without a ServerlessConfig."
            )


def _described(record: Record) -> Record:
    shape = service_model("sagemaker").operation_model("DescribeEndpointConfig").output_shape
    return copy.deepcopy(project(shape, record))  # type: ignore[arg-type]
