"""The pure parts of localcloud's Step Functions: delays, matching, limits, log lines, definitions, endings."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from localcloud import hooks
from localcloud.fidelity import definitions, error_matching, execution_logs, payload_limit, redrive, retries
from localcloud.fidelity.yaml_definitions import as_json
from localcloud.states import endings, workflow
from localcloud.states.endings import Ending, Timers

# --- Retry ---


@pytest.mark.parametrize(
    ("retrier", "delays"),
    [
        ({}, [1, 2, 4, 8]),
        ({"IntervalSeconds": 30, "BackoffRate": 2}, [30, 60, 120, 240]),
        ({"IntervalSeconds": 3, "BackoffRate": 1.5, "MaxDelaySeconds": 5}, [3, 4.5, 5, 5]),
        ({"IntervalSeconds": 5, "BackoffRate": 1, "JitterStrategy": "NONE"}, [5, 5, 5, 5]),
    ],
)
def test_delay_grows_by_its_rate_up_to_its_maximum(retrier: dict[str, Any], delays: list[float]) -> None:
    assert [retries.delay(retrier, number) for number in range(4)] == delays


def test_full_jitter_draws_between_nothing_and_the_delay() -> None:
    drawn: list[tuple[float, float]] = []

    def rand(low: float, high: float) -> float:
        drawn.append((low, high))
        return high / 2

    retrier = {"IntervalSeconds": 10, "MaxDelaySeconds": 25, "JitterStrategy": "FULL"}
    assert [retries.delay(retrier, number, rand) for number in range(3)] == [5, 10, 12.5]
    assert drawn == [(0, 10), (0, 20), (0, 25)]


def test_delay_that_grows_beyond_all_bounds_is_still_a_number() -> None:
    assert retries.delay({"BackoffRate": 10}, 100_000) == retries.LONGEST
    assert retries.delay({"BackoffRate": 10, "MaxDelaySeconds": 7}, 100_000) == 7


# --- error names ---


@pytest.mark.parametrize(
    ("names", "error", "expected"),
    [
        (["States.ALL"], "Own", True),
        (["Own"], "Own", True),
        (["Other"], "Own", False),
        (["States.TaskFailed"], "Own", True),
        (["States.TaskFailed"], "States.Timeout", False),
        (["States.TaskFailed"], "States.HeartbeatTimeout", False),
        (["States.Timeout"], "States.HeartbeatTimeout", True),
        (["States.HeartbeatTimeout"], "States.Timeout", False),
        (["States.ALL"], "States.DataLimitExceeded", False),
        (["States.TaskFailed"], "States.DataLimitExceeded", False),
        (["States.DataLimitExceeded"], "States.DataLimitExceeded", True),
        (["States.ALL"], "States.Runtime", False),
        (["States.Runtime"], "States.Runtime", False),
    ],
)
def test_errors_are_matched_as_documented(names: list[str], error: str, expected: bool) -> None:
    assert error_matching.matches(names, error) is expected


# --- limits ---


@pytest.mark.parametrize(("value", "size"), [("", 2), ("ü", 4), ({"a": [1, 2]}, 11), ("\ud800", 5), (None, 4)])
def test_size_is_that_of_compact_json_in_utf_8(value: Any, size: int) -> None:
    assert payload_limit.size(value) == size


# --- redrive ---


def execution(status: str = "FAILED", ended: timedelta = timedelta(), **more: Any) -> dict[str, Any]:
    def stamp(ago: timedelta) -> str:
        return (datetime.now(UTC) - ago).isoformat()

    return {"status": status, "events": [], "startDate": stamp(ended), "stopDate": stamp(ended), **more}


def test_executions_can_be_redriven_for_fourteen_days() -> None:
    for status in ("FAILED", "TIMED_OUT", "ABORTED"):
        assert redrive.why_not(execution(status)) is None
    assert redrive.why_not(execution(ended=timedelta(days=13, hours=23))) is None
    assert redrive.why_not(execution(ended=timedelta(days=14, minutes=1))) == "Execution redrivable period exceeded"
    long = execution(startDate=(datetime.now(UTC) - timedelta(days=366)).isoformat())
    assert redrive.why_not(long) == "Execution has exceeded the max execution time"
    assert redrive.why_not(execution(events=[{}] * 24_998)) is None
    assert redrive.why_not(execution(events=[{}] * 24_999)) == "Execution history event limit exceeded"
    assert redrive.why_not(execution("SUCCEEDED")) == "Execution is SUCCEEDED and cannot be redriven"
    assert redrive.why_not(execution("RUNNING")) == "Execution is RUNNING and cannot be redriven"


# --- logs ---


@pytest.mark.parametrize(
    ("level", "taken"),
    [
        ("ALL", ["ExecutionStarted", "TaskFailed", "ExecutionFailed"]),
        ("ERROR", ["TaskFailed", "ExecutionFailed"]),
        ("FATAL", ["ExecutionFailed"]),
        ("OFF", []),
    ],
)
def test_levels_take_what_aws_says(level: str, taken: list[str]) -> None:
    told = ["ExecutionStarted", "TaskFailed", "ExecutionFailed"]
    assert [event for event in told if execution_logs.level_has(level, event)] == taken


def test_payload_that_is_too_large_for_a_log_event_is_called_truncated() -> None:
    details = {"name": "n", "input": "x" * 300_000, "inputDetails": {"truncated": False}}
    event = {
        "id": 2,
        "previousEventId": 0,
        "type": "PassStateEntered",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "stateEnteredEventDetails": details,
    }
    line = json.loads(execution_logs.line({"executionArn": "a", "redriveCount": 3}, event, with_data=True))
    assert line == {
        "id": "2",
        "type": "PassStateEntered",
        "details": {"name": "n", "inputDetails": {"truncated": True}},
        "previous_event_id": "0",
        "event_timestamp": "1767323045678",
        "execution_arn": "a",
        "redrive_count": "3",
    }
    assert details["input"]  # the history keeps it


# --- definitions ---


def faults(**states: Any) -> list[str]:
    definition = {"StartAt": next(iter(states)), "States": states}
    return [f"{fault.code} {fault.location}" for fault in definitions.faults(json.dumps(definition))]


def test_definition_without_a_fault_has_none() -> None:
    assert (
        faults(
            Choose={"Type": "Choice", "Choices": [{"Condition": True, "Next": "Work"}], "Default": "Stop"},
            Work={
                "Type": "Task",
                "Resource": "r",
                "Retry": [{"ErrorEquals": ["A", "B"]}, {"ErrorEquals": ["States.ALL"]}],
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Stop"}],
                "End": True,
            },
            Stop={"Type": "Fail"},
        )
        == []
    )


@pytest.mark.parametrize(
    ("handlers", "where"),
    [
        ({"Retry": [{}]}, "/States/Work/Retry/0"),
        ({"Retry": [{"ErrorEquals": ["States.ALL", "A"]}]}, "/States/Work/Retry/0/ErrorEquals"),
        ({"Retry": [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["A"]}]}, "/States/Work/Retry/0/ErrorEquals"),
        ({"Catch": [{"ErrorEquals": ["A"]}]}, "/States/Work/Catch/0"),
        ({"TimeoutSeconds": 0}, "/States/Work/TimeoutSeconds"),
        ({"HeartbeatSeconds": 1.5}, "/States/Work/HeartbeatSeconds"),
    ],
)
def test_faults_of_a_task_are_located(handlers: dict[str, Any], where: str) -> None:
    assert faults(Work={"Type": "Task", "Resource": "r", "End": True, **handlers}) == [
        f"SCHEMA_VALIDATION_FAILED {where}"
    ]


def test_yaml_becomes_json_and_json_stays() -> None:
    assert json.loads(as_json("StartAt: A\nStates: {A: {Type: Succeed}}")) == {
        "StartAt": "A",
        "States": {"A": {"Type": "Succeed"}},
    }
    assert as_json('{"StartAt":  "A"}') == '{"StartAt":  "A"}'
    assert as_json("{a: [") == "{a: ["


# --- endings ---


def test_what_belongs_to_something_ends_with_it() -> None:
    above = Ending()
    below, other = Ending(above), Ending(above)
    called: list[str] = []
    below.call(lambda: called.append("below"))
    take_back = below.call(lambda: called.append("taken back"))
    take_back()
    other.close()
    above.end()
    above.end()
    assert (below.ended, other.ended, called) == (True, False, ["below"])
    below.call(lambda: called.append("late"))
    assert called == ["below", "late"]
    assert below.wait(60) is True
    assert other.wait(0.01) is False


def test_what_begins_below_an_end_has_ended() -> None:
    above = Ending()
    above.end()
    below = Ending(above)
    assert below.ended
    below.close()


def test_action_that_fails_keeps_no_other_from_being_called() -> None:
    ending, called = Ending(), threading.Event()
    ending.call(lambda: 1 / 0)
    ending.call(called.set)
    ending.end()
    assert called.is_set()


def test_timers_call_in_order_and_what_was_taken_back_never(monkeypatch: pytest.MonkeyPatch) -> None:
    timers, ready, done = Timers(), threading.Event(), threading.Event()
    called: list[str] = []

    def hold() -> None:
        ready.wait(60)

    timers.after(0, hold)  # the others are all set, at one instant, before any of them is called
    now = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(endings, "time", SimpleNamespace(monotonic=lambda: now))
        timers.after(0.2, lambda: called.append("second"))
        timers.after(0.05, lambda: called.append("first"))
        timers.after(0.1, lambda: called.append("never"))()
        timers.after(0.4, done.set)
    ready.set()
    assert done.wait(60)
    assert called == ["first", "second"]
    again = threading.Event()
    timers.after(0.01, again.set)  # its thread had nothing left to do, and comes back
    assert again.wait(60)


# --- an execution's end ---


def test_whoever_sees_an_execution_closed_sees_its_whole_history(monkeypatch: pytest.MonkeyPatch) -> None:
    execution: dict[str, Any] = {"executionArn": "arn", "status": "RUNNING", "stopDate": None, "events": []}
    execution["startDate"] = workflow.now()
    writing, go_on = threading.Event(), threading.Event()

    def add(given: dict[str, Any], kind: str, _details: Any) -> None:
        writing.set()
        go_on.wait(60)
        given["events"].append(kind)

    known = {"states.event": add, "states.status_event": lambda _: None, "states.executions": {"arn": execution}}
    monkeypatch.setattr(hooks, "get", known.__getitem__)
    describe = redrive._make_describe(lambda _: (200, {}, json.dumps({"status": execution["status"]}).encode()))
    seen: list[Any] = []

    def look() -> None:
        status = json.loads(describe({"executionArn": "arn"})[2])["status"]
        seen.append((status, list(execution["events"])))

    closing = threading.Thread(target=workflow.close, args=(execution, "SUCCEEDED"), kwargs={"output": "{}"})
    closing.start()
    assert writing.wait(60)
    looking = threading.Thread(target=look)
    looking.start()
    looking.join(0.1)  # so that it looks while the last event is written; later it sees the same
    go_on.set()
    looking.join(60)
    closing.join(60)
    assert seen == [("SUCCEEDED", ["ExecutionSucceeded"])]


# --- branches ---


def walk() -> workflow.Walk:
    return workflow.Walk({"status": "RUNNING", "events": []}, workflow.place_at("All", None, {}), Ending())


def places(count: int, *done: int) -> list[dict[str, Any]]:
    made = [workflow.place_at("One", number, {}) for number in range(count)]
    for number in done:
        made[number]["done"] = True
    return made


def test_what_is_done_is_left_out_and_no_more_run_than_may() -> None:
    ran: list[int] = []
    at_once, most, lock, met = 0, 0, threading.Lock(), threading.Event()

    def run(number: int, own: workflow.Walk) -> None:
        nonlocal at_once, most
        assert workflow.current() is own
        with lock:
            at_once += 1
            most = max(most, at_once)
            if most == 2:
                met.set()
        met.wait(60)  # the first two, however slowly their threads start
        own.ending.wait(0.02)
        with lock:
            at_once -= 1
            ran.append(number)

    workflow.side_by_side(walk(), places(10, 3, 7), 2, run)
    assert sorted(ran) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert most == 2


def test_first_failure_ends_the_others() -> None:
    started, ended = threading.Event(), threading.Event()

    def run(number: int, own: workflow.Walk) -> None:
        if number == 0:
            started.wait(60)
            raise ValueError("first")
        started.set()
        if own.ending.wait(60):
            ended.set()
            raise workflow.Abandoned

    with pytest.raises(ValueError, match="first"):
        workflow.side_by_side(walk(), places(2), 2, run)
    assert ended.wait(60)


def test_ended_walk_ends_its_branches_and_raises_abandoned() -> None:
    above = walk()

    def run(_number: int, own: workflow.Walk) -> None:
        above.ending.end()
        own.ending.wait(60)

    with pytest.raises(workflow.Abandoned):
        workflow.side_by_side(above, places(3), 3, run)


def test_nothing_to_do_is_done_at_once() -> None:
    workflow.side_by_side(walk(), [], 40, lambda _number, _own: None)
    workflow.side_by_side(walk(), places(2, 0, 1), 40, lambda _number, _own: pytest.fail("it was done"))
