"""localcloud.fidelity.tested_states."""

import json
from typing import Any

import boto3
from botocore.config import Config

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from ..roles import ACCOUNT, allow


def test_state_is_tried_out_under_the_role_of_the_request(localcloud: Cloud) -> None:
    # Its host is sync-states…amazonaws.com, a name that loopback has not.
    factory: Any = boto3.session.Session().client
    client = factory(
        "stepfunctions",
        endpoint_url=localcloud.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(inject_host_prefix=False),
    )

    def tried(role: str) -> dict[str, Any]:
        state = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sns:listTopics", "End": True}
        return dict(client.test_state(definition=json.dumps(state), roleArn=role))

    name = unique("tried")
    failed = tried(localcloud.role(name, allow("sqs:*")))
    assert failed["status"] == "FAILED"
    assert f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/" in failed["cause"]
    assert "is not authorized to perform: SNS:ListTopics" in failed["cause"]
    assert tried(localcloud.role(unique("tried"), allow("sns:ListTopics")))["status"] == "SUCCEEDED"
