"""localcloud.fidelity.definitions."""

import json
from typing import Any

import pytest

from localcloud.testing import Cloud

from ..localcloud_requests import ROLE, unique
from .steps import Json, machine, reasons, settled

OK = {"StartAt": "Only", "States": {"Only": {"Type": "Succeed"}}}
WRONG: list[tuple[Any, str]] = [
    ("{no json", "INVALID_JSON_DESCRIPTION"),
    ({"States": OK["States"]}, "SCHEMA_VALIDATION_FAILED: The field 'StartAt' is required but was missing at /"),
    ({"StartAt": "Only"}, "SCHEMA_VALIDATION_FAILED: The field 'States' is required"),
    ({**OK, "StartAt": "Other"}, "MISSING_TRANSITION_TARGET: Missing 'StartAt' target: Other at /StartAt"),
    ({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}, "Missing 'Next' target: B at /States/A/Next"),
    ({"StartAt": "A", "States": {"A": {"Type": "Pass"}}}, "Exactly one of the fields 'Next' and 'End'"),
    ({"StartAt": "A", "States": {"A": {"Type": "Nonsense", "End": True}}}, "'Nonsense'"),
    ({"StartAt": "A", "States": {"A": {"Type": "Task", "End": True}}}, "The field 'Resource' is required"),
    ({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "A"}}}, "MISSING_END_STATE"),
    (
        {"StartAt": "A", "States": {**OK["States"], "A": {"Type": "Succeed"}}},  # type: ignore[dict-item]
        'State "Only" is not reachable. at /States/Only',
    ),
]


@pytest.mark.parametrize(("definition", "fault"), WRONG)
def test_wrong_definition_is_refused_when_made_and_when_changed(localcloud: Cloud, definition: Any, fault: str) -> None:
    client = localcloud.client("stepfunctions")
    text = definition if isinstance(definition, str) else json.dumps(definition)
    with pytest.raises(client.exceptions.InvalidDefinition) as refused:
        client.create_state_machine(name=unique("wrong"), definition=text, roleArn=ROLE)
    message = refused.value.response["Error"]["Message"]
    assert message.startswith("Invalid State Machine Definition: '")
    assert fault in message
    arn = machine(localcloud, dict(OK["States"]), "Only")  # type: ignore[call-overload]
    with pytest.raises(client.exceptions.InvalidDefinition):
        client.update_state_machine(stateMachineArn=arn, definition=text)
    checked = client.validate_state_machine_definition(definition=text)
    assert checked["result"] == "FAIL"
    assert {diagnostic["severity"] for diagnostic in checked["diagnostics"]} == {"ERROR"}


def test_faults_inside_branches_are_found(localcloud: Cloud) -> None:
    branch = {"StartAt": "In", "States": {"In": {"Type": "Pass", "Next": "Out"}}}
    states: Json = {"All": {"Type": "Parallel", "Branches": [branch], "End": True}}
    checked = localcloud.client("stepfunctions").validate_state_machine_definition(
        definition=json.dumps({"StartAt": "All", "States": states})
    )
    locations = [diagnostic["location"] for diagnostic in checked["diagnostics"]]
    assert "/States/All/Branches/0/States/In/Next" in locations


def test_good_definition_is_called_good(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    assert client.validate_state_machine_definition(definition=json.dumps(OK))["result"] == "OK"


def test_template_with_a_wrong_definition_fails(localcloud: Cloud) -> None:
    name = unique("stack")
    machine_resource = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {"RoleArn": ROLE, "Definition": {**OK, "StartAt": "Other"}},
    }
    localcloud.client("cloudformation").create_stack(
        StackName=name, TemplateBody=json.dumps({"Resources": {"Machine": machine_resource}})
    )
    assert settled(localcloud, name)["StackStatus"] in ("ROLLBACK_COMPLETE", "CREATE_FAILED")
    assert any("Missing 'StartAt' target: Other" in reason for reason in reasons(localcloud, name))
