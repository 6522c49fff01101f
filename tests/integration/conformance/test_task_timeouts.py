"""localcloud.fidelity.task_timeouts."""

import json
import threading
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import ended, training, unique
from .steps import Json, closed, events_of, first_message, function, machine, queue, run

SLOW = "import time\ndef handler(event, context):\n    time.sleep(60)\n"


def waiting(url: str, **more: Any) -> Json:
    """A task that sends its token to a queue and waits for an answer."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Arguments": {"QueueUrl": url, "MessageBody": {"token": "{% $states.context.Task.Token %}"}},
        "End": True,
        **more,
    }


def types(cloud: Cloud, execution: Json) -> list[str]:
    return [event["type"] for event in events_of(cloud, execution["executionArn"])]


@pytest.mark.parametrize("limit", [1, "{% $states.input.seconds %}"])
def test_job_of_a_task_that_runs_out_of_time_is_stopped(localcloud: Cloud, bucket: str, limit: Any) -> None:
    name = unique("late")
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
        "Arguments": training(name, bucket, hyperparameters={"sleep": "600"}),
        "TimeoutSeconds": limit,
        "End": True,
    }
    execution = run(localcloud, {"Task": task}, value={"seconds": 1})
    assert (execution["status"], execution["error"]) == ("FAILED", "States.Timeout")
    assert types(localcloud, execution)[-2:] == ["TaskTimedOut", "ExecutionFailed"]
    assert ended(localcloud, "Training", name)["TrainingJobStatus"] == "Stopped"


def test_function_that_runs_out_of_time_is_abandoned(localcloud: Cloud) -> None:
    slow = function(localcloud, SLOW, Timeout=600)["FunctionArn"]
    task = {"Type": "Task", "Resource": slow, "TimeoutSecondsPath": "$.seconds", "End": True}
    execution = run(localcloud, {"Task": task}, value={"seconds": 1}, QueryLanguage="JSONPath")
    assert (execution["status"], execution["error"]) == ("FAILED", "States.Timeout")
    assert (execution["stopDate"] - execution["startDate"]).total_seconds() < 60
    told = types(localcloud, execution)
    assert told[2:5] == ["LambdaFunctionScheduled", "LambdaFunctionStarted", "LambdaFunctionTimedOut"]


def test_missed_heartbeat_is_a_timeout_of_its_own_name(localcloud: Cloud) -> None:
    task = waiting(queue(localcloud)[0], HeartbeatSeconds=1, TimeoutSeconds=600)
    execution = run(localcloud, {"Task": task})
    assert (execution["status"], execution["error"]) == ("FAILED", "States.HeartbeatTimeout")
    assert types(localcloud, execution)[2:6] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskTimedOut"]


def test_heartbeats_keep_a_task_alive(localcloud: Cloud) -> None:
    client, (url, _arn) = localcloud.client("stepfunctions"), queue(localcloud)
    arn = machine(localcloud, {"Task": waiting(url, HeartbeatSeconds=15)})
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    token, stop = first_message(localcloud, url)["token"], threading.Event()
    for _ in range(36):  # for longer than a heartbeat may be missing, which is longer than this may be held up
        client.send_task_heartbeat(taskToken=token)
        stop.wait(0.5)
    client.send_task_success(taskToken=token, output='{"done": true}')
    described = closed(localcloud, execution)
    assert (described["status"], json.loads(described["output"])) == ("SUCCEEDED", {"done": True})


def test_time_limit_must_be_a_positive_integer(localcloud: Cloud) -> None:
    task = waiting(queue(localcloud)[0], TimeoutSeconds="{% $states.input.seconds %}")
    execution = run(localcloud, {"Task": task}, value={"seconds": -1})
    assert execution["error"] == "States.QueryEvaluationError"
    assert "TimeoutSeconds" in execution["cause"]


def test_activity_counts_from_when_a_worker_takes_it(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    activity = client.create_activity(name=unique("activity"))["activityArn"]
    task = {"Type": "Task", "Resource": activity, "TimeoutSeconds": 2, "End": True}
    execution = client.start_execution(stateMachineArn=machine(localcloud, {"Task": task}))["executionArn"]
    wait_for(lambda: "ActivityScheduled" in [event["type"] for event in events_of(localcloud, execution)])
    threading.Event().wait(4)
    assert client.describe_execution(executionArn=execution)["status"] == "RUNNING"
    assert client.get_activity_task(activityArn=activity)["taskToken"]
    described = closed(localcloud, execution)
    assert (described["status"], described["error"]) == ("FAILED", "States.Timeout")
