"""Following a deployment: where it stands at one moment, and what changed since the last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from onwing import deployments, operations
from onwing.deployments import UnderWay
from onwing.errors import NotFound
from onwing.operations import Run
from onwing.stack import Stack
from onwing.target import Target


@dataclass(frozen=True)
class Look:
    """A deployment at one moment. `waits_for` is the ARN of the execution that has the fleet's endpoint, if another."""

    run: Run
    under_way: UnderWay | None = None
    waits_for: str = ""

    @property
    def phase(self) -> str:
        """waiting, checking, creating, preflight, canary, hold, shadow or soak; else the outcome."""
        if self.run.outcome is not None:
            return self.run.outcome
        if self.under_way is not None:
            return self.under_way.phase
        return "waiting" if self.waits_for else "checking"

    @property
    def share(self) -> float:
        """The challenger's part of the traffic, in per cent."""
        return self.under_way.share if self.under_way is not None else 0

    def document(self) -> dict[str, Any]:
        """What a program that follows gets, a line each."""
        return {
            "event": "phase" if self.run.running else "result",
            "phase": self.phase,
            "share": self.share,
            "waits_for": self.waits_for.rpartition(":")[2] or None,
            **self.run.document(),
        }


def find(target: Target, stack: Stack, named: str | None) -> str:
    """The ARN of the deployment meant by ARN, name, beginning of a name, or fleet; the newest when none is named.

    What is under way is meant before what has ended. Raises NotFound.
    """
    if named is not None and named.isalnum():
        under_way = deployments.read(target, stack, named).under_way
        if under_way is not None:
            return under_way.execution
    if named is None:
        machine = stack.output(operations.MACHINES["deployment"])
        for status in ({"statusFilter": "RUNNING"}, {}):
            found = target.client("stepfunctions").list_executions(stateMachineArn=machine, maxResults=1, **status)
            if found["executions"]:
                return str(found["executions"][0]["executionArn"])
    else:
        arn = operations.find(target, stack, named, ("deployment",))
        if arn is not None:
            return arn
    raise NotFound(
        f"No deployment is named '{named}'." if named else "There is no deployment yet.",
        where=str(target),
        todo="See them: `onwing deployments`. One starts when a package is approved: `onwing approve FLEET`.",
    )


def look(target: Target, stack: Stack, arn: str) -> Look:
    """The deployment as it stands."""
    run = operations.look(target, arn)
    if not run.running:
        return Look(run)
    under_way = deployments.read(target, stack, run.fleet).under_way
    if under_way is not None and under_way.execution == arn:
        return Look(run, under_way)
    owner = deployments.lock_owner(target, stack, run.fleet)
    return Look(run, None, owner if owner != arn else "")


def follow(
    target: Target,
    stack: Stack,
    arn: str,
    *,
    until_held: bool = False,
    interval: float = operations.POLL_SECONDS,
    timeout: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Look]:
    """Looks whenever phase or share have changed, until the deployment has ended, or, if wished, until it holds.

    Raises WaitedTooLong after `timeout` seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    shown: tuple[str, float, str] | None = None
    begun = False
    while True:
        now = look(target, stack, arn)
        begun = begun or now.under_way is not None
        # What was under way and no longer is has still to be recorded: that is no phase.
        clearing = begun and now.run.running and now.under_way is None
        if not clearing and shown != (now.phase, now.share, now.waits_for):
            shown = (now.phase, now.share, now.waits_for)
            yield now
        if not now.run.running or (until_held and now.under_way is not None and now.under_way.held):
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise operations.too_long(now.run, timeout or 0)
        sleep(interval)
