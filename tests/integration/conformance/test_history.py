"""localcloud.fidelity.history."""

from localcloud.testing import Cloud

from .steps import Json, closed, events_of, machine, run


def test_each_event_names_the_one_before_it(localcloud: Cloud) -> None:
    states = {"One": {"Type": "Pass", "Next": "Two"}, "Two": {"Type": "Succeed"}}
    events = events_of(localcloud, run(localcloud, states, "One")["executionArn"])
    assert [(event["id"], event["previousEventId"]) for event in events] == [
        (1, 0),
        (2, 0),
        (3, 2),
        (4, 3),
        (5, 4),
        (6, 5),
    ]


def test_parallel_branches_have_paths_of_their_own_and_no_number_twice(localcloud: Cloud) -> None:
    def branch(name: str) -> Json:
        steps = {f"{name}{number}": {"Type": "Pass", "Next": f"{name}{number + 1}"} for number in range(9)}
        return {"StartAt": f"{name}0", "States": {**steps, f"{name}9": {"Type": "Pass", "End": True}}}

    names = [chr(ord("A") + number) for number in range(8)]
    states = {"All": {"Type": "Parallel", "Branches": [branch(name) for name in names], "End": True}}
    events = events_of(localcloud, run(localcloud, states, "All")["executionArn"])
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    started = next(event["id"] for event in events if event["type"] == "ParallelStateStarted")
    entered = {
        event["stateEnteredEventDetails"]["name"]: event for event in events if event["type"] == "PassStateEntered"
    }
    exited = {event["stateExitedEventDetails"]["name"]: event for event in events if event["type"] == "PassStateExited"}
    for name in names:
        assert entered[f"{name}0"]["previousEventId"] == started
        assert entered[f"{name}5"]["previousEventId"] == exited[f"{name}4"]["id"]


def test_nothing_follows_the_end(localcloud: Cloud) -> None:
    fail = {"StartAt": "Bad", "States": {"Bad": {"Type": "Fail", "Error": "Bad"}}}
    busy = {
        "StartAt": "A",
        "States": {"A": {"Type": "Wait", "Seconds": 1, "Next": "B"}, "B": {"Type": "Pass", "End": True}},
    }
    arn = machine(localcloud, {"Both": {"Type": "Parallel", "Branches": [fail, busy], "End": True}}, "Both")
    client = localcloud.client("stepfunctions")
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    closed(localcloud, execution)
    pause = {"Wait": {"Type": "Wait", "Seconds": 2, "End": True}}
    run(localcloud, pause, "Wait")
    assert events_of(localcloud, execution)[-1]["type"] == "ExecutionFailed"
