"""Executions are measured in AWS/States: started, succeeded, failed, aborted, timed out, and how long they took.

docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html; MiniStack measures nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import metrics

NAMESPACE = "AWS/States"
STATUSES = {
    "RUNNING": "ExecutionsStarted",
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "ABORTED": "ExecutionsAborted",
    "TIMED_OUT": "ExecutionsTimedOut",
}
ENDS = {name: status for status, name in STATUSES.items() if status != "RUNNING"}


def install() -> None:
    """Measure where the event about each change of an execution's status is sent."""

    def make(emit: Any) -> Any:
        def emitted(execution: dict[str, Any]) -> None:
            try:
                emit(execution)
            finally:
                _measure(execution)

        return emitted

    hooks.replace("states.status_event", make)


def _measure(execution: dict[str, Any]) -> None:
    scope = hooks.current_scope()
    dimensions = {"StateMachineArn": execution["stateMachineArn"]}
    name = STATUSES.get(execution["status"])
    if name is None:
        return
    redriven = int(execution.get("redriveCount") or 0) > 0
    if name == "ExecutionsStarted":
        # A redrive is no start; a start says also that none of the failures has come, so that their graphs have zeros.
        started = "ExecutionsRedriven" if redriven else name
        metrics.put(scope, NAMESPACE, started, 1, "Count", dimensions)
        metrics.put(scope, NAMESPACE, "ExecutionThrottled", 0, "Count", dimensions)
        return
    for end in ENDS:
        metrics.put(scope, NAMESPACE, end, float(end == name), "Count", dimensions)
    if redriven:
        metrics.put(scope, NAMESPACE, f"Redriven{name}", 1, "Count", dimensions)
    began, ended = _time(execution.get("startDate")), _time(execution.get("stopDate")) or datetime.now(UTC)
    if began is not None:
        metrics.put(
            scope, NAMESPACE, "ExecutionTime", (ended - began).total_seconds() * 1000, "Milliseconds", dimensions
        )


def _time(value: Any) -> datetime | None:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
