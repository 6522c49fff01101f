"""localcloud.fidelity.state_walk."""

from localcloud.testing import Cloud

from .steps import events_of, run


def test_states_of_branches_and_iterations_are_in_the_history(localcloud: Cloud) -> None:
    inner = {"StartAt": "Inner", "States": {"Inner": {"Type": "Pass", "End": True}}}
    states = {
        "Both": {"Type": "Parallel", "Branches": [inner], "Next": "Each"},
        "Each": {"Type": "Map", "Items": [1, 2], "ItemProcessor": inner, "End": True},
    }
    told = [event["type"] for event in events_of(localcloud, run(localcloud, states, "Both")["executionArn"])]
    assert told.count("PassStateEntered") == told.count("PassStateExited") == 3
    assert told[:5] == [
        *("ExecutionStarted", "ParallelStateEntered", "ParallelStateStarted", "PassStateEntered", "PassStateExited"),
    ]
    assert told[5:7] == ["ParallelStateSucceeded", "ParallelStateExited"]


def test_exit_tells_the_variables_assigned(localcloud: Cloud) -> None:
    states = {"Set": {"Type": "Pass", "Assign": {"a": 1, "b": {"c": [2]}}, "Next": "End"}, "End": {"Type": "Succeed"}}
    events = events_of(localcloud, run(localcloud, states, "Set")["executionArn"])
    exited = next(event for event in events if event["type"] == "PassStateExited")["stateExitedEventDetails"]
    assert exited["assignedVariables"] == {"a": "1", "b": '{"c": [2]}'}


def test_variables_of_a_branch_stay_in_it(localcloud: Cloud) -> None:
    inner = {"StartAt": "In", "States": {"In": {"Type": "Pass", "Assign": {"inner": 1}, "End": True}}}
    states = {
        "Both": {"Type": "Parallel", "Branches": [inner, inner], "Next": "Look"},
        "Look": {"Type": "Pass", "Output": "{% $exists($inner) %}", "End": True},
    }
    assert run(localcloud, states, "Both")["output"] == "false"


def test_failed_evaluation_is_told_with_its_state(localcloud: Cloud) -> None:
    execution = run(localcloud, {"Bad": {"Type": "Pass", "Output": "{% $states.input.none %}", "End": True}}, "Bad")
    assert (execution["status"], execution["error"]) == ("FAILED", "States.QueryEvaluationError")
    failed = next(
        event for event in events_of(localcloud, execution["executionArn"]) if event["type"] == "EvaluationFailed"
    )
    assert failed["evaluationFailedEventDetails"]["state"] == "Bad"
