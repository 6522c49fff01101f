"""localcloud.fidelity.alarm_evaluation."""

import time
from datetime import datetime

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import alarm, described, listed, minutes_ago, reaches, state_of
from .steps import queue


def put(cloud: Cloud, namespace: str, value: float, moment: datetime | None = None, **dimensions: str) -> None:
    when = {} if moment is None else {"Timestamp": moment}
    datum = {"MetricName": "m", "Value": value, "Dimensions": listed(dimensions), **when}
    cloud.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[datum])


def test_alarm_goes_off_as_soon_as_its_running_minute_is_breached(localcloud: Cloud) -> None:
    namespace = unique("N")
    name = alarm(localcloud, namespace, "m", {"a": "b"})
    reaches(localcloud, name, "OK")
    put(localcloud, namespace, 1, a="b")
    reaches(localcloud, name, "ALARM")


def test_other_dimensions_do_not_concern_an_alarm(localcloud: Cloud) -> None:
    namespace = unique("N")
    mine, theirs = (alarm(localcloud, namespace, "m", {"a": value}) for value in ("mine", "theirs"))
    put(localcloud, namespace, 1, a="theirs")
    reaches(localcloud, theirs, "ALARM")
    reaches(localcloud, mine, "OK")


def test_m_of_n_periods_must_breach(localcloud: Cloud) -> None:
    namespace = unique("N")
    settings = {"EvaluationPeriods": 3, "Statistic": "Average", "Threshold": 5}
    for minutes, value in ((3, 9), (2, 1), (1, 9)):
        put(localcloud, namespace, value, minutes_ago(minutes))
    two = alarm(localcloud, namespace, "m", {}, DatapointsToAlarm=2, **settings)
    three = alarm(localcloud, namespace, "m", {}, DatapointsToAlarm=3, **settings)
    reaches(localcloud, two, "ALARM")
    reaches(localcloud, three, "OK")
    assert "2 out of the last 3 datapoints" in described(localcloud, two)["StateReason"]


def test_missing_data_is_treated_as_asked(localcloud: Cloud) -> None:
    namespace = unique("N")
    names = {
        treatment: alarm(localcloud, namespace, "m", {}, TreatMissingData=treatment)
        for treatment in ("breaching", "notBreaching", "missing", "ignore")
    }
    reaches(localcloud, names["breaching"], "ALARM")
    reaches(localcloud, names["notBreaching"], "OK")
    time.sleep(2)
    assert state_of(localcloud, names["missing"]) == "INSUFFICIENT_DATA"
    assert state_of(localcloud, names["ignore"]) == "INSUFFICIENT_DATA"
    assert "no datapoints were received for 1 period" in described(localcloud, names["notBreaching"])["StateReason"]


def test_percentile_alarm_looks_at_the_slowest(localcloud: Cloud) -> None:
    namespace = unique("N")
    localcloud.client("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[
            {"MetricName": "m", "Values": [100.0, 300_000.0], "Counts": [90.0, 10.0], "Timestamp": minutes_ago(1)}
        ],
    )
    cloudwatch = localcloud.client("cloudwatch")
    names = {}
    for percentile in ("p50", "p99"):
        names[percentile] = unique("alarm")
        cloudwatch.put_metric_alarm(
            AlarmName=names[percentile],
            Namespace=namespace,
            MetricName="m",
            ExtendedStatistic=percentile,
            Period=60,
            EvaluationPeriods=1,
            Threshold=200_000,
            ComparisonOperator="GreaterThanThreshold",
        )
    reaches(localcloud, names["p99"], "ALARM")
    reaches(localcloud, names["p50"], "OK")


def test_alarm_on_an_expression(localcloud: Cloud) -> None:
    namespace, name, moment = unique("N"), unique("alarm"), minutes_ago(1)
    for kind, value in (("errors", 2), ("calls", 10)):  # in the same minute: else nothing joins them
        put(localcloud, namespace, value, moment, kind=kind)
    queries = [
        {
            "Id": kind,
            "ReturnData": False,
            "MetricStat": {
                "Metric": {"Namespace": namespace, "MetricName": "m", "Dimensions": listed({"kind": kind})},
                "Period": 60,
                "Stat": "Sum",
            },
        }
        for kind in ("errors", "calls")
    ]
    localcloud.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Metrics=[*queries, {"Id": "rate", "Expression": "100 * errors / calls", "Label": "error rate"}],
        EvaluationPeriods=1,
        Threshold=10,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    reaches(localcloud, name, "ALARM")
    assert "20.0" in described(localcloud, name)["StateReason"]


def test_alarm_falls_silent_when_the_data_does(localcloud: Cloud) -> None:
    namespace = unique("N")
    name = alarm(localcloud, namespace, "m", {}, Period=10)
    localcloud.client("cloudwatch").put_metric_data(
        Namespace=namespace, MetricData=[{"MetricName": "m", "Value": 1, "StorageResolution": 1}]
    )
    reaches(localcloud, name, "ALARM")
    reaches(localcloud, name, "OK")


def test_dead_letter_alarm_goes_off_when_a_message_arrives(localcloud: Cloud) -> None:
    """As the template's: Maximum of ApproximateNumberOfMessagesVisible above 0, missing data not breaching."""
    url, arn = queue(localcloud)
    name = alarm(
        localcloud,
        "AWS/SQS",
        "ApproximateNumberOfMessagesVisible",
        {"QueueName": arn.rpartition(":")[2]},
        Statistic="Maximum",
    )
    reaches(localcloud, name, "OK")
    localcloud.client("sqs").send_message(QueueUrl=url, MessageBody="lost")
    reaches(localcloud, name, "ALARM")
