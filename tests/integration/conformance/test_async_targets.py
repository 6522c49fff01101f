"""localcloud.fidelity.async_targets."""

import json

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import topic
from .steps import first_message, function, queue
from .test_rule_delivery import dead_letter

SOURCE = """
def handler(event, context):
    print("called", flush=True)
    raise ValueError("asked to fail")
"""


def test_event_whose_function_fails_is_retried_and_then_goes_to_the_destination(localcloud: Cloud) -> None:
    client, events = localcloud.client("lambda"), localcloud.client("events")
    failing = function(localcloud, SOURCE)
    url, arn = queue(localcloud)
    client.put_function_event_invoke_config(
        FunctionName=failing["FunctionName"],
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )
    source, name = unique("conformance"), unique("rule")
    rule = events.put_rule(Name=name, EventPattern=json.dumps({"source": [source]}))["RuleArn"]
    events.put_targets(Rule=name, Targets=[{"Id": "function", "Arn": failing["FunctionArn"]}])
    client.add_permission(
        FunctionName=failing["FunctionName"],
        StatementId="events",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    events.put_events(Entries=[{"Source": source, "DetailType": "d", "Detail": json.dumps({"n": 1})}])

    record = first_message(localcloud, url)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestPayload"]["detail"] == {"n": 1}
    assert record["responsePayload"]["errorMessage"] == "asked to fail"
    logs = localcloud.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{failing['FunctionName']}")["events"]
    assert [event["message"].strip() for event in logs].count("called") == 2  # once, and one retry


def test_dead_letter_queue_gets_the_event_itself(localcloud: Cloud) -> None:
    url, arn = queue(localcloud)
    name = function(localcloud, SOURCE, DeadLetterConfig={"TargetArn": arn})["FunctionName"]
    client = localcloud.client("lambda")
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": 1}))

    event, attributes = dead_letter(localcloud, url)
    assert event == {"n": 1}
    assert attributes["ErrorMessage"] == "asked to fail"
    assert {"RequestID", "ErrorCode"} <= set(attributes)


def test_success_goes_to_its_destination(localcloud: Cloud) -> None:
    url, arn = queue(localcloud)
    name = function(localcloud, "def handler(event, context): return {'twice': 2 * event['n']}")["FunctionName"]
    client = localcloud.client("lambda")
    client.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}})
    client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": 4}))

    record = first_message(localcloud, url)
    assert (record["requestContext"]["condition"], record["responsePayload"]) == ("Success", {"twice": 8})
    assert "functionError" not in record["responseContext"]


def test_function_that_a_topic_invokes_is_retried_too(localcloud: Cloud) -> None:
    client, (arn, _url), (dead_url, dead) = localcloud.client("lambda"), topic(localcloud), queue(localcloud)
    made = function(localcloud, SOURCE)
    client.put_function_event_invoke_config(
        FunctionName=made["FunctionName"],
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": dead}},
    )
    client.add_permission(
        FunctionName=made["FunctionName"],
        StatementId="sns",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=arn,
    )
    sns = localcloud.client("sns")
    sns.subscribe(TopicArn=arn, Protocol="lambda", Endpoint=made["FunctionArn"])
    sns.publish(TopicArn=arn, Message="hello")

    record = first_message(localcloud, dead_url)
    assert record["requestPayload"]["Records"][0]["Sns"]["Message"] == "hello"
    assert record["requestContext"]["approximateInvokeCount"] == 2
