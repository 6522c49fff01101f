"""localcloud.fidelity.undelivered_notifications."""

import json

import pytest

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import becomes, topic
from .steps import first_message, function, queue

SOURCE = "def handler(event, context): print('called')"


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "without permission"])
def test_a_functions_notification_goes_to_the_dead_letter_queue(localcloud: Cloud, gone: bool) -> None:
    sns, (arn, _), (url, dead) = localcloud.client("sns"), topic(localcloud), queue(localcloud)
    made = function(localcloud, SOURCE)
    sns.subscribe(
        TopicArn=arn,
        Protocol="lambda",
        Endpoint=made["FunctionArn"],
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead})},
    )
    if gone:
        localcloud.client("lambda").delete_function(FunctionName=made["FunctionName"])
    sns.publish(TopicArn=arn, Subject="Drift", Message="lost?")
    notification = first_message(localcloud, url)
    assert (notification["Type"], notification["Subject"], notification["Message"]) == (
        "Notification",
        "Drift",
        "lost?",
    )
    dimensions = {"TopicName": arn.rpartition(":")[2]}
    becomes(localcloud, 1, "AWS/SNS", "NumberOfNotificationsFailed", dimensions)
    becomes(localcloud, 1, "AWS/SNS", "NumberOfNotificationsRedrivenToDlq", dimensions)


def test_a_queues_notification_too(localcloud: Cloud) -> None:
    sns, (arn, _), (url, dead) = localcloud.client("sns"), topic(localcloud), queue(localcloud)
    sns.subscribe(
        TopicArn=arn,
        Protocol="sqs",
        Endpoint=f"arn:aws:sqs:us-east-1:000000000000:{unique('not-there')}",
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead})},
    )
    sns.publish(TopicArn=arn, Message="lost?")
    assert first_message(localcloud, url)["Message"] == "lost?"
