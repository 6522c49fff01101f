"""localcloud.fidelity.yaml_definitions."""

import json

from localcloud.testing import Cloud

from ..localcloud_requests import ROLE, unique
from .steps import closed, deploy

YAML = """
QueryLanguage: JSONata
StartAt: Say
States:
  Say:
    Type: Pass
    Output: "${Word}"
    End: true
"""


def test_yaml_in_s3_is_run_with_its_substitutions(localcloud: Cloud, bucket: str) -> None:
    key, client = unique("definition"), localcloud.client("stepfunctions")
    localcloud.client("s3").put_object(Bucket=bucket, Key=key, Body=YAML.encode())
    properties = {
        "RoleArn": ROLE,
        "DefinitionS3Location": {"Bucket": bucket, "Key": key},
        "DefinitionSubstitutions": {"Word": "hello"},
    }
    resources = {"Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}}
    arn = deploy(localcloud, unique("stack"), resources)["Machine"]
    assert json.loads(client.describe_state_machine(stateMachineArn=arn)["definition"])["StartAt"] == "Say"
    assert closed(localcloud, client.start_execution(stateMachineArn=arn)["executionArn"])["output"] == '"hello"'
