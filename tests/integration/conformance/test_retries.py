"""localcloud.fidelity.retries."""

import json
from itertools import pairwise
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import unique
from .steps import Json, closed, events_of, machine, run

FAIL = {"StartAt": "Bad", "States": {"Bad": {"Type": "Fail", "Error": "Bad"}}}


def missing(bucket: str, **more: Any) -> Json:
    """A task that fails with S3.NoSuchKeyException until somebody puts the object."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:s3:getObject",
        "Arguments": {"Bucket": bucket, "Key": unique("missing")},
        "End": True,
        **more,
    }


def test_delay_is_at_most_max_delay(localcloud: Cloud, bucket: str) -> None:
    retry = {"ErrorEquals": ["S3.NoSuchKeyException"], "IntervalSeconds": 1, "BackoffRate": 100, "MaxDelaySeconds": 2}
    execution = run(localcloud, {"Task": missing(bucket, Retry=[retry])})
    told = [event for event in events_of(localcloud, execution["executionArn"]) if event["type"] == "TaskScheduled"]
    assert len(told) == 4  # MaxAttempts' default is 3 retries
    waits = [(b["timestamp"] - a["timestamp"]).total_seconds() for a, b in pairwise(told)]
    assert waits[0] >= 1
    assert min(waits[1:]) >= 2
    assert max(waits) < 100  # which the second would be without it, and the third 10,000


def test_no_attempts_means_no_retry(localcloud: Cloud, bucket: str) -> None:
    retry = [
        {"ErrorEquals": ["S3.NoSuchKeyException"], "MaxAttempts": 0},
        {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1},
    ]
    execution = run(localcloud, {"Task": missing(bucket, Retry=retry)})
    told = [event["type"] for event in events_of(localcloud, execution["executionArn"])]
    assert told.count("TaskScheduled") == 1


@pytest.mark.parametrize("kind", ["Parallel", "Map"])
def test_parallel_and_map_are_retried_and_caught(localcloud: Cloud, kind: str) -> None:
    inner: Json = {"Branches": [FAIL]} if kind == "Parallel" else {"Items": [1], "ItemProcessor": FAIL}
    state = {
        "Type": kind,
        **inner,
        "Retry": [{"ErrorEquals": ["Bad"], "IntervalSeconds": 1, "MaxDelaySeconds": 1, "MaxAttempts": 2}],
        "Catch": [
            {
                "ErrorEquals": ["States.ALL"],
                "Output": {
                    "error": "{% $states.errorOutput.Error %}",
                    "count": "{% $states.context.State.RetryCount %}",
                },
                "Next": "Caught",
            }
        ],
        "End": True,
    }
    execution = run(localcloud, {"State": state, "Caught": {"Type": "Succeed"}}, "State")
    assert json.loads(execution["output"]) == {"error": "Bad", "count": 2}
    told = [event["type"] for event in events_of(localcloud, execution["executionArn"])]
    assert told.count(f"{kind}StateStarted") == told.count(f"{kind}StateFailed") == 3
    assert told.count(f"{kind}StateEntered") == told.count(f"{kind}StateExited") == 1


def test_waiting_for_a_retry_ends_with_the_execution(localcloud: Cloud, bucket: str) -> None:
    client = localcloud.client("stepfunctions")
    retry = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 3600}
    arn = machine(localcloud, {"Task": missing(bucket, Retry=[retry])}, TimeoutSeconds=10)
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    wait_for(lambda: "TaskFailed" in [event["type"] for event in events_of(localcloud, execution)])
    assert closed(localcloud, execution)["status"] == "TIMED_OUT"
    told = [event["type"] for event in events_of(localcloud, execution)]
    assert told.count("TaskScheduled") == 1
