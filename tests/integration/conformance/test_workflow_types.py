"""localcloud.fidelity.workflow_types."""

import json

import boto3
import pytest
from botocore.config import Config

from localcloud.testing import Cloud

from ..localcloud_requests import ROLE, unique
from .steps import machine

STATES = {"Say": {"Type": "Pass", "Output": "said", "End": True}}


def express(cloud: Cloud) -> str:
    definition = {"QueryLanguage": "JSONata", "StartAt": "Say", "States": STATES}
    created = cloud.client("stepfunctions").create_state_machine(
        name=unique("express"), definition=json.dumps(definition), roleArn=ROLE, type="EXPRESS"
    )
    return str(created["stateMachineArn"])


def test_executions_of_express_workflows_are_not_listed(localcloud: Cloud) -> None:
    client, arn = localcloud.client("stepfunctions"), express(localcloud)
    with pytest.raises(client.exceptions.StateMachineTypeNotSupported):
        client.list_executions(stateMachineArn=arn)


def test_only_express_workflows_are_started_synchronously(localcloud: Cloud) -> None:
    # The host's prefix sync- would not lead to localcloud.
    client = boto3.client(
        "stepfunctions",
        endpoint_url=localcloud.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(inject_host_prefix=False),
    )
    assert client.start_sync_execution(stateMachineArn=express(localcloud))["output"] == '"said"'
    with pytest.raises(client.exceptions.StateMachineTypeNotSupported):
        client.start_sync_execution(stateMachineArn=machine(localcloud, STATES, "Say"))
