"""A state machine's role is looked at when the machine is made and changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for
from tests.integration.localcloud_requests import unique
from tests.integration.roles import ACCOUNT, allow, refused

UNTRUSTING = (
    "Neither the global service principal states.amazonaws.com, nor the regional one is authorized to assume the "
    "provided role."
)


def definition(resource: str | None = None) -> str:
    state: dict[str, Any] = {"Type": "Succeed"}
    if resource:
        state = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": {}, "End": True}
    return json.dumps({"StartAt": "A", "States": {"A": state}})


@pytest.mark.parametrize("trusts", [None, ["sagemaker.amazonaws.com"]], ids=["no role", "trusts another service"])
def test_role_that_does_not_trust_step_functions_is_refused(localcloud: Cloud, trusts: list[str] | None) -> None:
    name, client = unique("wrong"), localcloud.client("stepfunctions")
    role = localcloud.role(name, trusts=trusts) if trusts else f"arn:aws:iam::{ACCOUNT}:role/{name}"
    request = {"name": unique("machine"), "definition": definition(), "roleArn": role}
    assert refused(client.create_state_machine, **request) == ("AccessDeniedException", UNTRUSTING)
    machine = client.create_state_machine(**{**request, "roleArn": localcloud.role(unique("right"))})
    change = {"stateMachineArn": machine["stateMachineArn"], "roleArn": role}
    assert refused(client.update_state_machine, **change) == ("AccessDeniedException", UNTRUSTING)


def test_principal_of_this_region_is_trusted_and_one_of_another_is_not(localcloud: Cloud) -> None:
    here = localcloud.role(unique("regional"), trusts=["states.us-east-1.amazonaws.com"])
    there = localcloud.role(unique("regional"), trusts=["states.eu-west-1.amazonaws.com"])
    client = localcloud.client("stepfunctions")
    request = {"name": unique("machine"), "definition": definition()}
    assert refused(client.create_state_machine, **request, roleArn=there) == ("AccessDeniedException", UNTRUSTING)
    assert client.create_state_machine(**request, roleArn=here)


def test_trust_can_be_for_one_machine_only(localcloud: Cloud) -> None:
    name, role, client = unique("single"), unique("single"), localcloud.client("stepfunctions")
    arn = localcloud.role(role)
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "states.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:{name}"}},
    }
    localcloud.client("iam").update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps({"Statement": [trust]}))
    request = {"definition": definition(), "roleArn": arn}
    assert refused(client.create_state_machine, name=unique("other"), **request) == (
        "AccessDeniedException",
        UNTRUSTING,
    )
    assert client.create_state_machine(name=name, **request)


@pytest.mark.parametrize(
    ("resource", "rule"),
    [
        ("sagemaker:createProcessingJob.sync", "StepFunctionsGetEventsForSageMakerProcessingJobsRule"),
        ("sagemaker:createHyperParameterTuningJob.sync", "StepFunctionsGetEventsForSageMakerTuningJobsRule"),
        ("states:startExecution.sync:2", "StepFunctionsGetEventsForStepFunctionsExecutionRule"),
    ],
)
def test_sync_task_needs_its_managed_rule(localcloud: Cloud, resource: str, rule: str) -> None:
    client = localcloud.client("stepfunctions")
    request = {"name": unique("machine"), "definition": definition(resource)}
    role = localcloud.role(unique("unruly"), allow("sagemaker:*", "states:*"))
    assert refused(client.create_state_machine, **request, roleArn=role) == (
        "AccessDeniedException",
        f"'{role}' is not authorized to create managed-rule.",
    )
    arn = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/{rule}"
    ruling = localcloud.role(
        unique("ruling"), allow("events:PutTargets", "events:PutRule", "events:DescribeRule", on=arn)
    )
    assert client.create_state_machine(**request, roleArn=ruling)


def test_logging_needs_log_delivery(localcloud: Cloud) -> None:
    client, group = localcloud.client("stepfunctions"), unique("/aws/vendedlogs/states/roles")
    localcloud.client("logs").create_log_group(logGroupName=group)
    log = {"cloudWatchLogsLogGroup": {"logGroupArn": f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{group}:*"}}
    logging = {"level": "ALL", "destinations": [log]}
    request = {"name": unique("machine"), "definition": definition(), "loggingConfiguration": logging}
    silent = localcloud.role(unique("silent"), allow("sqs:*"))
    assert refused(client.create_state_machine, **request, roleArn=silent) == (
        "AccessDeniedException",
        "The state machine IAM Role is not authorized to access the Log Destination",
    )
    assert client.create_state_machine(**request, roleArn=localcloud.role(unique("telling"), allow("logs:*")))


def test_template_s_machine_is_looked_at_too(localcloud: Cloud) -> None:
    client, stack = localcloud.client("cloudformation"), unique("unruly")
    role = localcloud.role(unique("unruly"), allow("sagemaker:*"))
    machine = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {"RoleArn": role, "DefinitionString": definition("sagemaker:createTrainingJob.sync")},
    }
    client.create_stack(StackName=stack, TemplateBody=json.dumps({"Resources": {"Machine": machine}}))

    def failed() -> Any:
        events = client.describe_stack_events(StackName=stack)["StackEvents"]
        return [e for e in events if e["ResourceStatus"] == "CREATE_FAILED" and e["LogicalResourceId"] == "Machine"]

    reason = wait_for(failed, 120)[0]["ResourceStatusReason"]
    assert f"'{role}' is not authorized to create managed-rule. (Service: AWSStepFunctions; Status Code: 400" in reason
