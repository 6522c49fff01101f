"""Alerts: one message that says what happened, where, and what to do.

What cannot wait goes to the critical topic, everything else to the alerts topic.
"""

from __future__ import annotations

from typing import Literal

from control_plane import clients
from control_plane.settings import Settings

Severity = Literal["info", "warning", "critical"]

SUBJECT_LIMIT = 100  # SNS: at most 100 characters of printable ASCII, no line breaks


def publish(settings: Settings, *, kind: str, severity: Severity, fleet: str, subject: str, message: str) -> None:
    """Send one alert.

    `kind`, `severity` and `fleet` become message attributes, so that a subscription can filter on them. SNS refuses a
    subject that is not printable ASCII, and names of uploaded files may be anything: what SNS would refuse becomes `?`.
    """
    line = f"[{settings.project_name}] {subject}"
    printable = "".join(c if " " <= c <= "~" else "?" for c in line)
    clients.sns().publish(
        TopicArn=settings.critical_topic_arn if severity == "critical" else settings.alerts_topic_arn,
        Subject=printable[: SUBJECT_LIMIT - 1],
        Message=message,
        MessageAttributes={
            "kind": {"DataType": "String", "StringValue": kind},
            "severity": {"DataType": "String", "StringValue": severity},
            "fleet": {"DataType": "String", "StringValue": fleet or "-"},
        },
    )
