"""The demo's report: what each stage took, what the model is worth, and how much time was not spent computing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from onwing.console import plain
from onwing.jobs import Trial
from onwing.models import Package
from onwing.watch import Snapshot

_INSTANT = ("Pass", "Choice", "Succeed")


@dataclass(frozen=True)
class Stage:
    """One stage of the demo. `status` is ok or failed."""

    name: str
    seconds: float
    status: str = "ok"


@dataclass(frozen=True)
class Data:
    """Which data the demo ran on."""

    source: str
    fleet: str
    version: str
    simulated: bool


def stages_of(snapshot: Snapshot) -> list[Stage]:
    """The states of an execution that take time, as stages."""
    progress = snapshot.progress
    failed = progress.status not in ("SUCCEEDED", "RUNNING")
    found = []
    for visit in progress.visits:
        if visit.type in _INSTANT or visit.exited is None:
            continue
        bad = visit.type == "Fail" or (failed and visit is progress.visits[-1])
        seconds = (visit.exited - visit.entered).total_seconds()
        found.append(Stage(visit.state, round(seconds, 3), "failed" if bad else "ok"))
    return found


def computing_seconds(snapshot: Snapshot) -> float:
    """Seconds in which at least one job's container ran, or the execution waited because it was told to.

    A tuning job is not counted as such: only its trials are. What the tuner needs between them is overhead.
    """
    jobs = [(job.started, job.ended) for job in snapshot.jobs if job.kind != "tuning"]
    trials = [(trial.started, trial.ended) for trial in snapshot.trials]
    waits = [(visit.entered, visit.exited) for visit in snapshot.progress.visits if visit.type == "Wait"]
    return union_seconds((start, end) for start, end in [*jobs, *trials, *waits] if start and end)


def union_seconds(intervals: Iterable[tuple[datetime, datetime]]) -> float:
    """The length of the union of intervals, in seconds."""
    total = 0.0
    reached: datetime | None = None
    for start, end in sorted(intervals):
        begin = start if reached is None else max(start, reached)
        if end > begin:
            total += (end - begin).total_seconds()
            reached = end
    return total


def make(
    *,
    data: Data,
    stages: Sequence[Stage],
    package: Package | None,
    trials: Sequence[Trial],
    outcome: str | None,
    wall_seconds: float,
    computing: float,
) -> dict[str, Any]:
    """The report as a document. Wall time runs from the first upload until the registered package is seen."""
    model = None
    if package is not None:
        model = {
            "package_arn": package.arn,
            "status": package.status,
            "rmse": package.rmse,
            "phm08": package.phm08,
            "rmse_unclipped": package.rmse_unclipped,
            "phm08_unclipped": package.phm08_unclipped,
        }
    return {
        "data": asdict(data),
        "stages": [asdict(stage) for stage in stages],
        "model": model,
        "wall_seconds": round(wall_seconds, 3),
        "overhead_seconds": round(max(0.0, wall_seconds - computing), 3),
        "outcome": outcome,
        "trials": [
            {
                "name": trial.name,
                "status": trial.status,
                "objective": trial.objective,
                "hyperparameters": dict(trial.hyperparameters),
                "seconds": (trial.ended - trial.started).total_seconds() if trial.started and trial.ended else None,
            }
            for trial in trials
        ],
    }


def write(document: dict[str, Any], path: Path) -> None:
    """Write the report, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(plain(document), indent=2) + "\n", encoding="utf-8")
    part.replace(path)
