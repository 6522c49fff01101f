"""FilterLogEvents honours logStreamNamePrefix, pages, and reads filter patterns of every kind.

docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html and
docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html; MiniStack ignores the prefix, takes every
line for a match of a JSON pattern, ignores case, and gives no next page.
"""

from __future__ import annotations

import json
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import log_patterns
from localcloud.errors import ApiError

MOST_EVENTS = 10_000

Answer = tuple[int, dict[str, str], bytes]


def install() -> None:
    """Filter here; subscription filters read patterns in the same way."""

    def make(_filter: Any) -> Any:
        def filtered(data: dict[str, Any]) -> Answer:
            try:
                return _answer(200, _filtered(data))
            except ApiError as error:
                return _answer(error.status, {"__type": error.code, "message": error.message})

        return filtered

    hooks.replace("logs.filter", make)
    hooks.replace("logs.subscription", lambda _original: log_patterns.matches)


def _answer(status: int, content: dict[str, Any]) -> Answer:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(content).encode()


def _filtered(data: dict[str, Any]) -> dict[str, Any]:
    name = data.get("logGroupName") or data.get("logGroupIdentifier", "").split(":log-group:")[-1].removesuffix(":*")
    group = hooks.get("logs.groups").get(name)
    if group is None:
        raise ApiError("ResourceNotFoundException", f"The specified log group does not exist: {name}")
    names, prefix = data.get("logStreamNames"), data.get("logStreamNamePrefix")
    if names and prefix:
        raise ApiError("InvalidParameterException", "Give either logStreamNames or logStreamNamePrefix, not both.")
    match = log_patterns.compiled(data.get("filterPattern") or "")
    start, end = data.get("startTime", 0), data.get("endTime")
    limit = min(int(data.get("limit") or MOST_EVENTS), MOST_EVENTS)
    candidates = [
        (event["timestamp"], event.get("ingestionTime", 0), number, stream, event)
        for stream, content in list(group["streams"].items())
        if (not names or stream in names) and stream.startswith(prefix or "")
        for number, event in enumerate(list(content["events"]))
        if event["timestamp"] >= start and (end is None or event["timestamp"] <= end)
    ]
    candidates.sort(key=lambda each: each[:4])
    try:
        first = int(data.get("nextToken") or 0)
    except ValueError as error:
        raise ApiError("InvalidParameterException", "The specified nextToken is invalid.") from error
    found: list[dict[str, Any]] = []
    position = first
    while position < len(candidates) and len(found) < limit:
        _timestamp, _ingested, _number, stream, event = candidates[position]
        if match(event.get("message", "")) is not None:
            found.append({**event, "logStreamName": stream})
        position += 1
    answer: dict[str, Any] = {"events": found, "searchedLogStreams": []}
    if position < len(candidates):
        answer["nextToken"] = str(position)
    return answer
