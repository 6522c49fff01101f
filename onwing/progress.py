"""What an execution has done so far, as a pure function of its description and its history."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from onwing.errors import Exit

# Step Functions' optimised integrations that start a job → the kind of job, and the parameter that names it.
_JOBS = {
    "createProcessingJob": ("processing", "ProcessingJobName"),
    "createTrainingJob": ("training", "TrainingJobName"),
    "createHyperParameterTuningJob": ("tuning", "HyperParameterTuningJobName"),
}
_TASK_FAILURES = ("TaskFailed", "TaskTimedOut", "TaskStartFailed", "TaskSubmitFailed", "LambdaFunctionFailed")


@dataclass(frozen=True)
class Job:
    """A SageMaker job that a state started. `kind` is processing, training or tuning."""

    kind: str
    name: str
    state: str


@dataclass(frozen=True)
class Visit:
    """One state, entered once. `exited` is None while it is in it; `errors` holds one line per failed attempt."""

    state: str
    type: str
    entered: datetime
    exited: datetime | None = None
    attempts: int = 0
    errors: tuple[str, ...] = ()


RUNNING = ("RUNNING", "PENDING_REDRIVE")


def outcome(status: str, output: Mapping[str, Any]) -> str | None:
    """What an execution came to, in its own word if it succeeded; failed, timed_out or aborted; None while it runs."""
    if status in RUNNING:
        return None
    return str(output.get("outcome", "succeeded")) if status == "SUCCEEDED" else status.lower()


@dataclass(frozen=True)
class Progress:
    """An execution at one moment."""

    arn: str
    name: str
    status: str
    started: datetime
    stopped: datetime | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    cause: str = ""
    visits: tuple[Visit, ...] = ()
    jobs: tuple[Job, ...] = ()

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.status in RUNNING

    @property
    def outcome(self) -> str | None:
        """registered, gate_missed, superseded, unchanged, …; failed, timed_out or aborted; None while it runs."""
        return outcome(self.status, self.output)

    @property
    def exit_code(self) -> Exit:
        """The exit code that goes with the outcome."""
        return {
            "registered": Exit.OK,
            "succeeded": Exit.OK,
            "gate_missed": Exit.GATE_MISSED,
            "superseded": Exit.NO_MODEL,
            "unchanged": Exit.NO_MODEL,
        }.get(self.outcome or "registered", Exit.FAILED)

    @property
    def fleet(self) -> str:
        """The fleet, from the input or else the name."""
        return str(self.input.get("fleet") or self.name.partition("-")[0])

    @property
    def dataset_version(self) -> str:
        """The data set version, or an empty text."""
        return str(self.input.get("dataset_version") or "")


def read(description: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Progress:
    """Make a Progress of DescribeExecution's answer and GetExecutionHistory's events (oldest first, with data)."""
    visits: list[Visit] = []
    jobs: dict[str, Job] = {}
    # Which visit an event belongs to: through previousEventId where there is one (branches of Parallel and Map
    # interleave), else the newest visit that is still open.
    owner: dict[int, int] = {}
    error, cause = description.get("error", ""), description.get("cause", "")
    for event in events:
        kind: str = event["type"]
        index = owner.get(event.get("previousEventId", 0), _open(visits))
        if kind.endswith("StateEntered"):
            name = event["stateEnteredEventDetails"]["name"]
            visits.append(Visit(name, kind.removesuffix("StateEntered"), event["timestamp"]))
            index = len(visits) - 1
        elif kind.endswith("StateExited"):
            index = _open(visits, event["stateExitedEventDetails"]["name"])
            if index is not None:
                visits[index] = replace(visits[index], exited=event["timestamp"])
        elif index is not None:
            visit = visits[index]
            if kind in ("TaskScheduled", "LambdaFunctionScheduled"):
                visits[index] = replace(visit, attempts=visit.attempts + 1)
            elif kind in _TASK_FAILURES:
                visits[index] = replace(visit, errors=(*visit.errors, _failure(event)))
            job = _job(event, visit.state)
            if job is not None:
                jobs[job.name] = job
        if kind in ("ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"):
            details = event.get(f"{kind[0].lower()}{kind[1:]}EventDetails", {})
            error, cause = error or details.get("error", ""), cause or details.get("cause", "")
        elif kind == "ExecutionRedriven":  # what it ended with before is over
            error, cause = description.get("error", ""), description.get("cause", "")
        if index is not None:
            owner[event["id"]] = index
    stopped = description.get("stopDate")
    if stopped is not None:
        # A state that fails, or is cut off, has no exit event: it ended with the execution.
        visits = [visit if visit.exited else replace(visit, exited=stopped) for visit in visits]
    return Progress(
        arn=description["executionArn"],
        name=description["name"],
        status=description["status"],
        started=description["startDate"],
        stopped=stopped,
        input=_document(description.get("input")),
        output=_document(description.get("output")),
        error=error or "",
        cause=cause or "",
        visits=tuple(visits),
        jobs=tuple(jobs.values()),
    )


def _open(visits: list[Visit], name: str | None = None) -> int | None:
    for index in range(len(visits) - 1, -1, -1):
        if visits[index].exited is None and name in (None, visits[index].state):
            return index
    return None


def _failure(event: Mapping[str, Any]) -> str:
    details: Mapping[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
    return ": ".join(part for part in (details.get("error", ""), reason(details.get("cause", ""))) if part)


def _job(event: Mapping[str, Any], state: str) -> Job | None:
    """The job that a task's event names: by its parameters when scheduled, by its description when it has ended."""
    details = next((value for key, value in event.items() if key.startswith("task")), None)
    if not isinstance(details, Mapping):
        return None
    for action, (kind, parameter) in _JOBS.items():
        if action in details.get("resource", ""):
            for text in (details.get("parameters"), details.get("output"), details.get("cause")):
                name = _document(text).get(parameter)
                if name:
                    return Job(kind, str(name), state)
    return None


def reason(cause: str) -> str:
    """The readable part of a cause, which for a failed job is its whole description as JSON."""
    document = _document(cause)
    for key in ("FailureReason", "ExitMessage", "errorMessage", "Cause", "message"):
        if document.get(key):
            return reason(str(document[key]))
    return cause


def _document(text: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one for anything else."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
