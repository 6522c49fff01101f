"""The alarm on latency as the deployment machine defines it: a model of 250 ms sets it off, one of 150 ms does not.

The definition is the machine's own, with the stack's own limit (the tests' stack has a larger one). The figures are put
as metrics, since a busy machine answers when it can; that a server's real latency arrives in the same unit, under the
same names, is seen by a real one.
"""

from __future__ import annotations

import json
import time
from typing import Any

import jsonata
import pytest

from tests.deployed import PARAMETERS, Deployed, new_fleet, until
from tests.integration.deployments import deploy_first
from tests.packages import rows
from tests.statemachines.definitions import ROOT, load_template

OWN_NAMESPACE = "Tests/SageMaker"  # AWS lets nobody write into its own
# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(1800)
# Seconds before and after the alarm is made in which every period has a datapoint; CloudWatch takes two hours ahead.
BEFORE, AFTER = 300, 3600


def definition(endpoint: str) -> dict[str, Any]:
    """What the machine asks CloudWatch for, with the template's default limits and the tests' period."""
    defaults = {name: p.get("Default") for name, p in load_template()["Parameters"].items()}
    values = {**defaults, "AlarmPeriodSeconds": PARAMETERS["AlarmPeriodSeconds"], "AlertsTopicArn": "topic"}
    text = (ROOT / "statemachines/deployment.asl.json").read_text()
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", str(value))
    state = json.loads(text)["States"]["PutAlarms"]
    variables = {"endpoint": endpoint, "variant": "v1", "fleet": "F", "step": {}}
    items = _evaluated(state["Items"], **variables)
    [latency] = [item for item in items if item["what"] == "model-latency"]
    arguments = state["ItemProcessor"]["States"]["PutAlarm"]["Arguments"]
    asked: dict[str, Any] = _evaluated(arguments, states={"input": latency}, **variables)
    return {name: value for name, value in asked.items() if name not in ("Tags", "AlarmActions")}


def _evaluated(value: Any, **variables: Any) -> Any:
    if isinstance(value, dict):
        return {name: _evaluated(inner, **variables) for name, inner in value.items()}
    if isinstance(value, list):
        return [_evaluated(inner, **variables) for inner in value]
    if not isinstance(value, str) or not value.startswith("{%"):
        return value
    expression = jsonata.Jsonata(value.removeprefix("{%").removesuffix("%}"))
    for name, content in variables.items():
        expression.assign(name, content)
    return expression.evaluate(None)


@pytest.mark.parametrize(("milliseconds", "state"), [(250, "ALARM"), (150, "OK")])
def test_latency_alarm_tells_a_slow_model_from_a_fast_one(deployed: Deployed, milliseconds: int, state: str) -> None:
    endpoint, cloudwatch = f"onwing-{new_fleet()}", deployed.client("cloudwatch")
    alarm = {**definition(endpoint), "Namespace": OWN_NAMESPACE}
    assert alarm["Threshold"] == 200_000  # microseconds

    # An alarm that once looks at a period without data is OK for want of it, and then says nothing of later data that
    # call for the same state. So wherever it looks, there are some: in past periods, in this one and in those to come.
    period, present = int(alarm["Period"]), int(time.time())
    values = {"Dimensions": alarm["Dimensions"], "Value": milliseconds * 1000.0, "Unit": "Microseconds"}
    points = [
        {"MetricName": alarm["MetricName"], **values, "Timestamp": moment, "StorageResolution": 1}
        for moment in range(present - BEFORE, present + AFTER, period)
    ]
    cloudwatch.put_metric_data(Namespace=OWN_NAMESPACE, MetricData=points)
    cloudwatch.put_metric_alarm(**alarm)

    def judged() -> dict[str, Any] | None:
        [found] = cloudwatch.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"]
        return dict(found) if found["StateValue"] != "INSUFFICIENT_DATA" else None

    found = until("alarm judged", judged)
    assert json.loads(found["StateReasonData"])["recentDatapoints"] == [milliseconds * 1000.0], "judged by data"
    assert found["StateValue"] == state, found["StateReason"]


def test_latency_of_a_real_server_reaches_the_machines_alarm(deployed: Deployed) -> None:
    """Its answers take longer than a limit of 10 microseconds: the alarm goes off and tells people what to do."""
    fleet = new_fleet()
    deploy_first(deployed, fleet)
    endpoint, cloudwatch = f"onwing-{fleet}", deployed.client("cloudwatch")
    name = f"{endpoint}-v1-model-latency"
    [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    alarm = {k: v for k, v in alarm.items() if not k.startswith("State") and k in definition(endpoint)}
    topic = deployed.outputs["AlertsTopicArn"]
    cloudwatch.put_metric_alarm(**{**alarm, "Threshold": 10.0, "AlarmActions": [topic]})

    def rings() -> bool | None:
        deployed.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=endpoint, ContentType="text/csv", Body=rows(1, 30).encode()
        )
        [found] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        return True if found["StateValue"] == "ALARM" else None

    until(f"{name} in ALARM", rings, seconds=300)
    assert f"onwing rollback {fleet}" in deployed.alert(f'ALARM: "{name}"')["Message"]
