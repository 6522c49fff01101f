"""What an endpoint is to serve: an endpoint configuration with the models it names, resolved once and for all.

An endpoint keeps its plan, so that it goes on when its configuration or its models are deleted, as on AWS, and can be
served again after a restart. Plans are JSON values.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from localcloud.cloudwatch.metrics import STANDARD
from localcloud.jobs.platform import Platform
from localcloud.serving import models
from localcloud.serving.model_servers import STARTUP_SECONDS
from localcloud.store import Record, Scope, now

Plan = dict[str, Any]
Variant = dict[str, Any]


def make(platform: Platform, scope: Scope, config: Record) -> Plan:
    """The plan of a configuration. The caller holds the store's lock; raises ValidationException for a lost model."""
    return {
        "config": config["EndpointConfigName"],
        "variants": [_variant(platform, scope, each) for each in config["ProductionVariants"]],
        "shadow": [_variant(platform, scope, each) for each in config.get("ShadowProductionVariants", [])],
        "capture": copy.deepcopy(config.get("DataCaptureConfig")),
        "kms_key": config.get("KmsKeyId"),
        "metrics": copy.deepcopy(config.get("MetricsConfig")),
    }


def _variant(platform: Platform, scope: Scope, variant: Mapping[str, Any]) -> Variant:
    model = models.find(platform, scope, variant["ModelName"])
    return {
        "name": variant["VariantName"],
        "model": variant["ModelName"],
        "served": copy.deepcopy(model["_served"]),
        "weight": float(variant["InitialVariantWeight"]),
        "instances": int(variant.get("InitialInstanceCount", 1)),
        "type": variant.get("InstanceType"),
        "serverless": copy.deepcopy(variant.get("ServerlessConfig")),
        "startup": float(variant.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_SECONDS)),
        "resolved": now(),
    }


def retain(plan: Plan, present: Plan, excluded: frozenset[str]) -> None:
    """Carry over what RetainAllVariantProperties keeps: instance counts and weights by variant's name, Data Capture.

    Args:
        plan: the new plan, which is changed.
        present: the plan served now.
        excluded: VariantPropertyTypes that come from the new configuration all the same.
    """
    known = {variant["name"]: variant for variant in present["variants"]}
    for variant in plan["variants"]:
        if (before := known.get(variant["name"])) is None:
            continue
        if "DesiredWeight" not in excluded:
            variant["weight"] = before["weight"]
        if "DesiredInstanceCount" not in excluded:
            variant["instances"] = before["instances"]
    if "DataCaptureConfig" not in excluded:
        plan["capture"] = copy.deepcopy(present["capture"])


def metric_seconds(plan: Plan) -> tuple[int, int]:
    """How far apart the datapoints of invocations' metrics are, and of utilization's, in seconds.

    MetricsConfig says it: its frequency counts for utilization, and with EnableEnhancedMetrics for invocations too.
    What is published more rarely than each minute is there each minute here.
    """
    config = plan["metrics"] or {}
    every = min(STANDARD, int(config.get("MetricPublishFrequencyInSeconds", STANDARD)))
    return (every if config.get("EnableEnhancedMetrics") else STANDARD), every


def all_variants(plan: Plan) -> list[Variant]:
    """Production variants and shadow variants."""
    return [*plan["variants"], *plan["shadow"]]
