"""The usual TLS-only statements of buckets and topics let everybody pass who would pass on AWS."""

from __future__ import annotations

import json
from typing import Any

from localcloud.testing import Cloud, wait_for
from tests.integration.localcloud_requests import unique
from tests.integration.roles import acting, allow


def tls_only(action: str, *resources: str) -> str:
    statement: dict[str, Any] = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_tls_only_bucket_can_be_used(localcloud: Cloud) -> None:
    bucket, root = unique("tls"), localcloud.client("s3")
    root.create_bucket(Bucket=bucket)
    arn = f"arn:aws:s3:::{bucket}"
    root.put_bucket_policy(Bucket=bucket, Policy=tls_only("s3:*", arn, f"{arn}/*"))
    s3 = acting(localcloud, unique("tls"), allow("s3:*"))("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


def test_state_machine_can_publish_to_a_tls_only_topic(localcloud: Cloud) -> None:
    sns, client = localcloud.client("sns"), localcloud.client("stepfunctions")
    topic = sns.create_topic(Name=unique("tls"))["TopicArn"]
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=tls_only("sns:Publish", topic))
    task = {"Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": True}
    task["Parameters"] = {"TopicArn": topic, "Message": "m"}
    machine = client.create_state_machine(
        name=unique("tls"),
        definition=json.dumps({"StartAt": "A", "States": {"A": task}}),
        roleArn=localcloud.role(unique("tls"), allow("sns:Publish", on=topic)),
    )["stateMachineArn"]
    arn = client.start_execution(stateMachineArn=machine)["executionArn"]

    def ended() -> Any:
        described = client.describe_execution(executionArn=arn)
        return described if described["status"] != "RUNNING" else None

    execution = wait_for(ended, 60)
    assert execution["status"] == "SUCCEEDED", execution.get("cause")
