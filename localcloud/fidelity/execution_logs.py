"""The history goes to CloudWatch Logs as LoggingConfiguration says: level, execution data, destination.

docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html and cloudwatch-log-level.html; MiniStack keeps the
configuration and writes nothing. Lines are queued, so that no execution waits for its log. Each execution has a stream
of its own here, named as AWS names its streams; payloads of more than 248 KiB are left out and called truncated.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from localcloud import hooks
from localcloud.errors import LocalcloudError
from localcloud.jobs.logs import Logs, LogStream
from localcloud.states import workflow
from localcloud.store import Scope

logger = logging.getLogger("localcloud.fidelity")

PAYLOAD_BYTES = 248 * 1024
_FATAL = frozenset({"ExecutionAborted", "ExecutionFailed", "ExecutionTimedOut"})
_ERROR = _FATAL | {
    *("ActivityFailed", "ActivityScheduleFailed", "ActivityTimedOut", "EvaluationFailed", "FailStateEntered"),
    *("LambdaFunctionFailed", "LambdaFunctionScheduleFailed", "LambdaFunctionStartFailed", "LambdaFunctionTimedOut"),
    *("MapIterationAborted", "MapIterationFailed", "MapRunAborted", "MapRunFailed", "MapStateAborted"),
    *("MapStateFailed", "ParallelStateAborted", "ParallelStateFailed", "TaskFailed", "TaskStartFailed"),
    *("TaskStateAborted", "TaskSubmitFailed", "TaskTimedOut", "WaitStateAborted"),
}
_ENDS = _FATAL | {"ExecutionSucceeded"}
_PAYLOADS = ("input", "output", "parameters", "assignedVariables")


def level_has(level: str, event_type: str) -> bool:
    """Whether a log level takes an event."""
    if level == "ALL":
        return True
    return event_type in {"ERROR": _ERROR, "FATAL": _FATAL}.get(level, frozenset())


def line(execution: Mapping[str, Any], event: Mapping[str, Any], with_data: bool) -> str:
    """An event of a history as Step Functions logs it."""
    details: dict[str, Any] = {}
    for name, value in event.items():
        if name.endswith("EventDetails"):
            details = dict(value)
    for name in _PAYLOADS:
        if not with_data:
            details.pop(name, None)
            details.pop(f"{name}Details", None)
        elif len(json.dumps(details.get(name)).encode()) > PAYLOAD_BYTES:
            details.pop(name)
            details[f"{name}Details"] = {"truncated": True}
    return json.dumps(
        {
            "id": str(event["id"]),
            "type": event["type"],
            "details": details,
            "previous_event_id": str(event.get("previousEventId", 0)),
            "event_timestamp": str(int(workflow.moment(event["timestamp"]).timestamp() * 1000)),
            "execution_arn": execution["executionArn"],
            "redrive_count": str(execution.get("redriveCount", 0)),
        }
    )


class _Entry(NamedTuple):
    scope: Scope
    group: str
    execution: str
    line: str
    last: bool


class _Writer:
    """Takes lines at once, and writes them in a thread of its own."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._queue: queue.SimpleQueue[_Entry] = queue.SimpleQueue()
        self._streams: dict[str, LogStream] = {}
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def take(self, execution: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        configuration = workflow.revision(dict(execution)).get("loggingConfiguration") or {}
        if not level_has(configuration.get("level", "OFF"), event["type"]):
            return
        for destination in configuration.get("destinations", []):
            arn = destination.get("cloudWatchLogsLogGroup", {}).get("logGroupArn", "")
            self._queue.put(
                _Entry(
                    scope=hooks.current_scope(),
                    group=arn.split(":log-group:")[-1].removesuffix(":*"),
                    execution=execution["executionArn"],
                    line=line(execution, event, bool(configuration.get("includeExecutionData"))),
                    last=event["type"] in _ENDS,
                )
            )
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="localcloud-execution-logs", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            entry = self._queue.get()
            try:
                self._write(entry)
            except LocalcloudError as error:
                logger.warning("a line of %s is lost: %s", entry.execution, error)
            except Exception:
                logger.exception("a line of %s is lost", entry.execution)

    def _write(self, entry: _Entry) -> None:
        stream = self._streams.get(entry.execution)
        if stream is None:
            name = entry.execution.split(":")[6]
            minute = workflow.now()[:16].replace("T", "-").replace(":", "-")
            stream_name = f"states/{name}/{minute}/{uuid.uuid4().hex[:8]}"
            # Step Functions makes no log group: it is the state machine's, and gone when that is torn down.
            stream = self._logs.open(entry.scope, entry.group, stream_name, create_group=False)
            self._streams[entry.execution] = stream
        stream.write(entry.line)
        if entry.last:
            del self._streams[entry.execution]
            stream.close()


def install(logs: Logs) -> None:
    """Log each event once it is in the history."""
    writer = _Writer(logs)

    def make(add: Any) -> Any:
        def added(execution: workflow.Json, event_type: str, details: workflow.Json | None = None) -> Any:
            event = add(execution, event_type, details)
            if event["id"] == 2:  # the first that is added: ExecutionStarted is part of the record from the outset
                writer.take(execution, execution["events"][0])
            writer.take(execution, event)
            return event

        return added

    hooks.replace("states.event", make)
