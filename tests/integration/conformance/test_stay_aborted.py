"""localcloud.fidelity.stay_aborted."""

import time
from pathlib import Path

from localcloud.testing import Cloud, wait_for

from .measures import becomes
from .steps import events_of, function, machine, messages, rule, run

# It fails when it is told to: when nobody waits for it any more.
SOURCE = """
import pathlib, time

def handler(event, context):
    folder = pathlib.Path(event["folder"])
    (folder / "called").touch()
    while not (folder / "fail").exists():
        time.sleep(0.1)
    raise ValueError("too late")
"""


def test_stopped_execution_stays_aborted_when_its_task_fails_later(localcloud: Cloud, tmp_path: Path) -> None:
    states = localcloud.client("stepfunctions")
    late = function(localcloud, SOURCE, Timeout=600)["FunctionName"]
    arguments = {"FunctionName": late, "Payload": {"folder": str(tmp_path)}}
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": arguments}
    arn = machine(localcloud, {"Task": {**task, "End": True}})
    told = rule(localcloud, {"source": ["aws.states"], "detail": {"stateMachineArn": [arn]}})
    execution = states.start_execution(stateMachineArn=arn)["executionArn"]
    wait_for(lambda: (tmp_path / "called").exists())
    states.stop_execution(executionArn=execution, cause="enough")
    (tmp_path / "fail").touch()
    becomes(localcloud, 1, "AWS/Lambda", "Errors", {"FunctionName": late})
    time.sleep(1)  # so that it would be seen; nothing is to happen

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
