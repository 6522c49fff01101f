"""The log of alerts: what each sender's message becomes, and that each is kept once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from control_plane.alert_log import Notification, Notifications, keep, understand

from tests.unit.conftest import Stack

EVENT = json.loads((Path(__file__).parents[2] / "events/record_alert.json").read_text())


def notification(stack: Stack, message: str, *, critical: bool = False, **more: Any) -> Notification:
    """A message without attributes, as SNS delivers it."""
    topic = stack.settings.critical_topic_arn if critical else stack.settings.alerts_topic_arn
    sns = {
        "MessageId": "0f3c4a9e-2f8e-5b0a-b1c4-16bd1b8b6f5e",
        "TopicArn": topic,
        "Subject": None,
        "Message": message,
        "Timestamp": "2026-11-23T11:06:14.482Z",
        "MessageAttributes": {},
        **more,
    }
    return Notification.model_validate(sns)


def items(stack: Stack) -> list[dict[str, str]]:
    found = stack.dynamodb.query(
        TableName=stack.settings.table_name,
        KeyConditionExpression="pk = :alerts",
        ExpressionAttributeValues={":alerts": {"S": "ALERTS"}},
    )["Items"]
    return [{name: next(iter(value.values())) for name, value in item.items()} for item in found]


def test_sample_event_is_kept_once_for_90_days(stack: Stack) -> None:
    twice = Notifications.model_validate({"Records": EVENT["Records"] * 2})

    assert [keep(stack.settings, record.notification) for record in twice.records] == [True, False]

    sns = EVENT["Records"][0]["Sns"]
    assert items(stack) == [
        {
            "pk": "ALERTS",
            "sk": f"2026-11-23T11:06:14.482Z#{sns['MessageId']}",
            "subject": sns["Subject"],
            "message": sns["Message"],
            "kind": "drift",
            "severity": "warning",
            "fleet": "FD001",
            "topic": sns["TopicArn"],
            "expires_at": "1803207974",
        }
    ]


ALARM = {
    "AlarmName": "onwing-FD001-v7-model-latency",
    "AlarmDescription": "Model v7 of FD001 answers too slowly.",
    "AWSAccountId": "123456789012",
    "NewStateValue": "ALARM",
    "NewStateReason": "Threshold Crossed: 1 datapoint [251000.0] was greater than the threshold (200000.0).",
    "StateChangeTime": "2026-11-23T11:06:14.482+0000",
    "Region": "US East (N. Virginia)",
    "OldStateValue": "OK",
    "Trigger": {"MetricName": "ModelLatency", "Namespace": "AWS/SageMaker", "Dimensions": []},
}


def test_alarm_is_kept_as_text_for_people(stack: Stack) -> None:
    alert = understand(stack.settings, notification(stack, json.dumps(ALARM), Subject='ALARM: "…" in US East'))

    assert (alert.kind, alert.severity, alert.fleet) == ("alarm", "warning", "FD001")
    assert alert.subject == 'ALARM: "…" in US East'
    assert "too slowly" in alert.message
    assert "Threshold Crossed" in alert.message


@pytest.mark.parametrize(
    ("name", "fleet"),
    [("onwing-FD002-data-drift", "FD002"), ("onwing-IngestDeadLetterAlarm-1A2B", ""), ("onwing-Ingest-v1alarm", "")],
)
def test_alarms_fleet_is_in_its_name(stack: Stack, name: str, fleet: str) -> None:
    found = understand(stack.settings, notification(stack, json.dumps({**ALARM, "AlarmName": name})))
    assert (found.fleet, found.subject) == (fleet, f"ALARM: {name}")


def test_alarm_that_is_over_is_information(stack: Stack) -> None:
    over = json.dumps({**ALARM, "NewStateValue": "OK"})
    assert understand(stack.settings, notification(stack, over, critical=True)).severity == "info"


def test_rules_lines_of_json_text_are_read(stack: Stack) -> None:
    message = (
        '"Execution FD001-0123456789ab-1 ended FAILED at 2026-11-23T11:06:14Z."\n"Execution: arn:x"\n"To do: look"'
    )

    alert = understand(stack.settings, notification(stack, message, critical=True))

    assert (alert.kind, alert.severity, alert.fleet) == ("execution", "critical", "FD001")
    assert alert.subject == "Execution FD001-0123456789ab-1 ended FAILED at 2026-11-23T11:06:14Z."
    assert alert.message.splitlines()[1:] == ["Execution: arn:x", "To do: look"]


@pytest.mark.parametrize("message", ["", "plain text", "[1, 2]", '{"no": "alarm"}', "null", "{"])
def test_anything_else_is_kept_as_it_is(stack: Stack, message: str) -> None:
    alert = understand(stack.settings, notification(stack, message))
    assert (alert.kind, alert.severity, alert.message) == ("other", "warning", message)


def test_alert_that_is_about_no_fleet_has_none(stack: Stack) -> None:
    attributes = {name: {"Type": "String", "Value": value} for name, value in (("kind", "reconciled"), ("fleet", "-"))}
    found = understand(stack.settings, notification(stack, "x\ny", critical=True, MessageAttributes=attributes))
    assert (found.fleet, found.severity, found.subject) == ("", "critical", "x")
