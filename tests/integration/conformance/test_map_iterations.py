"""localcloud.fidelity.map_iterations."""

import json

from localcloud.testing import Cloud

from .steps import Json, events_of, run

DOUBLE = {"StartAt": "Double", "States": {"Double": {"Type": "Pass", "Output": "{% $states.input * 2 %}", "End": True}}}


def test_iterations_are_told_with_their_index(localcloud: Cloud) -> None:
    execution = run(localcloud, {"Each": {"Type": "Map", "ItemProcessor": DOUBLE, "End": True}}, "Each", [1, 2, 3])
    assert json.loads(execution["output"]) == [2, 4, 6]
    events = events_of(localcloud, execution["executionArn"])
    started = [event["mapIterationStartedEventDetails"] for event in events if event["type"] == "MapIterationStarted"]
    assert sorted(details["index"] for details in started) == [0, 1, 2]
    assert {details["name"] for details in started} == {"Each"}
    length = next(event for event in events if event["type"] == "MapStateStarted")["mapStateStartedEventDetails"]
    assert length == {"length": 3}
    assert [event["type"] for event in events].count("MapIterationSucceeded") == 3


def test_first_failure_ends_the_others(localcloud: Cloud) -> None:
    inner: Json = {
        "StartAt": "Which",
        "States": {
            "Which": {
                "Type": "Choice",
                "Choices": [{"Condition": "{% $states.input = 1 %}", "Next": "Bad"}],
                "Default": "Long",
            },
            "Bad": {"Type": "Fail", "Error": "Bad", "Cause": "so"},
            "Long": {"Type": "Wait", "Seconds": 600, "End": True},
        },
    }
    execution = run(localcloud, {"Each": {"Type": "Map", "ItemProcessor": inner, "End": True}}, "Each", [0, 1, 2])
    assert (execution["status"], execution["error"], execution["cause"]) == ("FAILED", "Bad", "so")
    told = [event["type"] for event in events_of(localcloud, execution["executionArn"])]
    assert told.count("MapIterationFailed") == told.count("MapStateFailed") == 1
    assert told.count("WaitStateAborted") <= told.count("MapIterationAborted") <= 2
    assert told[-2:] == ["MapStateFailed", "ExecutionFailed"]


def test_many_items_run_forty_at_a_time(localcloud: Cloud) -> None:
    # The first forty stay until all of them have started, however busy the machine is.
    hold = {"Type": "Wait", "Seconds": "{% $states.input > 40 ? 1 : 8 %}", "End": True}
    inner = {"StartAt": "Hold", "States": {"Hold": hold}}
    each = {"Type": "Map", "Items": "{% [1..60] %}", "ItemProcessor": inner, "Output": "{% $count($states.result) %}"}
    execution = run(localcloud, {"Each": {**each, "End": True}}, "Each")
    assert execution["output"] == "60"
    running = most = 0
    for event in events_of(localcloud, execution["executionArn"]):
        running += {"MapIterationStarted": 1, "MapIterationSucceeded": -1}.get(event["type"], 0)
        most = max(most, running)
    assert 30 <= most <= 40
