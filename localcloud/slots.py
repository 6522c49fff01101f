"""How many jobs run at once on this machine; the others queue, first come, first served."""

from __future__ import annotations

import threading


class Slots:
    """A fair counting semaphore whose waiters can be cancelled."""

    def __init__(self, size: int | None = None) -> None:
        """`size`: jobs at once (default: the CPUs this process may use). Raises ValueError below 1."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """How many jobs run at once."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """How many jobs queue."""
        raise NotImplementedError

    def acquire(self, cancelled: threading.Event) -> bool:
        """Wait for a slot, in order of arrival. False (and no slot) when `cancelled` is set first."""
        raise NotImplementedError

    def release(self) -> None:
        """Give the slot back to the one who waits longest. Raises ValueError when none is taken."""
        raise NotImplementedError
