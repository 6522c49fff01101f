"""When a schedule is due: rate, cron and at expressions, in its time zone, within its start and end dates.

docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from localcloud import hooks
from localcloud.errors import ApiError

_AT = re.compile(r"at\((\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})\)")
_RATE = re.compile(r"rate\((\d+)\s+(minute|hour|day)s?\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}


def zone(schedule: Mapping[str, Any]) -> ZoneInfo:
    """The schedule's time zone.

    Raises:
        ApiError: ValidationException: there is none of that name.
    """
    name = schedule.get("ScheduleExpressionTimezone") or "UTC"
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ApiError("ValidationException", f"Invalid ScheduleExpressionTimezone {name}.") from error


def check(schedule: Mapping[str, Any]) -> None:
    """Refuse an expression or time zone that cannot be read.

    Raises:
        ApiError: ValidationException.
    """
    zone(schedule)
    expression = str(schedule.get("ScheduleExpression", "")).strip()
    rate = _RATE.fullmatch(expression)
    if _AT.fullmatch(expression) or (rate and int(rate[1]) > 0):
        return
    if hooks.get("events.cron")(expression) is None:
        raise ApiError("ValidationException", f"Invalid Schedule Expression {expression}.")


def once(schedule: Mapping[str, Any]) -> bool:
    """Whether it is a one-time schedule."""
    return _AT.fullmatch(str(schedule.get("ScheduleExpression", "")).strip()) is not None


def next_time(schedule: Mapping[str, Any], after: float) -> float | None:
    """The first time after a time, in seconds since the epoch; None if there is none any more."""
    expression = str(schedule.get("ScheduleExpression", "")).strip()
    start, end = seconds(schedule.get("StartDate")), seconds(schedule.get("EndDate"))
    if at := _AT.fullmatch(expression):
        local = datetime.fromisoformat(at[1]).replace(tzinfo=zone(schedule))
        return local.timestamp() if local.timestamp() > after else None
    if rate := _RATE.fullmatch(expression):
        interval = int(rate[1]) * _SECONDS[rate[2]]
        # The count begins with the start date, which is itself a time, or else when the schedule is made.
        anchor = start if start is not None else float(schedule["CreationDate"]) + interval
        found: float | None = anchor if after < anchor else anchor + ((after - anchor) // interval + 1) * interval
    else:
        found = _next_cron(schedule, expression, max(after, start - 1 if start is not None else after))
    return found if found is not None and (end is None or found <= end) else None


def _next_cron(schedule: Mapping[str, Any], expression: str, after: float) -> float | None:
    fields = hooks.get("events.cron")(expression)
    if fields is None:
        return None
    its_zone = zone(schedule)
    # Wall-clock time, carried as if it were UTC, since that is what cron fields are about.
    wall = datetime.fromtimestamp(after, its_zone).replace(tzinfo=UTC)
    while (wall := hooks.get("events.next_cron")(fields, wall)) is not None:
        # An hour that the clocks skip comes later by as much; one that they repeat counts once.
        found = wall.replace(tzinfo=its_zone, fold=0).timestamp()
        if found > after:
            return float(found)
        wall += timedelta(minutes=1)
    return None


def seconds(value: Any) -> float | None:
    """A date of a request: seconds since the epoch, or text."""
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        return float(value)
    parsed = datetime.fromisoformat(str(value))
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
