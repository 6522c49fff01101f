"""localcloud.fidelity.stop_jobs."""

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import ended, training, unique
from .steps import Json, closed, events_of, first_message, machine, queue


def job(name: str, bucket: str) -> Json:
    request = training(name, bucket, hyperparameters={"sleep": "600"})
    resource = "arn:aws:states:::sagemaker:createTrainingJob.sync"
    return {
        "StartAt": name,
        "States": {name: {"Type": "Task", "Resource": resource, "Arguments": request, "End": True}},
    }


def status(cloud: Cloud, name: str) -> str | None:
    found = cloud.client("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    return found[0]["TrainingJobStatus"] if found else None


def test_jobs_of_all_branches_and_iterations_are_stopped(localcloud: Cloud, bucket: str) -> None:
    one, two = unique("one"), unique("two")
    each = {"Type": "Map", "Items": [1], "ItemProcessor": job(two, bucket), "End": True}
    branches = [job(one, bucket), {"StartAt": "Each", "States": {"Each": each}}]
    arn = machine(localcloud, {"Both": {"Type": "Parallel", "Branches": branches, "End": True}}, "Both")
    client = localcloud.client("stepfunctions")
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    wait_for(lambda: status(localcloud, one) == status(localcloud, two) == "InProgress", 240)
    client.stop_execution(executionArn=execution, error="Enough", cause="of this")
    for name in (one, two):
        assert ended(localcloud, "Training", name)["TrainingJobStatus"] == "Stopped"
    described = client.describe_execution(executionArn=execution)
    assert (described["status"], described["error"], described["cause"]) == ("ABORTED", "Enough", "of this")
    last = events_of(localcloud, execution)[-1]
    assert last["type"] == "ExecutionAborted"
    assert last["executionAbortedEventDetails"] == {"error": "Enough", "cause": "of this"}


def test_branch_that_fails_stops_the_jobs_of_the_others(localcloud: Cloud, bucket: str) -> None:
    name, (url, _arn) = unique("other"), queue(localcloud)
    hold = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Arguments": {"QueueUrl": url, "MessageBody": {"token": "{% $states.context.Task.Token %}"}},
        "Next": "Bad",
    }
    late = {"StartAt": "Hold", "States": {"Hold": hold, "Bad": {"Type": "Fail", "Error": "Bad"}}}
    arn = machine(
        localcloud, {"Both": {"Type": "Parallel", "Branches": [job(name, bucket), late], "End": True}}, "Both"
    )
    client = localcloud.client("stepfunctions")
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    wait_for(lambda: status(localcloud, name))
    client.send_task_success(taskToken=first_message(localcloud, url)["token"], output="{}")
    assert ended(localcloud, "Training", name)["TrainingJobStatus"] == "Stopped"
    assert closed(localcloud, execution)["error"] == "Bad"
    assert "TaskStateAborted" in [event["type"] for event in events_of(localcloud, execution)]


def test_what_has_ended_is_not_stopped_and_what_is_not_there_neither(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    arn = machine(localcloud, {"Hold": {"Type": "Wait", "Seconds": 600, "End": True}}, "Hold")
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    with pytest.raises(ClientError, match="ValidationException"):
        client.stop_execution(executionArn=execution, cause="x" * 32_769)
    first = client.stop_execution(executionArn=execution, error="First")
    assert client.stop_execution(executionArn=execution, error="Second")["stopDate"] == first["stopDate"]
    assert client.describe_execution(executionArn=execution)["error"] == "First"
    with pytest.raises(ClientError, match=r"ExecutionDoesNotExist.*Execution Does Not Exist: '"):
        client.stop_execution(executionArn=f"{execution}-not")
