"""Queues measure themselves in AWS/SQS: messages visible, in flight and delayed, the oldest one's age, sent, received.

docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html; MiniStack
measures nothing. Gauges are measured when an alarm or a query asks for them, not by polling every queue.
"""

from __future__ import annotations

import time
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import metrics
from localcloud.cloudwatch.metrics import MetricKey
from localcloud.store import Scope

NAMESPACE = "AWS/SQS"


def install() -> None:
    """Count where messages pass; measure gauges on demand."""
    metrics.STORE.gauges[NAMESPACE] = _gauge

    def make_send(send: Any) -> Any:
        def sent(data: dict[str, Any], url: str) -> Any:
            answer = send(data, url)
            put(_name(data, url), "NumberOfMessagesSent", 1)
            put(_name(data, url), "SentMessageSize", len(data.get("MessageBody", "").encode()), "Bytes")
            return answer

        return sent

    def make_collect(collect: Any) -> Any:
        def collected(queue: dict[str, Any], most: int, visibility: int) -> Any:
            messages = collect(queue, most, visibility)
            name = queue["attributes"]["QueueArn"].rpartition(":")[2]
            if messages:
                put(name, "NumberOfMessagesReceived", len(messages))
            else:
                put(name, "NumberOfEmptyReceives", 1)
            return messages

        return collected

    def make_delete(delete: Any) -> Any:
        def deleted(data: dict[str, Any], url: str) -> Any:
            answer = delete(data, url)
            count = len(answer["Successful"]) if "Successful" in answer else 1
            if count:
                put(_name(data, url), "NumberOfMessagesDeleted", count)
            return answer

        return deleted

    def make_polled(delete: Any) -> Any:
        def deleted(url: str, handles: set[str]) -> None:
            delete(url, handles)
            if handles:
                put(url.rstrip("/").rpartition("/")[2], "NumberOfMessagesDeleted", len(handles))

        return deleted

    handlers = hooks.get("sqs.handlers")
    for hook, operation, make in (
        ("sqs.send", "SendMessage", make_send),
        ("sqs.delete", "DeleteMessage", make_delete),
        ("sqs.delete_batch", "DeleteMessageBatch", make_delete),
    ):
        hooks.replace(hook, make)
        handlers[operation] = hooks.get(hook)
    hooks.replace("sqs.collect", make_collect)
    hooks.replace("sqs.delete_polled", make_polled)


def put(queue: str, name: str, value: float, unit: str = "Count") -> None:
    """Record something about one of the current account's queues."""
    metrics.put(hooks.current_scope(), NAMESPACE, name, value, unit, {"QueueName": queue})


def sent(queue_arn: str, body: str) -> None:
    """Record that a service has put a message into a queue."""
    _, _, _, region, account, name = queue_arn.split(":", 5)
    metrics.put(Scope(account, region), NAMESPACE, "NumberOfMessagesSent", 1, "Count", {"QueueName": name})
    metrics.put(Scope(account, region), NAMESPACE, "SentMessageSize", len(body.encode()), "Bytes", {"QueueName": name})


def _name(data: dict[str, Any], url: str) -> str:
    return str(data.get("QueueUrl") or url).rstrip("/").rpartition("/")[2]


def _gauge(key: MetricKey) -> tuple[float, str] | None:
    dimensions = dict(key.dimensions)
    if set(dimensions) != {"QueueName"} or not key.name.startswith("Approximate"):
        return None
    scope = key.scope
    with hooks.acting_in(scope):
        queue = hooks.get("sqs.find")(f"arn:aws:sqs:{scope.region}:{scope.account}:{dimensions['QueueName']}")
        if queue is None:
            return None
        hooks.get("sqs.expire")(queue)
    now = time.time()
    waiting = [message for message in list(queue["messages"]) if "visible_at" in message]
    if key.name == "ApproximateNumberOfMessagesVisible":
        return sum(message["visible_at"] <= now for message in waiting), "Count"
    hidden = [message for message in waiting if message["visible_at"] > now]
    if key.name == "ApproximateNumberOfMessagesNotVisible":
        return sum(message.get("receive_count", 0) > 0 for message in hidden), "Count"
    if key.name == "ApproximateNumberOfMessagesDelayed":
        return sum(message.get("receive_count", 0) == 0 for message in hidden), "Count"
    if key.name == "ApproximateAgeOfOldestMessage":
        return float(int(max((now - message.get("sent_at", now) for message in waiting), default=0))), "Seconds"
    return None
