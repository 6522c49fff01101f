"""Which monitored variants nobody has looked at for too long, though the schedule is on. Read only.

The daily comparison has the same rule (control_plane/overdue_windows.py), which the command line does without: both are
tested with the same cases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from onwing.deployments import moment
from onwing.errors import error_code
from onwing.stack import Stack
from onwing.target import Target

# In all of these an endpoint answers requests.
SERVING = ("InService", "Updating", "SystemUpdating", "RollingBack")
PERIODS = 3
HOUR = timedelta(hours=1)
RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")


@dataclass(frozen=True)
class Schedule:
    """Monitoring's schedule; its state is MISSING if there is none."""

    name: str
    state: str
    expression: str = ""

    @property
    def is_on(self) -> bool:
        """Whether it starts anything."""
        return self.state == "ENABLED"


def schedule(target: Target, stack: Stack) -> Schedule:
    """Look the schedule up."""
    name = f"{stack.project}-monitoring"
    try:
        found = target.client("scheduler").get_schedule(Name=name)
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return Schedule(name, "MISSING")
        raise
    return Schedule(name, found.get("State", "ENABLED"), found.get("ScheduleExpression", ""))


def period_of(expression: str) -> timedelta:
    """The time between two runs of a schedule by rate(...); for any other one hour, the stack's own."""
    rate = RATE.fullmatch(expression.strip())
    return timedelta(**{f"{rate[2]}s": int(rate[1])}) if rate else HOUR


def last_looked(item: Mapping[str, Any], champion_since: str | None) -> datetime | None:
    """When a variant's MONITOR item says that somebody looked last: at the open window, or to close one.

    Nothing is awaited of a champion before it was one.
    """
    last = json.loads(item.get("last") or "null") or {}
    times = [moment(text) for text in (item.get("updated_at"), last.get("closed_at"), champion_since)]
    return max((time for time in times if time is not None), default=None)


def is_overdue(looked: datetime | None, expression: str, now: datetime) -> bool:
    """Whether nobody has looked for more than PERIODS periods of the schedule, or ever."""
    return looked is None or now - looked > PERIODS * period_of(expression)
