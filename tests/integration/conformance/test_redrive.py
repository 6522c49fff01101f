"""localcloud.fidelity.redrive."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import unique
from .steps import Json, closed, events_of, function, machine, messages, rule

# It answers when it is told to.
SLOW = """
import pathlib, time

def handler(event, context):
    while not pathlib.Path(event["answer"]).exists():
        time.sleep(0.1)
    return "done"
"""


def get(bucket: str, key: str, **more: Any) -> Json:
    """A task that fails until somebody puts the object."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:s3:getObject",
        "Arguments": {"Bucket": bucket, "Key": key},
        "Output": "{% $states.result.Body %}",
        "End": True,
        **more,
    }


def types(cloud: Cloud, execution: str) -> list[str]:
    return [event["type"] for event in events_of(cloud, execution)]


def failed(cloud: Cloud, states: Json, start: str, **top: Any) -> str:
    """An execution that has not succeeded; its ARN."""
    arn = machine(cloud, states, start, **top)
    started = cloud.client("stepfunctions").start_execution(stateMachineArn=arn, input='{"given": 7}')
    assert closed(cloud, started["executionArn"])["status"] != "SUCCEEDED"
    return str(started["executionArn"])


def test_goes_on_at_the_state_that_failed_with_its_input_and_variables(localcloud: Cloud, bucket: str) -> None:
    client, key = localcloud.client("stepfunctions"), unique("redrive")
    told = {
        "body": "{% $states.result.Body %}",
        "input": "{% $states.input %}",
        "kept": "{% $kept %}",
        "count": "{% $states.context.Execution.RedriveCount %}",
        "time": "{% $exists($states.context.Execution.RedriveTime) %}",
        "given": "{% $states.context.Execution.Input.given %}",
    }
    states = {
        "First": {"Type": "Pass", "Output": {"a": 1}, "Assign": {"kept": "{% [1, 2] %}"}, "Next": "Get"},
        "Get": get(
            bucket, key, Output=told, Retry=[{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}]
        ),
    }
    execution = failed(localcloud, states, "First")
    before = client.describe_execution(executionArn=execution)
    assert (before["redriveCount"], before["redriveStatus"]) == (0, "REDRIVABLE")
    assert "redriveDate" not in before
    history = types(localcloud, execution)

    localcloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"here")
    redriven = client.redrive_execution(executionArn=execution)["redriveDate"]
    after = closed(localcloud, execution)
    assert after["status"] == "SUCCEEDED", after
    assert json.loads(after["output"]) == {
        "body": "here",
        "input": {"a": 1},
        "kept": [1, 2],
        "count": 1,
        "time": True,
        "given": 7,
    }
    assert (after["redriveCount"], after["redriveDate"]) == (1, redriven)
    assert after["redriveStatusReason"] == "Execution is SUCCEEDED and cannot be redriven"
    assert "error" not in after
    assert after["startDate"] == before["startDate"]
    events = events_of(localcloud, execution)
    assert [event["type"] for event in events[: len(history)]] == history
    assert [event["type"] for event in events[len(history) :]] == [
        *(
            "ExecutionRedriven",
            "TaskScheduled",
            "TaskStarted",
            "TaskSucceeded",
            "TaskStateExited",
            "ExecutionSucceeded",
        ),
    ]
    assert events[len(history)]["executionRedrivenEventDetails"] == {"redriveCount": 1}


def test_retries_count_anew(localcloud: Cloud, bucket: str) -> None:
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxDelaySeconds": 1, "MaxAttempts": 2}]
    execution = failed(localcloud, {"Get": get(bucket, unique("never"), Retry=retry)}, "Get")
    assert types(localcloud, execution).count("TaskScheduled") == 3
    localcloud.client("stepfunctions").redrive_execution(executionArn=execution)
    assert closed(localcloud, execution)["status"] == "FAILED"
    assert types(localcloud, execution).count("TaskScheduled") == 6


