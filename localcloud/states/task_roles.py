"""State machines act under their role: what each Task state's integration needs of it, refused as the service would.

docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html. localcloud's own integrations act
with the role's session, so that the service that they call refuses. MiniStack's optimised integrations call no API:
what they need is authorised here before they run. Their errors are named as the AWS SDK for Java 1, on which these
integrations are built, names them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from localcloud.errors import ApiError
from localcloud.hooks import StatesError, TaskRun
from localcloud.iam.identity import Denied, Identity, NotAssumable, Service, Session
from localcloud.states import workflow
from localcloud.store import Scope

SERVICE: Service = "states.amazonaws.com"

_OPTIMISED = re.compile(r"^arn:aws[a-z-]*:states:::(?P<service>[a-z-]+):(?P<action>[A-Za-z]+)")
_FUNCTION = re.compile(r"^arn:aws[a-z-]*:lambda:[^:]*:[^:]*:function:.+$")


class Refusal(NamedTuple):
    """How a denial looks as a Task state's error."""

    error: str
    service: str
    status: int
    code: str

    def of(self, denied: ApiError) -> StatesError:
        """The error."""
        cause = (
            f"{denied.message} (Service: {self.service}; Status Code: {self.status}; Error Code: {self.code}; "
            f"Request ID: {uuid.uuid4()}; Proxy: null)"
        )
        return StatesError(self.error, cause)


_REFUSALS = {
    "lambda": Refusal("Lambda.AWSLambdaException", "AWSLambda", 403, "AccessDeniedException"),
    "sns": Refusal("SNS.AuthorizationErrorException", "AmazonSNS", 403, "AuthorizationError"),
    "sqs": Refusal("SQS.AmazonSQSException", "AmazonSQS", 403, "AccessDenied"),
    "dynamodb": Refusal("DynamoDB.AmazonDynamoDBException", "AmazonDynamoDBv2", 400, "AccessDeniedException"),
    "events": Refusal("Events.AmazonEventBridgeException", "AmazonEventBridge", 400, "AccessDeniedException"),
    "states": Refusal("StepFunctions.AWSStepFunctionsException", "AWSStepFunctions", 400, "AccessDeniedException"),
}
_KMS_OF_SNS = Refusal("SNS.KMSAccessDeniedException", "AmazonSNS", 400, "KMSAccessDenied")


class TaskRoles:
    """The role of the execution that a task belongs to."""

    def __init__(self, identity: Identity, current_scope: Callable[[], Scope]) -> None:
        self._identity = identity
        self._current_scope = current_scope

    def session(self, run: TaskRun) -> Session:
        """What the task acts with.

        Raises:
            StatesError: Step Functions cannot assume the role.
        """
        scope = self._current_scope()
        execution = run.execution
        started = workflow.revision(execution) if "stateMachineArn" in execution else execution
        role = started.get("roleArn")
        if not role:
            return self._identity.root(scope)  # a state tried out by itself, without a role
        try:
            return self._identity.session(scope, role, SERVICE, execution.get("stateMachineArn"))
        except NotAssumable as error:
            raise StatesError(
                "States.Runtime", f"{SERVICE} is not authorized to assume the role {role}: it is gone or trusts others."
            ) from error

    def check(self, resource: str, arguments: Any, run: TaskRun) -> None:
        """Let a task pass whose role allows what it does.

        Raises:
            StatesError: the role does not allow it.
        """
        if not self._identity.enforced:
            return
        scope = self._current_scope()
        found = need(scope, resource, arguments if isinstance(arguments, Mapping) else {})
        if found is None:
            return
        action, target = found
        key = self.session(run).access_key
        try:
            self._identity.authorise(scope, key, action, target)
        except Denied as denied:
            refusal = _KMS_OF_SNS if denied.code == "KMSAccessDenied" else _REFUSALS[action.split(":", 1)[0]]
            raise refusal.of(denied) from denied


def need(scope: Scope, resource: str, arguments: Mapping[str, Any]) -> tuple[str, str] | None:
    """What one of MiniStack's integrations needs: the action, and the ARN of what it is done to; None for nothing."""
    if _FUNCTION.match(resource):
        return "lambda:InvokeFunction", resource
    match = _OPTIMISED.match(resource)
    if match is None:
        return None  # an activity, which whoever asks for its tasks is authorised for
    service, action = match["service"], match["action"]
    if service == "lambda":
        return "lambda:InvokeFunction", _named(scope, "lambda", "function:", arguments.get("FunctionName"))
    if service == "sns":
        return "sns:Publish", str(arguments.get("TopicArn") or arguments.get("TargetArn") or "*")
    if service == "sqs":
        parts = str(arguments.get("QueueUrl", "")).rstrip("/").split("/")
        owner = parts[-2] if len(parts) > 1 and re.fullmatch(r"\d{12}", parts[-2]) else scope.account
        return "sqs:SendMessage", f"arn:aws:sqs:{scope.region}:{owner}:{parts[-1]}"
    if service == "dynamodb":
        name = f"{action[:1].upper()}{action[1:]}"
        return f"dynamodb:{name}", _named(scope, "dynamodb", "table/", arguments.get("TableName"))
    if service == "events":
        entries = arguments.get("Entries")
        bus = next((e.get("EventBusName") for e in entries or [] if isinstance(e, Mapping)), None)
        return "events:PutEvents", _named(scope, "events", "event-bus/", bus or "default")
    if service == "states":
        machine = arguments.get("StateMachineArn") or arguments.get("stateMachineArn")
        return "states:StartExecution", str(machine or "*")
    return None


def _named(scope: Scope, service: str, kind: str, name: Any) -> str:
    text = str(name or "*")
    return text if text.startswith("arn:") else f"arn:aws:{service}:{scope.region}:{scope.account}:{kind}{text}"
