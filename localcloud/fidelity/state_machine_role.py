"""A state machine's role must trust Step Functions, and allow what .sync tasks and logging set up, before it is made.

docs.aws.amazon.com/step-functions/latest/dg/procedure-create-iam-role.html, connect-to-resource.html ("permissions
when using the Run a Job pattern") and cw-logs.html; MiniStack takes any role, or none at all. AWS checks these when the
state machine is created or changed, not when it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from localcloud import hooks
from localcloud.errors import ApiError
from localcloud.iam.identity import Denied, Identity, Service
from localcloud.sagemaker.provisioning import ProvisioningFailed
from localcloud.store import Scope

TYPE = "AWS::StepFunctions::StateMachine"
SERVICE: Service = "states.amazonaws.com"
# Which rule Step Functions manages for the jobs that a .sync task waits for.
_RULES = {
    "sagemaker:createTrainingJob": "StepFunctionsGetEventsForSageMakerTrainingJobsRule",
    "sagemaker:createTransformJob": "StepFunctionsGetEventsForSageMakerTransformJobsRule",
    "sagemaker:createProcessingJob": "StepFunctionsGetEventsForSageMakerProcessingJobsRule",
    "sagemaker:createHyperParameterTuningJob": "StepFunctionsGetEventsForSageMakerTuningJobsRule",
    "states:startExecution": "StepFunctionsGetEventsForStepFunctionsExecutionRule",
}
_SYNC = re.compile(r"^arn:aws[a-z-]*:states:::(?P<what>[a-z]+:[A-Za-z]+)\.sync(?::2)?$")
_LOG_ACTIONS = (
    *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery"),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"),
)

Answer = tuple[int, dict[str, str], bytes]


def install(identity: Identity) -> None:
    """Check before MiniStack makes or changes it."""

    def creating(create: Any) -> Any:
        def create_state_machine(data: Mapping[str, Any]) -> Answer:
            return _refusal(identity, data.get("roleArn"), data, {}) or create(data)

        return create_state_machine

    def updating(update: Any) -> Any:
        def update_state_machine(data: Mapping[str, Any]) -> Answer:
            present = hooks.get("states.machines").get(str(data.get("stateMachineArn"))) or {}
            role = data.get("roleArn") or present.get("roleArn")
            return (_refusal(identity, role, data, present) if present else None) or update(data)

        return update_state_machine

    handlers = hooks.get("cloudformation.types")[TYPE]
    make = handlers["create"]

    def created(logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
        # MiniStack writes the record without its own CreateStateMachine.
        arn, attributes = make(logical_id, props, stack_name)
        machine = hooks.get("states.machines")[arn]
        try:
            if identity.enforced:
                _check(identity, hooks.current_scope(), machine["roleArn"], machine)
        except Denied as error:
            hooks.get("states.machines").pop(arn, None)
            raise ProvisioningFailed(
                f'Resource handler returned message: "{error.message} (Service: AWSStepFunctions; Status Code: '
                f'{error.status}; Error Code: {error.code})"'
            ) from error
        return arn, attributes

    handlers["create"] = created
    hooks.replace("states.create", creating)
    hooks.replace("states.update", updating)


def _refusal(identity: Identity, role: Any, data: Mapping[str, Any], present: Mapping[str, Any]) -> Answer | None:
    """AWS's answer, when it would refuse."""
    if not identity.enforced or not role or not isinstance(role, str):
        return None
    scope = hooks.current_scope()
    try:
        _check(identity, scope, role, {**present, **data})
    except Denied as error:
        return error.status, {"Content-Type": "application/x-amz-json-1.0"}, _body(error)
    return None


def _check(identity: Identity, scope: Scope, role: str, machine: Mapping[str, Any]) -> None:
    arn = (
        machine.get("stateMachineArn")
        or f"arn:aws:states:{scope.region}:{scope.account}:stateMachine:{machine['name']}"
    )
    if not identity.assumable(scope, role, SERVICE, arn):
        raise Denied(
            "Neither the global service principal states.amazonaws.com, nor the regional one is authorized to assume "
            "the provided role."
        )
    key = identity.session(scope, role, SERVICE, arn).access_key
    for rule in sorted({_RULES[what] for what in _synchronous(machine.get("definition")) if what in _RULES}):
        managed = f"arn:aws:events:{scope.region}:{scope.account}:rule/{rule}"
        if not _allows(identity, scope, key, ("events:PutTargets", "events:PutRule", "events:DescribeRule"), managed):
            raise Denied(f"'{role}' is not authorized to create managed-rule.")
    logging = machine.get("loggingConfiguration")
    logs = isinstance(logging, Mapping) and logging.get("level", "OFF") != "OFF" and logging.get("destinations")
    if logs and not _allows(identity, scope, key, _LOG_ACTIONS, "*"):
        raise Denied("The state machine IAM Role is not authorized to access the Log Destination")


def _allows(identity: Identity, scope: Scope, key: str, actions: tuple[str, ...], resource: str) -> bool:
    try:
        for action in actions:
            identity.authorise(scope, key, action, resource)
    except Denied:
        return False
    return True


def _synchronous(definition: Any) -> Iterator[str]:
    """The integrations that a definition waits for, such as ``sagemaker:createTrainingJob``."""
    try:
        pending = [json.loads(definition)]
    except (TypeError, ValueError):
        return  # what is wrong with it is said elsewhere
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if (match := _SYNC.match(str(value.get("Resource", "")))) is not None:
                yield match["what"]
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _body(error: ApiError) -> bytes:
    return json.dumps({"__type": error.code, "message": error.message}).encode()