def test_only_branches_that_have_not_succeeded_run_again(localcloud: Cloud, bucket: str) -> None:
    key = unique("redrive")

    def branch(name: str, *rest: Json) -> Json:
        first: Json = {"Type": "Pass", "Output": name, "Assign": {"mine": name}, "End": True}
        if not rest:
            return {"StartAt": name, "States": {name: first}}
        del first["End"]
        return {"StartAt": name, "States": {name: {**first, "Next": f"{name}2"}, f"{name}2": rest[0]}}

    hold = {"Type": "Wait", "Seconds": 2, "End": True}
    late = get(bucket, key, Output="{% $mine & $states.result.Body %}")
    fails = {"StartAt": "Settle", "States": {"Settle": {"Type": "Wait", "Seconds": 1, "Next": "B2"}, "B2": late}}
    fails["States"]["Settle"]["Assign"] = {"mine": "B"}
    states = {
        "All": {"Type": "Parallel", "Branches": [branch("A"), fails, branch("C", hold)], "Next": "Done"},
        "Done": {"Type": "Succeed"},
    }
    execution = failed(localcloud, states, "All")
    localcloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"here")
    localcloud.client("stepfunctions").redrive_execution(executionArn=execution)
    assert json.loads(closed(localcloud, execution)["output"]) == ["A", "Bhere", "C"]
    entered = [
        event["stateEnteredEventDetails"]["name"]
        for event in events_of(localcloud, execution)
        if event["type"].endswith("StateEntered")
    ]
    assert sorted(entered) == ["A", "All", "B2", "C", "C2", "Done", "Settle"]
    assert types(localcloud, execution).count("ParallelStateStarted") == 1


def test_only_iterations_that_have_not_succeeded_run_again(localcloud: Cloud, bucket: str) -> None:
    prefix = unique("redrive")
    objects = localcloud.client("s3")
    objects.put_object(Bucket=bucket, Key=f"{prefix}-0", Body=b"zero")
    request = {"Bucket": bucket, "Key": f"{{% '{prefix}-' & $string($states.input) %}}"}
    each = {
        "Type": "Map",
        "Items": [0, 1],
        "MaxConcurrency": 1,
        "ItemProcessor": {"StartAt": "Get", "States": {"Get": get(bucket, "unused", Arguments=request)}},
        "End": True,
    }
    execution = failed(localcloud, {"Each": each}, "Each")
    objects.put_object(Bucket=bucket, Key=f"{prefix}-1", Body=b"one")
    localcloud.client("stepfunctions").redrive_execution(executionArn=execution)
    assert json.loads(closed(localcloud, execution)["output"]) == ["zero", "one"]
    assert types(localcloud, execution).count("TaskScheduled") == 3


def test_stopped_and_timed_out_executions_can_be_redriven_with_their_time_anew(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    hold = {"Hold": {"Type": "Wait", "Seconds": 600, "End": True}}
    execution = failed(localcloud, hold, "Hold", TimeoutSeconds=2)
    assert client.describe_execution(executionArn=execution)["status"] == "TIMED_OUT"
    client.redrive_execution(executionArn=execution)
    described = closed(localcloud, execution)
    assert described["status"] == "TIMED_OUT"
    assert (described["stopDate"] - described["redriveDate"]).total_seconds() > 1.9
    client.redrive_execution(executionArn=execution)
    client.stop_execution(executionArn=execution)
    assert client.redrive_execution(executionArn=execution)
    described = closed(localcloud, execution)
    assert (described["status"], described["redriveCount"]) == ("TIMED_OUT", 3)


def test_fail_state_is_entered_again(localcloud: Cloud) -> None:
    execution = failed(localcloud, {"Bad": {"Type": "Fail", "Error": "Bad"}}, "Bad")
    localcloud.client("stepfunctions").redrive_execution(executionArn=execution)
    assert closed(localcloud, execution)["error"] == "Bad"
    assert types(localcloud, execution).count("FailStateEntered") == 2


def test_same_definition_is_used_although_the_machine_has_changed(localcloud: Cloud, bucket: str) -> None:
    client, key = localcloud.client("stepfunctions"), unique("redrive")
    execution = failed(localcloud, {"Get": get(bucket, key)}, "Get")
    machine_arn = client.describe_execution(executionArn=execution)["stateMachineArn"]
    other = {"StartAt": "Other", "States": {"Other": {"Type": "Succeed"}}}
    client.update_state_machine(stateMachineArn=machine_arn, definition=json.dumps(other))
    localcloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"old")
    client.redrive_execution(executionArn=execution)
    assert closed(localcloud, execution)["output"] == '"old"'


