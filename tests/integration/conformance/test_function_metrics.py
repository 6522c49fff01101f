"""localcloud.fidelity.function_metrics."""

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from .measures import becomes, value
from .steps import function

SOURCE = """
import time

def handler(event, context):
    if event.get("fail"):
        raise ValueError("asked to fail")
    time.sleep(0.05)
"""
NAMESPACE = "AWS/Lambda"


def test_invocations_errors_and_duration(localcloud: Cloud) -> None:
    client, name = localcloud.client("lambda"), function(localcloud, SOURCE)["FunctionName"]
    client.invoke(FunctionName=name, Payload=b"{}")
    client.invoke(FunctionName=name, Payload=b'{"fail": true}')

    dimensions = {"FunctionName": name}
    becomes(localcloud, 2, NAMESPACE, "Invocations", dimensions)
    assert value(localcloud, NAMESPACE, "Errors", dimensions) == 1
    assert value(localcloud, NAMESPACE, "Duration", dimensions, "Maximum") >= 50  # type: ignore[operator]
    assert value(localcloud, NAMESPACE, "ConcurrentExecutions", dimensions, "Maximum") == 1
    assert value(localcloud, NAMESPACE, "Invocations", {**dimensions, "Resource": name}) == 2


def test_asynchronous_retries_are_invocations_too(localcloud: Cloud) -> None:
    client, name = localcloud.client("lambda"), function(localcloud, SOURCE)["FunctionName"]
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"fail": true}')

    dimensions = {"FunctionName": name}
    becomes(localcloud, 1, NAMESPACE, "AsyncEventsDropped", dimensions)
    assert value(localcloud, NAMESPACE, "AsyncEventsReceived", dimensions) == 1
    assert value(localcloud, NAMESPACE, "Invocations", dimensions) == 2
    assert value(localcloud, NAMESPACE, "Errors", dimensions) == 2


def test_throttles_are_no_invocations(localcloud: Cloud) -> None:
    client, name = localcloud.client("lambda"), function(localcloud, SOURCE)["FunctionName"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError, match="TooManyRequests"):
        client.invoke(FunctionName=name, Payload=b"{}")

    dimensions = {"FunctionName": name}
    becomes(localcloud, 1, NAMESPACE, "Throttles", dimensions)
    assert value(localcloud, NAMESPACE, "Invocations", dimensions) is None
