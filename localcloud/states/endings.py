"""Ends what waits: from outside, with whatever it belongs to, or when its time is up."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("localcloud.states.endings")

Action = Callable[[], None]


class Ending:
    """Tells everybody who waits for something that nobody needs it any more.

    Args:
        above: what this belongs to; when that ends, this does.
    """

    def __init__(self, above: Ending | None = None) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._actions: dict[object, Action] = {}
        self._leave: Action = _nothing
        if above is not None:
            self._leave = above.call(self.end)  # which may come at once

    @property
    def ended(self) -> bool:
        """Whether the end has come."""
        return self._event.is_set()

    def end(self) -> None:
        """End it; a second time nothing happens."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            actions = list(self._actions.values())
            self._actions.clear()
        self._leave()
        for action in actions:
            try:
                action()
            except Exception:
                logger.exception("something could not be ended")

    def call(self, action: Action) -> Action:
        """Have an action called at the end, at once if the end has come; gives what takes it back."""
        key = object()
        with self._lock:
            if not self._event.is_set():
                self._actions[key] = action
                return lambda: self._forget(key)
        action()
        return _nothing

    def wait(self, seconds: float) -> bool:
        """Wait, in seconds, but not beyond the end; whether the end has come."""
        return self._event.wait(min(seconds, threading.TIMEOUT_MAX))

    def close(self) -> None:
        """What this was for is over: it no longer belongs to anything."""
        self._leave()

    def _forget(self, key: object) -> None:
        with self._lock:
            self._actions.pop(key, None)


class Timers:
    """Calls actions when their time has come: one thread for all of them, none while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = itertools.count()
        self._due: list[tuple[float, int, Action]] = []
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, action: Action) -> Action:
        """Call an action in so many seconds; gives what takes it back. Actions are to be short."""
        with self._changed:
            number = next(self._count)
            heapq.heappush(self._due, (time.monotonic() + seconds, number, action))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="localcloud-timers", daemon=True)
                self._thread.start()
            self._changed.notify()
        return lambda: self._cancel(number)

    def _cancel(self, number: int) -> None:
        with self._changed:
            self._due = [item for item in self._due if item[1] != number]
            heapq.heapify(self._due)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._thread = None
                    return
                when, _number, action = self._due[0]
                left = when - time.monotonic()
                if left > 0:
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                    continue
                heapq.heappop(self._due)
            try:
                action()
            except Exception:
                logger.exception("a timer's action failed")


def _nothing() -> None:
    """Nothing to take back."""


timers = Timers()
