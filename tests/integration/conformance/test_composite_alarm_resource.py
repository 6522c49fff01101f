"""localcloud.fidelity.composite_alarm_resource."""

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import described
from .steps import deploy, settled

CHILD = {
    "Type": "AWS::CloudWatch::Alarm",
    "Properties": {
        "Namespace": "N",
        "MetricName": "composite",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
    },
}


def test_composite_alarm_is_created_changed_and_deleted(localcloud: Cloud) -> None:
    name = unique("stack")

    def resources(state: str) -> dict[str, object]:
        rule = {"Fn::Sub": f"{state}(${{Child}})"}
        return {"Child": CHILD, "Both": {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": {"AlarmRule": rule}}}

    made = deploy(localcloud, name, resources("ALARM"))
    assert described(localcloud, made["Both"])["AlarmRule"] == f"ALARM({made['Child']})"

    changed = deploy(localcloud, name, resources("OK"), update=True)
    assert changed == made
    assert described(localcloud, made["Both"])["AlarmRule"] == f"OK({made['Child']})"

    localcloud.client("cloudformation").delete_stack(StackName=name)
    assert settled(localcloud, name)["StackStatus"] == "DELETE_COMPLETE"
    found = localcloud.client("cloudwatch").describe_alarms(AlarmNames=[made["Both"]], AlarmTypes=["CompositeAlarm"])
    assert found["CompositeAlarms"] == []
