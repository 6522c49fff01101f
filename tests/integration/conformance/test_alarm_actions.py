"""localcloud.fidelity.alarm_actions."""

import json
from typing import Any

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import alarm, hearing_alarm, listed, reaches, topic
from .steps import first_message, messages


def test_state_change_is_an_event_in_awss_shape(localcloud: Cloud) -> None:
    namespace = unique("N")
    name = alarm(localcloud, namespace, "m", {"a": "b"}, AlarmDescription="Something is wrong")
    reaches(localcloud, name, "OK")
    url = hearing_alarm(localcloud, name, "ALARM")
    datum = {"MetricName": "m", "Value": 3, "Dimensions": listed({"a": "b"})}
    localcloud.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[datum])

    event = first_message(localcloud, url)
    arn = f"arn:aws:cloudwatch:us-east-1:{localcloud.account}:alarm:{name}"
    assert (event["source"], event["detail-type"]) == ("aws.cloudwatch", "CloudWatch Alarm State Change")
    assert event["resources"] == [arn]
    detail = event["detail"]
    assert detail["alarmName"] == name
    assert detail["state"]["value"] == "ALARM"
    assert detail["state"]["reason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [3.0 (")
    assert detail["state"]["timestamp"].endswith("+0000")
    reason = json.loads(detail["state"]["reasonData"])
    assert (reason["statistic"], reason["period"], reason["recentDatapoints"], reason["threshold"]) == (
        "Sum",
        60,
        [3.0],
        0,
    )
    assert detail["previousState"]["value"] == "OK"
    assert detail["previousState"]["reason"]
    assert detail["configuration"]["description"] == "Something is wrong"
    (metric,) = detail["configuration"]["metrics"]
    assert metric["returnData"] is True
    assert metric["metricStat"] == {
        "metric": {"namespace": namespace, "name": "m", "dimensions": {"a": "b"}},
        "period": 60,
        "stat": "Sum",
    }


def test_set_alarm_state_sends_the_event_and_performs_the_actions(localcloud: Cloud) -> None:
    arn, heard = topic(localcloud)
    name = alarm(localcloud, unique("N"), "m", {}, TreatMissingData="ignore", AlarmActions=[arn])
    url = hearing_alarm(localcloud, name)
    localcloud.client("cloudwatch").set_alarm_state(
        AlarmName=name, StateValue="ALARM", StateReason="a drill", StateReasonData=json.dumps({"drill": True})
    )

    detail = first_message(localcloud, url)["detail"]
    assert (detail["state"]["value"], detail["state"]["reason"]) == ("ALARM", "a drill")
    assert detail["previousState"]["value"] == "INSUFFICIENT_DATA"
    notice = first_message(localcloud, heard)
    assert (notice["AlarmName"], notice["NewStateValue"], notice["NewStateReason"]) == (name, "ALARM", "a drill")
    assert notice["Trigger"]["Statistic"] == "SUM"
    assert notice["AlarmArn"].endswith(f":alarm:{name}")


def test_disabled_actions_still_send_the_event(localcloud: Cloud) -> None:
    arn, heard = topic(localcloud)
    name = alarm(localcloud, unique("N"), "m", {}, TreatMissingData="ignore", AlarmActions=[arn], ActionsEnabled=False)
    url = hearing_alarm(localcloud, name)
    localcloud.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a drill")
    assert first_message(localcloud, url)["detail"]["state"]["value"] == "ALARM"
    assert messages(localcloud, heard) == []


def test_nothing_happens_when_the_state_stays(localcloud: Cloud) -> None:
    name = alarm(localcloud, unique("N"), "m", {}, TreatMissingData="ignore")
    cloudwatch = localcloud.client("cloudwatch")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="once")
    url = hearing_alarm(localcloud, name)
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="twice")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="over")
    event = first_message(localcloud, url)
    assert event["detail"]["state"]["value"] == "OK"
    assert event["detail"]["previousState"]["reason"] == "twice"


def test_composite_alarm_follows_its_children(localcloud: Cloud) -> None:
    child = alarm(localcloud, unique("N"), "m", {}, TreatMissingData="ignore")
    name = unique("composite")
    cloudwatch = localcloud.client("cloudwatch")
    cloudwatch.put_composite_alarm(AlarmName=name, AlarmRule=f"ALARM({child})")
    url = hearing_alarm(localcloud, name)
    cloudwatch.set_alarm_state(AlarmName=child, StateValue="ALARM", StateReason="a drill")
    detail = first_message(localcloud, url)["detail"]
    assert (detail["state"]["value"], detail["previousState"]["value"]) == ("ALARM", "OK")
    assert detail["configuration"]["alarmRule"] == f"ALARM({child})"


def test_encrypted_topic_hears_of_an_alarm_only_if_its_key_allows(localcloud: Cloud) -> None:
    arn, heard = topic(localcloud)
    kms = localcloud.client("kms")
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{localcloud.account}:root"}, "Action": "kms:*"}
    service = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": "kms:*"}
    key = kms.create_key(Policy=_policy(root))["KeyMetadata"]["KeyId"]
    localcloud.client("sns").set_topic_attributes(TopicArn=arn, AttributeName="KmsMasterKeyId", AttributeValue=key)
    name = alarm(localcloud, unique("N"), "m", {}, TreatMissingData="ignore", AlarmActions=[arn], OKActions=[arn])
    cloudwatch = localcloud.client("cloudwatch")

    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="not heard")
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=_policy(root, service))
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="heard")
    assert first_message(localcloud, heard)["NewStateReason"] == "heard"


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{**each, "Resource": "*"} for each in statements]})
