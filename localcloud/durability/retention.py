"""How much of the past is kept, so that memory and snapshots stay bounded.

AWS keeps closed executions and their histories for 90 days (docs.aws.amazon.com/step-functions/latest/dg/
service-quotas.html) and log events for as long as the group's retention says. Here that holds up to a number: beyond it
the oldest go first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from localcloud import hooks
from localcloud.jobs.platform import TERMINAL
from localcloud.store import Store

logger = logging.getLogger("localcloud.durability.retention")

# Kinds of jobs, and where their status stands.
JOB_KINDS = {
    "training-job": "TrainingJobStatus",
    "processing-job": "ProcessingJobStatus",
    "transform-job": "TransformJobStatus",
    "monitoring-execution": "MonitoringExecutionStatus",
}
ENDED = TERMINAL | {"CompletedWithViolations"}

EXECUTION_DAYS = 90
# Closed executions that keep their history; a run of a pipeline takes about 120 kB.
HISTORIES = 100
# Closed executions that are kept at all.
EXECUTIONS = 10_000
# SageMaker's jobs of each kind that have ended; one takes about 7 kB.
JOBS = 2000
# Log events of one stream, and of all.
STREAM_EVENTS = 10_000
LOG_EVENTS = 100_000
PERIOD_SECONDS = 30.0


class Retention:
    """Prunes now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next = time.monotonic() + PERIOD_SECONDS

    def tick(self) -> None:
        """Prune if it is time; on the event loop, where nobody else changes what this looks at for long."""
        if time.monotonic() >= self._next:
            prune(self._store)
            self._next = time.monotonic() + PERIOD_SECONDS


def prune(store: Store) -> None:
    """Remove what is over the limits, with a line in the log for each kind."""
    histories, executions = _executions()
    events = _logs()
    jobs = _jobs(store)
    for count, what, limit in (
        (histories, "histories of closed executions", f"the newest {HISTORIES} are kept"),
        (jobs, "SageMaker jobs", f"the newest {JOBS} of each kind that have ended are kept"),
        (executions, "closed executions", f"the newest {EXECUTIONS} of {EXECUTION_DAYS} days are kept"),
        (events, "log events", f"{STREAM_EVENTS} a stream and {LOG_EVENTS} in all are kept, and the groups' retention"),
    ):
        if count:
            logger.info("%d %s are removed: %s", count, what, limit)


def _executions() -> tuple[int, int]:
    table: dict[Any, dict[str, Any]] = hooks.get("states.executions")._data
    closed = [(key, execution) for key, execution in list(table.items()) if execution["status"] != "RUNNING"]
    closed.sort(key=lambda item: item[1].get("stopDate") or "", reverse=True)
    oldest = time.time() - EXECUTION_DAYS * 86_400
    histories = executions = 0
    for place, (key, execution) in enumerate(closed):
        if place >= EXECUTIONS or _epoch(execution.get("stopDate")) < oldest:
            table.pop(key, None)
            executions += 1
        elif place >= HISTORIES and execution.get("events"):
            execution["events"] = []
            histories += 1
    return histories, executions


def _jobs(store: Store) -> int:
    """Remove the descriptions of the oldest jobs; what they made is kept."""
    count = 0
    with store.lock:
        for _, kind, table in store.tables():
            if kind in JOB_KINDS:
                ended = [name for name, record in table.items() if record[JOB_KINDS[kind]] in ENDED]
                for name in ended[: max(0, len(ended) - JOBS)]:  # a table is in order of creation
                    del table[name]
                    count += 1
    return count


def _logs() -> int:
    removed: list[dict[str, Any]] = []
    kept: list[tuple[int, dict[str, Any]]] = []
    with hooks.get("logs.lock"):
        for group, stream in _streams():
            events: list[dict[str, Any]] = stream["events"]
            first = max(0, len(events) - STREAM_EVENTS)
            if days := group.get("retentionInDays"):
                oldest = (time.time() - days * 86_400) * 1000
                while first < len(events) and events[first]["timestamp"] < oldest:
                    first += 1
            removed += events[:first]
            del events[:first]
            kept.append((stream.get("lastIngestionTime") or 0, stream))
        kept.sort(key=lambda item: item[0], reverse=True)
        room = LOG_EVENTS
        for _, stream in kept:
            events = stream["events"]
            over = max(0, len(events) - room)
            removed += events[:over]
            del events[:over]
            room -= len(events)
        records: dict[Any, Any] = hooks.get("logs.records")._data
        gone = {event.get("eventId") for event in removed}
        if gone:
            for key in [key for key in list(records) if key[-1] in gone]:
                records.pop(key, None)
    return len(removed)


def _streams() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for group in list(hooks.get("logs.groups")._data.values()):
        for stream in list(group["streams"].values()):
            yield group, stream


def _epoch(when: Any) -> float:
    if isinstance(when, int | float):
        return float(when)
    return datetime.fromisoformat(str(when)).timestamp() if when else time.time()
