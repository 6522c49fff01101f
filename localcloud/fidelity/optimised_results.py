"""Optimised integrations give the service's answer with its metadata, and call errors as the service's SDK does.

docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html, connect-ddb.html, connect-sns.html and
connect-stepfunctions.html. They are built on the AWS SDK for Java 1: errors that the service's model lists have a name
of their own, all others the service's. MiniStack gives answers without their metadata, invokes a function without
Payload with the task's arguments, loses the attributes of a message, and has names of its own for errors.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from html import unescape
from typing import Any

from localcloud import hooks
from localcloud.sagemaker.api import service_model

_RESOURCE = re.compile(r"^arn:aws[a-z-]*:states:::(?P<service>lambda|dynamodb|sns|states):(?P<action>[A-Za-z]+)$")
# By service: botocore's name for it, the prefix of its errors, the name of all that are not listed, how causes call it.
_ERRORS = {
    "dynamodb": ("dynamodb", "DynamoDB", "AmazonDynamoDBException", "AmazonDynamoDBv2"),
    "sns": ("sns", "SNS", "AmazonSNSException", "AmazonSNS"),
    "states": ("stepfunctions", "StepFunctions", "AWSStepFunctionsException", "AWSStepFunctions"),
    "lambda": ("lambda", "Lambda", "AWSLambdaException", "AWSLambda"),
}


def install() -> None:
    """Complete what MiniStack's integrations give and raise."""
    error_type = hooks.get("states.error")

    def make(invoke_resource: Any) -> Any:
        def invoke(resource: str, input_data: Any) -> Any:
            match = _RESOURCE.match(resource)
            if match is None or not isinstance(input_data, dict):
                return invoke_resource(resource, input_data)
            service = match["service"]
            if service == "lambda":
                input_data = {"Payload": {}, **input_data}
            elif service == "sns":
                input_data = message(input_data)
            try:
                answer = invoke_resource(resource, input_data)
            except error_type as error:
                raise error_type(*called(service, error.error, error.cause)) from error
            return with_metadata(service, answer)

        return invoke

    hooks.replace("states.invoke", make)


def message(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A message as SNS's query protocol has it, which is what MiniStack reads: text, and numbered attributes."""
    given = {name: value for name, value in arguments.items() if name != "MessageAttributes"}
    if not isinstance(given.get("Message", ""), str):
        given["Message"] = json.dumps(given["Message"])
    for number, (name, attribute) in enumerate((arguments.get("MessageAttributes") or {}).items(), 1):
        entry = f"MessageAttributes.entry.{number}"
        given[f"{entry}.Name"] = name
        given.update({f"{entry}.Value.{member}": str(value) for member, value in attribute.items()})
    return given


def called(service: str, name: str, cause: str) -> tuple[str, str]:
    """An error's name and cause; those of a function's own code, and those that are complete, are left alone."""
    model, prefix, otherwise, spelled = _ERRORS[service]
    code = name.removeprefix(f"{prefix}.")
    if service == "sns" and (said := re.search(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", cause, re.DOTALL)):
        code, cause = said[1], unescape(said[2])
    if "(Service: " in cause or name.startswith("States.") or (service == "lambda" and code == name):
        return name, cause
    listed = {shape.name.removesuffix("Exception") for shape in service_model(model).error_shapes}
    stem = code.removesuffix("Exception")
    named = f"{stem}Exception" if stem in listed else otherwise
    status = 404 if (service, stem) in (("lambda", "ResourceNotFound"), ("sns", "NotFound")) else 400
    details = f"Service: {spelled}; Status Code: {status}; Error Code: {code}; Request ID: {uuid.uuid4()}; Proxy: null"
    return f"{prefix}.{named}", f"{cause} ({details})"


def with_metadata(service: str, answer: Any) -> Any:
    """An answer with what the SDK adds to it."""
    if not isinstance(answer, dict):
        return answer
    request_id = str(uuid.uuid4())
    headers = {"x-amzn-RequestId": request_id, "Content-Type": "application/json"}
    metadata = {
        "SdkHttpMetadata": {
            "AllHttpHeaders": {name: [value] for name, value in headers.items()},
            "HttpHeaders": headers,
            "HttpStatusCode": 200,
        },
        "SdkResponseMetadata": {"RequestId": request_id},
    }
    if service == "lambda":
        return {"ExecutedVersion": "$LATEST", **answer, **metadata}
    started = answer.get("StartDate")
    if service == "states" and isinstance(started, str):
        answer = {**answer, "StartDate": int(datetime.fromisoformat(started).timestamp() * 1000)}
    return {**answer, **metadata}
