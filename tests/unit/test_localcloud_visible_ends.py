"""Whoever sees that something has ended finds all that belongs to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from localcloud import hooks
from localcloud.durability import interrupted
from localcloud.fidelity import state_walk
from localcloud.jobs.platform import Live
from localcloud.sagemaker.experiments import COMPONENT
from localcloud.states import workflow
from localcloud.store import Store

from .localcloud_bench import SCOPE, Bench


def free(store: Store) -> bool:
    """Whether another thread could look at the records now."""

    def take() -> bool:
        if taken := store.lock.acquire(blocking=False):
            store.lock.release()
        return taken

    with ThreadPoolExecutor(1) as other:
        return other.submit(take).result()


def test_a_change_is_told_before_anybody_sees_it() -> None:
    """A server that says all is saved must know of every change that it has shown."""
    store = Store()
    told: list[bool] = []
    store.on_change = lambda: told.append(free(store))
    with store.changing({}):
        pass
    assert told == [False]


class Watched:
    """A lock that looks around each time before it lets others in."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._lock = threading.RLock()
        self._look = look
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._look()
        self._lock.release()


def test_a_jobs_trial_component_ends_with_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    store = bench.sagemaker.platform.store
    seen: set[tuple[str, str]] = set()

    def look() -> None:
        for job in store.table(SCOPE, "processing-job").values():
            component = store.table(SCOPE, COMPONENT.kind)["job-aws-processing-job"]
            seen.add((job["ProcessingJobStatus"], component.get("Status", {}).get("PrimaryStatus", "")))

    store.lock = Watched(look)  # type: ignore[assignment]
    bench.process()
    assert bench.ended(kind="Processing")["ProcessingJobStatus"] == "Completed"
    assert ("Completed", "Completed") in seen
    assert ("Completed", "InProgress") not in seen


def test_a_job_that_is_stopped_before_it_has_a_thread_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.runtime.act = lambda spec, say: None  # runs until it is stopped
    platform = bench.sagemaker.platform
    launch = platform.launch

    def late(*arguments: Any) -> Live:
        bench.call("StopTrainingJob", TrainingJobName="job")
        return launch(*arguments)

    monkeypatch.setattr(platform, "launch", late)
    bench.train()
    assert bench.ended()["TrainingJobStatus"] == "Stopped"


def test_the_last_event_of_an_execution_is_there_before_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    fakes = {
        "states.event": lambda execution, kind, _details: seen.append((kind, execution["status"])),
        "states.status_event": lambda execution: seen.append(("status event", execution["status"])),
    }
    monkeypatch.setattr(hooks, "get", fakes.__getitem__)
    execution = {"executionArn": "arn", "status": "RUNNING"}
    assert workflow.close(execution, "FAILED", error="Wrong", cause="It was.")
    assert seen == [("ExecutionFailed", "RUNNING"), ("status event", "FAILED")]
    assert (execution["error"], execution["cause"]) == ("Wrong", "It was.")


def test_a_thread_that_comes_after_a_redrive_runs_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    execution: dict[str, Any] = {"executionArn": "arn", "stateMachineArn": "machine", "name": "name"}
    execution |= {"status": "RUNNING", "startDate": workflow.now(), "input": "{}", "events": []}
    runs: list[int] = []

    def run_states(_states: Any, walk: workflow.Walk, _context: Any) -> None:
        runs.append(walk.redrives)
        if len(runs) == 1:  # it was stopped and redriven, and the thread of its start comes now
            state_walk.run("arn")
        execution.update(status="ABORTED", redriveCount=1)
        raise workflow.Abandoned

    fakes = {"states.executions": {"arn": execution}, "states.machines": {}, "states.error": ValueError}
    monkeypatch.setattr(hooks, "get", fakes.__getitem__)
    monkeypatch.setattr(workflow, "pin", lambda _execution: None)
    monkeypatch.setattr(workflow, "definition", lambda _execution: {"StartAt": "One", "States": {}})
    monkeypatch.setattr(state_walk, "run_states", run_states)
    state_walk.run("arn")
    assert runs == [0]
    execution["status"] = "RUNNING"
    state_walk.run("arn")
    assert runs == [0, 1], "the redrive's own"


def test_an_end_is_told_as_it_was_although_the_execution_is_redriven_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    execution: dict[str, Any] = {"executionArn": "arn", "status": "RUNNING"}
    told: list[tuple[str, int]] = []

    def tell(ended: dict[str, Any]) -> None:
        execution.update(status="RUNNING", redriveCount=1)
        told.append((ended["status"], ended.get("redriveCount", 0)))

    monkeypatch.setattr(hooks, "get", {"states.event": lambda *_: None, "states.status_event": tell}.__getitem__)
    assert workflow.close(execution, "FAILED", error="Wrong")
    assert told == [("FAILED", 0)]
    assert not workflow.close(execution, "ABORTED", redrives=0), "the first run is over; this is the second's"
    assert execution["status"] == "RUNNING"


def test_the_event_of_a_stack_that_was_cut_off_is_there_before_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = {"StackName": "it", "StackId": "arn", "StackStatus": "CREATE_IN_PROGRESS"}
    seen: list[tuple[str, str]] = []

    def event(_arn: str, _stack: str, _name: str, _kind: str, status: str, _why: str, **_more: str) -> None:
        seen.append((status, stack["StackStatus"]))

    monkeypatch.setattr(hooks, "get", {"cloudformation.event": event}.__getitem__)
    interrupted._end_stack(stack)
    assert seen == [("CREATE_FAILED", "CREATE_IN_PROGRESS")]
    assert stack["StackStatus"] == "CREATE_FAILED"
