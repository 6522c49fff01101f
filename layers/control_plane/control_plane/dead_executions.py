"""What executions that ended without a word have left behind: attempts, locks, half-done deployments, claims."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

from control_plane import clients, datasets, executions, inventory, moments, overdue_windows, training
from control_plane.datasets import fleet_key
from control_plane.errors import ControlPlaneError, DatasetNotFoundError
from control_plane.executions import Execution
from control_plane.findings import Finding, Scope, stamp
from control_plane.inventory import Inventory, Record

BADLY = ("FAILED", "TIMED_OUT", "ABORTED", "UNKNOWN")


class NotTakenError(ControlPlaneError):
    """Somebody else changed what was to be repaired: it is looked at again the next day."""


# --- training ---


def check_training(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """Attempts that were claimed but never started, and runs that ended without a word in the control table."""
    table = scope.settings.table_name
    try:
        files = datasets.read_files(table, fleet)
    except DatasetNotFoundError:
        return
    uploaded = datetime.fromtimestamp(max(files.modified.values(), default=0), scope.now.tzinfo)
    for item in inventory.read_items(table, fleet, datasets.VERSION_SORT_PREFIX):
        version, arn = item["sk"].removeprefix(datasets.VERSION_SORT_PREFIX), item.get("execution_arn", "")
        where, again = f"{fleet} {version[:12]}", f"onwing train {version[:12]} --again"
        if item["status"] not in ("starting", "running"):
            continue
        if not arn:
            if scope.is_old(uploaded):
                yield _settle_claim(scope, fleet, version, where, is_newest=version == files.dataset_version)
            continue
        execution = executions.describe(arn)
        if execution.status not in BADLY or not scope.is_old(execution.stopped_at):
            continue
        finding = Finding(
            what="training",
            where=where,
            problem=f"recorded as {item['status']}, but its execution {_ended(execution)}",
            action=again,
        )
        reason = f"its execution {_ended(execution)} and left no other word"

        def close(item: Mapping[str, Any] = item, reason: str = reason, again: str = again) -> str:
            _record_failed(scope, fleet, item, reason)
            return f"recorded as failed. To train it: {again}"

        yield scope.settle(finding, close)


def _settle_claim(scope: Scope, fleet: str, version: str, where: str, *, is_newest: bool) -> Finding:
    finding = Finding(
        what="training",
        where=where,
        problem="an attempt was claimed, but its execution never started",
        action=f"onwing train {version[:12]}",
    )
    if not is_newest:  # whose wish it was is not recorded, and newer data has come since
        return finding
    return scope.settle(finding, lambda: training.start(scope.settings, fleet, version, trigger="upload").message)


def _record_failed(scope: Scope, fleet: str, item: Mapping[str, Any], reason: str) -> None:
    _update(
        scope,
        {"pk": {"S": fleet_key(fleet)}, "sk": {"S": item["sk"]}},
        UpdateExpression="SET #status = :failed, reason = :reason, updated_at = :now",
        ConditionExpression="#status = :seen AND execution_arn = :execution",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={
            ":failed": {"S": "failed"},
            ":reason": {"S": reason},
            ":now": {"S": scope.now.isoformat()},
            ":seen": {"S": item["status"]},
            ":execution": {"S": item["execution_arn"]},
        },
    )


# --- deployments ---


def check_deployment(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """A deployment that ended half-way without a rollback, or a lock that nobody holds."""
    record = seen.record(fleet)
    if record.is_changing:
        return
    if record.under_way is not None:
        yield from _check_half_done(scope, fleet, record.under_way)
    elif record.lock_owner:
        yield from _check_lock(scope, fleet, record)


def _check_half_done(scope: Scope, fleet: str, under_way: Mapping[str, Any]) -> Iterator[Finding]:
    execution = executions.describe(under_way["execution"])
    if execution.is_running or not scope.is_old(execution.stopped_at or moments.parse(under_way.get("started_at"))):
        return
    finding = Finding(
        what="deployment",
        where=f"{fleet} v{under_way['version']}",
        problem=f"its deployment stands in phase {under_way.get('phase', 'unknown')}, but its execution "
        f"{_ended(execution)}, and no rollback came: {execution.arn}",
        action=f"onwing rollback {fleet}",
    )
    if execution.status not in BADLY:
        yield finding  # it says that it ended well: what is to be done is not for a rule
        return

    def roll_back() -> str:
        # Exactly what the rule on ended deployments sends.
        document = {"trigger": "deployment_ended", "name": execution.name, "status": execution.status}
        name = f"{execution.name}-lost-{scope.now:%Y%m%d}"
        stepfunctions = clients.stepfunctions()
        try:
            started = stepfunctions.start_execution(
                stateMachineArn=scope.deploying.rollback_state_machine_arn,
                name=name,
                input=json.dumps(document | {"execution": execution.arn}),
            )
        except stepfunctions.exceptions.ExecutionAlreadyExists as error:
            raise NotTakenError(f"rollback {name} of today has ended without putting it in order") from error
        return f"its rollback was started: {started['executionArn']}"

    yield scope.settle(finding, roll_back)


def _check_lock(scope: Scope, fleet: str, record: Record) -> Iterator[Finding]:
    owner = executions.describe(record.lock_owner)
    if owner.is_running or not (scope.is_old(owner.stopped_at) and scope.is_old(moments.parse(record.lock_since))):
        return
    finding = Finding(
        what="lock",
        where=fleet,
        problem=f"the fleet is locked by an execution that {_ended(owner)}: {owner.arn}",
        action="nothing: the next deployment takes the lock over",
    )

    def unlock() -> str:
        dynamodb = clients.dynamodb()
        try:
            dynamodb.delete_item(
                TableName=scope.settings.table_name,
                Key={"pk": {"S": fleet_key(fleet)}, "sk": {"S": "LOCK"}},
                ConditionExpression="#owner = :dead",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":dead": {"S": owner.arn}},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException as error:
            raise NotTakenError("somebody else has just taken it over") from error
        return "the lock is free"

    yield scope.settle(finding, unlock)


# --- monitoring ---


def check_claims(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """Windows that an execution of monitoring had claimed when it died, and that no later one has taken over.

    Of traffic (MONITOR items), and of the comparison with ground truth (QUALITY items).
    """
    table, period = scope.settings.table_name, overdue_windows.period_of(seen.monitoring.expression)
    for item in chain(*(inventory.read_items(table, fleet, prefix) for prefix in ("MONITOR#", "QUALITY#"))):
        claim = json.loads(item.get("claim") or "null")
        if not claim or "execution" not in claim:
            continue
        execution = executions.describe(claim["execution"])
        stopped = execution.stopped_at or moments.parse(item.get("updated_at"))
        if execution.is_running or not scope.is_old(None if stopped is None else stopped + period):
            continue
        yield Finding(
            what="monitoring",
            where=f"{fleet} {item['sk'].partition('#')[2]}, window {claim.get('id', 'unknown')}",
            problem=f"claimed by an execution that {_ended(execution)}: {execution.arn}",
            action=f"the next run takes it over; to have one now: onwing drift run {fleet}",
        )


def _ended(execution: Execution) -> str:
    if execution.status == "UNKNOWN":
        return "does not exist (any more)"
    return f"ended {execution.status}" + (f" at {stamp(execution.stopped_at)}" if execution.stopped_at else "")


def _update(scope: Scope, key: Mapping[str, Any], **change: Any) -> None:
    dynamodb = clients.dynamodb()
    try:
        dynamodb.update_item(TableName=scope.settings.table_name, Key=key, **change)
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        raise NotTakenError("somebody else has just changed it") from error
