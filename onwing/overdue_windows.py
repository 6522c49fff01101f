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
from itertools import pairwise
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
CRON = re.compile(r"cron\((\S+) (\S+) [*?] \* [*?](?: \*)?\)")
FIELD = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?")


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
    """The longest time between two runs of a schedule: of rate(...), or of a cron(...) that runs every day.

    One hour, the stack's own, for what is neither.
    """
    expression = expression.strip()
    if rate := RATE.fullmatch(expression):
        return timedelta(**{f"{rate[2]}s": int(rate[1])})
    if cron := CRON.fullmatch(expression):
        minutes, hours = _values(cron[1], 60), _values(cron[2], 24)
        runs = [60 * hour + minute for hour in sorted(hours) for minute in sorted(minutes)]
        if runs:
            return timedelta(minutes=max(b - a for a, b in pairwise([*runs, runs[0] + 24 * 60])))
    return HOUR


def _values(field: str, size: int) -> set[int]:
    """What a field of a cron expression stands for, of 0 to size - 1; nothing if it is none that is known."""
    found: set[int] = set()
    for part in field.split(","):
        match = FIELD.fullmatch(part)
        if match is None:
            return set()
        first, last, step = match.groups()
        end = int(last) if last else int(first) if first and not step else size - 1
        found.update(range(int(first or 0), min(end, size - 1) + 1, max(1, int(step or 1))))
    return found


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
