"""Container output in CloudWatch Logs, under the groups and stream names that SageMaker uses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from localcloud.errors import LocalcloudError
from localcloud.store import Scope

logger = logging.getLogger("localcloud.jobs.logs")

FLUSH_SECONDS = 0.25

Call = Callable[[Scope, str, Mapping[str, Any]], Mapping[str, Any]]


class LogStream:
    """One container's stream; lines are taken at once and delivered within FLUSH_SECONDS."""

    def __init__(self, logs: Logs, scope: Scope, group: str, stream: str) -> None:
        self.scope, self.group, self.stream = scope, group, stream
        self._logs = logs
        self._lock = threading.Lock()
        self._lines: list[tuple[int, str]] = []
        self._delivering = threading.Lock()

    def write(self, line: str) -> None:
        """Take one line, stamped now. CloudWatch refuses empty messages, so they become a blank."""
        with self._lock:
            self._lines.append((int(time.time() * 1000), line or " "))

    def flush(self) -> None:
        """Deliver what was taken."""
        with self._delivering:
            with self._lock:
                lines, self._lines = self._lines, []
            if lines:
                events = [{"timestamp": when, "message": message} for when, message in lines]
                self._logs.put(self, events)

    def close(self) -> None:
        """Deliver the rest and forget the stream."""
        self._logs.forget(self)
        self.flush()


class Logs:
    """Creates groups and streams and flushes the open ones."""

    def __init__(self, call: Call) -> None:
        """``call`` performs one CloudWatch Logs operation: (scope, operation, request)."""
        self._call = call
        self._lock = threading.Lock()
        self._open: set[LogStream] = set()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="localcloud-logs", daemon=True)
        self._thread.start()

    def open(self, scope: Scope, group: str, stream: str, create_group: bool = True) -> LogStream:
        """Create the group if need be, and the stream."""
        for operation, request in (
            ("CreateLogGroup", {"logGroupName": group}),
            ("CreateLogStream", {"logGroupName": group, "logStreamName": stream}),
        )[0 if create_group else 1 :]:
            try:
                self._call(scope, operation, request)
            except LocalcloudError as error:
                if getattr(error, "code", "") != "ResourceAlreadyExistsException":
                    raise
        opened = LogStream(self, scope, group, stream)
        with self._lock:
            self._open.add(opened)
        return opened

    def put(self, stream: LogStream, events: list[dict[str, Any]]) -> None:
        """Deliver events; what cannot be delivered (the group was deleted) is noted and dropped, as by AWS's agent."""
        try:
            self._call(
                stream.scope,
                "PutLogEvents",
                {"logGroupName": stream.group, "logStreamName": stream.stream, "logEvents": events},
            )
        except LocalcloudError as error:
            logger.warning("%d lines of %s/%s are lost: %s", len(events), stream.group, stream.stream, error)
        except Exception:  # it was deleted just now, or a subscriber failed; the other streams are still to be flushed
            logger.exception("%d lines of %s/%s may be lost", len(events), stream.group, stream.stream)

    def forget(self, stream: LogStream) -> None:
        """Flush this stream no longer."""
        with self._lock:
            self._open.discard(stream)

    def close(self) -> None:
        """Flush what is open and stop."""
        self._closed.set()
        self._thread.join(timeout=5)
        for stream in list(self._open):
            stream.flush()

    def _run(self) -> None:
        while not self._closed.wait(FLUSH_SECONDS):
            with self._lock:
                streams = list(self._open)
            for stream in streams:
                stream.flush()
