"""A denial names who may not do what to which resource, with the service's code, status and spelling."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.testing import Cloud
from tests.integration.localcloud_requests import unique
from tests.integration.roles import ACCOUNT, acting, refused, status_of_refusal

TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:t"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"


@pytest.mark.parametrize(
    ("service", "operation", "request_", "code", "status", "action", "on"),
    [
        (
            "s3",
            "get_object",
            {"Bucket": "test-bucket", "Key": "k"},
            "AccessDenied",
            403,
            "s3:GetObject",
            '"arn:aws:s3:::test-bucket/k"',
        ),
        (
            "dynamodb",
            "get_item",
            {"TableName": "t", "Key": {"a": {"S": "b"}}},
            "AccessDeniedException",
            400,
            "dynamodb:GetItem",
            f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t",
        ),
        ("sns", "publish", {"TopicArn": TOPIC, "Message": "m"}, "AuthorizationError", 403, "SNS:Publish", TOPIC),
        (
            "sqs",
            "send_message",
            {"QueueUrl": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/q", "MessageBody": "m"},
            "AccessDenied",
            403,
            "sqs:sendmessage",
            QUEUE,
        ),
        (
            "stepfunctions",
            "start_execution",
            {"stateMachineArn": f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:m"},
            "AccessDeniedException",
            400,
            "states:StartExecution",
            f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:m",
        ),
        (
            "lambda",
            "invoke",
            {"FunctionName": "f"},
            "AccessDeniedException",
            403,
            "lambda:InvokeFunction",
            f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f",
        ),
    ],
)
def test_denial_names_the_resource(
    localcloud: Cloud,
    bucket: str,
    service: str,
    operation: str,
    request_: dict[str, Any],
    code: str,
    status: int,
    action: str,
    on: str,
) -> None:
    name = unique("wording")
    call = getattr(acting(localcloud, name)(service), operation)
    assert refused(call, **request_) == (
        code,
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/test is not authorized to perform: {action} on resource: "
        f"{on} because no identity-based policy allows the {action} action",
    )
    assert status_of_refusal(call, **request_) == status


def test_explicit_deny_says_where_it_stands(localcloud: Cloud) -> None:
    denying = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}
    dynamodb = acting(localcloud, unique("wording"), denying)("dynamodb")
    message = refused(dynamodb.describe_table, TableName="t")[1]
    assert message.endswith(f"{ACCOUNT}:table/t with an explicit deny in an identity-based policy")
