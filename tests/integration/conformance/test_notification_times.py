"""localcloud.fidelity.notification_times."""

from datetime import UTC, datetime, timedelta

from localcloud.testing import Cloud

from .measures import topic
from .steps import first_message, queue


def test_every_subscriber_is_told_the_same_millisecond(localcloud: Cloud) -> None:
    sns, (arn, _) = localcloud.client("sns"), topic(localcloud)
    queues = [queue(localcloud) for _ in range(2)]
    for _, endpoint in queues:
        sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=endpoint)
    begin = datetime.now(UTC)
    sns.publish(TopicArn=arn, Message="now")
    end = datetime.now(UTC)

    first, second = (first_message(localcloud, url)["Timestamp"] for url, _ in queues)
    assert first == second
    assert len(first) == len("2012-05-02T00:54:06.655Z")
    assert begin - timedelta(milliseconds=1) < datetime.fromisoformat(first) <= end
