"""localcloud.fidelity.async_targets."""

import json

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import first_message, function, queue

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
