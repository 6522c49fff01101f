"""Each call by which a state machine deploys, watches and rolls back needs exactly the permissions that AWS documents.

docs.aws.amazon.com/service-authorization/latest/reference: with them the task succeeds; without any one of them it is
refused, and the refusal names the action and the resource that is missing.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from localcloud.testing import Cloud

from .conformance.steps import PYTHON, closed
from .localcloud_requests import ROLE, unique
from .roles import ACCOUNT, allow
from .serving import IMAGE, archive, config, endpoint, model, settled, variant

SAGEMAKER = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}"
ALARMS = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm"
STATES = f"arn:aws:states:us-east-1:{ACCOUNT}"
Need = tuple[str, str]
SECONDS = 180  # for whatever starts processes, beside whatever else the machine does


@dataclass(frozen=True)
class Things:
    """What the calls are about; made by the account's root."""

    model: str
    config: str
    other_config: str
    endpoint: str
    package: str
    machine: str
    waiting: str
    table: str
    function: str
    bucket: str


@dataclass(frozen=True)
class Call:
    """One call.

    Args:
        resource: the task's, after ``arn:aws:states:::``.
        arguments: of the task; {new} is a name that is not taken.
        needs: the actions, each with the ARN that it is done to.
        prepare: makes what the call uses up.
    """

    resource: str
    arguments: Callable[[Things, str], dict[str, Any]]
    needs: Callable[[Things, str], list[Need]]
    prepare: Callable[[Cloud, Things, str], Any] = lambda _cloud, _things, _new: None


TAGS = [{"Key": "k", "Value": "v"}]


def variants(things: Things) -> list[dict[str, Any]]:
    return [variant("v", things.model)]


