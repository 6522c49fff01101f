"""The stack's schedules: whether each is there, and on or off as the stack's parameters say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from control_plane import clients

State = Literal["ENABLED", "DISABLED"]


@dataclass(frozen=True)
class Schedule:
    """A schedule of EventBridge Scheduler; its state is MISSING if there is none of that name."""

    name: str
    state: str
    expression: str = ""

    @property
    def is_on(self) -> bool:
        """Whether it starts anything."""
        return self.state == "ENABLED"

    @property
    def message(self) -> str:
        """What it is, in a few words."""
        return f"schedule {self.name}: {self.state.lower()}" + (f", {self.expression}" if self.expression else "")


def read(name: str) -> Schedule:
    """Look a schedule up."""
    try:
        described: dict[str, Any] = clients.scheduler().get_schedule(Name=name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return Schedule(name, "MISSING")
        raise
    return Schedule(name, described.get("State", "ENABLED"), described.get("ScheduleExpression", ""))


def monitoring(project: str) -> str:
    """The name of monitoring's schedule."""
    return f"{project}-monitoring"


def expected(project: str, *, monitoring_state: State, others: State) -> dict[str, State]:
    """Every schedule of the stack, and what its parameters want it to be."""
    rest = ("weekly-training", "daily-backup", "reconcile")
    return {monitoring(project): monitoring_state, **{f"{project}-{name}": others for name in rest}}
