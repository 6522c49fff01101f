"""The alerts that were sent, as the control table keeps them for 90 days."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from onwing import control
from onwing.deployments import moment
from onwing.errors import UsageError
from onwing.stack import Stack
from onwing.target import Target

PARTITION = "ALERTS"
SEVERITIES = ("info", "warning", "critical")
POLL_SECONDS = 1.0
# The record of an alert is written after its own time: a follower looks so far back again.
LATE = timedelta(seconds=30)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Alert:
    """One alert. `at` is when it was sent, ISO 8601; `id` is SNS's own of the message."""

    at: str
    id: str
    subject: str = ""
    message: str = ""
    kind: str = ""
    severity: str = ""
    fleet: str = ""
    topic: str = ""


def read(
    target: Target, stack: Stack, *, since: datetime, fleet: str | None = None, severity: str | None = None
) -> list[Alert]:
    """The alerts since a moment, oldest first; of one fleet, or of one severity and those above it."""
    found = []
    for item in control.items(target, stack, PARTITION, after=_text(since)):
        at, _, name = str(item["sk"]).partition("#")
        alert = control.made(Alert, {**item, "at": at, "id": name})
        if (fleet is None or alert.fleet == fleet) and _grave_enough(alert.severity, severity):
            found.append(alert)
    return found


def follow(
    target: Target,
    stack: Stack,
    *,
    since: datetime,
    fleet: str | None = None,
    severity: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Alert]:
    """Each alert once, those since the moment first and then as they come; ends never."""
    told: set[str] = set()
    begin = since
    while True:
        for alert in read(target, stack, since=begin, fleet=fleet, severity=severity):
            if alert.id not in told:
                told.add(alert.id)
                yield alert
        begin = max(since, datetime.now(UTC) - LATE)
        sleep(POLL_SECONDS)


def moment_before(text: str, now: datetime | None = None) -> datetime:
    """A moment from how long ago it was (30m, 12h, 1d, 2w), or from a date or time in ISO 8601. Raises UsageError."""
    if span := re.fullmatch(r"(\d+)([smhdw])", text.strip()):
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[span[2]]: int(span[1])})
    if (found := moment(text.strip())) is not None:
        return found
    raise UsageError(f"'{text}' is no time.", where="--since", todo="Say 30m, 12h, 1d, 2w, or 2026-11-23T08:00.")


def _grave_enough(severity: str, least: str | None) -> bool:
    if least is None:
        return True
    return severity in SEVERITIES[SEVERITIES.index(least) :]


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
