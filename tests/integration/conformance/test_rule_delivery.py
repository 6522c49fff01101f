"""localcloud.fidelity.rule_delivery."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import ROLE, unique
from .measures import alarm, becomes, reaches, topic, value
from .steps import closed, first_message, function, machine, messages, queue

ACCOUNT = "000000000000"
NAMESPACE = "AWS/Events"


def send(cloud: Cloud, target: dict[str, Any], *details: dict[str, Any]) -> tuple[str, str]:
    """Put events that one rule gives to one target; the rule's name and ARN."""
    events, source, name = cloud.client("events"), unique("source"), unique("rule")
    arn = events.put_rule(Name=name, EventPattern=json.dumps({"source": [source]}))["RuleArn"]
    events.put_targets(Rule=name, Targets=[{"Id": "target", **target}])
    for detail in details or ({"n": 1},):
        events.put_events(Entries=[{"Source": source, "DetailType": "kind", "Detail": json.dumps(detail)}])
    return name, arn


def dead_letter(cloud: Cloud, url: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A dead-letter queue's first message: the event, and its attributes."""

    def look() -> list[dict[str, Any]]:
        received = cloud.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=1, MessageAttributeNames=["All"])
        found: list[dict[str, Any]] = received.get("Messages", [])
        return found

    message = wait_for(look, 60)[0]
    attributes = message.get("MessageAttributes", {})
    return json.loads(message["Body"]), {name: each["StringValue"] for name, each in attributes.items()}


# --- targets ---


def test_topic_gets_the_event(localcloud: Cloud) -> None:
    arn, url = topic(localcloud)
    send(localcloud, {"Arn": arn})
    assert first_message(localcloud, url)["detail"] == {"n": 1}


def test_state_machine_starts_once_for_an_event(localcloud: Cloud) -> None:
    arn = machine(localcloud, {"Task": {"Type": "Pass", "End": True}})
    send(localcloud, {"Arn": arn, "RoleArn": ROLE})
    client = localcloud.client("stepfunctions")
    (execution,) = wait_for(lambda: client.list_executions(stateMachineArn=arn)["executions"], 60)
    described = closed(localcloud, execution["executionArn"])
    event = json.loads(described["input"])
    assert event["detail"] == {"n": 1}
    assert described["name"].startswith(event["id"])


def test_log_group_gets_the_event(localcloud: Cloud) -> None:
    logs, group = localcloud.client("logs"), unique("/aws/events/")
    logs.create_log_group(logGroupName=group)
    arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{group}"
    document = {
        "Effect": "Allow",
        "Principal": {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]},
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": f"{arn}:*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [document]})
    logs.put_resource_policy(policyName=unique("policy"), policyDocument=policy)
    send(localcloud, {"Arn": arn})
    (line,) = wait_for(lambda: logs.filter_log_events(logGroupName=group)["events"], 60)
    assert json.loads(line["message"])["detail"] == {"n": 1}


def test_other_bus_gets_the_event(localcloud: Cloud) -> None:
    events, bus, name = localcloud.client("events"), unique("bus"), unique("rule")
    arn = events.create_event_bus(Name=bus)["EventBusArn"]
    url, queue_arn = queue(localcloud)
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"detail": {"n": [1]}}))
    events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": queue_arn}])
    send(localcloud, {"Arn": arn, "RoleArn": ROLE})
    assert first_message(localcloud, url)["detail"] == {"n": 1}
    becomes(localcloud, 1, NAMESPACE, "Invocations", {"RuleName": name, "EventBusName": bus})


def test_events_of_one_target_stay_in_order(localcloud: Cloud) -> None:
    url, arn = queue(localcloud)
    send(localcloud, {"Arn": arn}, *({"n": number} for number in range(20)))
    found: list[int] = []

    def look() -> bool:
        found.extend(message["detail"]["n"] for message in messages(localcloud, url))
        return len(found) == 20

    wait_for(look, 60)
    assert found == list(range(20))


# --- what a target gets ---

DETAIL = {"items": [{"name": "first"}, {"name": "second"}], "a-b": {"c": 7}, "text": 'say "hello"'}


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ({"InputPath": "$.detail.items[1]"}, {"name": "second"}),
        ({"InputPath": "$.detail.a-b.c"}, 7),
        ({"Input": '{"constant": true}'}, {"constant": True}),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"name": "$.detail.items[0].name", "object": "$.detail.a-b", "none": "$.detail.x"},
                    "InputTemplate": '{"name": <name>, "in": "is <name>", "object": <object>, "none": "<none>"}',
                }
            },
            {"name": "first", "in": "is first", "object": {"c": 7}, "none": ""},
        ),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"all": "$.detail.items[*].name"},
                    "InputTemplate": '{"all": <all>, "event": <aws.events.event.json>, "rule": <aws.events.rule-name>}',
                }
            },
            None,
        ),
    ],
)
def test_target_gets_what_its_input_says(localcloud: Cloud, target: dict[str, Any], wanted: Any) -> None:
    url, arn = queue(localcloud)
    name, _arn = send(localcloud, {"Arn": arn, **target}, DETAIL)
    got = first_message(localcloud, url)
    if wanted is None:
        assert (got["all"], got["event"]["detail"], got["rule"]) == (["first", "second"], DETAIL, name)
    else:
        assert got == wanted


