"""What was under way when a localcloud was killed or stopped, and cannot go on: it fails, and says why.

Executions fail with their event, so that whoever watches them hears of it, and can be redriven. A stack that was being
made or changed fails as one does whose rollback is disabled: it can be updated, or deleted, again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.store import Scope

logger = logging.getLogger("localcloud.durability.interrupted")

ERROR = "Localcloud.Interrupted"
CAUSE = (
    "localcloud was stopped in the middle of this execution. Nothing is wrong with it: redrive it "
    "(aws stepfunctions redrive-execution --execution-arn {arn}), which goes on at the state that was interrupted, or "
    "start it again."
)
STACK_REASON = "localcloud was stopped in the middle of this operation: start it again"
# Not an operation, but a stack that waits for its change set to be executed.
_WAITS = "REVIEW_IN_PROGRESS"

Found = list[tuple[Scope, dict[str, Any]]]


class Interrupted:
    """Remembers what a saved state says was running, and ends it when it can be heard of."""

    def __init__(self) -> None:
        self._executions: Found = []
        self._map_runs: Found = []
        self._stacks: Found = []

    def look(self, service: str, content: Mapping[str, Any]) -> None:
        """Take note of what ran, before the service has the state back."""
        if service == "stepfunctions":
            self._executions = _records(content, "executions", lambda record: record.get("status") == "RUNNING")
            self._map_runs = _records(content, "map_runs", lambda record: record.get("status") == "RUNNING")
        elif service == "cloudformation":
            self._stacks = _records(
                content,
                "stacks",
                lambda record: record["StackStatus"].endswith("_IN_PROGRESS") and record["StackStatus"] != _WAITS,
            )

    def restored(self) -> None:
        """The services have their states back: MiniStack fails executions in silence, which is undone until `tell`."""
        for _, execution in self._executions:
            execution.update(status="RUNNING", stopDate=None)
            execution.pop("error", None)
            execution.pop("cause", None)

    def tell(self) -> None:
        """End it all, off the start's way: events go out to functions, topics and queues."""
        for what, found, end in (
            ("stack", self._stacks, _end_stack),
            ("execution", self._executions, _end_execution),
            ("map run", self._map_runs, _end_map_run),
        ):
            for scope, record in found:
                try:
                    with hooks.acting_in(scope):
                        name = end(record)
                    logger.warning("%s was cut off by a restart", name)
                except Exception:
                    logger.exception("a %s that was cut off could not be ended: %s", what, record)
            found.clear()


def _records(content: Mapping[str, Any], table: str, wanted: Any) -> Found:
    """The records of an (account, region)-scoped table of MiniStack's that are wanted."""
    rows = getattr(content.get(table), "_data", {})
    return [(Scope(key[0], key[1]), record) for key, record in rows.items() if wanted(record)]


def _end_execution(execution: dict[str, Any]) -> str:
    arn = str(execution["executionArn"])
    hooks.get("states.fail")(execution, ERROR, CAUSE.format(arn=arn))
    return arn


def _end_map_run(run: dict[str, Any]) -> str:
    run.update(status="FAILED", stopDate=hooks.get("responses.now")())
    return str(run["mapRunArn"])


def _end_stack(stack: dict[str, Any]) -> str:
    done = stack["StackStatus"].removesuffix("_IN_PROGRESS")
    status = done.removesuffix("_CLEANUP") if done.endswith("_CLEANUP") else f"{done}_FAILED"
    name, arn = stack["StackName"], stack["StackId"]
    hooks.get("cloudformation.event")(
        arn, name, name, "AWS::CloudFormation::Stack", status, STACK_REASON, physical_id=arn
    )
    stack.update(StackStatus=status, StackStatusReason=STACK_REASON)  # last: whoever sees it finds the event
    return str(arn)
