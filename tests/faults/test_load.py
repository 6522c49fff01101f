"""Twenty runs of the real template at once: all end right, in bounded memory, while the state is saved."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

from localcloud import daemon
from localcloud.errors import LocalcloudError
from tests.conftest import make_trio
from tests.deployed import Deployed, new_fleet, until

RUNS = 20
# The bounds are for a machine that does other things too; benchmarks/bench_localcloud.py measures.
MEMORY_MB = 450
PAUSE_P95_MS = 60  # of the fork's own work: the rest is waiting for a processor
UNSAVED_SECONDS = 60  # every few seconds if the machine has nothing else to do; without end if it were never done


def memory_mb(pid: int) -> float:
    """What a process holds in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


class Watch:
    """Looks at the server all the time."""

    def __init__(self, running: daemon.Running) -> None:
        self._running = running
        self.memory: list[float] = []
        self.unsaved: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> dict[str, Any]:
        """Look no more; the snapshots' last figures."""
        self._stop.set()
        self._thread.join()
        figures = daemon.snapshots(self._running)
        assert figures is not None
        return figures

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            with contextlib.suppress(LocalcloudError, StopIteration, OSError):  # too busy to answer in time, or ended
                self.memory.append(memory_mb(self._running.pid))
                figures = daemon.snapshots(self._running)
                if figures:
                    self.unsaved.append(figures["unsaved_seconds"])


@pytest.mark.timeout(3600)
def test_twenty_runs_at_once(mortal: Deployed) -> None:
    fleets = [new_fleet() for _ in range(RUNS)]
    before = memory_mb(mortal.cloud.running.pid)
    watch = Watch(mortal.cloud.running)
    for fleet in fleets:
        mortal.put_trio(make_trio(fleet))

    until("all runs are there", lambda: all(mortal.executions(fleet) for fleet in fleets) or None, seconds=600)
    for fleet in fleets:
        assert mortal.ended(fleet, seconds=900)["output"]["outcome"] == "registered"
        assert len(mortal.packages(fleet)) == 1
    figures = watch.end()

    print(f"memory {before:.0f} → {max(watch.memory):.0f} MB; oldest change not on disk {max(watch.unsaved):.1f} s")
    print(f"state of {figures['bytes'] / 1e6:.1f} MB, written in {figures['seconds']:.2f} s")
    print(f"pauses {figures['pauses_ms']}, of which the fork's own work {figures['pauses_cpu_ms']}")
    assert figures["failed"] is None
    assert max(watch.memory) < MEMORY_MB
    assert figures["pauses_cpu_ms"]["p95"] < PAUSE_P95_MS
    assert max(watch.unsaved) < UNSAVED_SECONDS