def alarm(name: str, **more: Any) -> dict[str, Any]:
    return {
        "AlarmName": name,
        "Namespace": "AWS/SageMaker",
        "MetricName": "ModelLatency",
        "Dimensions": [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 200000,
        "ComparisonOperator": "GreaterThanThreshold",
        **more,
    }


CALLS = {
    "CreateModel": Call(
        "aws-sdk:sagemaker:createModel",
        lambda t, new: {
            "ModelName": new,
            "ExecutionRoleArn": ROLE,
            "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": f"s3://{t.bucket}/{t.model}/model.tar.gz"},
            "Tags": TAGS,
        },
        lambda _, new: [
            ("sagemaker:CreateModel", f"{SAGEMAKER}:model/{new}"),
            ("sagemaker:AddTags", f"{SAGEMAKER}:model/{new}"),
            ("iam:PassRole", ROLE),
        ],
    ),
    "CreateEndpointConfig": Call(
        "aws-sdk:sagemaker:createEndpointConfig",
        lambda t, new: {
            "EndpointConfigName": new,
            "ProductionVariants": variants(t),
            "DataCaptureConfig": {
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": f"s3://{t.bucket}/capture",
                "KmsKeyId": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/12345678-1234-1234-1234-123456789012",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            },
            "Tags": TAGS,
        },
        lambda _, new: [
            ("sagemaker:CreateEndpointConfig", f"{SAGEMAKER}:endpoint-config/{new}"),
            ("sagemaker:AddTags", f"{SAGEMAKER}:endpoint-config/{new}"),
        ],
    ),
    "CreateEndpoint": Call(
        "aws-sdk:sagemaker:createEndpoint",
        lambda t, new: {"EndpointName": new, "EndpointConfigName": t.config, "Tags": TAGS},
        lambda t, new: [
            ("sagemaker:CreateEndpoint", f"{SAGEMAKER}:endpoint/{new}"),
            ("sagemaker:CreateEndpoint", f"{SAGEMAKER}:endpoint-config/{t.config}"),
            ("sagemaker:AddTags", f"{SAGEMAKER}:endpoint/{new}"),
        ],
    ),
    "UpdateEndpoint": Call(
        "aws-sdk:sagemaker:updateEndpoint",
        lambda t, _: {"EndpointName": t.endpoint, "EndpointConfigName": t.other_config},
        lambda t, _: [
            ("sagemaker:UpdateEndpoint", f"{SAGEMAKER}:endpoint/{t.endpoint}"),
            ("sagemaker:UpdateEndpoint", f"{SAGEMAKER}:endpoint-config/{t.other_config}"),
        ],
        lambda cloud, t, _: settled(cloud, t.endpoint, SECONDS),
    ),
    "UpdateEndpointWeightsAndCapacities": Call(
        "aws-sdk:sagemaker:updateEndpointWeightsAndCapacities",
        lambda t, _: {
            "EndpointName": t.endpoint,
            "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredWeight": 2}],
        },
        lambda t, _: [("sagemaker:UpdateEndpointWeightsAndCapacities", f"{SAGEMAKER}:endpoint/{t.endpoint}")],
        lambda cloud, t, _: settled(cloud, t.endpoint, SECONDS),
    ),
    "DescribeEndpoint": Call(
        "aws-sdk:sagemaker:describeEndpoint",
        lambda t, _: {"EndpointName": t.endpoint},
        lambda t, _: [("sagemaker:DescribeEndpoint", f"{SAGEMAKER}:endpoint/{t.endpoint}")],
    ),
    "DescribeEndpointConfig": Call(
        "aws-sdk:sagemaker:describeEndpointConfig",
        lambda t, _: {"EndpointConfigName": t.config},
        lambda t, _: [("sagemaker:DescribeEndpointConfig", f"{SAGEMAKER}:endpoint-config/{t.config}")],
    ),
    "DescribeModel": Call(
        "aws-sdk:sagemaker:describeModel",
        lambda t, _: {"ModelName": t.model},
        lambda t, _: [("sagemaker:DescribeModel", f"{SAGEMAKER}:model/{t.model}")],
    ),
    "ListEndpoints": Call(
        "aws-sdk:sagemaker:listEndpoints",
        lambda t, _: {"NameContains": t.endpoint},
        lambda *_: [("sagemaker:ListEndpoints", "*")],
    ),
    "ListModels": Call(
        "aws-sdk:sagemaker:listModels",
        lambda t, _: {"NameContains": t.model},
        lambda *_: [("sagemaker:ListModels", "*")],
    ),
    "DeleteModel": Call(
        "aws-sdk:sagemaker:deleteModel",
        lambda _, new: {"ModelName": new},
        lambda _, new: [("sagemaker:DeleteModel", f"{SAGEMAKER}:model/{new}")],
        lambda cloud, _, new: cloud.client("sagemaker").create_model(
            ModelName=new, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE}
        ),
    ),
    "DeleteEndpointConfig": Call(
        "aws-sdk:sagemaker:deleteEndpointConfig",
        lambda _, new: {"EndpointConfigName": new},
        lambda _, new: [("sagemaker:DeleteEndpointConfig", f"{SAGEMAKER}:endpoint-config/{new}")],
        lambda cloud, t, new: cloud.client("sagemaker").create_endpoint_config(
            EndpointConfigName=new, ProductionVariants=variants(t)
        ),
    ),
    "DeleteEndpoint": Call(
        "aws-sdk:sagemaker:deleteEndpoint",
        lambda _, new: {"EndpointName": new},
        lambda _, new: [("sagemaker:DeleteEndpoint", f"{SAGEMAKER}:endpoint/{new}")],
        lambda cloud, t, new: (
            cloud.client("sagemaker").create_endpoint(EndpointName=new, EndpointConfigName=t.config),
            settled(cloud, new, SECONDS),
        ),
    ),
    "InvokeEndpoint": Call(
        "aws-sdk:sagemakerruntime:invokeEndpoint",
        lambda t, _: {
            "EndpointName": t.endpoint,
            "Body": {"x": 1},
            "ContentType": "application/json",
            "TargetVariant": "v",
        },
        lambda t, _: [("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/{t.endpoint}")],
    ),
    "DescribeModelPackage": Call(
        "aws-sdk:sagemaker:describeModelPackage",
        lambda t, _: {"ModelPackageName": t.package},
        lambda t, _: [("sagemaker:DescribeModelPackage", t.package)],
    ),
    "UpdateModelPackage": Call(
        "aws-sdk:sagemaker:updateModelPackage",
        lambda t, _: {"ModelPackageArn": t.package, "ModelApprovalStatus": "Rejected", "ApprovalDescription": "so"},
        lambda t, _: [("sagemaker:UpdateModelPackage", t.package)],
    ),
    "AddTags": Call(
        "aws-sdk:sagemaker:addTags",
        lambda t, _: {"ResourceArn": f"{SAGEMAKER}:endpoint/{t.endpoint}", "Tags": TAGS},
        lambda t, _: [("sagemaker:AddTags", f"{SAGEMAKER}:endpoint/{t.endpoint}")],
    ),
    "PutMetricAlarm": Call(
        "aws-sdk:cloudwatch:putMetricAlarm",
        lambda _, new: alarm(new, Tags=TAGS),
        lambda _, new: [
            ("cloudwatch:PutMetricAlarm", f"{ALARMS}:{new}"),
            ("cloudwatch:TagResource", f"{ALARMS}:{new}"),
        ],
    ),
    "DescribeAlarms": Call(
        "aws-sdk:cloudwatch:describeAlarms",
        lambda _, new: {"AlarmNamePrefix": new},
        lambda *_: [("cloudwatch:DescribeAlarms", f"{ALARMS}:*")],
    ),
    "SetAlarmState": Call(
        "aws-sdk:cloudwatch:setAlarmState",
        lambda _, new: {"AlarmName": new, "StateValue": "ALARM", "StateReason": "so"},
        lambda _, new: [("cloudwatch:SetAlarmState", f"{ALARMS}:{new}")],
        lambda cloud, _, new: cloud.client("cloudwatch").put_metric_alarm(**alarm(new)),
    ),
    "DeleteAlarms": Call(
        "aws-sdk:cloudwatch:deleteAlarms",
        lambda _, new: {"AlarmNames": [new, f"{new}-2"]},
        lambda _, new: [
            ("cloudwatch:DeleteAlarms", f"{ALARMS}:{new}"),
            ("cloudwatch:DeleteAlarms", f"{ALARMS}:{new}-2"),
        ],
        lambda cloud, _, new: [cloud.client("cloudwatch").put_metric_alarm(**alarm(n)) for n in (new, f"{new}-2")],
    ),
    "GetMetricData": Call(
        "aws-sdk:cloudwatch:getMetricData",
        lambda *_: {
            "StartTime": "2026-01-01T00:00:00Z",
            "EndTime": "2026-01-01T01:00:00Z",
            "MetricDataQueries": [
                {
                    "Id": "a",
                    "MetricStat": {"Metric": {"Namespace": "N", "MetricName": "m"}, "Period": 60, "Stat": "Sum"},
                }
            ],
        },
        lambda *_: [("cloudwatch:GetMetricData", "*")],
    ),
    "DescribeExecution": Call(
        "aws-sdk:sfn:describeExecution",
        lambda t, new: {"ExecutionArn": f"{STATES}:execution:{t.machine.rsplit(':', 1)[1]}:{new}"},
        lambda t, new: [("states:DescribeExecution", f"{STATES}:execution:{t.machine.rsplit(':', 1)[1]}:{new}")],
        lambda cloud, t, new: cloud.client("stepfunctions").start_execution(stateMachineArn=t.machine, name=new),
    ),
    "StopExecution": Call(
        "aws-sdk:sfn:stopExecution",
        lambda t, new: {"ExecutionArn": f"{STATES}:execution:{t.waiting.rsplit(':', 1)[1]}:{new}"},
        lambda t, new: [("states:StopExecution", f"{STATES}:execution:{t.waiting.rsplit(':', 1)[1]}:{new}")],
        lambda cloud, t, new: cloud.client("stepfunctions").start_execution(stateMachineArn=t.waiting, name=new),
    ),
    "ListExecutions": Call(
        "aws-sdk:sfn:listExecutions",
        lambda t, _: {"StateMachineArn": t.machine},
        lambda t, _: [("states:ListExecutions", t.machine)],
    ),
    "startExecution": Call(
        "states:startExecution",
        lambda t, new: {"StateMachineArn": t.machine, "Name": new},
        lambda t, _: [("states:StartExecution", t.machine)],
    ),
    "startExecution.sync:2": Call(
        "states:startExecution.sync:2",
        lambda t, new: {"StateMachineArn": t.machine, "Name": new},
        lambda t, _: [("states:StartExecution", t.machine)],
    ),
    "invoke a function": Call(
        "lambda:invoke",
        lambda t, _: {"FunctionName": t.function, "Payload": {}},
        lambda t, _: [("lambda:InvokeFunction", t.function)],
    ),
    "putItem": Call(
        "dynamodb:putItem",
        lambda t, new: {"TableName": t.table, "Item": {"pk": {"S": new}}},
        lambda t, _: [("dynamodb:PutItem", f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{t.table}")],
    ),
    "TransactWriteItems": Call(
        "aws-sdk:dynamodb:transactWriteItems",
        lambda t, new: {
            "TransactItems": [
                {"Put": {"TableName": t.table, "Item": {"pk": {"S": new}}}},
                {
                    "ConditionCheck": {
                        "TableName": t.table,
                        "Key": {"pk": {"S": f"{new}-2"}},
                        "ConditionExpression": "attribute_not_exists(pk)",
                    }
                },
            ]
        },
        lambda t, _: [
            ("dynamodb:PutItem", f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{t.table}"),
            ("dynamodb:ConditionCheckItem", f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/{t.table}"),
        ],
    ),
}


@pytest.fixture(scope="module")
def things(localcloud: Cloud, bucket: str) -> Things:
    """Made once; no test removes them."""
    cloud = localcloud
    states, name = cloud.client("stepfunctions"), unique("things")

    def machine(kind: str, state: dict[str, Any]) -> str:
        definition = json.dumps({"StartAt": "A", "States": {"A": {**state, "End": True}}})
        created = states.create_state_machine(name=f"{name}-{kind}", definition=definition, roleArn=ROLE)
        return str(created["stateMachineArn"])

    cloud.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as packed:
        packed.writestr("app.py", "def handler(event, context):\n    return {'ok': True}\n")
    function = cloud.client("lambda").create_function(
        FunctionName=name,
        Runtime=PYTHON,
        Handler="app.handler",
        Role=ROLE,
        Code={"ZipFile": code.getvalue()},
        Timeout=120,  # not Lambda's three seconds: the machine may be busy
    )["FunctionArn"]
    served = model(cloud, bucket)
    first = config(cloud, variant("v", served))
    sagemaker = cloud.client("sagemaker")
    cloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/m.tar.gz", Body=archive())
    sagemaker.create_model_package_group(ModelPackageGroupName=name)
    package = sagemaker.create_model_package(
        ModelPackageGroupName=name,
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{bucket}/{name}/m.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    return Things(
        model=served,
        config=first,
        other_config=config(cloud, variant("v", served)),
        endpoint=endpoint(cloud, first),
        package=package,
        machine=machine("passes", {"Type": "Pass"}),
        waiting=machine("waits", {"Type": "Wait", "Seconds": 3600}),
        table=name,
        function=function,
        bucket=bucket,
    )


def performed(cloud: Cloud, call: Call, arguments: dict[str, Any], needs: list[Need]) -> dict[str, Any]:
    """The ended execution of a machine that makes this call under a role that may do this."""
    rule = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
    statements = [allow(action, on=resource) for action, resource in needs]
    role = cloud.role(
        unique("exactly"),
        allow("events:PutTargets", "events:PutRule", "events:DescribeRule", on=rule),
        *statements,
        trusts=["states.amazonaws.com"],
    )
    task = {"Type": "Task", "Resource": f"arn:aws:states:::{call.resource}", "Arguments": arguments, "End": True}
    definition = json.dumps({"QueryLanguage": "JSONata", "StartAt": "Task", "States": {"Task": task}})
    states = cloud.client("stepfunctions")
    created = states.create_state_machine(name=unique("exactly"), definition=definition, roleArn=role)
    started = states.start_execution(stateMachineArn=created["stateMachineArn"])
    return closed(cloud, started["executionArn"], SECONDS)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_needs_exactly_what_aws_says(localcloud: Cloud, things: Things, name: str) -> None:
    call, new = CALLS[name], unique("new")
    call.prepare(localcloud, things, new)
    arguments, needs = call.arguments(things, new), call.needs(things, new)
    for missing in needs:
        left = [need for need in needs if need != missing]
        refused = performed(localcloud, call, arguments, left)
        assert refused["status"] == "FAILED", (missing, refused)
        action, resource = missing
        assert f"is not authorized to perform: {action} on resource: {resource} because" in refused["cause"]
    done = performed(localcloud, call, arguments, needs)
    assert done["status"] == "SUCCEEDED", (done["error"], done["cause"])
    assert settled(localcloud, things.endpoint, SECONDS)["EndpointStatus"] == "InService"
