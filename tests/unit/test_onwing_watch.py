"""Following an execution: what is asked of AWS, what changed, how it looks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from onwing import jobs, watch, watch_view
from onwing.console import Output
from onwing.errors import WaitedTooLong
from onwing.jobs import JobFacts, LogLine, LogTail, Trial
from onwing.progress import read
from onwing.watch import Snapshot, Watcher, changes, document, follow

from .onwing_fakes import EXECUTION, FakeClient, at, client_error, description, target_with, training_history

PROCESSING = "onwing-FD001-ab-process-00"
TUNING = "onwing-FD001-ab-00"


def trial(number: int, status: str = "Completed", objective: float | None = 15.25) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "TrainingJobName": f"{TUNING}-{number:03d}",
        "TrainingJobStatus": status,
        "TunedHyperParameters": {"lstm_units_1": "48", "learning_rate": "0.00123456789"},
        "TrainingStartTime": at(12),
    }
    if objective is not None:
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": "val:rmse", "Value": objective}
        summary["TrainingEndTime"] = at(40)
    return summary


def sagemaker(tuning_status: str = "InProgress") -> FakeClient:
    return FakeClient(
        describe_processing_job={
            "ProcessingJobStatus": "Completed",
            "ProcessingStartTime": at(4),
            "ProcessingEndTime": at(9),
        },
        describe_hyper_parameter_tuning_job={
            "HyperParameterTuningJobStatus": tuning_status,
            "CreationTime": at(10),
        },
        list_training_jobs_for_hyper_parameter_tuning_job={
            "TrainingJobSummaries": [trial(1), trial(2, objective=14.5), trial(3, "InProgress", None)]
        },
    )


def stepfunctions(**more: Any) -> FakeClient:
    return FakeClient(
        describe_execution=description(**more), get_execution_history={"events": training_history().events}
    )


def snapshot(**more: Any) -> Snapshot:
    return Watcher(target_with(stepfunctions=stepfunctions(**more), sagemaker=sagemaker()), EXECUTION).look()


def test_a_look_brings_states_jobs_and_trials() -> None:
    seen = snapshot()
    assert [(job.kind, job.status) for job in seen.jobs] == [("processing", "Completed"), ("tuning", "InProgress")]
    assert [(item.status, item.objective) for item in seen.trials] == [
        ("Completed", 15.25),
        ("Completed", 14.5),
        ("InProgress", None),
    ]
    best = jobs.best(seen.trials)
    assert best is not None
    assert best.objective == 14.5


def test_what_has_ended_is_not_asked_for_again() -> None:
    client = sagemaker(tuning_status="Completed")
    watcher = Watcher(target_with(stepfunctions=stepfunctions(), sagemaker=client), EXECUTION)
    watcher.look()
    watcher.look()
    assert len(client.called("describe_processing_job")) == 1
    assert len(client.called("list_training_jobs_for_hyper_parameter_tuning_job")) == 1


def test_a_job_that_was_refused_is_left_out() -> None:
    client = sagemaker()
    client.answers["describe_processing_job"] = client_error("ValidationException", "Could not find job")
    seen = Watcher(target_with(stepfunctions=stepfunctions(), sagemaker=client), EXECUTION).look()
    assert [job.kind for job in seen.jobs] == ["tuning"]


def test_following_ends_with_the_execution() -> None:
    answers = iter([description(), description(), description("SUCCEEDED", 50, output='{"outcome":"registered"}')])
    client = FakeClient(
        describe_execution=lambda **_: next(answers), get_execution_history={"events": training_history().events}
    )
    slept: list[float] = []
    watcher = Watcher(target_with(stepfunctions=client, sagemaker=sagemaker()), EXECUTION)
    seen = list(follow(watcher, interval=2, sleep=slept.append))
    assert [item.progress.status for item in seen] == ["RUNNING", "RUNNING", "SUCCEEDED"]
    assert slept == [2, 2]


def test_following_no_longer_than_told_says_that_the_run_goes_on() -> None:
    watcher = Watcher(target_with(stepfunctions=stepfunctions(), sagemaker=sagemaker()), EXECUTION)
    seen = follow(watcher, interval=1, timeout=0, sleep=lambda _: None)
    next(seen)
    with pytest.raises(WaitedTooLong) as caught:
        next(seen)
    assert "onwing watch FD001-0123456789ab-1" in caught.value.todo


def test_only_what_is_new_is_told() -> None:
    before, now = snapshot(), snapshot(status="SUCCEEDED", stopped=50, output='{"outcome":"registered"}')
    first = [(change.event, change.facts.get("state")) for change in changes(None, before)]
    assert ("entered", "Tune") in first
    assert ("exited", "Process") in first
    assert ("exited", "Tune") not in first
    assert changes(before, before) == []
    assert [change.event for change in changes(before, now)] == ["exited", "ended"]


def test_a_log_line_per_change_reads_well() -> None:
    lines = [plain(watch_view.line(change)) for change in changes(None, snapshot())]
    assert next(n for n, line in enumerate(lines) if "✓ Settle" in line) < lines.index(next(filter(is_tune, lines)))
    assert any("▶ Tune" in line for line in lines)
    assert any("✓ Process  7.0 s" in line for line in lines)
    assert not any("Prepare" in line for line in lines), "what takes no time is left out"
    assert any(f"processing job {PROCESSING}  Completed" in line for line in lines)
    assert any("objective 14.500  learning_rate=0.00123 lstm_units_1=48" in line for line in lines)


def is_tune(line: str) -> bool:
    return "▶ Tune" in line


def plain(markup: str) -> str:
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(markup, soft_wrap=True)
    return console.export_text().rstrip("\n")


def test_the_page_shows_states_jobs_and_the_best_trial() -> None:
    console = Console(file=io.StringIO(), width=140, record=True)
    for part in watch_view.Page(snapshot(), [LogLine("job", 0, "epoch 1 [bold]")]).parts(at(60)):
        console.print(part)
    text = console.export_text()
    assert "FD001-0123456789ab-1" in text
    assert "Prepare" not in text, "states that take no time are left out"
    assert "50 s" in text, "how long the tuning state has been going on"
    best = next(line for line in text.splitlines() if "14.500" in line)
    assert best.startswith("★")
    assert "epoch 1 [bold]" in text, "what a job writes is not markup"


def test_what_a_failed_run_says_is_shown_with_what_to_do() -> None:
    failed = read(
        description("FAILED", 20, error="States.TaskFailed", cause="Tune: no memory"), training_history().events
    )
    out = Output(console=Console(file=io.StringIO(), width=140, record=True))
    watch_view.conclude(out, failed)
    watch_view.advise(out, failed)
    text = out.console.export_text()
    assert "States.TaskFailed: Tune: no memory" in text
    assert "onwing train 0123456789ab --again" in text


def test_json_is_one_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    ended = snapshot(status="SUCCEEDED", stopped=50, output='{"outcome":"registered"}')
    watch_view.show(Output(as_json=True), iter([snapshot(), ended]))
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert events[0] == "entered"
    assert events[-1] == "ended"


def test_the_document_holds_everything() -> None:
    found = document(snapshot())
    assert found["states"][-1]["state"] == "Tune"
    assert len(found["trials"]) == 3
    assert found["outcome"] is None


def test_log_lines_come_once_and_in_order() -> None:
    pages: Iterator[Any] = iter(
        [
            client_error("ResourceNotFoundException"),
            {"events": [event(1, 5, "a"), event(2, 5, "b"), event(9, 5, "another job's", "job-2/x")]},
            {"events": [event(1, 5, "a"), event(2, 5, "b"), event(3, 5, "c"), event(4, 6, "d")]},
        ]
    )
    logs = FakeClient(filter_log_events=lambda **_: next(pages))
    tail = LogTail(target_with(logs=logs))
    read_lines = [[line.text for line in tail.new_lines("training", "job")] for _ in range(3)]
    assert read_lines == [[], ["a", "b"], ["c", "d"]]
    assert logs.calls[-1][1] == {
        "logGroupName": "/aws/sagemaker/TrainingJobs",
        "logStreamNamePrefix": "job/",
        "startTime": 5,
    }


def event(number: int, at_ms: int, text: str, stream: str = "job/algo-1") -> dict[str, Any]:
    return {"eventId": str(number), "timestamp": at_ms, "message": f"{text}\n", "logStreamName": stream}


def test_the_log_of_a_job_that_has_ended_is_read_once_more_and_then_left() -> None:
    logs = FakeClient(filter_log_events={"events": []})
    target = target_with(stepfunctions=stepfunctions(), sagemaker=sagemaker(), logs=logs)
    watcher = Watcher(target, EXECUTION, logs=True)
    watcher.look()
    watcher.look()
    names = [call["logStreamNamePrefix"] for call in logs.called("filter_log_events")]
    assert names.count(f"{PROCESSING}/") == 1
    assert names.count(f"{TUNING}-003/") == 2, "it still runs"


def test_the_best_trial_of_none_is_none() -> None:
    assert jobs.best([Trial("x", "Failed", None, {})]) is None
    assert watch.changes(None, Snapshot(read(description(), []), (JobFacts("training", "x", "InProgress"),)))
