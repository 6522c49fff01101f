"""What a reconciliation finds: what is wrong, where, whether it was repaired, and what a person should do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, computed_field

from control_plane.settings import DeploymentSettings, ReconcileSettings, Settings, ViolationSettings

What = Literal[
    "approval",  # a package's approval status that nobody acted upon
    "upload",  # a file under data/raw/ that nobody took in
    "dataset",  # a complete data set that nobody trained on
    "training",  # a run that is recorded but does not run
    "lock",  # held by nobody
    "deployment",  # half-way, and nobody goes on with it
    "endpoint",  # not as recorded
    "capture",
    "alarm",
    "orphans",  # models, configurations, alarms that belong to nothing
    "schedule",
    "monitoring",  # windows that nobody closes
    "violations",  # a report that nobody decided on
    "check",  # a comparison that failed itself
]


class Finding(BaseModel):
    """One thing that is not as it should be."""

    what: What
    where: str
    problem: str
    repaired: bool = False
    action: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def message(self) -> str:
        """All of it in one line."""
        done = "repaired" if self.repaired else "not repaired"
        return " ".join(f"{self.where}: {self.problem} [{done}] {self.action}".split())


@dataclass(frozen=True)
class Scope:
    """What a reconciliation works with, and how far it may go.

    What is younger than `grace` is under way, not lost: events take their time, and functions are tried again.
    """

    settings: Settings
    deploying: DeploymentSettings
    reconciling: ReconcileSettings
    violating: ViolationSettings
    now: datetime
    grace: timedelta
    repair: bool

    def is_old(self, moment: datetime | None) -> bool:
        """Whether the grace since a moment is over; that of a moment which nobody knows is."""
        if moment is None:
            return True
        return self.now - (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) >= self.grace

    def settle(self, finding: Finding, repair: Callable[[], str]) -> Finding:
        """Repair what was found, unless it is only to be reported.

        Args:
            repair: does it and says what was done; what it raises stands in the finding, with what a person can do.
        """
        if not self.repair:
            return finding.model_copy(update={"action": f"The daily run repairs it. By hand: {finding.action}"})
        try:
            done = repair()
        except Exception as error:  # noqa: BLE001 - the other findings are still to come; this one says why
            problem = f"{finding.problem}; the repair failed ({type(error).__name__}: {error})"
            return finding.model_copy(update={"problem": problem})
        return finding.model_copy(update={"repaired": True, "action": f"Done: {done}"})


def stamp(moment: datetime) -> str:
    """A moment as people read it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
