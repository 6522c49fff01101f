"""The stack's roles hold what is needed: without any one permission the execution fails, and the alert says which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import make_trio
from tests.deployed import Deployed

# Retries of a refused task go on for up to 75 s, as they would on AWS: errors do not say that it is a refusal.
SECONDS = 900
# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)


def role_name(deployed: Deployed, logical_id: str) -> str:
    """The name of one of the stack's roles."""
    described = deployed.client("cloudformation").describe_stack_resource(
        StackName="onwing", LogicalResourceId=logical_id
    )
    return str(described["StackResourceDetail"]["PhysicalResourceId"])


@contextmanager
def without(deployed: Deployed, role: str, action: str) -> Iterator[None]:
    """Take the permission for one action away from a role, and give it back at the end."""
    iam = deployed.client("iam")
    policies = {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }
    assert any(action in actions(statement) for policy in policies.values() for statement in policy["Statement"])
    for name, policy in policies.items():
        left = [
            {**statement, "Action": kept}
            for statement in policy["Statement"]
            if (kept := [each for each in actions(statement) if each != action])
        ]
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps({**policy, "Statement": left}))
    try:
        yield
    finally:
        for name, policy in policies.items():
            iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))


def actions(statement: dict[str, Any]) -> list[str]:
    """A statement's actions."""
    given = statement["Action"]
    return [given] if isinstance(given, str) else list(given)


@pytest.mark.parametrize(
    ("logical_id", "action", "state", "error"),
    [
        ("TrainingRole", "sagemaker:CreateProcessingJob", "Process", "AccessDeniedException"),
        ("TrainingRole", "iam:PassRole", "Process", "AccessDeniedException"),
        ("TrainingRole", "sagemaker:CreateHyperParameterTuningJob", "Tune", "AccessDeniedException"),
        ("TrainingRole", "dynamodb:UpdateItem", "MarkRunning", "AccessDeniedException"),
        ("TrainingRole", "s3:GetObject", "ReadManifest", "S3.AccessDeniedException"),
        # Error codes that the SDK does not model are not told by aws-sdk tasks.
        ("TrainingRole", "sagemaker:CreateModelPackage", "Register", "SageMaker.SageMakerException"),
        ("SageMakerRole", "s3:GetObject", "Process", "(AccessDenied) when calling the GetObject operation"),
        ("SageMakerRole", "s3:PutObject", "Process", "(AccessDenied) when calling the PutObject operation"),
        ("SageMakerRole", "kms:Decrypt", "Process", "(AccessDenied) when calling the GetObject operation"),
    ],
)
def test_missing_permission_fails_the_execution_and_stands_in_the_alert(
    deployed: Deployed, fleet: str, logical_id: str, action: str, state: str, error: str
) -> None:
    role = role_name(deployed, logical_id)
    with without(deployed, role, action):
        deployed.put_trio(make_trio(fleet))
        execution = deployed.ended(fleet, seconds=SECONDS)

    assert execution["status"] == "FAILED"
    alert = deployed.alert(f"{fleet}: training failed in {state}")
    assert error in alert["Message"]
    assert f"assumed-role/{role}/" in alert["Message"]
    assert f"is not authorized to perform: {action} on resource: " in alert["Message"]
    assert deployed.packages(fleet) == []


def test_execution_can_be_run_again_once_the_permission_is_back(deployed: Deployed, fleet: str) -> None:
    with without(deployed, role_name(deployed, "TrainingRole"), "sagemaker:CreateProcessingJob"):
        deployed.put_trio(make_trio(fleet))
        assert deployed.ended(fleet, seconds=SECONDS)["status"] == "FAILED"
    deployed.train(fleet=fleet, again=True)
    assert deployed.ended(fleet, count=2, seconds=SECONDS)["output"]["outcome"] == "registered"
