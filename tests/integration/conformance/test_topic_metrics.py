"""localcloud.fidelity.topic_metrics."""

from localcloud.testing import Cloud

from .measures import becomes, topic, value
from .steps import first_message

NAMESPACE = "AWS/SNS"


def test_messages_and_notifications_are_counted(localcloud: Cloud) -> None:
    sns, (arn, url) = localcloud.client("sns"), topic(localcloud)
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:000000000000:is-not-there")
    sns.publish(TopicArn=arn, Message='{"n": 1}')
    assert first_message(localcloud, url) == {"n": 1}

    dimensions = {"TopicName": arn.rpartition(":")[2]}
    becomes(localcloud, 1, NAMESPACE, "NumberOfMessagesPublished", dimensions)
    becomes(localcloud, 1, NAMESPACE, "NumberOfNotificationsDelivered", dimensions)
    becomes(localcloud, 1, NAMESPACE, "NumberOfNotificationsFailed", dimensions)
    assert value(localcloud, NAMESPACE, "PublishSize", dimensions) == 8
