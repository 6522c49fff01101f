"""How much of what serves is watched: capture, schedule, alarms, baseline and the monitored flag of each endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, Field

from control_plane import clients, endpoint_alarms
from control_plane.inventory import Endpoint, Inventory, Record
from control_plane.settings import Settings

# In all of these the endpoint answers requests: while it is updated by its old servers.
SERVING = ("InService", "Updating", "SystemUpdating", "RollingBack")
# Of the baseline: without either of them the monitoring job fails.
DRIFT, CONSTRAINTS = "drift.json", "constraints.json"
MAX_BYTES = 8 << 20  # of drift.json, which has some 50 KB; each `onwing status` reads one for each endpoint


class Check(BaseModel):
    """One thing that an endpoint needs to be watched."""

    check: Literal["capture", "schedule", "alarms", "baseline", "monitored"]
    passed: bool
    message: str
    action: str = Field(default="", description="what a person should do; empty: what such a check always takes")


class EndpointCoverage(BaseModel):
    """Whether an endpoint is watched, and what is missing if not."""

    endpoint: str
    fleet: str
    covered: bool
    checks: list[Check]


class Coverage(BaseModel):
    """The share of the endpoints that serve traffic which are watched in every respect."""

    percent: float
    endpoints: list[EndpointCoverage]


def measure(settings: Settings, seen: Inventory) -> Coverage:
    """Look at every endpoint of the project that serves. Where nothing serves, nothing is uncovered: 100 %."""
    serving = [endpoint for endpoint in seen.endpoints.values() if endpoint.status in SERVING]
    found = [_look_at(settings, seen, endpoint) for endpoint in serving]
    covered = sum(each.covered for each in found)
    return Coverage(percent=round(100 * covered / len(found), 1) if found else 100.0, endpoints=found)


def _look_at(settings: Settings, seen: Inventory, endpoint: Endpoint) -> EndpointCoverage:
    described: Any = clients.sagemaker().describe_endpoint(EndpointName=endpoint.name)
    record = seen.record(endpoint.fleet)
    checks = [
        _capture(described),
        Check(check="schedule", passed=seen.monitoring.is_on, message=seen.monitoring.message),
        _alarms(endpoint, described, {alarm["AlarmName"] for alarm in seen.alarms}),
        _baseline(settings.bucket_name, endpoint.fleet, record),
        _monitored(record),
    ]
    covered = all(check.passed for check in checks)
    return EndpointCoverage(endpoint=endpoint.name, fleet=endpoint.fleet, covered=covered, checks=checks)


def _capture(described: Mapping[str, Any]) -> Check:
    found = described.get("DataCaptureConfig", {})
    share = found.get("CurrentSamplingPercentage", 0)
    if not found.get("EnableCapture"):
        return Check(check="capture", passed=False, message="Data Capture is off: what is asked and answered is lost")
    if found.get("CaptureStatus", "Started") != "Started":
        return Check(check="capture", passed=False, message="Data Capture has stopped (a full disk stops it)")
    return Check(check="capture", passed=share > 0, message=f"Data Capture keeps {share} % of the requests")


def _alarms(endpoint: Endpoint, described: Mapping[str, Any], alarms: set[str]) -> Check:
    variants = [
        each["VariantName"] for each in described.get("ProductionVariants", []) if each.get("CurrentWeight", 0) > 0
    ]
    needed = [name for variant in variants for name in endpoint_alarms.of_variant(endpoint.name, variant)]
    needed.append(endpoint_alarms.of_drift(endpoint.name))
    if missing := [name for name in needed if name not in alarms]:
        return Check(check="alarms", passed=False, message=f"missing: {', '.join(missing)}")
    return Check(check="alarms", passed=True, message=f"{len(needed)} alarms")


def _baseline(bucket: str, fleet: str, record: Record) -> Check:
    version = (record.champion or {}).get("dataset_version", "")
    if not version:
        return Check(check="baseline", passed=False, message="it is not recorded which data set its model learnt from")
    folder = f"monitoring/baseline/{fleet}/{version}/"
    listed = clients.s3().list_objects_v2(Bucket=bucket, Prefix=folder)
    sizes = {each["Key"].removeprefix(folder): each["Size"] for each in listed.get("Contents", [])}
    if missing := [name for name in (DRIFT, CONSTRAINTS) if name not in sizes]:
        message = (
            f"{' and '.join(missing)} missing below s3://{bucket}/{folder}: "
            f"train with today's image (onwing train {version[:12]} --again)"
        )
        return Check(check="baseline", passed=False, message=message)
    where = f"s3://{bucket}/{folder}{DRIFT}"
    try:
        found = _read_drift(bucket, f"{folder}{DRIFT}", sizes[DRIFT])
    except ValueError as error:
        return Check(check="baseline", passed=False, message=f"{where} cannot be read: {error}")
    if not found.get("calibrated"):
        why = f" ({found['why_not']})" if found.get("why_not") else ""
        return Check(
            check="baseline",
            passed=False,
            message=f"{where} has no thresholds{why}: no window can be judged for drift, however much traffic comes",
            action=f"train {fleet} on more engines (onwing ingest PATH), and approve what comes of it",
        )
    return Check(check="baseline", passed=True, message=f"s3://{bucket}/{folder}")


def _read_drift(bucket: str, key: str, size: int) -> dict[str, Any]:
    """drift.json. Raises ValueError, which says why it cannot be read."""
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes, more than {MAX_BYTES}")
    try:
        found = json.loads(clients.s3().get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchKey", "AccessDenied"):
            raise
        raise ValueError(str(error)) from error
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _monitored(record: Record) -> Check:
    if record.champion is None:
        return Check(check="monitored", passed=False, message="the control table does not know what it serves")
    message = "monitored" if record.monitored else "not marked as monitored in the control table"
    return Check(check="monitored", passed=record.monitored, message=message)
