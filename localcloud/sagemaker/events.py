"""State-change events: in order, in AWS's shapes, off the threads that cause them."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from localcloud.store import Scope

logger = logging.getLogger("localcloud.sagemaker.events")

Put = Callable[[Scope, Mapping[str, Any]], None]


class Events:
    """Puts events on the default bus of an account, one after the other, from a thread of its own."""

    def __init__(self, put: Put) -> None:
        """``put`` takes one entry as in PutEvents."""
        self._put = put
        self._flowing = threading.Event()
        self._flowing.set()
        self._queue: queue.SimpleQueue[tuple[Scope, dict[str, Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="localcloud-events", daemon=True)
        self._thread.start()

    def emit(self, scope: Scope, detail_type: str, arn: str, detail: Mapping[str, Any]) -> None:
        """Queue an event of SageMaker's about one resource."""
        self._queue.put(
            (
                scope,
                {
                    "Source": "aws.sagemaker",
                    "DetailType": detail_type,
                    "Resources": [arn],
                    "Detail": json.dumps(_plain(detail)),
                },
            )
        )

    def hold(self) -> None:
        """Send nothing until `release`: whom it is for cannot take it yet, or any more."""
        self._flowing.clear()

    def release(self) -> None:
        """Send what was held back, and go on."""
        self._flowing.set()

    def close(self) -> None:
        """Send what is queued and stop; what is held is dropped."""
        if not self._flowing.is_set():
            return
        self._queue.put(None)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._flowing.wait()
            scope, entry = item
            try:
                self._put(scope, entry)
            except Exception:  # a target that fails must not end the events of everybody else
                logger.exception("event %s could not be put", entry["DetailType"])


def _plain(value: Any) -> Any:
    """JSON values; times are epoch milliseconds, as in SageMaker's events."""
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
