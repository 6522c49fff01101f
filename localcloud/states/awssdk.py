"""Step Functions' ``aws-sdk:<service>:<action>`` integration: any AWS call, made by botocore to localcloud itself.

Names follow Step Functions, which follows the AWS SDK for Java 2: parameters and results in PascalCase with acronyms
folded (``SSEKMSKeyId`` is ``SsekmsKeyId``), errors as ``<Service>.<Name>Exception``, errors that the service model does
not list as ``<Service>.<Service>Exception``.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from localcloud.clients import Clients, UnknownService
from localcloud.hooks import StatesError, TaskRun
from localcloud.iam.identity import Session
from localcloud.store import Scope

# Where a service's name in the ARN is not botocore's name for it.
_BOTOCORE_NAMES = {
    "sfn": "stepfunctions",
    "eventbridge": "events",
    "cloudwatchlogs": "logs",
    "cloudwatchevents": "events",
    "sagemakerruntime": "sagemaker-runtime",
    "sagemakermetrics": "sagemaker-metrics",
    "resourcegroupstaggingapi": "resourcegroupstaggingapi",
    "elasticloadbalancingv2": "elbv2",
    "costexplorer": "ce",
    "acmpca": "acm-pca",
    "rdsdata": "rds-data",
    "servicequotas": "service-quotas",
    "applicationautoscaling": "application-autoscaling",
}
# Prefixes of error names that do not follow from botocore's service id.
_PREFIXES = {"dynamodb": "DynamoDb", "sfn": "Sfn", "s3": "S3", "eventbridge": "EventBridge"}

_RESOURCE = re.compile(
    r"^arn:aws[a-z-]*:states:::aws-sdk:(?P<service>[a-z0-9]+):(?P<action>[A-Za-z0-9]+)(?P<pattern>\..+)?$"
)
_RENAMED = {("AttributeValue", "NULL"): "Nul"}


class AwsSdk:
    """Calls AWS on behalf of Task states."""

    def __init__(
        self, clients: Clients, current_scope: Callable[[], Scope], session: Callable[[TaskRun], Session]
    ) -> None:
        """``current_scope`` says for which account the running execution acts, ``session`` under which role."""
        self._clients = clients
        self._current_scope = current_scope
        self._session = session

    @staticmethod
    def handles(resource: str) -> bool:
        """Whether a Task state's resource is of this integration."""
        return ":states:::aws-sdk:" in resource

    def __call__(self, resource: str, arguments: Any, run: TaskRun) -> Any:
        """Perform the call; raises StatesError under the name that Step Functions would give."""
        match = _RESOURCE.match(resource)
        if match is None or match["pattern"]:
            raise StatesError("States.Runtime", f"The resource {resource} is not supported by localcloud.")
        service = match["service"]
        client = self._client(service, self._session(run))
        operation = _operation(client, match["action"], resource)
        parameters = _parameters(operation, arguments or {})
        try:
            answer = client._make_api_call(operation.name, parameters)
        except ClientError as error:
            raise _failed(service, client, operation, error) from error
        except ParamValidationError as error:
            raise _unusable(arguments, str(error)) from error
        except BotoCoreError as error:
            prefix = _prefix(service, client)
            raise StatesError(f"{prefix}.SdkClientException", str(error)) from error
        answer.pop("ResponseMetadata", None)
        return _result(operation.output_shape, answer) if operation.output_shape is not None else {}

    def _client(self, service: str, session: Session) -> Any:
        try:
            return self._clients.get(_BOTOCORE_NAMES.get(service, service), self._current_scope(), session)
        except UnknownService as error:
            raise StatesError("States.Runtime", str(error)) from error


def _operation(client: Any, action: str, resource: str) -> OperationModel:
    model = client.meta.service_model
    for name in model.operation_names:
        if name.lower() == action.lower():
            found: OperationModel = model.operation_model(name)
            return found
    raise StatesError("States.Runtime", f"The resource {resource} does not exist: no such action.")


def sdk_name(name: str) -> str:
    """A member's name as Step Functions has it: Java's fluent name with a capital, so a leading acronym is folded.

    >>> sdk_name("SSEKMSKeyId"), sdk_name("DBClusterArn"), sdk_name("ETag"), sdk_name("VolumeSizeInGB")
    ('SsekmsKeyId', 'DbClusterArn', 'ETag', 'VolumeSizeInGB')
    """
    acronym = re.match(r"[A-Z]+(?![a-z])", name)
    folded = name[:1] + name[1 : acronym.end()].lower() + name[acronym.end() :] if acronym else name
    return folded[:1].upper() + folded[1:]


