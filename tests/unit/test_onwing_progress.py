"""What an execution has done, read from its history."""

from __future__ import annotations

import json

import pytest

from onwing.errors import Exit
from onwing.progress import Job, read, reason

from .onwing_fakes import VERSION, History, at, description, training_history


def test_a_running_execution_shows_where_it_is() -> None:
    progress = read(description(), training_history().events)
    assert [(visit.state, visit.exited is None) for visit in progress.visits] == [
        ("Prepare", False),
        ("Settle", False),
        ("Process", False),
        ("Tune", True),
    ]
    assert progress.running
    assert progress.outcome is None
    assert progress.exit_code is Exit.OK
    assert (progress.fleet, progress.dataset_version) == ("FD001", VERSION)


def test_jobs_are_known_by_name_from_the_moment_they_are_scheduled() -> None:
    assert read(description(), training_history().events).jobs == (
        Job("processing", "onwing-FD001-ab-process-00", "Process"),
        Job("tuning", "onwing-FD001-ab-00", "Tune"),
    )


def test_a_retry_under_another_name_is_another_job_of_the_same_state() -> None:
    history = (
        History()
        .entered(0, "Process")
        .scheduled(0, "createProcessingJob", ProcessingJobName="p-0")
        .failed(5, "States.TaskFailed", json.dumps({"FailureReason": "AlgorithmError: no rows"}))
        .scheduled(7, "createProcessingJob", ProcessingJobName="p-1")
    )
    progress = read(description(), history.events)
    assert [job.name for job in progress.jobs] == ["p-0", "p-1"]
    visit = progress.visits[0]
    assert visit.attempts == 2
    assert visit.errors == ("States.TaskFailed: AlgorithmError: no rows",)


def test_the_job_of_a_task_without_parameters_is_read_from_its_result() -> None:
    history = History().entered(0, "Process")
    history.add(
        9,
        "TaskSucceeded",
        "taskSucceededEventDetails",
        resource="arn:aws:states:::sagemaker:createProcessingJob.sync",
        output=json.dumps({"ProcessingJobName": "p-0"}),
    )
    assert read(description(), history.events).jobs == (Job("processing", "p-0", "Process"),)


def test_events_of_parallel_branches_belong_to_their_own_state() -> None:
    history = History().entered(0, "Left").entered(0, "Right")
    history.scheduled(1, "createProcessingJob", ProcessingJobName="left")
    history.events[-1]["previousEventId"] = 1
    history.scheduled(1, "createProcessingJob", ProcessingJobName="right")
    history.events[-1]["previousEventId"] = 2
    jobs = read(description(), history.events).jobs
    assert {job.name: job.state for job in jobs} == {"left": "Left", "right": "Right"}


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("registered", Exit.OK),
        ("gate_missed", Exit.GATE_MISSED),
        ("superseded", Exit.NO_MODEL),
        ("unchanged", Exit.NO_MODEL),
        ("inconsistent", Exit.FAILED),
    ],
)
def test_each_proper_end_has_its_exit_code(outcome: str, code: Exit) -> None:
    progress = read(description("SUCCEEDED", 20, output=json.dumps({"outcome": outcome})), training_history().events)
    assert progress.outcome == outcome
    assert progress.exit_code is code


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT", "ABORTED"])
def test_each_improper_end_is_a_failure_that_closes_the_state_it_was_in(status: str) -> None:
    progress = read(
        description(status, 20, error="States.TaskFailed", cause="Tune: no memory"), training_history().events
    )
    assert progress.exit_code is Exit.FAILED
    assert progress.outcome == status.lower()
    assert progress.visits[-1].exited == at(20)
    assert (progress.error, progress.cause) == ("States.TaskFailed", "Tune: no memory")


def test_error_and_cause_are_taken_from_the_history_where_the_description_has_none() -> None:
    history = training_history().add(
        20, "ExecutionTimedOut", "executionTimedOutEventDetails", error="States.Timeout", cause="too long"
    )
    progress = read(description("TIMED_OUT", 20), history.events)
    assert (progress.error, progress.cause) == ("States.Timeout", "too long")


def test_the_readable_part_of_a_cause_is_found_inside_the_description_of_a_job() -> None:
    assert (
        reason(json.dumps({"TrainingJobName": "x", "FailureReason": "AlgorithmError: boom"})) == "AlgorithmError: boom"
    )
    assert reason("plain text") == "plain text"
    assert reason("{not json") == "{not json"
    assert reason("") == ""


def test_a_redriven_run_goes_on_in_its_state_without_its_old_error() -> None:
    history = History().entered(0, "Process").failed(5, "States.TaskFailed", "no rows")
    history.add(6, "ExecutionFailed", "executionFailedEventDetails", error="States.TaskFailed", cause="no rows")
    history.add(60, "ExecutionRedriven", "executionRedrivenEventDetails", redriveCount=1)
    history.scheduled(61, "createProcessingJob", ProcessingJobName="p-1")
    progress = read(description(), history.events)
    assert (progress.error, progress.cause) == ("", "")
    [visit] = progress.visits
    assert (visit.state, visit.exited, visit.attempts) == ("Process", None, 1)
