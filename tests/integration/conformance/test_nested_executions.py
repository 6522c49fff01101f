"""localcloud.fidelity.nested_executions."""

import json
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for

from .steps import Json, closed, first_message, machine, rule, run

GOOD = {"Say": {"Type": "Pass", "Output": {"said": "{% $states.input.word %}"}, "End": True}}
BAD = {"Bad": {"Type": "Fail", "Error": "Bad", "Cause": "so"}}
HOLD = {"Hold": {"Type": "Wait", "Seconds": 600, "End": True}}


def nested(arn: str, suffix: str = ".sync:2", **more: Any) -> Json:
    resource = f"arn:aws:states:::states:startExecution{suffix}"
    arguments = {"StateMachineArn": arn, "Input": {"word": "hello"}}
    return {"Task": {"Type": "Task", "Resource": resource, "Arguments": arguments, "End": True, **more}}


@pytest.mark.parametrize("suffix", [".sync", ".sync:2"])
def test_output_is_text_or_json(localcloud: Cloud, suffix: str) -> None:
    execution = run(localcloud, nested(machine(localcloud, GOOD, "Say"), suffix))
    assert execution["status"] == "SUCCEEDED", execution.get("cause")
    output = json.loads(execution["output"])["Output"]
    assert (output if suffix == ".sync:2" else json.loads(output)) == {"said": "hello"}


def test_failure_is_a_failed_task_with_the_description(localcloud: Cloud) -> None:
    bad = machine(localcloud, BAD, "Bad")
    url = rule(localcloud, {"source": ["aws.states"], "detail": {"status": ["FAILED"], "stateMachineArn": [bad]}})
    execution = run(localcloud, nested(bad))
    assert (execution["status"], execution["error"]) == ("FAILED", "States.TaskFailed")
    cause = json.loads(execution["cause"])
    assert (cause["Status"], cause["Error"], cause["Cause"]) == ("FAILED", "Bad", "so")
    assert first_message(localcloud, url)["detail"]["executionArn"] == cause["ExecutionArn"]


@pytest.mark.parametrize("how", ["stop", "timeout"])
def test_it_is_stopped_with_its_caller(localcloud: Cloud, how: str) -> None:
    client, held = localcloud.client("stepfunctions"), machine(localcloud, HOLD, "Hold")
    limit = {"TimeoutSeconds": 1} if how == "timeout" else {}
    caller = client.start_execution(stateMachineArn=machine(localcloud, nested(held, **limit)))["executionArn"]
    inner: str = wait_for(lambda: client.list_executions(stateMachineArn=held)["executions"])[0]["executionArn"]
    if how == "stop":
        client.stop_execution(executionArn=caller)
    assert closed(localcloud, inner)["status"] == "ABORTED"
    assert closed(localcloud, caller)["status"] == ("ABORTED" if how == "stop" else "FAILED")
