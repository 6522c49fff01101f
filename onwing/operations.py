"""Executions of the machines for what serves (deployment, rollback, monitoring, …): start, find, look, wait."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from onwing import progress
from onwing.errors import Exit, NotFound, OnwingError, WaitedTooLong, error_code
from onwing.stack import Stack
from onwing.target import Target

# Kind of execution → the stack's output that names its state machine.
MACHINES = {
    "deployment": "DeploymentStateMachineArn",
    "rollback": "RollbackStateMachineArn",
    "backup": "BackupStateMachineArn",
    "recovery": "RecoveryStateMachineArn",
    "monitoring": "MonitoringStateMachineArn",
}
POLL_SECONDS = 1.0
MEANT = 200  # executions looked at when one is named by less than its ARN
STOPPED_BY_ROLLBACK = "RolledBack"  # the error that the rollback machine gives with StopExecution
_EXIT = {
    ("deployment", "promoted"): Exit.OK,
    ("deployment", "rolled_back"): Exit.GATE_MISSED,
    ("deployment", "refused"): Exit.GATE_MISSED,
    ("deployment", "superseded"): Exit.NO_MODEL,
    ("deployment", "withdrawn"): Exit.NO_MODEL,
    ("rollback", "rolled_back"): Exit.OK,
    ("rollback", "nothing_to_do"): Exit.NO_MODEL,
    ("backup", "succeeded"): Exit.OK,
    ("recovery", "planned"): Exit.OK,
    ("recovery", "recovered"): Exit.OK,
    ("recovery", "intact"): Exit.OK,
    ("monitoring", "succeeded"): Exit.OK,
}


@dataclass(frozen=True)
class Run:
    """One execution at one moment."""

    arn: str
    kind: str
    status: str
    started: datetime
    stopped: datetime | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    cause: str = ""

    @property
    def name(self) -> str:
        """The execution's name."""
        return self.arn.rpartition(":")[2]

    @property
    def fleet(self) -> str:
        """The fleet that it works on."""
        return str(self.input.get("fleet") or self.name.partition("-")[0])

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.status in progress.RUNNING

    @property
    def outcome(self) -> str | None:
        """promoted, rolled_back, refused, recovered, …; failed, timed_out or aborted; None while it runs."""
        # The rollback machine stops a deployment that it takes back; anybody else who stops one just aborts it.
        stopped = not self.running and self.error == STOPPED_BY_ROLLBACK
        return "rolled_back" if stopped else progress.outcome(self.status, self.output)

    @property
    def exit_code(self) -> Exit:
        """The exit code that goes with the outcome."""
        return Exit.OK if self.running else _EXIT.get((self.kind, self.outcome or ""), Exit.FAILED)

    @property
    def reason(self) -> str:
        """Why it ended as it did, in one line."""
        said = str(self.output.get("reason") or self.output.get("summary") or "")
        error = "" if self.error == STOPPED_BY_ROLLBACK else self.error
        return said or ": ".join(part for part in (error, progress.reason(self.cause)) if part)

    def document(self) -> dict[str, Any]:
        """The run as one JSON document."""
        return {
            "execution": self.arn,
            "kind": self.kind,
            "status": self.status,
            "started": self.started,
            "stopped": self.stopped,
            "error": self.error,
            "cause": progress.reason(self.cause),
            **self.output,
            "outcome": self.outcome,
        }


def start(target: Target, stack: Stack, kind: str, subject: str, document: Mapping[str, Any]) -> str:
    """Start a machine's execution; returns its ARN. `subject` begins its name: the fleet, or "all"."""
    answer = target.client("stepfunctions").start_execution(
        stateMachineArn=stack.output(MACHINES[kind]),
        name=f"{subject}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
        input=json.dumps(document),
    )
    return str(answer["executionArn"])


def look(target: Target, arn: str) -> Run:
    """An execution as it stands; NotFound when there is none."""
    try:
        found = target.client("stepfunctions").describe_execution(executionArn=arn)
    except ClientError as error:
        if error_code(error) in ("ExecutionDoesNotExist", "InvalidArn"):
            raise NotFound(
                f"There is no execution {arn}.", where=str(target), todo="See them: `onwing deployments`."
            ) from error
        raise
    return Run(
        arn=found["executionArn"],
        kind=kind_of(arn) or "",
        status=found["status"],
        started=found["startDate"],
        stopped=found.get("stopDate"),
        input=_document(found.get("input")),
        output=_document(found.get("output")),
        error=found.get("error") or "",
        cause=found.get("cause") or "",
    )


def wait(
    target: Target,
    arn: str,
    *,
    timeout: float | None = None,
    interval: float = POLL_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Look until the execution has ended; WaitedTooLong after `timeout` seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        run = look(target, arn)
        if not run.running:
            return run
        if deadline is not None and time.monotonic() >= deadline:
            raise too_long(run, timeout or 0)
        sleep(interval)


def succeed(run: Run, todo: str) -> Run:
    """The run, if it has come to an outcome of its own; OnwingError with its reason if it failed."""
    if run.status == "SUCCEEDED":
        return run
    raise OnwingError(f"The {run.kind} {run.outcome}: {run.reason or 'no reason given'}", where=run.arn, todo=todo)


def too_long(run: Run, seconds: float) -> WaitedTooLong:
    """The error that says that `run` has not ended in time, and how to look again."""
    return WaitedTooLong(
        f"The {run.kind} {run.name} has not ended after {seconds:.0f} s.",
        where=run.arn,
        todo=f"It goes on. Look again: onwing watch {run.name}",
    )


def kind_of(arn: str) -> str | None:
    """A kind of MACHINES, by the end of the state machine's name; None for any other's."""
    parts = arn.split(":")
    machine = parts[6] if len(parts) == 8 and parts[5] == "execution" else ""
    return next((kind for kind in MACHINES if machine.endswith(f"-{kind}")), None)


def find(target: Target, stack: Stack, named: str, kinds: Sequence[str] = tuple(MACHINES)) -> str | None:
    """The ARN of the newest execution of that ARN, name or beginning of a name; None when there is none.

    A name that begins with what was asked for ends there or goes on after a dash: FD001-v1 is not FD001-v10-1.
    """
    if named.startswith("arn:"):
        kind = kind_of(named)
        return named if kind is not None and kind in kinds else None
    candidates = [
        (item["startDate"], item["executionArn"])
        for kind in kinds
        if MACHINES[kind] in stack.outputs
        for item in _newest(target, stack.output(MACHINES[kind]))
        if item["name"] == named or item["name"].startswith(f"{named}-")
    ]
    return max(candidates)[1] if candidates else None


def _newest(target: Target, machine: str) -> list[Mapping[str, Any]]:
    pages = (
        target.client("stepfunctions")
        .get_paginator("list_executions")
        .paginate(stateMachineArn=machine, PaginationConfig={"MaxItems": MEANT})
    )
    return [item for page in pages for item in page["executions"]]


def _document(text: Any) -> dict[str, Any]:
    found = json.loads(text) if isinstance(text, str) and text.lstrip().startswith("{") else {}
    return found if isinstance(found, dict) else {}