# --- what fails ---


def test_missing_target_goes_to_the_dead_letter_queue_at_once(localcloud: Cloud) -> None:
    url, dead = queue(localcloud)
    missing = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:is-not-there"
    name, rule = send(localcloud, {"Arn": missing, "DeadLetterConfig": {"Arn": dead}})
    event, attributes = dead_letter(localcloud, url)
    assert event["detail"] == {"n": 1}
    assert attributes.pop("ERROR_MESSAGE")
    assert attributes == {
        "RULE_ARN": rule,
        "TARGET_ARN": missing,
        "ERROR_CODE": "NO_RESOURCE",
        "RETRY_ATTEMPTS": "0",
    }
    for metric in ("TriggeredRules", "MatchedEvents", "Invocations", "FailedInvocations", "InvocationsSentToDlq"):
        becomes(localcloud, 1, NAMESPACE, metric, {"RuleName": name})


def test_target_that_may_not_be_used_goes_to_the_dead_letter_queue(localcloud: Cloud) -> None:
    made = function(localcloud, "def handler(event, context): pass")
    url, dead = queue(localcloud)
    send(localcloud, {"Arn": made["FunctionArn"], "DeadLetterConfig": {"Arn": dead}})
    _event, attributes = dead_letter(localcloud, url)
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"
    assert "lambda:InvokeFunction" in attributes["ERROR_MESSAGE"]


def test_failed_invocations_set_off_an_alarm(localcloud: Cloud) -> None:
    name, _arn = send(localcloud, {"Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:is-not-there"})
    watching = alarm(localcloud, NAMESPACE, "FailedInvocations", {"RuleName": name})
    reaches(localcloud, watching, "ALARM")


def test_dead_letter_queue_that_takes_nothing_is_measured(localcloud: Cloud) -> None:
    missing = f"arn:aws:sqs:us-east-1:{ACCOUNT}:is-not-there"
    name, _arn = send(localcloud, {"Arn": missing, "DeadLetterConfig": {"Arn": missing}})
    becomes(localcloud, 1, NAMESPACE, "InvocationsFailedToBeSentToDlq", {"RuleName": name})


class _Endpoint(BaseHTTPRequestHandler):
    """Answers what it is told to, and counts."""

    def do_POST(self) -> None:
        self.server.asked.append(time.monotonic())  # type: ignore[attr-defined]
        answers: list[int] = self.server.answers  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def endpoint(cloud: Cloud, *answers: int) -> Iterator[tuple[str, list[float]]]:
    """An API destination that answers these statuses, the last of them for ever: ARN, and when it was asked."""
    server = HTTPServer(("127.0.0.1", 0), _Endpoint)
    server.answers, server.asked = list(answers), []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    events = cloud.client("events")
    connection = events.create_connection(
        Name=unique("connection"),
        AuthorizationType="API_KEY",
        AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "key", "ApiKeyValue": "value"}},
    )["ConnectionArn"]
    arn = events.create_api_destination(
        Name=unique("destination"),
        ConnectionArn=connection,
        InvocationEndpoint=f"http://127.0.0.1:{server.server_port}/",
        HttpMethod="POST",
    )["ApiDestinationArn"]
    try:
        yield arn, server.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def test_target_is_tried_again_until_it_takes_the_event(localcloud: Cloud) -> None:
    with endpoint(localcloud, 503, 500, 200) as (arn, asked):
        name, _arn = send(localcloud, {"Arn": arn, "RoleArn": ROLE})
        becomes(localcloud, 1, NAMESPACE, "SuccessfulInvocationAttempts", {"RuleName": name})
        assert len(asked) == 3
        assert asked[2] - asked[1] > 0.15  # the pauses grow
    assert value(localcloud, NAMESPACE, "RetryInvocationAttempts", {"RuleName": name}) == 2
    becomes(localcloud, 0, NAMESPACE, "FailedInvocations", {"RuleName": name})


def test_retries_end_as_the_policy_says(localcloud: Cloud) -> None:
    url, dead = queue(localcloud)
    with endpoint(localcloud, 500) as (arn, asked):
        policy = {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 3600}
        send(localcloud, {"Arn": arn, "RoleArn": ROLE, "RetryPolicy": policy, "DeadLetterConfig": {"Arn": dead}})
        event, attributes = dead_letter(localcloud, url)
        assert len(asked) == 3
    assert event["detail"] == {"n": 1}
    assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    assert attributes["RETRY_ATTEMPTS"] == "2"
    assert attributes["ERROR_CODE"] == "SDK_CLIENT_ERROR"


def test_refusal_is_not_retried(localcloud: Cloud) -> None:
    url, dead = queue(localcloud)
    with endpoint(localcloud, 400) as (arn, asked):
        send(localcloud, {"Arn": arn, "RoleArn": ROLE, "DeadLetterConfig": {"Arn": dead}})
        _event, attributes = dead_letter(localcloud, url)
        assert len(asked) == 1
    assert "EXHAUSTED_RETRY_CONDITION" not in attributes
