"""localcloud.fidelity.payload_limit."""

import json

import pytest

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import Json, run

HUGE = "{% $pad('', 262143, 'x') %}"  # with its quotes, a byte too many
LARGE = "{% $pad('', 262142, 'x') %}"
UMLAUTS = "{% $pad('', 131072, 'ü') %}"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({"Type": "Pass", "Output": LARGE, "End": True}, "SUCCEEDED"),
        ({"Type": "Pass", "Output": HUGE, "End": True}, "FAILED"),
        ({"Type": "Pass", "Output": UMLAUTS, "End": True}, "FAILED"),
        ({"Type": "Pass", "Assign": {"huge": HUGE}, "End": True}, "FAILED"),
        (
            {
                "Type": "Task",
                "Resource": "arn:aws:states:::aws-sdk:sqs:sendMessage",
                "Arguments": {"QueueUrl": "none", "MessageBody": HUGE},
                "End": True,
            },
            "FAILED",
        ),
    ],
    ids=["fits", "output", "utf-8", "assign", "arguments"],
)
def test_limit_is_262144_bytes(localcloud: Cloud, state: Json, status: str) -> None:
    execution = run(localcloud, {"State": state}, "State")
    assert execution["status"] == status
    if status == "FAILED":
        assert execution["error"] == "States.DataLimitExceeded"
        assert "size exceeding the maximum number of bytes service limit" in execution["cause"]


def test_result_of_a_task_is_limited_and_caught_by_name(localcloud: Cloud, bucket: str) -> None:
    key = unique("huge")
    localcloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x" * 300_000)
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:s3:getObject",
        "Arguments": {"Bucket": bucket, "Key": key},
        "Output": "small",
        "Catch": [{"ErrorEquals": ["States.DataLimitExceeded"], "Next": "Caught"}],
        "End": True,
    }
    execution = run(localcloud, {"Task": task, "Caught": {"Type": "Succeed"}})
    assert execution["status"] == "SUCCEEDED"
    assert json.loads(execution["output"])["Error"] == "States.DataLimitExceeded"
    task["Catch"] = [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}]
    assert run(localcloud, {"Task": task, "Caught": {"Type": "Succeed"}})["status"] == "FAILED"
