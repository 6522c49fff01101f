"""PutEvents checks each entry, keeps its Time, and refuses what comes faster than it can be delivered.

docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html and …/API_PutEventsResultEntry.html; MiniStack
takes entries without source, detail type or JSON, stamps every event with the present, and keeps each for ever.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.delivery.deliveries import Deliverer

MOST_ENTRIES = 10
MOST_BYTES = 1_048_576  # of all entries of a request together
MOST_LOGGED = 1000  # events of an account that are kept for looking at

Answer = tuple[int, dict[str, str], bytes]


def install(deliverer: Deliverer) -> None:
    """Take entries one by one."""

    def make(_original: Any) -> Any:
        def put(data: dict[str, Any], allow_aws_source: bool = False) -> Answer:
            entries = data.get("Entries", [])
            if refusal := _refusal(entries):
                return _answer(400, {"__type": "ValidationException", "message": refusal})
            results = []
            for entry in entries:
                error = None if allow_aws_source else _error(entry, deliverer)
                results.append(error or _take(entry))
            failed = sum("ErrorCode" in result for result in results)
            return _answer(200, {"FailedEntryCount": failed, "Entries": results})

        return put

    hooks.replace("events.put", make)


def _answer(status: int, content: Mapping[str, Any]) -> Answer:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(content).encode()


def _refusal(entries: list[dict[str, Any]]) -> str | None:
    if not 1 <= len(entries) <= MOST_ENTRIES:
        bound = "less than or equal to 10" if entries else "greater than or equal to 1"
        return (
            f"1 validation error detected: Value '{len(entries)}' at 'entries' failed to satisfy constraint: "
            f"Member must have length {bound}"
        )
    if sum(_size(entry) for entry in entries) > MOST_BYTES:
        return "Total size of the entries in the request is over the limit."
    return None


def _size(entry: Mapping[str, Any]) -> int:
    """docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html: 14 bytes for a time, UTF-8 for the rest."""
    texts = [entry.get("Source", ""), entry.get("DetailType", ""), entry.get("Detail", ""), *entry.get("Resources", [])]
    return sum(len(str(text).encode()) for text in texts) + (14 if entry.get("Time") is not None else 0)


def _error(entry: Mapping[str, Any], deliverer: Deliverer) -> dict[str, Any] | None:
    for member in ("Source", "DetailType", "Detail"):
        if not entry.get(member):
            message = f"Parameter {member} is not valid. Reason: {member} is a required argument."
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}
    if str(entry["Source"]).startswith("aws."):
        return {
            "ErrorCode": "NotAuthorizedForSourceException",
            "ErrorMessage": "Not authorized for the source.",
        }
    try:
        detail = json.loads(entry["Detail"])
    except ValueError:
        detail = None
    if not isinstance(detail, dict):
        return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
    if deliverer.full:
        return {"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"}
    return None


def _take(entry: Mapping[str, Any]) -> dict[str, Any]:
    name, error = hooks.get("events.bus")(entry.get("EventBusName", "default"))
    if error:
        code, message = error
        return {"ErrorCode": code, "ErrorMessage": message}
    scope = hooks.current_scope()
    event = {
        "EventId": str(uuid.uuid4()),
        "Source": entry.get("Source", ""),
        "DetailType": entry.get("DetailType", ""),
        "Detail": entry.get("Detail", "{}"),
        "EventBusName": name,
        "Time": _seconds(entry.get("Time")),
        "Resources": entry.get("Resources", []),
        "Account": scope.account,
        "Region": scope.region,
    }
    logged = hooks.get("events.log")()
    logged.append(event)
    del logged[:-MOST_LOGGED]
    # One view for both: building it reads Detail.
    view = hooks.get("events.view")(event)
    hooks.get("events.dispatch")(event, view)
    hooks.get("events.archive")(event, view)
    return {"EventId": event["EventId"]}


def _seconds(given: Any) -> int:
    return int(given) if isinstance(given, int | float) else int(time.time())
