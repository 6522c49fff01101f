"""An A/B or shadow test: how both models did so far, and the word that ends it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from onwing import deployments, endpoints, metrics
from onwing.deployments import UnderWay
from onwing.endpoints import Variant
from onwing.errors import NotFound, UsageError
from onwing.metrics import Figures
from onwing.stack import Stack
from onwing.target import Target

PROMOTE, ROLLBACK = "promote", "rollback"


@dataclass(frozen=True)
class Side:
    """One of the two models. `probe_rmse` and `probe_difference` are in cycles, of the last assessment; else None."""

    variant: Variant
    role: str
    figures: Figures
    probe_rmse: float | None = None
    probe_difference: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A test that goes on, and how both models do."""

    fleet: str
    under_way: UnderWay
    since: datetime
    sides: Sequence[Side] = field(default_factory=tuple)


def status(target: Target, stack: Stack, fleet: str) -> Comparison:
    """Both models' figures since the test began. Raises NotFound when nothing is being deployed."""
    under_way = under_way_of(target, stack, fleet)
    endpoint = endpoints.get(target, stack, fleet)
    since = deployments.moment(under_way.started_at) or datetime.now(UTC)
    wanted = [(endpoint.name, variant.name) for variant in endpoint.variants]
    figures = metrics.figures(target, wanted, since, datetime.now(UTC))
    assessed = _assessed(target, under_way.execution)
    sides = [
        Side(
            variant,
            "challenger" if variant.name == f"v{under_way.version}" else "champion",
            figures[endpoint.name, variant.name],
            assessed.get(variant.name, {}).get("probe_rmse"),
            assessed.get(variant.name, {}).get("probe_difference"),
        )
        for variant in endpoint.variants
    ]
    return Comparison(fleet, under_way, since, sorted(sides, key=lambda side: side.role))


def stop(target: Target, stack: Stack, fleet: str, decision: str, reason: str) -> UnderWay:
    """Write the decision that the deployment waits for. Raises NotFound without one, UsageError if it does not wait."""
    under_way = under_way_of(target, stack, fleet)
    if not under_way.held:
        raise UsageError(
            f"The deployment of v{under_way.version} ({under_way.mode}) does not wait for a decision: "
            f"phase {under_way.phase}.",
            where=under_way.name,
            todo=f"Watch it: `onwing deployments watch {fleet}`. Stop it: `onwing rollback {fleet}`.",
        )
    target.client("dynamodb").put_item(
        TableName=stack.table,
        Item={
            "pk": {"S": deployments.partition_key(fleet)},
            "sk": {"S": "DECISION"},
            "request": {"N": str(under_way.request)},
            "decision": {"S": decision},
            "reason": {"S": reason},
            "at": {"S": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")},
        },
    )
    return under_way


def under_way_of(target: Target, stack: Stack, fleet: str) -> UnderWay:
    """What is being deployed to a fleet; NotFound when nothing is."""
    found = deployments.read(target, stack, fleet).under_way
    if found is None:
        raise NotFound(
            f"Nothing is being deployed to {fleet}: there is no test.",
            where=str(target),
            todo=f"Start one: `onwing ab start {fleet} --share 20`. What was: `onwing deployments --fleet {fleet}`.",
        )
    return found


def _assessed(target: Target, execution: str) -> Mapping[str, Mapping[str, Any]]:
    """The figures of the last assessment, by variant, out of the deployment's history; none before the first."""
    history = target.client("stepfunctions").get_execution_history(
        executionArn=execution, reverseOrder=True, maxResults=100, includeExecutionData=True
    )
    for event in history["events"]:
        output = event.get("taskSucceededEventDetails", {}).get("output", "")
        found = json.loads(output) if output.startswith("{") else {}
        payload = found.get("Payload") if isinstance(found, dict) else None
        if isinstance(payload, dict) and payload.get("figures"):
            figures: Mapping[str, Mapping[str, Any]] = payload["figures"]
            return figures
    return {}
