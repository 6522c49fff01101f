"""localcloud.fidelity.state_machine_resource."""

import json
from typing import Any

from localcloud.testing import Cloud

from ..localcloud_requests import ROLE, unique
from .steps import deploy


def resources(level: str) -> dict[str, Any]:
    definition = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}
    group = {"CloudWatchLogsLogGroup": {"LogGroupArn": {"Fn::GetAtt": ["Logs", "Arn"]}}}
    return {
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"/conformance/{unique('logs')}"}},
        "Machine": {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "RoleArn": ROLE,
                "DefinitionString": json.dumps(definition),
                "LoggingConfiguration": {"Level": level, "IncludeExecutionData": "true", "Destinations": [group]},
            },
        },
    }


def test_logging_configuration_is_described(localcloud: Cloud) -> None:
    states, stack, template = localcloud.client("stepfunctions"), unique("machine"), resources("ERROR")
    arn = deploy(localcloud, stack, template)["Machine"]
    logging = states.describe_state_machine(stateMachineArn=arn)["loggingConfiguration"]
    assert (logging["level"], logging["includeExecutionData"]) == ("ERROR", True)
    group = logging["destinations"][0]["cloudWatchLogsLogGroup"]["logGroupArn"]
    assert ":log-group:/conformance/" in group

    template["Machine"]["Properties"]["LoggingConfiguration"]["Level"] = "ALL"
    deploy(localcloud, stack, template, update=True)
    assert states.describe_state_machine(stateMachineArn=arn)["loggingConfiguration"]["level"] == "ALL"
