"""Monitored endpoints that monitoring has not looked at for too long, though its schedule is on."""

from __future__ import annotations

import json
from collections.abc import Iterator

from control_plane import coverage, inventory, moments
from control_plane.findings import Finding, Scope, stamp
from control_plane.inventory import Inventory

PERIODS = 3


def check_windows(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """The champion's last window, or the last look at its open one, is more than three periods of the schedule ago."""
    endpoint, record, schedule = seen.endpoints.get(fleet), seen.record(fleet), seen.monitoring
    if not schedule.is_on or schedule.period is None or not record.monitored or record.champion is None:
        return
    if endpoint is None or endpoint.status not in coverage.SERVING:
        return
    variant = record.champion["variant"]
    item = inventory.read_item(scope.settings.table_name, fleet, f"MONITOR#{variant}")
    last = json.loads(item.get("last") or "null") or {}
    times = [
        moments.parse(text) for text in (item.get("updated_at"), last.get("closed_at"), record.champion.get("since"))
    ]
    known = [time for time in times if time is not None]
    if known and scope.now - max(known) <= PERIODS * schedule.period:
        return
    since = f"since {stamp(max(known))}" if known else "ever"
    yield Finding(
        what="monitoring",
        where=f"{endpoint.name} {variant}",
        problem=f"no window of its traffic was looked at {since}, though {schedule.message}",
        action=f"onwing drift run {fleet}, and look how the last executions of {schedule.name} ended",
    )
