"""Topics are measured in AWS/SNS: messages published, notifications delivered and failed.

docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html; MiniStack measures nothing.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import metrics
from localcloud.fidelity import queue_metrics
from localcloud.store import Scope

NAMESPACE = "AWS/SNS"


def install() -> None:
    """Count where messages are fanned out, and where each subscription is served."""

    def make_fan_out(fan_out: Any) -> Any:
        def fanned_out(topic_arn: str, msg_id: str, message: str, *arguments: Any, **named: Any) -> Any:
            put(topic_arn, "NumberOfMessagesPublished", 1)
            put(topic_arn, "PublishSize", len(str(message).encode()), "Bytes")
            return fan_out(topic_arn, msg_id, message, *arguments, **named)

        return fanned_out

    def make_to_queue(deliver: Any) -> Any:
        def delivered(endpoint: str, envelope: str, raw: bool, raw_message: str, **named: Any) -> Any:
            topic = named.get("topic_arn", "")
            queue = hooks.get("sqs.find")(endpoint)
            account = (topic.split(":") + [""] * 5)[4]
            allowed = queue is not None and hooks.get("sqs.allows")(endpoint, "sns.amazonaws.com", topic, account)
            deliver(endpoint, envelope, raw, raw_message, **named)
            put(topic, "NumberOfNotificationsDelivered" if allowed else "NumberOfNotificationsFailed", 1)
            if allowed:
                queue_metrics.sent(endpoint, raw_message if raw else envelope)

        return delivered

    def make_to_function(_original: Any) -> Any:
        def delivered(endpoint: str, *arguments: Any) -> Any:
            topic = arguments[1]
            function, config, _name = hooks.get("lambda.find")(endpoint)
            found = bool(function and config)
            put(topic, "NumberOfNotificationsDelivered" if found else "NumberOfNotificationsFailed", 1)
            return _original(endpoint, *arguments)

        return delivered

    hooks.replace("sns.fan_out", make_fan_out)
    hooks.replace("sns.to_queue", make_to_queue)
    hooks.replace("sns.to_function", make_to_function)


def put(topic_arn: str, name: str, value: float, unit: str = "Count") -> None:
    """Record something about a topic, in its own account."""
    parts = topic_arn.split(":")
    if len(parts) == 6:
        metrics.put(Scope(parts[4], parts[3]), NAMESPACE, name, value, unit, {"TopicName": parts[5]})
