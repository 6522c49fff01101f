"""Executions of the training state machine: list them, and find the one that somebody means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from onwing.errors import NotFound, UsageError
from onwing.stack import Stack
from onwing.target import Target

MEANT = 200  # executions looked at when one is named by less than its ARN


@dataclass(frozen=True)
class Execution:
    """One run; its name is `<fleet>-<version>-<attempt>`."""

    arn: str
    name: str
    status: str
    started: datetime
    stopped: datetime | None

    @property
    def fleet(self) -> str:
        """The fleet it trains a model for."""
        return self.name.partition("-")[0]


def recent(target: Target, stack: Stack, *, fleet: str | None = None, limit: int = 10) -> list[Execution]:
    """The newest executions, newest first."""
    found: list[Execution] = []
    for execution in _all(target, stack):
        if fleet is None or execution.fleet == fleet:
            found.append(execution)
        if len(found) >= limit:
            break
    return sorted(found, key=lambda execution: execution.started, reverse=True)


def find(target: Target, stack: Stack, named: str | None, fleet: str | None = None) -> str:
    """The ARN of the execution that is meant.

    `named` is an ARN, a name, the beginning of a name, or the beginning of a data set version. Without it: the newest
    running execution, else the newest one, of the fleet if one is given. NotFound when there is none.
    """
    if named is not None and named.startswith("arn:"):
        return named
    candidates = recent(target, stack, fleet=fleet, limit=MEANT)
    if named is None:
        for execution in candidates:
            if execution.status == "RUNNING":
                return execution.arn
        if candidates:
            return candidates[0].arn
        raise NotFound(
            f"There is no execution{f' of fleet {fleet}' if fleet else ''} yet.",
            where=str(target),
            todo="Upload a data set: `onwing ingest PATH`.",
        )
    exact = [execution for execution in candidates if execution.name == named]
    if exact:
        return exact[0].arn
    matching = [e for e in candidates if e.name.startswith(named) or e.name.partition("-")[2].startswith(named)]
    if not matching:
        raise NotFound(f"No execution is named '{named}'.", where=str(target), todo="See them: `onwing status`.")
    # Several attempts at one data set version: the newest is meant. Several versions: ambiguous.
    runs = {execution.name.rpartition("-")[0] for execution in matching}
    if len(runs) > 1:
        names = ", ".join(sorted(execution.name for execution in matching)[:5])
        raise UsageError(f"'{named}' may mean {names}.", where=str(target), todo="Give more of the name.")
    return matching[0].arn


def _all(target: Target, stack: Stack) -> Iterator[Execution]:
    pages = target.client("stepfunctions").get_paginator("list_executions").paginate(stateMachineArn=stack.training)
    for page in pages:
        for item in page["executions"]:
            yield Execution(item["executionArn"], item["name"], item["status"], item["startDate"], item.get("stopDate"))
