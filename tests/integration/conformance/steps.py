"""What conformance tests do over and over: state machines, functions, stacks, queues that hear events."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from typing import Any

from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import ROLE, unique

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
Json = dict[str, Any]


# --- Step Functions ---


def machine(cloud: Cloud, states: Json, start: str = "Task", **top: Any) -> str:
    """A state machine in JSONata, unless `top` says otherwise; its ARN."""
    definition = {"QueryLanguage": "JSONata", "StartAt": start, "States": states, **top}
    created = cloud.client("stepfunctions").create_state_machine(
        name=unique("machine"), definition=json.dumps(definition), roleArn=ROLE
    )
    return str(created["stateMachineArn"])


def closed(cloud: Cloud, execution: str, seconds: float = 120) -> Json:
    """The execution's description once it has ended."""
    client = cloud.client("stepfunctions")

    def look() -> Json | None:
        described: Json = client.describe_execution(executionArn=execution)
        return None if described["status"] in ("RUNNING", "PENDING_REDRIVE") else described

    return wait_for(look, seconds)


def run(cloud: Cloud, states: Json, start: str = "Task", value: Any = None, **top: Any) -> Json:
    """The description of an execution that has run to its end."""
    arn = machine(cloud, states, start, **top)
    started = cloud.client("stepfunctions").start_execution(stateMachineArn=arn, input=json.dumps(value or {}))
    return closed(cloud, started["executionArn"])


def events_of(cloud: Cloud, execution: str) -> list[Json]:
    """An execution's whole history."""
    pages = cloud.client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=execution)
    return [event for page in pages for event in page["events"]]


# --- Lambda ---


def function(cloud: Cloud, source: str, **more: Any) -> Json:
    """A Python function with this source (handler in module app); its configuration."""
    client = cloud.client("lambda")
    created: Json = client.create_function(
        FunctionName=unique("function"),
        Runtime=PYTHON,
        Handler="app.handler",
        Role=ROLE,
        Code={"ZipFile": packed("app.py", source)},
        **{"Timeout": 60, **more},
    )
    wait_for(lambda: client.get_function_configuration(FunctionName=created["FunctionName"])["State"] == "Active")
    return created


def packed(name: str, text: str) -> bytes:
    """A zip file with one file in it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, text)
    return content.getvalue()


# --- queues ---


def queue(cloud: Cloud) -> tuple[str, str]:
    """A queue that AWS's services may send to: URL and ARN."""
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName=unique("queue"))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    services = ["events.amazonaws.com", "sns.amazonaws.com", "lambda.amazonaws.com"]
    allow = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return url, arn


def rule(cloud: Cloud, pattern: Json) -> str:
    """A queue that hears the events of this pattern; its URL."""
    events, (url, arn), name = cloud.client("events"), queue(cloud), unique("rule")
    events.put_rule(Name=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def messages(cloud: Cloud, url: str, wait: int = 1) -> list[Json]:
    """What has come into a queue, and is taken out of it."""
    received = cloud.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
    bodies = []
    for message in received.get("Messages", []):
        cloud.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        bodies.append(json.loads(message["Body"]))
    return bodies


def first_message(cloud: Cloud, url: str, seconds: float = 120) -> Json:
    """The first message that comes into a queue."""
    return wait_for(lambda: messages(cloud, url), seconds)[0]


# --- CloudFormation ---


def deploy(cloud: Cloud, name: str, resources: Json, *, update: bool = False) -> Json:
    """Create or update a stack; physical ids by logical id."""
    client = cloud.client("cloudformation")
    body = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
    (client.update_stack if update else client.create_stack)(
        StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    stack = settled(cloud, name)
    assert stack["StackStatus"] == ("UPDATE_COMPLETE" if update else "CREATE_COMPLETE"), reasons(cloud, name)
    found = client.describe_stack_resources(StackName=name)["StackResources"]
    return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in found}


def settled(cloud: Cloud, name: str) -> Json:
    """The stack once nothing is in progress; one that is gone is DELETE_COMPLETE."""

    def look() -> Json | None:
        try:
            stack: Json = cloud.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        except ClientError:
            return {"StackStatus": "DELETE_COMPLETE"}
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    return wait_for(look, 120)


def reasons(cloud: Cloud, name: str) -> list[str]:
    """Why resources of a stack have failed."""
    events = cloud.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    return [str(event.get("ResourceStatusReason")) for event in events if "FAILED" in event["ResourceStatus"]]
