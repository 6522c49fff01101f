"""Monitored endpoints that monitoring has not looked at for too long, though its schedule is on.

`onwing drift status` has the same rule (onwing/overdue_windows.py), because the command line does without this package:
both are tested with the same cases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from control_plane import coverage, inventory, moments
from control_plane.findings import Finding, Scope, stamp
from control_plane.inventory import Inventory

PERIODS = 3
HOUR = timedelta(hours=1)
RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")


def period_of(expression: str) -> timedelta:
    """The time between two runs of a schedule by rate(...); for any other one hour, the stack's own."""
    rate = RATE.fullmatch(expression.strip())
    return timedelta(**{f"{rate[2]}s": int(rate[1])}) if rate else HOUR


def last_looked(item: Mapping[str, Any], champion_since: object) -> datetime | None:
    """When a variant's MONITOR item says that somebody looked last: at the open window, or to close one.

    Nothing is awaited of a champion before it was one.
    """
    last = json.loads(item.get("last") or "null") or {}
    times = [moments.parse(text) for text in (item.get("updated_at"), last.get("closed_at"), champion_since)]
    return max((time for time in times if time is not None), default=None)


def is_overdue(looked: datetime | None, expression: str, now: datetime) -> bool:
    """Whether nobody has looked for more than PERIODS periods of the schedule, or ever."""
    return looked is None or now - looked > PERIODS * period_of(expression)


def check_windows(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """A champion that nobody has looked at for too long."""
    endpoint, record, schedule = seen.endpoints.get(fleet), seen.record(fleet), seen.monitoring
    if not schedule.is_on or not record.monitored or record.champion is None:
        return
    if endpoint is None or endpoint.status not in coverage.SERVING:
        return
    variant = record.champion["variant"]
    item = inventory.read_item(scope.settings.table_name, fleet, f"MONITOR#{variant}")
    looked = last_looked(item, record.champion.get("since"))
    if not is_overdue(looked, schedule.expression, scope.now):
        return
    since = f"since {stamp(looked)}" if looked else "ever"
    yield Finding(
        what="monitoring",
        where=f"{endpoint.name} {variant}",
        problem=f"no window of its traffic was looked at {since}, though {schedule.message}",
        action=f"onwing drift run {fleet}, and look how the last executions of {schedule.name} ended",
    )
