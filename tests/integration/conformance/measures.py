"""What conformance tests of metrics and alarms do over and over."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import unique
from .steps import queue, rule

Json = dict[str, Any]


def listed(dimensions: dict[str, str]) -> list[Json]:
    return [{"Name": name, "Value": value} for name, value in dimensions.items()]


def value(cloud: Cloud, namespace: str, name: str, dimensions: dict[str, str], statistic: str = "Sum") -> float | None:
    """A statistic of a metric over the last quarter of an hour; None without datapoints."""
    now = datetime.now(UTC)
    extended = statistic.startswith("p")
    points = cloud.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=listed(dimensions),
        StartTime=now - timedelta(minutes=15),
        EndTime=now + timedelta(minutes=5),
        Period=1200,
        **{"ExtendedStatistics" if extended else "Statistics": [statistic]},
    )["Datapoints"]
    if not points:
        return None
    assert len(points) == 1, points
    return float(points[0]["ExtendedStatistics"][statistic] if extended else points[0][statistic])


def becomes(cloud: Cloud, wanted: float, namespace: str, name: str, dimensions: dict[str, str]) -> None:
    """Wait until a metric's sum is this."""
    wait_for(lambda: value(cloud, namespace, name, dimensions) == wanted, pause=0.2)


def alarm(cloud: Cloud, namespace: str, metric: str, dimensions: dict[str, str], **more: Any) -> str:
    """An alarm on more than nothing in one minute, unless `more` says otherwise; its name."""
    name = unique("alarm")
    settings: Json = {
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        **more,
    }
    cloud.client("cloudwatch").put_metric_alarm(
        AlarmName=name, Namespace=namespace, MetricName=metric, Dimensions=listed(dimensions), **settings
    )
    return name


def state_of(cloud: Cloud, name: str) -> str:
    return str(described(cloud, name)["StateValue"])


def described(cloud: Cloud, name: str) -> Json:
    answer = cloud.client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    found: Json = (answer["MetricAlarms"] + answer["CompositeAlarms"])[0]
    return found


def reaches(cloud: Cloud, name: str, state: str, seconds: float = 120) -> None:
    """Wait until an alarm is in a state."""
    wait_for(lambda: state_of(cloud, name) == state, seconds, 0.1)


def hearing_alarm(cloud: Cloud, name: str, *states: str) -> str:
    """A queue that hears the state changes of one alarm, or those to these states only; its URL.

    The event comes a little later than the state: a change that was seen before may still be heard.
    """
    wanted = {"state": {"value": list(states)}} if states else {}
    return rule(cloud, {"source": ["aws.cloudwatch"], "detail": {"alarmName": [name], **wanted}})


def minutes_ago(count: int) -> datetime:
    """The middle of a minute that is over."""
    now = datetime.now(UTC)
    return now.replace(second=30, microsecond=0) - timedelta(minutes=count)


def topic(cloud: Cloud) -> tuple[str, str]:
    """A topic that CloudWatch and EventBridge may publish to, and a queue that hears it: ARN and URL."""
    sns, (url, queue_arn) = cloud.client("sns"), queue(cloud)
    arn = sns.create_topic(Name=unique("topic"))["TopicArn"]
    services = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    allow = {"Effect": "Allow", "Principal": {"Service": services}, "Action": "sns:Publish", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    return arn, url
