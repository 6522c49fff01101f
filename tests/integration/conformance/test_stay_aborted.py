"""localcloud.fidelity.stay_aborted."""

import time

from localcloud.testing import Cloud

from .steps import events_of, function, machine, messages, rule, run

# It fails a second after it was called: long after nobody waits for it any more.
SOURCE = """
import time

def handler(event, context):
    time.sleep(1)
    raise ValueError("too late")
"""


def test_stopped_execution_stays_aborted_when_its_task_fails_later(localcloud: Cloud) -> None:
    states = localcloud.client("stepfunctions")
    late = function(localcloud, SOURCE)["FunctionName"]
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": {"FunctionName": late}}
    arn = machine(localcloud, {"Task": {**task, "End": True}})
    told = rule(localcloud, {"source": ["aws.states"], "detail": {"stateMachineArn": [arn]}})
    execution = states.start_execution(stateMachineArn=arn)["executionArn"]
    time.sleep(0.3)
    states.stop_execution(executionArn=execution, cause="enough")
    time.sleep(3)

    described = states.describe_execution(executionArn=execution)
    assert (described["status"], described["cause"]) == ("ABORTED", "enough")
    assert "output" not in described
    assert events_of(localcloud, execution)[-1]["type"] == "ExecutionAborted"
    assert [event["detail"]["status"] for event in messages(localcloud, told)].count("FAILED") == 0


def test_failed_execution_has_error_and_cause_but_no_output(localcloud: Cloud) -> None:
    states = {"Task": {"Type": "Fail", "Error": "Broken", "Cause": "on purpose"}}
    described = run(localcloud, states)
    assert (described["status"], described["error"], described["cause"]) == ("FAILED", "Broken", "on purpose")
    assert "output" not in described
