"""localcloud.fidelity.history_limit."""

from localcloud.testing import Cloud

from .steps import closed, machine


def test_history_ends_at_25000_events(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    turn = {"Type": "Choice", "Choices": [{"Condition": "{% false %}", "Next": "End"}], "Default": "Turn"}
    arn = machine(localcloud, {"Turn": turn, "End": {"Type": "Succeed"}}, "Turn")
    execution = closed(localcloud, client.start_execution(stateMachineArn=arn)["executionArn"], 300)
    assert (execution["status"], execution["error"]) == ("FAILED", "States.Runtime")
    assert "25000" in execution["cause"]
    last = client.get_execution_history(executionArn=execution["executionArn"], reverseOrder=True, maxResults=1)
    [event] = last["events"]
    assert (event["id"], event["type"]) == (25_000, "ExecutionFailed")
    assert execution["redriveStatusReason"] == "Execution history event limit exceeded"
