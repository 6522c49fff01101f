"""How many jobs run at once on this machine; the others queue, first come, first served."""

from __future__ import annotations

import os
import threading
from collections import deque

# A waiter looks this often whether its job was cancelled; slots themselves are handed over at once.
_CANCEL_POLL_SECONDS = 0.2


class Slots:
    """A fair counting semaphore whose waiters can be cancelled."""

    def __init__(self, size: int | None = None) -> None:
        """`size`: jobs at once (default: the CPUs this process may use). Raises ValueError below 1."""
        self.size = _usable_cpus() if size is None else size
        if self.size < 1:
            raise ValueError(f"At least one job must be able to run, not {self.size}")
        self._lock = threading.Lock()
        self._taken = 0
        self._queue: deque[threading.Event] = deque()

    @property
    def waiting(self) -> int:
        """How many jobs queue."""
        with self._lock:
            return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether whoever comes now has to wait."""
        with self._lock:
            return self._taken >= self.size or bool(self._queue)

    def acquire(self, cancelled: threading.Event) -> bool:
        """Wait for a slot, in order of arrival. False (and no slot) when `cancelled` is set first."""
        turn = threading.Event()
        with self._lock:
            if cancelled.is_set():
                return False
            if self._taken < self.size and not self._queue:
                self._taken += 1
                return True
            self._queue.append(turn)
        while not turn.wait(_CANCEL_POLL_SECONDS):
            if cancelled.is_set():
                with self._lock:
                    if not turn.is_set():
                        self._queue.remove(turn)
                        return False
        if cancelled.is_set():
            self.release()
            return False
        return True

    def release(self) -> None:
        """Give the slot back to the one who waits longest. Raises ValueError when none is taken."""
        with self._lock:
            if self._taken == 0:
                raise ValueError("release() without a slot taken")
            if self._queue:
                self._queue.popleft().set()  # the slot changes hands: nobody can overtake
            else:
                self._taken -= 1


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
