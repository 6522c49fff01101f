"""The alarms that an endpoint has: which there must be, and how one that is gone is made again.

The deployment machine makes them. Here they are made again from the endpoint's backup, in which they stand as they
were, so that no second definition can differ from it; only the alarm on drift, which is the same for every endpoint,
is known here as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from control_plane import clients
from control_plane.settings import Settings

OF_VARIANT = ("model-latency", "overhead-latency", "errors-5xx", "errors-4xx", "silent")
BACKUPS_TRIED = 5
# PutMetricAlarm's members; a backup is spelled as Step Functions spells them, which differs in OkActions.
MEMBERS = (
    "AlarmName",
    "AlarmDescription",
    "ActionsEnabled",
    "OKActions",
    "AlarmActions",
    "InsufficientDataActions",
    "MetricName",
    "Namespace",
    "Statistic",
    "ExtendedStatistic",
    "Dimensions",
    "Period",
    "Unit",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
    "EvaluateLowSampleCountPercentile",
    "Metrics",
    "ThresholdMetricId",
)


def of_variant(endpoint: str, variant: str) -> list[str]:
    """The names of the alarms that a variant with traffic must have."""
    return [f"{endpoint}-{variant}-{what}" for what in OF_VARIANT]


def of_drift(endpoint: str) -> str:
    """The name of the alarm on drift that a monitored endpoint must have."""
    return f"{endpoint}-data-drift"


def put_again(settings: Settings, fleet: str, names: list[str], champion: Mapping[str, Any] | None) -> list[str]:
    """Make alarms again as they were; returns the names of those of which no backup knows anything."""
    endpoint, missing = f"{settings.project_name}-{fleet}", set(names)
    for backup in _backups(settings.bucket_name, endpoint, champion):
        for alarm in backup.get("alarms", []):
            if alarm.get("AlarmName") in missing:
                _put(settings, fleet, {"OKActions" if k == "OkActions" else k: v for k, v in alarm.items()})
                missing.discard(alarm["AlarmName"])
        if not missing:
            return []
    if of_drift(endpoint) in missing:
        _put(settings, fleet, drift_alarm(settings.project_name, fleet))
        missing.discard(of_drift(endpoint))
    return sorted(missing)


def drift_alarm(project: str, fleet: str) -> dict[str, Any]:
    """The alarm on an endpoint's DataDrift, as the deployment machine makes it.

    It has no actions: people are told by the handler of violations, who knows what drifted.
    """
    endpoint = f"{project}-{fleet}"
    return {
        "AlarmName": of_drift(endpoint),
        "AlarmDescription": f"The traffic of endpoint {endpoint} is not like the data that its model was trained on: "
        f"a statistic is above its threshold (1). Look with `onwing drift report {fleet}`.",
        "Namespace": "Onwing",
        "MetricName": "DataDrift",
        "Dimensions": [{"Name": "Endpoint", "Value": endpoint}],
        "Statistic": "Maximum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 1,
        "TreatMissingData": "ignore",
    }


def _put(settings: Settings, fleet: str, alarm: Mapping[str, Any]) -> None:
    members: dict[str, Any] = {name: alarm[name] for name in MEMBERS if name in alarm}
    members["Tags"] = [
        {"Key": "onwing:project", "Value": settings.project_name},
        {"Key": "onwing:fleet", "Value": fleet},
    ]
    clients.cloudwatch().put_metric_alarm(**members)


def _backups(bucket: str, endpoint: str, champion: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The one written after the champion's deployment, which has its alarms for certain, then the newest ones."""
    s3 = clients.s3()
    own = (champion or {}).get("backup") or ""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"backups/{endpoint}/")
    keys = sorted((entry["Key"] for page in pages for entry in page.get("Contents", [])), reverse=True)
    for key in [*([own] if own in keys else []), *(key for key in keys if key != own)][: BACKUPS_TRIED + 1]:
        yield json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
