"""Each event of an execution's history names the one before it on its path, and none follows the execution's end.

docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html (previousEventId). MiniStack leaves the
field out, numbers events of parallel branches twice when they meet, and lets a branch that goes on write after the end.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.states import workflow


def install() -> None:
    """Write the history here."""
    hooks.replace("states.event", lambda _original: _add)


def _add(execution: workflow.Json, event_type: str, details: workflow.Json | None = None) -> workflow.Json:
    walk = workflow.current()
    mine = walk if walk is not None and walk.execution is execution else None
    with workflow.lock:
        closing = event_type.startswith("Execution")
        if not closing and (execution["status"] != "RUNNING" or (mine is not None and mine.ending.ended)):
            raise workflow.Abandoned
        events: list[Any] = execution["events"]
        before = len(events) if mine is None else mine.last_event
        event = {
            "timestamp": workflow.now(),
            "type": event_type,
            "id": len(events) + 1,
            "previousEventId": before,
            **(details or {}),
        }
        events.append(event)
        if mine is not None:
            mine.last_event = event["id"]
        return event
