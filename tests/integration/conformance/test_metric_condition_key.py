"""localcloud.fidelity.metric_condition_key."""

import json

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from ..roles import acting, allow, refused
from .steps import closed

METRIC = [{"MetricName": "Engines", "Value": 1}]
ONE_NAMESPACE = allow("cloudwatch:PutMetricData", Condition={"StringEquals": {"cloudwatch:namespace": "Ours"}})


def test_metrics_are_put_into_the_namespaces_of_the_policy(localcloud: Cloud) -> None:
    cloudwatch = acting(localcloud, unique("metrics"), ONE_NAMESPACE)("cloudwatch")
    assert cloudwatch.put_metric_data(Namespace="Ours", MetricData=METRIC)
    message = refused(cloudwatch.put_metric_data, Namespace="Theirs", MetricData=METRIC)[1]
    assert "is not authorized to perform: cloudwatch:PutMetricData" in message


def test_a_state_machines_metrics_too(localcloud: Cloud) -> None:
    stepfunctions = localcloud.client("stepfunctions")
    role = localcloud.role(unique("metrics"), ONE_NAMESPACE, trusts=["states.amazonaws.com"])
    found = {}
    for namespace in ("Ours", "Theirs"):
        put = {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:cloudwatch:putMetricData",
            "Arguments": {"Namespace": namespace, "MetricData": METRIC},
            "End": True,
        }
        machine = stepfunctions.create_state_machine(
            name=unique("machine"),
            roleArn=role,
            definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "Put", "States": {"Put": put}}),
        )["stateMachineArn"]
        execution = stepfunctions.start_execution(stateMachineArn=machine)["executionArn"]
        found[namespace] = closed(localcloud, execution)["status"]
    assert found == {"Ours": "SUCCEEDED", "Theirs": "FAILED"}
