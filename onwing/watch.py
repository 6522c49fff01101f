"""Following an execution: what there is to see at one moment, and what changed since the last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from onwing import jobs as sagemaker
from onwing import progress as progresses
from onwing.errors import WaitedTooLong
from onwing.jobs import JobFacts, LogLine, LogTail, Trial
from onwing.progress import Job, Progress, Visit
from onwing.target import Target


@dataclass(frozen=True)
class Snapshot:
    """An execution with its jobs and trials at one moment. `log` holds the lines since the snapshot before."""

    progress: Progress
    jobs: tuple[JobFacts, ...] = ()
    trials: tuple[Trial, ...] = ()
    log: tuple[LogLine, ...] = ()


@dataclass(frozen=True)
class Change:
    """One thing that happened: a state entered or left, a job's or trial's status, a line of log, the end."""

    event: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Watcher:
    """Looks at one execution again and again; what has ended is not asked for twice."""

    def __init__(self, target: Target, arn: str, *, logs: bool = False) -> None:
        self.target = target
        self.arn = arn
        self._over: dict[str, JobFacts] = {}
        self._trials: dict[str, tuple[Trial, ...]] = {}
        self._drained: set[str] = set()
        self._tail = LogTail(target) if logs else None

    def look(self) -> Snapshot:
        """The execution as it stands."""
        stepfunctions = self.target.client("stepfunctions")
        description = stepfunctions.describe_execution(executionArn=self.arn)
        pages = stepfunctions.get_paginator("get_execution_history").paginate(
            executionArn=self.arn, includeExecutionData=True, PaginationConfig={"PageSize": 1000}
        )
        progress = progresses.read(description, [event for page in pages for event in page["events"]])
        facts = tuple(found for job in progress.jobs if (found := self._facts(job)) is not None)
        trials = tuple(trial for job in facts if job.kind == "tuning" for trial in self._trials_of(job))
        return Snapshot(progress, facts, trials, tuple(self._new_lines(facts, trials)))

    def _facts(self, job: Job) -> JobFacts | None:
        if job.name in self._over:
            return self._over[job.name]
        found = sagemaker.facts(self.target, job.kind, job.name)
        if found is not None and found.over:
            self._over[job.name] = found
        return found

    def _trials_of(self, job: JobFacts) -> tuple[Trial, ...]:
        if job.over and job.name in self._trials:
            return self._trials[job.name]
        found = tuple(sagemaker.trials(self.target, job.name))
        if job.over:
            self._trials[job.name] = found
        return found

    def _new_lines(self, facts: tuple[JobFacts, ...], trials: tuple[Trial, ...]) -> Iterator[LogLine]:
        if self._tail is None:
            return
        sources = [(job.kind, job.name, job.over) for job in facts if job.kind != "tuning"]
        sources += [("training", trial.name, trial.status in sagemaker.ENDED) for trial in trials]
        for kind, name, over in sources:
            if name in self._drained:
                continue
            yield from self._tail.new_lines(kind, name)
            if over:
                self._drained.add(name)


def follow(
    watcher: Watcher,
    *,
    interval: float,
    timeout: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Snapshot]:
    """Snapshots until the execution has ended (that one included); WaitedTooLong after `timeout` seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        snapshot = watcher.look()
        yield snapshot
        if not snapshot.progress.running:
            return
        if deadline is not None and time.monotonic() >= deadline:
            raise WaitedTooLong(
                f"{snapshot.progress.name} has not ended after {timeout:.0f} s.",
                where=watcher.arn,
                todo=f"It goes on. Look again: onwing watch {snapshot.progress.name}",
            )
        sleep(interval)


def changes(before: Snapshot | None, now: Snapshot) -> list[Change]:
    """What is new in `now`, in the order of a log: states as time went, jobs, trials, log lines, the end."""
    found = _moves(before.progress.visits if before else (), now.progress.visits)
    known_jobs = {job.name: job for job in before.jobs} if before else {}
    for job in now.jobs:
        if job.name not in known_jobs or known_jobs[job.name].status != job.status:
            facts = {"kind": job.kind, "name": job.name, "status": job.status}
            found.append(Change("job", facts | ({"message": job.message} if job.message else {})))
    known_trials = {trial.name: trial for trial in before.trials} if before else {}
    for trial in now.trials:
        if trial.name not in known_trials or known_trials[trial.name].status != trial.status:
            found.append(
                Change(
                    "trial",
                    {
                        "name": trial.name,
                        "status": trial.status,
                        "objective": trial.objective,
                        "hyperparameters": trial.hyperparameters,
                        "message": trial.message,
                    },
                )
            )
    found += [Change("log", {"job": line.job, "line": line.text}) for line in now.log]
    ended = now.progress
    if not ended.running and (before is None or before.progress.running):
        found.append(Change("ended", {"outcome": ended.outcome, "error": ended.error, "cause": ended.cause}))
    return found


def _moves(old: Sequence[Visit], new: Sequence[Visit]) -> list[Change]:
    """States entered and left, and attempts that failed, in the order in which that happened."""
    moves: list[tuple[tuple[datetime, int, int], Change]] = []
    for index, visit in enumerate(new):
        known = old[index] if index < len(old) else None
        facts = {"state": visit.state, "type": visit.type}
        if known is None:
            entered = Change("entered", {**facts, "at": visit.entered, "open": visit.exited is None})
            moves.append(((visit.entered, index, 0), entered))
        for text in visit.errors[len(known.errors) if known else 0 :]:
            moves.append(
                ((visit.exited or visit.entered, index, 1), Change("failed_attempt", {**facts, "error": text}))
            )
        if visit.exited is not None and (known is None or known.exited is None):
            seconds = (visit.exited - visit.entered).total_seconds()
            left = Change("exited", {**facts, "at": visit.exited, "seconds": seconds})
            moves.append(((visit.exited, index, 2), left))
    return [change for _, change in sorted(moves, key=lambda move: move[0])]


def document(snapshot: Snapshot) -> dict[str, Any]:
    """The whole snapshot as one JSON document."""
    progress = snapshot.progress
    return {
        "execution_arn": progress.arn,
        "name": progress.name,
        "fleet": progress.fleet,
        "dataset_version": progress.dataset_version,
        "status": progress.status,
        "outcome": progress.outcome,
        "started": progress.started,
        "stopped": progress.stopped,
        "error": progress.error,
        "cause": progresses.reason(progress.cause),
        "output": progress.output,
        "states": [
            {
                "state": visit.state,
                "entered": visit.entered,
                "exited": visit.exited,
                "attempts": visit.attempts,
                "errors": visit.errors,
            }
            for visit in progress.visits
        ],
        "jobs": snapshot.jobs,
        "trials": snapshot.trials,
    }
