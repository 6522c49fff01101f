"""SageMaker jobs as an operator sees them: status, times, why they failed; a tuning job's trials; log lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from onwing.errors import error_code
from onwing.target import Target

ENDED = frozenset({"Completed", "Failed", "Stopped", "DeleteFailed"})
LOG_GROUPS = {"processing": "/aws/sagemaker/ProcessingJobs", "training": "/aws/sagemaker/TrainingJobs"}


@dataclass(frozen=True)
class JobFacts:
    """What Describe says of a job. `started` and `ended` bound its container's time (of a tuning job: all of it)."""

    kind: str
    name: str
    status: str
    started: datetime | None = None
    ended: datetime | None = None
    message: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing of it changes any more."""
        return self.status in ENDED


@dataclass(frozen=True)
class Trial:
    """One training job of a tuning job. `objective` is the metric that the tuner minimises."""

    name: str
    status: str
    objective: float | None
    hyperparameters: Mapping[str, str]
    started: datetime | None = None
    ended: datetime | None = None
    message: str = ""


@dataclass(frozen=True)
class LogLine:
    """One line that a job wrote."""

    job: str
    at: int  # milliseconds since the epoch
    text: str


def facts(target: Target, kind: str, name: str) -> JobFacts | None:
    """Describe one job; None when there is none of that name (its creation was refused)."""
    sagemaker = target.client("sagemaker")
    try:
        if kind == "processing":
            found = sagemaker.describe_processing_job(ProcessingJobName=name)
            prefix = "Processing"
        elif kind == "training":
            found = sagemaker.describe_training_job(TrainingJobName=name)
            prefix = "Training"
        else:
            found = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
            prefix = "HyperParameterTuning"
    except ClientError as error:
        if error_code(error) in ("ValidationException", "ResourceNotFound"):
            return None
        raise
    started = found.get("CreationTime") if kind == "tuning" else found.get(f"{prefix}StartTime")
    return JobFacts(
        kind=kind,
        name=name,
        status=found[f"{prefix}JobStatus"],
        started=started,
        ended=found.get(f"{prefix}EndTime"),
        message=found.get("FailureReason") or found.get("ExitMessage") or "",
    )


def trials(target: Target, tuning_job: str) -> list[Trial]:
    """The training jobs of a tuning job, oldest first."""
    pages = (
        target.client("sagemaker")
        .get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        .paginate(HyperParameterTuningJobName=tuning_job, SortBy="CreationTime", SortOrder="Ascending")
    )
    return [_trial(summary) for page in pages for summary in page["TrainingJobSummaries"]]


def _trial(summary: Mapping[str, Any]) -> Trial:
    metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value")
    return Trial(
        name=summary["TrainingJobName"],
        status=summary["TrainingJobStatus"],
        objective=None if metric is None else float(metric),
        hyperparameters=dict(summary.get("TunedHyperParameters", {})),
        started=summary.get("TrainingStartTime"),
        ended=summary.get("TrainingEndTime"),
        message=summary.get("FailureReason", ""),
    )


def best(found: Sequence[Trial]) -> Trial | None:
    """The completed trial with the smallest objective."""
    done = [trial for trial in found if trial.status == "Completed" and trial.objective is not None]
    return min(done, key=lambda trial: trial.objective or 0.0, default=None)


class LogTail:
    """Reads what jobs have written since the last look."""

    def __init__(self, target: Target) -> None:
        self._logs = target.client("logs")
        self._seen: dict[str, tuple[int, set[str]]] = {}

    def new_lines(self, kind: str, job: str) -> list[LogLine]:
        """Lines of one job that were not given before, oldest first."""
        since, seen = self._seen.get(job, (0, set()))
        lines: list[LogLine] = []
        try:
            pages = self._logs.get_paginator("filter_log_events").paginate(
                logGroupName=LOG_GROUPS[kind], logStreamNamePrefix=f"{job}/", startTime=since
            )
            for page in pages:
                for event in page["events"]:
                    # A server that takes no notice of the prefix sends every job's lines.
                    if event["eventId"] in seen or not event["logStreamName"].startswith(f"{job}/"):
                        continue
                    if event["timestamp"] > since:
                        since, seen = event["timestamp"], set()
                    seen = seen | {event["eventId"]}
                    lines.append(LogLine(job, event["timestamp"], event["message"].rstrip("\n")))
        except ClientError as error:
            # The group and the stream come into being with the first line of the first job.
            if error_code(error) != "ResourceNotFoundException":
                raise
        self._seen[job] = (since, seen)
        return lines
