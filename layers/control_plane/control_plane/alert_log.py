"""The alerts that were sent, kept in the control table for `onwing alerts`: a topic itself keeps nothing.

Three kinds of senders publish to the topics: the control plane and its state machines, whose message attributes say
what it is about; CloudWatch alarms, whose message is JSON; an EventBridge rule, whose message is lines of JSON text.
"""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from control_plane import clients
from control_plane.settings import Settings

KEPT = timedelta(days=90)
PARTITION = "ALERTS"


class _Attribute(BaseModel):
    value: str = Field(alias="Value")


class Notification(BaseModel):
    """One message, as SNS gives it to a function."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    message_id: str = Field(alias="MessageId")
    topic: str = Field(alias="TopicArn")
    subject: str | None = Field(default=None, alias="Subject")
    message: str = Field(alias="Message")
    sent_at: datetime = Field(alias="Timestamp")
    attributes: dict[str, _Attribute] = Field(default={}, alias="MessageAttributes")


class NotificationRecord(BaseModel):
    """One record of an event."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    notification: Notification = Field(alias="Sns")


class Notifications(BaseModel):
    """An event: usually one message, possibly several."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    records: list[NotificationRecord] = Field(alias="Records")


class Alert(BaseModel):
    """What is kept of a message."""

    subject: str
    message: str
    kind: str
    severity: str
    fleet: str


def keep(settings: Settings, notification: Notification) -> bool:
    """Write one message down; False if it was written before, for SNS may deliver one twice."""
    alert = understand(settings, notification)
    sent_at = notification.sent_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    texts = {**alert.model_dump(), "topic": notification.topic}
    item: dict[str, Any] = {name: {"S": value} for name, value in texts.items()}
    item |= {"pk": {"S": PARTITION}, "sk": {"S": f"{sent_at}#{notification.message_id}"}}
    item["expires_at"] = {"N": str(int((notification.sent_at + KEPT).timestamp()))}
    dynamodb = clients.dynamodb()
    try:
        dynamodb.put_item(TableName=settings.table_name, Item=item, ConditionExpression="attribute_not_exists(pk)")
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def understand(settings: Settings, notification: Notification) -> Alert:
    """Tell from a message what it is about; one that is not understood is kept as it is."""
    attributes = {name: attribute.value for name, attribute in notification.attributes.items()}
    if "kind" in attributes:
        fleet = attributes.get("fleet", "-")
        return Alert(
            subject=notification.subject or notification.message.partition("\n")[0],
            message=notification.message,
            kind=attributes["kind"],
            severity=attributes.get("severity", _severity(settings, notification)),
            fleet="" if fleet == "-" else fleet,
        )
    if (alarm := _alarm(notification.message)) is not None:
        return _from_alarm(settings, notification, alarm)
    return _from_rule(settings, notification)


def _alarm(message: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        document = json.loads(message)
        if isinstance(document, dict) and isinstance(document.get("AlarmName"), str):
            return document
    return None


def _from_alarm(settings: Settings, notification: Notification, alarm: dict[str, Any]) -> Alert:
    name, state = alarm["AlarmName"], str(alarm.get("NewStateValue", ""))
    texts = [alarm.get("AlarmDescription"), alarm.get("NewStateReason"), f"Alarm: {name} is {state}"]
    fleet = re.match(rf"{re.escape(settings.project_name)}-([A-Za-z0-9]{{1,10}})-(?:v[0-9]+-|data-drift)", name)
    return Alert(
        subject=notification.subject or f"{state}: {name}",
        message="\n".join(str(text) for text in texts if text),
        kind="alarm",
        severity=_severity(settings, notification) if state == "ALARM" else "info",
        fleet=fleet[1] if fleet else "",
    )


def _from_rule(settings: Settings, notification: Notification) -> Alert:
    lines = []
    for line in notification.message.splitlines():
        text: Any = line
        with contextlib.suppress(ValueError):
            text = json.loads(line)
        lines.append(text if isinstance(text, str) else line)
    execution = re.match(r"Execution ([A-Za-z0-9]{1,10})-\S+ ended ", lines[0]) if lines else None
    return Alert(
        subject=notification.subject or (lines[0] if lines else ""),
        message="\n".join(lines),
        kind="execution" if execution else "other",
        severity=_severity(settings, notification),
        fleet=execution[1] if execution else "",
    )


def _severity(settings: Settings, notification: Notification) -> str:
    """A message that does not say how bad it is, is as bad as its topic."""
    return "critical" if notification.topic == settings.critical_topic_arn else "warning"
