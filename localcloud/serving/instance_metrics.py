"""What the instances of endpoints use: CPU, memory and disk, as CloudWatch has them.

docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html#cloudwatch-metrics-jobs: namespace
/aws/sagemaker/Endpoints by endpoint and variant; CPUUtilization is the sum over the cores, so that it may be above 100.
An instance whose server does not run has none, which an alarm can take for a sign. AWS measures each minute unless
MetricsConfig says otherwise; here each instance is measured before its endpoint is in service, and then in the middle
of each ten seconds, so that no datapoint is missing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from localcloud.cloudwatch import metrics
from localcloud.serving.model_servers import Fleet
from localcloud.store import Scope

logger = logging.getLogger("localcloud.serving")

NAMESPACE = "/aws/sagemaker/Endpoints"
SECONDS = 10.0

Fleets = Callable[[], Sequence[tuple[Scope, str, str, Fleet]]]


class InstanceMetrics:
    """Measures every instance now and then, from a thread that is started by the first endpoint."""

    def __init__(self, fleets: Fleets, directory: Path) -> None:
        """``fleets`` gives what runs: account, endpoint, variant, instances; ``directory``: on whose disk."""
        self._fleets, self._directory = fleets, directory
        self._lock = threading.Lock()
        self._started = False
        self._closed = threading.Event()
        self._measuring = threading.Lock()
        self._before: dict[int, tuple[float, float]] = {}  # by process: CPU seconds, and when that was

    def start(self) -> None:
        """Measure what is new, now; the first time, begin."""
        self._measure(only_new=True)
        with self._lock:
            if self._started or self._closed.is_set():
                return
            self._started = True
        threading.Thread(target=self._run, name="localcloud-instances", daemon=True).start()

    def close(self) -> None:
        """Measure no more."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(SECONDS - (time.time() - SECONDS / 2) % SECONDS):
            try:
                self._measure()
            except Exception:  # what fails now must not end the measuring
                logger.exception("the instances could not be measured")

    def _measure(self, *, only_new: bool = False) -> None:
        with self._measuring:
            before, present = self._before, dict[int, tuple[float, float]]()
            for scope, endpoint, variant, fleet in self._fleets():
                for server in fleet.servers:
                    pid = server.pid if server.ready else None
                    if pid is None:
                        continue
                    if only_new and pid in before:
                        present[pid] = before[pid]
                        continue
                    if (used := usage(pid)) is None:
                        continue
                    now = time.monotonic()
                    seconds, then = before.get(pid, (0.0, now - used[2]))
                    share = max(0.0, used[0] - seconds) / max(now - then, 0.1) * 100
                    present[pid] = used[0], now
                    self._put(scope, endpoint, variant, fleet.serving.utilization_every, share, used[1])
            self._before = present

    def _put(self, scope: Scope, endpoint: str, variant: str, every: int, cpu: float, memory: float) -> None:
        dimensions = {"EndpointName": endpoint, "VariantName": variant}
        figures = {"CPUUtilization": cpu, "MemoryUtilization": memory}
        with contextlib.suppress(OSError):
            disk = shutil.disk_usage(self._directory)
            figures["DiskUtilization"] = disk.used / disk.total * 100
        for name, value in figures.items():
            metrics.put(scope, NAMESPACE, name, value, "Percent", dimensions, resolution=every)


def usage(pid: int) -> tuple[float, float, float] | None:
    """What a process and its descendants have used: CPU seconds, per cent of the machine's memory now, its age in s.

    Returns:
        None when it is gone, or the system does not tell.
    """
    try:
        ticks, pages, total = os.sysconf("SC_CLK_TCK"), 0, os.sysconf("SC_PHYS_PAGES")
        seconds = 0.0
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / ticks
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - started
        waiting = [pid]
        while waiting:
            each = waiting.pop()
            try:
                fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
                waiting += [int(child) for child in Path(f"/proc/{each}/task/{each}/children").read_text().split()]
            except OSError:
                if each == pid:
                    raise
                continue  # a child that has just ended
            seconds += (int(fields[11]) + int(fields[12])) / ticks
            pages += int(fields[21])
    except (OSError, ValueError, IndexError):
        return None
    return seconds, pages / total * 100, age