def _parameters(operation: OperationModel, arguments: Any) -> dict[str, Any]:
    if not isinstance(arguments, Mapping):
        raise _unusable(arguments, "The parameters must be an object.")
    if operation.input_shape is None:
        return {}
    return dict(_to_sdk(operation.input_shape, arguments, arguments))


def _to_sdk(shape: Shape, value: Any, whole: Any) -> Any:
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        if getattr(shape, "is_document_type", False):
            return value
        names = {_RENAMED.get((shape.name, name), sdk_name(name)): name for name in shape.members}
        given: dict[str, Any] = {}
        for key, item in value.items():
            name = key if key in shape.members else names.get(key)
            if name is None:
                raise _unusable(whole, f'The field "{key}" is not supported by Step Functions')
            if item is not None:
                given[name] = _to_sdk(shape.members[name], item, whole)
        return given
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_to_sdk(shape.member, item, whole) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {key: _to_sdk(shape.value, item, whole) for key, item in value.items()}
    if shape.type_name == "blob":
        return (value if isinstance(value, str) else json.dumps(value)).encode()
    if shape.type_name in ("integer", "long") and isinstance(value, float) and value.is_integer():
        return int(value)  # JSONata computes in floating point
    return value


def _result(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        return {
            _RENAMED.get((shape.name, name), sdk_name(name)): _result(shape.members[name], item)
            for name, item in value.items()
            if item is not None and name in shape.members
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_result(shape.member, item) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {key: _result(shape.value, item) for key, item in value.items()}
    if isinstance(value, datetime):
        return iso(value)
    if hasattr(value, "read"):
        value = value.read()
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    return value


def iso(moment: datetime) -> str:
    """A time as Java prints an Instant: UTC, milliseconds only when there are any."""
    utc = moment.astimezone(UTC)
    fraction = f".{utc.microsecond // 1000:03d}" if utc.microsecond // 1000 else ""
    return f"{utc:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _prefix(service: str, client: Any) -> str:
    if service in _PREFIXES:
        return _PREFIXES[service]
    spelled = re.findall(r"[A-Za-z0-9]+", str(client.meta.service_model.service_id))
    joined = "".join(word[:1].upper() + word[1:] for word in spelled)
    return joined.capitalize() if joined.isupper() else joined


def error_name(prefix: str, operation: OperationModel, code: str) -> str:
    """The name under which Retry and Catch know an error that a service answered with ``code``."""
    # Some services have two errors of the same code: the operation's own counts.
    for shape in (*operation.error_shapes, *operation.service_model.error_shapes):
        wire = shape.metadata.get("error", {}).get("code", shape.name)
        if code in (wire, shape.name):
            return f"{prefix}.{_exception_name(shape.name)}"
    if code.isdigit() and operation.error_shapes:
        # The answer to a HEAD request has no body and so no code: the SDK goes by the operation's errors.
        return f"{prefix}.{_exception_name(operation.error_shapes[0].name)}"
    return f"{prefix}.{prefix}Exception"


def _exception_name(shape_name: str) -> str:
    name = re.sub(r"(?<=[A-Z])[A-Z]+(?![a-z])", lambda acronym: acronym[0].lower(), shape_name)
    if name.endswith("Fault"):
        name = name.removesuffix("Fault")
    return name if name.endswith("Exception") else f"{name}Exception"


def _failed(service: str, client: Any, operation: OperationModel, error: ClientError) -> StatesError:
    response = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    request_id = response.get("ResponseMetadata", {}).get("RequestId", str(uuid.uuid4()))
    prefix = _prefix(service, client)
    cause = f"{message} (Service: {prefix}, Status Code: {status}, Request ID: {request_id}) (SDK Attempt Count: 1)"
    return StatesError(error_name(prefix, operation, code), cause)


def _unusable(arguments: Any, why: str) -> StatesError:
    return StatesError(
        "States.Runtime", f"The Parameters '{json.dumps(arguments)}' could not be used to start the Task: [{why}]"
    )
