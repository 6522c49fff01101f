"""A nested execution that is waited for is one like any other, and is stopped when its caller's task is.

docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html (startExecution.sync and .sync:2). MiniStack
runs it inside its caller's task, without status events, and its failure takes the error's name along; AWS calls it
States.TaskFailed, with the execution's description as the cause.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from localcloud import hooks
from localcloud.states import workflow


def install() -> None:
    """Start it, and wait for its end."""
    hooks.replace("states.nested", lambda _original: _run)


def _run(resource: str, input_data: Any) -> workflow.Json:
    status, _headers, body = hooks.get("states.start")(hooks.get("states.nested_request")(input_data))
    answer = json.loads(body)
    if status != 200:
        code = str(answer.get("__type", "AWSStepFunctions")).removesuffix("Exception")
        raise workflow.error(f"StepFunctions.{code}Exception", str(answer.get("message", "")))
    execution: workflow.Json = hooks.get("states.executions")[answer["executionArn"]]
    run = hooks.current_task() or hooks.TaskRun()
    run.submitted({"ExecutionArn": execution["executionArn"], "StartDate": _milliseconds(execution["startDate"])})
    either = threading.Event()
    run.ending.call(either.set)
    workflow.awaited(execution).call(either.set)
    either.wait()
    if execution["status"] == "RUNNING":
        workflow.close(execution, "ABORTED")
        raise workflow.Abandoned
    described = _described(execution)
    if execution["status"] != "SUCCEEDED":
        raise workflow.error("States.TaskFailed", json.dumps(described))
    if resource.endswith(".sync:2"):
        described.update(Input=json.loads(execution["input"]), Output=json.loads(execution["output"]))
    return described


def _described(execution: workflow.Json) -> workflow.Json:
    described = {
        "ExecutionArn": execution["executionArn"],
        "Input": execution["input"],
        "InputDetails": {"Included": True},
        "Name": execution["name"],
        "Output": execution["output"],
        "OutputDetails": {"Included": True} if execution["output"] is not None else None,
        "StartDate": _milliseconds(execution["startDate"]),
        "StateMachineArn": execution["stateMachineArn"],
        "Status": execution["status"],
        "StopDate": _milliseconds(execution["stopDate"]),
        "Error": execution.get("error"),
        "Cause": execution.get("cause"),
        "RedriveCount": execution.get("redriveCount", 0),
    }
    return {name: value for name, value in described.items() if value is not None}


def _milliseconds(stamp: str) -> int:
    return int(workflow.moment(stamp).timestamp() * 1000)