def test_running_succeeded_and_unknown_executions_are_refused(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    arn = machine(localcloud, {"Hold": {"Type": "Wait", "Seconds": 600, "End": True}}, "Hold")
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    with pytest.raises(client.exceptions.ExecutionNotRedrivable, match="Execution is RUNNING and cannot be redriven"):
        client.redrive_execution(executionArn=execution)
    client.stop_execution(executionArn=execution)
    with pytest.raises(client.exceptions.ExecutionDoesNotExist):
        client.redrive_execution(executionArn=f"{execution}-not")
    ok = machine(localcloud, {"Ok": {"Type": "Succeed"}}, "Ok")
    execution = client.start_execution(stateMachineArn=ok)["executionArn"]
    closed(localcloud, execution)
    with pytest.raises(client.exceptions.ExecutionNotRedrivable, match="SUCCEEDED"):
        client.redrive_execution(executionArn=execution)


def test_client_token_makes_it_idempotent(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    execution = failed(localcloud, {"Bad": {"Type": "Fail", "Error": "Bad"}}, "Bad")
    first = client.redrive_execution(executionArn=execution, clientToken="once")["redriveDate"]
    closed(localcloud, execution)
    assert client.redrive_execution(executionArn=execution, clientToken="once")["redriveDate"] == first
    assert client.describe_execution(executionArn=execution)["redriveCount"] == 1


def test_event_says_that_it_runs_again(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    arn = machine(localcloud, {"Bad": {"Type": "Fail", "Error": "Bad"}}, "Bad")
    url = rule(localcloud, {"source": ["aws.states"], "detail": {"stateMachineArn": [arn]}})
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    closed(localcloud, execution)
    redriven = client.redrive_execution(executionArn=execution)["redriveDate"]
    found: list[Json] = []
    # With those of the first run: what it sends last may come after the redrive.
    wait_for(lambda: found.extend(messages(localcloud, url)) or len(found) >= 4, 60)
    details = {(event["detail"]["status"], event["detail"]["redriveCount"]): event["detail"] for event in found}
    assert set(details) == {("RUNNING", 0), ("FAILED", 0), ("RUNNING", 1), ("FAILED", 1)}
    assert details["RUNNING", 1]["redriveDate"] == pytest.approx(redriven.timestamp() * 1000, abs=1)
    assert details["RUNNING", 1]["stopDate"] is None


def test_two_redrives_at_once_are_one(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    arn = machine(localcloud, {"Hold": {"Type": "Wait", "Seconds": 3600, "End": True}}, "Hold")
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    client.stop_execution(executionArn=execution)
    answers: list[str] = []

    def redrive() -> None:
        try:
            client.redrive_execution(executionArn=execution)
            answers.append("redriven")
        except ClientError as error:
            answers.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=redrive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["ExecutionNotRedrivable"] * 3 + ["redriven"]
    client.stop_execution(executionArn=execution)


def test_abandoned_function_of_the_first_run_has_no_say_in_the_second(localcloud: Cloud, tmp_path: Path) -> None:
    client, answer = localcloud.client("stepfunctions"), tmp_path / "answer"
    slow = function(localcloud, SLOW, Timeout=600)
    states = {
        "Call": {"Type": "Task", "Resource": slow["FunctionArn"], "Next": "Hold"},
        "Hold": {"Type": "Wait", "Seconds": 3, "End": True},
    }
    execution = client.start_execution(
        stateMachineArn=machine(localcloud, states, "Call"), input=json.dumps({"answer": str(answer)})
    )["executionArn"]
    wait_for(lambda: "LambdaFunctionStarted" in types(localcloud, execution))
    client.stop_execution(executionArn=execution)
    client.redrive_execution(executionArn=execution)
    answer.touch()  # now both come back
    described = closed(localcloud, execution)
    assert (described["status"], described["redriveCount"]) == ("SUCCEEDED", 1)
    told = types(localcloud, execution)
    assert told.count("LambdaFunctionSucceeded") == told.count("WaitStateExited") == told.count("TaskStateExited") == 1
