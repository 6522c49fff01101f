"""When a monitoring schedule runs, and which stretch of captured data each run is about.

docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-schedule-expression.html: hours only, in UTC: every hour, once a
day, every so many hours from an hour on, or NOW. …/APIReference/API_ScheduleConfig.html and …/dg/
model-monitor-model-quality-schedule.html: offsets are ISO 8601 durations from the scheduled time.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from localcloud.errors import ValidationException

NOW = "NOW"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_CRON = re.compile(r"cron\(0 (?:(?P<every>\*)|(?P<hour>\d{1,2})(?:/(?P<step>\d{1,2}))?) \? \* \* \*\)")
_DURATION = re.compile(
    r"(?P<sign>[-+]?)P(?=.)(?:(?P<days>\d+)D)?(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)


class Window(NamedTuple):
    """Half-open: data of ``start``, none of ``end``."""

    start: datetime
    end: datetime

    def hours(self) -> Iterator[str]:
        """The folders of captured data that the window touches: ``yyyy/mm/dd/hh``."""
        hour = self.start.replace(minute=0, second=0, microsecond=0)
        while hour < self.end:
            yield f"{hour:%Y/%m/%d/%H}"
            hour += HOUR


def check(config: Mapping[str, Any], job_input: Mapping[str, Any]) -> None:
    """Refuse a ScheduleConfig, or offsets of an EndpointInput, that AWS refuses.

    Raises:
        ValidationException: it says which.
    """
    expression = config.get("ScheduleExpression")
    start, end = config.get("DataAnalysisStartTime"), config.get("DataAnalysisEndTime")
    if expression is not None and expression != NOW:
        _hours(expression)
    if expression == NOW and (start is None or end is None):
        raise ValidationException(
            "DataAnalysisStartTime and DataAnalysisEndTime are required when ScheduleExpression is NOW."
        )
    if start is not None or end is not None:
        first, last = _offset(start or "PT0H"), _offset(end or "PT0H")
        if not timedelta() < last - first <= DAY:
            raise ValidationException(
                f"DataAnalysisStartTime {start} must precede DataAnalysisEndTime {end}, by 24 hours at most."
            )
    for name in ("StartTimeOffset", "EndTimeOffset"):
        if name in job_input:
            _offset(job_input[name])
    if "StartTimeOffset" in job_input or "EndTimeOffset" in job_input:
        reach = _offset(job_input.get("EndTimeOffset", "PT0H")) - _offset(job_input.get("StartTimeOffset", "-PT1H"))
        if reach <= timedelta():
            raise ValidationException("StartTimeOffset must precede EndTimeOffset.")


def next_time(name: str, expression: str | None, after: datetime) -> datetime | None:
    """The first run after a time; None when there is none (``NOW`` runs at once, and once).

    Args:
        name: the schedule's: without an expression AWS picks an hour of the day, here by the name.
    """
    if expression == NOW:
        return None
    hours = _hours(expression) if expression is not None else [zlib.crc32(name.encode()) % 24]
    hour = after.replace(minute=0, second=0, microsecond=0)
    while (hour := hour + HOUR).hour not in hours:
        pass
    return hour


def window(config: Mapping[str, Any], job_input: Mapping[str, Any], scheduled: datetime) -> Window:
    """What a run is about: by its offsets, or else what came since the run before."""
    start, end = config.get("DataAnalysisStartTime"), config.get("DataAnalysisEndTime")
    if start is None and end is None:
        start, end = job_input.get("StartTimeOffset"), job_input.get("EndTimeOffset")
    expression = config.get("ScheduleExpression")
    until = scheduled + _offset(end) if end is not None else scheduled
    if start is not None:
        return Window(scheduled + _offset(start), until)
    hours = _hours(expression) if expression not in (None, NOW) else [scheduled.hour]
    before = scheduled - HOUR
    while before.hour not in hours:
        before -= HOUR
    return Window(before + (until - scheduled), until)


def _hours(expression: str) -> list[int]:
    """The hours of a day at which an expression runs."""
    match = _CRON.fullmatch(expression.strip())
    if match is None or int(match["hour"] or 0) > 23 or not 1 <= int(match["step"] or 1) <= 24:
        raise ValidationException(
            f"ScheduleExpression {expression} is not valid: Model Monitor takes cron(0 * ? * * *), "
            "cron(0 [00-23] ? * * *), cron(0 [00-23]/[01-24] ? * * *) and NOW."
        )
    if match["every"]:
        return list(range(24))
    first = int(match["hour"])
    if not match["step"]:
        return [first]
    step = int(match["step"])
    if 24 % step == 0:  # "every 12 hours, starting at 5 PM": at 5 AM as well
        return sorted((first + more) % 24 for more in range(0, 24, step))
    return list(range(first, 24, step))


def _offset(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValidationException(f"{text} is not a duration in the ISO 8601 format, such as -PT1H or -P1D.")
    found = timedelta(**{unit: int(match[unit] or 0) for unit in ("days", "hours", "minutes", "seconds")})
    return -found if match["sign"] == "-" else found
