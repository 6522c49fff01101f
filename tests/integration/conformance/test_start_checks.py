"""localcloud.fidelity.start_checks."""

import json

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import closed, machine

STATES = {"Only": {"Type": "Succeed"}}


@pytest.mark.parametrize("character", [*' <>{}[]?*"#%\\^|~`$&,;:/', "\t", "\x85", "\ufffe"])
def test_forbidden_characters_make_an_invalid_name(localcloud: Cloud, character: str) -> None:
    arn = machine(localcloud, STATES, "Only")
    with pytest.raises(ClientError, match="InvalidName"):
        localcloud.client("stepfunctions").start_execution(stateMachineArn=arn, name=f"a{character}b")


def test_name_has_at_most_80_characters(localcloud: Cloud) -> None:
    client, arn = localcloud.client("stepfunctions"), machine(localcloud, STATES, "Only")
    name = unique("n" * 60).ljust(80, "ü")
    closed(localcloud, client.start_execution(stateMachineArn=arn, name=name)["executionArn"])
    with pytest.raises(ClientError, match=r"ValidationException.*length less than or equal to 80"):
        client.start_execution(stateMachineArn=arn, name=f"{name}n")


def test_input_must_be_json_and_fit(localcloud: Cloud) -> None:
    client, arn = localcloud.client("stepfunctions"), machine(localcloud, STATES, "Only")
    with pytest.raises(client.exceptions.InvalidExecutionInput, match="Invalid State Machine Execution Input"):
        client.start_execution(stateMachineArn=arn, input="{no json")
    fits = json.dumps("ü" * 131_071, ensure_ascii=False)
    assert len(fits.encode()) == 262_144
    closed(localcloud, client.start_execution(stateMachineArn=arn, input=fits)["executionArn"])
    with pytest.raises(ClientError, match=r"ValidationException.*less than or equal to 262144"):
        client.start_execution(stateMachineArn=arn, input=f"{fits} ")


def test_unknown_machine_is_named(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    arn = "arn:aws:states:us-east-1:000000000000:stateMachine:none"
    with pytest.raises(client.exceptions.StateMachineDoesNotExist, match=f"State Machine Does Not Exist: '{arn}'"):
        client.start_execution(stateMachineArn=arn)
