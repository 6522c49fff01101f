"""localcloud.fidelity.queue_metrics."""

import time

from localcloud.testing import Cloud

from .measures import becomes, value
from .steps import queue

NAMESPACE = "AWS/SQS"


def test_messages_are_counted_on_their_way(localcloud: Cloud) -> None:
    sqs, (url, arn) = localcloud.client("sqs"), queue(localcloud)
    dimensions = {"QueueName": arn.rpartition(":")[2]}
    sqs.send_message(QueueUrl=url, MessageBody="one")
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": "more"} for n in range(2)])
    # Nothing comes back into the queue while this is measured.
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=2, VisibilityTimeout=3600)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])

    becomes(localcloud, 3, NAMESPACE, "NumberOfMessagesSent", dimensions)
    becomes(localcloud, 2, NAMESPACE, "NumberOfMessagesReceived", dimensions)
    becomes(localcloud, 1, NAMESPACE, "NumberOfMessagesDeleted", dimensions)
    assert value(localcloud, NAMESPACE, "SentMessageSize", dimensions) == 11
    assert value(localcloud, NAMESPACE, "ApproximateNumberOfMessagesVisible", dimensions, "Maximum") == 1
    assert value(localcloud, NAMESPACE, "ApproximateNumberOfMessagesNotVisible", dimensions, "Maximum") == 1


def test_oldest_messages_age_grows(localcloud: Cloud) -> None:
    sqs, (url, arn) = localcloud.client("sqs"), queue(localcloud)
    dimensions = {"QueueName": arn.rpartition(":")[2]}
    sent = time.time()
    sqs.send_message(QueueUrl=url, MessageBody="waiting")
    time.sleep(2.1)
    age = value(localcloud, NAMESPACE, "ApproximateAgeOfOldestMessage", dimensions, "Maximum")
    assert age is not None
    assert 2 <= age <= time.time() - sent


def test_queue_that_is_not_there_has_no_metrics(localcloud: Cloud) -> None:
    assert value(localcloud, NAMESPACE, "ApproximateNumberOfMessagesVisible", {"QueueName": "nobody's"}) is None
