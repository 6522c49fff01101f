"""localcloud.fidelity.started_revision."""

import json

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import closed, machine


def saying(word: str, seconds: int = 0) -> dict[str, object]:
    states = {
        "Hold": {"Type": "Wait", "Seconds": seconds, "Next": "Say"},
        "Say": {"Type": "Pass", "Output": word, "End": True},
    }
    return {"QueryLanguage": "JSONata", "StartAt": "Hold", "States": states}


def test_running_execution_keeps_the_definition_and_says_so(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    old = saying("old", 2)
    arn = machine(localcloud, dict(old["States"]), "Hold")  # type: ignore[call-overload]
    before = client.describe_state_machine(stateMachineArn=arn)
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    role = localcloud.role(unique("other"))
    updated = client.update_state_machine(stateMachineArn=arn, definition=json.dumps(saying("new")), roleArn=role)
    of_old = client.describe_state_machine_for_execution(executionArn=execution)
    assert (of_old["definition"], of_old["roleArn"]) == (before["definition"], before["roleArn"])
    assert of_old["revisionId"] == before["revisionId"]
    assert of_old["updateDate"] == before["creationDate"]
    assert closed(localcloud, execution)["output"] == '"old"'

    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    assert closed(localcloud, execution)["output"] == '"new"'
    of_new = client.describe_state_machine_for_execution(executionArn=execution)
    assert (of_new["updateDate"], of_new["roleArn"]) == (updated["updateDate"], role)
    described = client.describe_state_machine(stateMachineArn=arn)
    assert "revisions" not in described


def test_version_and_alias_run_what_was_published(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    arn = machine(localcloud, dict(saying("first")["States"]), "Hold")  # type: ignore[call-overload]
    version = client.publish_state_machine_version(stateMachineArn=arn)["stateMachineVersionArn"]
    alias = client.create_state_machine_alias(
        name="live", routingConfiguration=[{"stateMachineVersionArn": version, "weight": 100}]
    )["stateMachineAliasArn"]
    client.update_state_machine(stateMachineArn=arn, definition=json.dumps(saying("second")))
    for started, output in ((version, "first"), (alias, "first"), (arn, "second")):
        execution = closed(localcloud, client.start_execution(stateMachineArn=started)["executionArn"])
        assert json.loads(execution["output"]) == output
        assert execution.get("stateMachineAliasArn") == (alias if started == alias else None)
        assert execution.get("stateMachineVersionArn") == (None if started == arn else version)
