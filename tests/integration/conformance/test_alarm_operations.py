"""localcloud.fidelity.alarm_operations."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import alarm, described, reaches
from .steps import deploy

METRIC = {"Metric": {"Namespace": "N", "MetricName": "m", "Dimensions": []}, "Period": 60, "Stat": "p99"}


def test_alarm_is_described_as_it_was_put(localcloud: Cloud) -> None:
    name = unique("alarm")
    queries = [
        {"Id": "m1", "MetricStat": METRIC, "ReturnData": False},
        {"Id": "e1", "Expression": "m1 * 2", "Label": "twice", "ReturnData": True},
    ]
    localcloud.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Metrics=queries,
        EvaluationPeriods=3,
        DatapointsToAlarm=2,
        Threshold=1.5,
        ComparisonOperator="LessThanThreshold",
        TreatMissingData="ignore",
    )
    found = described(localcloud, name)
    assert found["Metrics"] == queries
    assert (found["EvaluationPeriods"], found["DatapointsToAlarm"], found["Threshold"]) == (3, 2, 1.5)
    assert not {"Statistic", "Namespace", "Period", "Dimensions", "Unit"} & set(found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"Period": 45},
        {"Statistic": None, "ExtendedStatistic": "p200"},
        {"EvaluationPeriods": 2, "DatapointsToAlarm": 3},
        {"TreatMissingData": "sometimes"},
        {"Period": 3600, "EvaluationPeriods": 200},
    ],
)
def test_what_aws_refuses_is_refused(localcloud: Cloud, wrong: dict[str, Any]) -> None:
    settings = {
        "Namespace": "N",
        "MetricName": "m",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        **wrong,
    }
    request = {name: value for name, value in settings.items() if value is not None}
    with pytest.raises(ClientError, match="ValidationError"):
        localcloud.client("cloudwatch").put_metric_alarm(AlarmName=unique("alarm"), **request)


def test_changed_alarm_keeps_its_state(localcloud: Cloud) -> None:
    name = alarm(localcloud, unique("N"), "m", {}, TreatMissingData="ignore")
    cloudwatch = localcloud.client("cloudwatch")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a drill")
    before = described(localcloud, name)
    request = {key: before[key] for key in ("Namespace", "MetricName", "Statistic", "Period", "ComparisonOperator")}
    cloudwatch.put_metric_alarm(AlarmName=name, EvaluationPeriods=1, Threshold=9, TreatMissingData="ignore", **request)
    after = described(localcloud, name)
    assert (after["StateValue"], after["StateReason"], after["Threshold"]) == ("ALARM", "a drill", 9)


def test_templates_alarm_may_have_an_expression_and_numbers_as_text(localcloud: Cloud) -> None:
    metric = {"Namespace": unique("N"), "MetricName": "m"}
    properties = {
        "Metrics": [
            {"Id": "m1", "MetricStat": {"Metric": metric, "Period": "60", "Stat": "Sum"}, "ReturnData": "false"},
            {"Id": "e1", "Expression": "FILL(m1, 7)"},
        ],
        "EvaluationPeriods": "1",
        "Threshold": "5",
        "ComparisonOperator": "GreaterThanThreshold",
    }
    stack = deploy(localcloud, unique("stack"), {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}})
    reaches(localcloud, stack["Alarm"], "ALARM")
