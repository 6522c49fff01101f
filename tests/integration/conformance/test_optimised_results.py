"""localcloud.fidelity.optimised_results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import topic
from .steps import Json, first_message, function, machine, run

METADATA = {"SdkHttpMetadata", "SdkResponseMetadata"}


@pytest.fixture(scope="module")
def table(localcloud: Cloud) -> str:
    name = unique("table")
    localcloud.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    return name


def task(cloud: Cloud, resource: str, arguments: Json) -> Json:
    """The description of an execution of one task."""
    resource = f"arn:aws:states:::{resource}"
    return run(cloud, {"Task": {"Type": "Task", "Resource": resource, "Arguments": arguments, "End": True}})


def result(cloud: Cloud, resource: str, arguments: Json) -> Any:
    """What a task gives."""
    execution = task(cloud, resource, arguments)
    assert execution["status"] == "SUCCEEDED", execution["cause"]
    return json.loads(execution["output"])


def test_a_function_s_answer_has_its_version_and_metadata(localcloud: Cloud) -> None:
    name = function(localcloud, "def handler(event, context):\n    return {'got': event}\n")["FunctionName"]
    answer = result(localcloud, "lambda:invoke", {"FunctionName": name, "Payload": {"a": 1}})
    assert set(answer) == {"ExecutedVersion", "Payload", "StatusCode"} | METADATA
    assert (answer["ExecutedVersion"], answer["Payload"], answer["StatusCode"]) == ("$LATEST", {"got": {"a": 1}}, 200)
    assert result(localcloud, "lambda:invoke", {"FunctionName": name})["Payload"] == {"got": {}}


def test_an_item_s_answer_has_its_metadata(localcloud: Cloud, table: str) -> None:
    result(localcloud, "dynamodb:putItem", {"TableName": table, "Item": {"pk": {"S": "here"}}})
    got = result(localcloud, "dynamodb:getItem", {"TableName": table, "Key": {"pk": {"S": "here"}}})
    assert (set(got), got["Item"]) == ({"Item"} | METADATA, {"pk": {"S": "here"}})
    none = result(localcloud, "dynamodb:getItem", {"TableName": table, "Key": {"pk": {"S": "nowhere"}}})
    assert set(none) == METADATA


def test_a_started_execution_has_its_date_in_milliseconds(localcloud: Cloud) -> None:
    nested = machine(localcloud, {"Task": {"Type": "Pass", "End": True}})
    answer = result(localcloud, "states:startExecution", {"StateMachineArn": nested})
    assert set(answer) == {"ExecutionArn", "StartDate"} | METADATA
    assert answer["StartDate"] > 1_700_000_000_000


def test_a_message_has_its_attributes(localcloud: Cloud) -> None:
    """A subscription's filter goes by them, and the envelope shows them."""
    arn, url = topic(localcloud)
    (subscription,) = localcloud.client("sns").list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    localcloud.client("sns").set_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"], AttributeName="RawMessageDelivery", AttributeValue="false"
    )
    localcloud.client("sns").set_subscription_attributes(
        SubscriptionArn=subscription["SubscriptionArn"],
        AttributeName="FilterPolicy",
        AttributeValue=json.dumps({"kind": ["deployed"]}),
    )
    for kind in ("refused", "deployed"):
        attributes = {
            "kind": {"DataType": "String", "StringValue": kind},
            "fleet": {"DataType": "String", "StringValue": "F"},
        }
        given = {"TopicArn": arn, "Subject": "so", "Message": {"kind": kind}, "MessageAttributes": attributes}
        answer = result(localcloud, "sns:publish", given)
        assert set(answer) == {"MessageId"} | METADATA
    envelope = first_message(localcloud, url)
    assert json.loads(envelope["Message"]) == {"kind": "deployed"}
    assert envelope["MessageAttributes"] == {
        "kind": {"Type": "String", "Value": "deployed"},
        "fleet": {"Type": "String", "Value": "F"},
    }


@pytest.mark.parametrize(
    ("resource", "arguments", "error", "cause"),
    [
        (
            "dynamodb:putItem",
            {"Item": {"pk": {"S": "taken"}}, "ConditionExpression": "attribute_not_exists(pk)"},
            "DynamoDB.ConditionalCheckFailedException",
            "The conditional request failed (Service: AmazonDynamoDBv2; Status Code: 400; Error Code: "
            "ConditionalCheckFailedException; Request ID: ",
        ),
        ("dynamodb:putItem", {"Item": {"x": {"S": "1"}}}, "DynamoDB.AmazonDynamoDBException", "Code: Validation"),
        (
            "dynamodb:getItem",
            {"TableName": "nobody-s", "Key": {"pk": {"S": "1"}}},
            "DynamoDB.ResourceNotFoundException",
            "Error Code: ResourceNotFoundException",
        ),
        ("lambda:invoke", {"FunctionName": "nobody-s"}, "Lambda.ResourceNotFoundException", "Status Code: 404"),
        (
            "sns:publish",
            {"TopicArn": "arn:aws:sns:us-east-1:000000000000:nobody-s", "Message": "m"},
            "SNS.NotFoundException",
            "Status Code: 404; Error Code: NotFound; ",
        ),
    ],
)
def test_errors_have_the_names_of_the_sdk(
    localcloud: Cloud, table: str, resource: str, arguments: Json, error: str, cause: str
) -> None:
    localcloud.client("dynamodb").put_item(TableName=table, Item={"pk": {"S": "taken"}})
    given = {"TableName": table} if resource.startswith("dynamodb") else {}
    failed = task(localcloud, resource, {**given, **arguments})
    assert (failed["status"], failed["error"]) == ("FAILED", error)
    assert cause in failed["cause"]


@pytest.mark.parametrize("suffix", ["", ".sync:2"])
def test_a_taken_name_has_the_sdk_s_name(localcloud: Cloud, suffix: str) -> None:
    nested, name = machine(localcloud, {"Task": {"Type": "Pass", "End": True}}), unique("taken")
    once = {"StateMachineArn": nested, "Name": name, "Input": {"a": 1}}
    result(localcloud, f"states:startExecution{suffix}", once)
    failed = task(localcloud, f"states:startExecution{suffix}", {**once, "Input": {"a": 2}})
    assert failed["error"] == "StepFunctions.ExecutionAlreadyExistsException"
