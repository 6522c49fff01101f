"""The fleets' endpoints: their variants, what is the champion, what is under way, how they answer, what alarms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from onwing import deployments, metrics
from onwing import stack as stacks
from onwing.deployments import Deployment
from onwing.errors import NotFound, error_code
from onwing.metrics import Figures
from onwing.stack import Stack
from onwing.target import Target

WINDOW = timedelta(hours=1)


@dataclass(frozen=True)
class Variant:
    """One variant. `share` is its part of the traffic in per cent; a shadow has none, and gets copies."""

    name: str
    weight: float
    share: float
    instances: int
    status: str = ""
    shadow: bool = False


@dataclass(frozen=True)
class Alarm:
    """An alarm that is on."""

    name: str
    reason: str
    since: datetime


@dataclass(frozen=True)
class Endpoint:
    """One fleet's endpoint, with the control table's words on it. `figures` are the last hour's, by variant."""

    name: str
    fleet: str
    status: str
    config: str = ""
    modified: datetime | None = None
    failure: str = ""
    variants: Sequence[Variant] = ()
    deployment: Deployment = field(default_factory=lambda: Deployment(""))
    figures: Mapping[str, Figures] = field(default_factory=dict)
    alarms: Sequence[Alarm] = ()


def name_of(stack: Stack, fleet: str) -> str:
    """The name of a fleet's endpoint."""
    return f"{stack.project}-{fleet}"


def all_of(
    target: Target,
    stack: Stack,
    *,
    fleet: str | None = None,
    measured: bool = True,
    firing: Sequence[Alarm] | None = None,
) -> list[Endpoint]:
    """The endpoints of all fleets, or of one.

    Args:
        measured: with what CloudWatch has on the last hour, and the alarms that are on.
        firing: these alarms, where they are known already.
    """
    names = _names(target, stack, fleet)
    if firing is None:
        firing = alarms(target, stack) if names and measured else []
    found = [_describe(target, stack, name, firing) for name in names]
    endpoints = [endpoint for endpoint in found if endpoint is not None]
    if not measured or not endpoints:
        return endpoints
    now = datetime.now(UTC)
    wanted = [(endpoint.name, variant.name) for endpoint in endpoints for variant in endpoint.variants]
    figures = metrics.figures(target, wanted, now - WINDOW, now)
    return [
        replace(endpoint, figures={variant.name: figures[endpoint.name, variant.name] for variant in endpoint.variants})
        for endpoint in endpoints
    ]


def get(target: Target, stack: Stack, fleet: str) -> Endpoint:
    """A fleet's endpoint without figures; NotFound when there is none."""
    found = all_of(target, stack, fleet=fleet, measured=False)
    if not found:
        raise not_found(target, stack, fleet)
    return found[0]


def not_found(target: Target, stack: Stack, fleet: str) -> NotFound:
    """The error that says that a fleet is served by nothing, and how that changes."""
    return NotFound(
        f"Fleet {fleet} has no endpoint {name_of(stack, fleet)}.",
        where=str(target),
        todo=f"Deploy a model: `onwing approve {fleet}`. If it was lost: `onwing restore {fleet}`.",
    )


def alarms(target: Target, stack: Stack) -> list[Alarm]:
    """The alarms that are on: the stack's own, and those that deployments made for endpoints and their variants."""
    own = set(stacks.resources(target, "AWS::CloudWatch::Alarm").values())
    variants = re.compile(rf"{re.escape(stack.project)}-[A-Za-z0-9]+-(v\d+-.+|data-drift)")
    pages = target.client("cloudwatch").get_paginator("describe_alarms").paginate(StateValue="ALARM")
    found = [
        Alarm(item["AlarmName"], item.get("StateReason", ""), item["StateUpdatedTimestamp"])
        for page in pages
        for item in page.get("MetricAlarms", [])
        if item["AlarmName"] in own or (variants.fullmatch(item["AlarmName"]) and _means_something(item))
    ]
    return sorted(found, key=lambda alarm: alarm.since, reverse=True)


def _means_something(alarm: Mapping[str, Any]) -> bool:
    """False for an alarm that does not act yet: its model is being deployed.

    False as well for one that takes missing data for a fault and has existed for less time than it looks back: it is
    on until its first data come.
    """
    if not alarm.get("ActionsEnabled", True):
        return False
    if alarm.get("TreatMissingData") != "breaching":
        return True
    looks_back = timedelta(seconds=alarm["Period"] * alarm["EvaluationPeriods"])
    made: datetime = alarm["AlarmConfigurationUpdatedTimestamp"]
    return datetime.now(UTC) - made >= looks_back


def _names(target: Target, stack: Stack, fleet: str | None) -> list[str]:
    """`<project>-<fleet>`: a fleet has no dash, so another project's longer prefix does not match."""
    wanted = re.compile(rf"{re.escape(stack.project)}-({re.escape(fleet) if fleet else '[A-Za-z0-9]+'})")
    pages = (
        target.client("sagemaker").get_paginator("list_endpoints").paginate(NameContains=name_of(stack, fleet or ""))
    )
    names = [item["EndpointName"] for page in pages for item in page["Endpoints"]]
    return sorted(name for name in names if wanted.fullmatch(name))


def _describe(target: Target, stack: Stack, name: str, firing: Sequence[Alarm]) -> Endpoint | None:
    """One endpoint; None when it has gone since it was listed."""
    try:
        found = target.client("sagemaker").describe_endpoint(EndpointName=name)
    except ClientError as error:
        if error_code(error) in ("ValidationException", "ResourceNotFound"):
            return None
        raise
    fleet = name.removeprefix(name_of(stack, ""))
    production = found.get("ProductionVariants", [])
    total = sum(variant.get("CurrentWeight", 0) for variant in production)
    return Endpoint(
        name=name,
        fleet=fleet,
        status=found["EndpointStatus"],
        config=found.get("EndpointConfigName", ""),
        modified=found.get("LastModifiedTime"),
        failure=found.get("FailureReason", ""),
        variants=[
            *(_variant(variant, total) for variant in production),
            *(_variant(variant, 0, shadow=True) for variant in found.get("ShadowProductionVariants", [])),
        ],
        deployment=deployments.read(target, stack, fleet),
        alarms=[alarm for alarm in firing if alarm.name.startswith((f"{name}-v", f"{name}-data-drift"))],
    )


def _variant(found: Mapping[str, Any], total: float, *, shadow: bool = False) -> Variant:
    weight = float(found.get("CurrentWeight", 0))
    statuses = [status["Status"] for status in found.get("VariantStatus", [])]
    return Variant(
        name=found["VariantName"],
        weight=weight,
        share=100 * weight / total if total else 0.0,
        instances=int(found.get("CurrentInstanceCount", 0)),
        status=", ".join(statuses),
        shadow=shadow,
    )
