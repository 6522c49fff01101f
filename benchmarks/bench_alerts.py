"""How soon people are told of drift: from PutObject of a report's violations to the alert; prints JSON as a script.

Each of a few fresh embedded clouds gets the real template as `onwing up` deploys it, from a copy of what that works on.
The first report in a cloud is cold: neither the function that decides nor the one that keeps alerts was ever started
there. The others are warm, one after the other with a pause. The report is one that `make demo` wrote of NASA's FD001.
Each fleet gets it for two windows in a row: of the first people are warned, of the second told that it persists.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import checkout
from localcloud.testing import localcloud, wait_for
from onwing import alerts, embedded, up
from onwing import target as targets
from onwing.alerts import Alert
from onwing.console import Output
from onwing.project import Project
from onwing.stack import Stack
from onwing.target import Options, Target

REPORT = Path(__file__).with_name("constraint_violations.json")
CLOUDS = 5
FLEETS, WINDOWS = 4, 2  # in each cloud
SETTLE_SECONDS = 10.0  # after a deployment, while the layer is compiled: no report comes that soon
PAUSE_SECONDS = 1.0  # the function that has alerted has that to write down, and is busy meanwhile
LOOK_SECONDS = 0.02
MOST_SECONDS = 120.0
KIND = "drift"

Figures = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """Seconds from the call of PutObject on."""

    sent: float  # to SNS's own time of the message
    listed: float  # until the list of alerts had it


def run() -> Figures:
    """Seconds; and the load average over a minute beforehand, because other work on the machine counts."""
    load = round(os.getloadavg()[0], 2)
    cold: list[Sample] = []
    warm: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="bench-alerts-") as folder:
        checkout.copy(Path(folder))
        Path(folder, ".venvs").symlink_to(checkout.ROOT / ".venvs")  # SAM CLI
        project = Project(Path(folder))
        for number in range(1, CLOUDS + 1):
            with _deployed(project) as (target, stack):
                first, *others = measure(target, stack)
            cold.append(first)
            warm += others
            print(f"cloud {number} of {CLOUDS}: cold {first.listed:.2f} s", file=sys.stderr, flush=True)
    return {"load_average": load, "cold": figures(cold), "warm": figures(warm)}


def figures(samples: list[Sample]) -> Figures:
    """Interpolated quantiles and the maximum of both times."""
    return {
        "samples": len(samples),
        "sent_seconds": _spread([sample.sent for sample in samples]),
        "listed_seconds": _spread([sample.listed for sample in samples]),
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "max": round(max(seconds), 3)}


@contextlib.contextmanager
def _deployed(project: Project) -> Iterator[tuple[Target, Stack]]:
    """A fresh cloud on a free port with the stack in it; unlike that of `onwing up` it ends with this process."""
    shutil.rmtree(project.cloud_dir, ignore_errors=True)
    with localcloud(project.cloud_dir, images=[project.root / "training_image/localcloud.toml"], keep=True):
        running = embedded.running(project)
        assert running is not None
        target = targets.local(running, project, Options())
        stack, _, _ = up.deploy(project, target, Output(as_json=True))
        time.sleep(SETTLE_SECONDS)
        yield target, stack


def measure(target: Target, stack: Stack) -> list[Sample]:
    """Every report of one cloud; the first finds nothing started."""
    samples = []
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for number in range(1, FLEETS + 1):
        fleet = f"FD{number:03}"
        _put_champion(target, stack, fleet, hour - timedelta(days=7))
        for ago in range(WINDOWS, 0, -1):
            samples.append(_report(target, stack, fleet, hour - timedelta(hours=ago)))
            time.sleep(PAUSE_SECONDS)
    return samples


def _put_champion(target: Target, stack: Stack, fleet: str, since: datetime) -> None:
    """Write down a champion, as its promotion does. It has no endpoint: who decides on a report asks for none."""
    served = {"version": 1, "variant": "v1", "since": f"{since:%Y-%m-%dT%H:%M:%SZ}", "dataset_version": "d" * 64}
    key = {"pk": {"S": f"FLEET#{fleet}"}, "sk": {"S": "DEPLOYMENT"}}
    item = {**key, "champion": {"S": json.dumps(served)}, "monitored": {"BOOL": True}}
    target.client("dynamodb").put_item(TableName=stack.table, Item=item)


def _report(target: Target, stack: Stack, fleet: str, window: datetime) -> Sample:
    """Leave a report as monitoring does, and wait for the alert on it.

    Raises:
        TimeoutError: there is none.
        RuntimeError: there is another.
    """
    s3, content = target.client("s3"), REPORT.read_bytes()
    key = f"monitoring/reports/{stack.project}-{fleet}/v1/{window:%Y%m%dT%H%M%SZ}/{REPORT.name}"
    began = datetime.now(UTC)
    s3.put_object(Bucket=stack.bucket, Key=key, Body=content)

    def look() -> list[Alert]:
        return alerts.read(target, stack, since=began, fleet=fleet)

    found = wait_for(look, MOST_SECONDS, LOOK_SECONDS)
    listed = datetime.now(UTC)
    if [alert.kind for alert in found] != [KIND]:
        raise RuntimeError(f"{key} led to {[alert.subject for alert in found]}")
    sent = datetime.fromisoformat(found[0].at)
    return Sample((sent - began).total_seconds(), (listed - began).total_seconds())


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
