"""What operations of SageMaker's need, as the service authorisation reference says."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.sagemaker.permissions import conditions, needs, passed_roles, resource_of
from localcloud.states.task_roles import need
from localcloud.store import Scope

SCOPE = Scope("123456789012", "eu-west-1")
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:"


@pytest.mark.parametrize(
    ("operation", "request_", "resource"),
    [
        ("CreateTrainingJob", {"TrainingJobName": "j"}, "training-job/j"),
        ("StopProcessingJob", {"ProcessingJobName": "j"}, "processing-job/j"),
        ("DescribeHyperParameterTuningJob", {"HyperParameterTuningJobName": "j"}, "hyper-parameter-tuning-job/j"),
        (
            "ListTrainingJobsForHyperParameterTuningJob",
            {"HyperParameterTuningJobName": "j"},
            "hyper-parameter-tuning-job/j",
        ),
        ("CreateTransformJob", {"TransformJobName": "j", "ModelName": "m"}, "transform-job/j"),
        ("DeleteModel", {"ModelName": "m"}, "model/m"),
        ("StopMonitoringSchedule", {"MonitoringScheduleName": "s"}, "monitoring-schedule/s"),
        ("CreateDataQualityJobDefinition", {"JobDefinitionName": "d"}, "data-quality-job-definition/d"),
        ("DeleteModelBiasJobDefinition", {"JobDefinitionName": "d"}, "model-bias-job-definition/d"),
        ("CreateEndpointConfig", {"EndpointConfigName": "c"}, "endpoint-config/c"),
        ("UpdateEndpointWeightsAndCapacities", {"EndpointName": "e"}, "endpoint/e"),
        ("InvokeEndpoint", {"EndpointName": "e"}, "endpoint/e"),
        ("InvokeEndpointAsync", {"EndpointName": "e"}, "endpoint/e"),
        ("InvokeEndpointWithResponseStream", {"EndpointName": "e"}, "endpoint/e"),
        ("CreateModelPackage", {"ModelPackageGroupName": "g"}, "model-package/g/*"),
        ("CreateModelPackage", {"ModelPackageGroupName": f"{ARN}model-package-group/g"}, "model-package/g/*"),
        ("CreateModelPackage", {"ModelPackageName": "p"}, "model-package/p"),
        ("DescribeModelPackage", {"ModelPackageName": f"{ARN}model-package/g/3"}, "model-package/g/3"),
        ("UpdateModelPackage", {"ModelPackageArn": f"{ARN}model-package/g/3"}, "model-package/g/3"),
        ("PutModelPackageGroupPolicy", {"ModelPackageGroupName": "g"}, "model-package-group/g"),
        ("CreateExperiment", {"ExperimentName": "x"}, "experiment/x"),
        ("DescribeTrial", {"TrialName": "t"}, "experiment-trial/t"),
        ("UpdateTrialComponent", {"TrialComponentName": "c"}, "experiment-trial-component/c"),
        ("BatchPutMetrics", {"TrialComponentName": "c", "MetricData": []}, "experiment-trial-component/c"),
        ("AddTags", {"ResourceArn": f"{ARN}model/m", "Tags": []}, "model/m"),
    ],
)
def test_operation_acts_on_the_resource_it_names(operation: str, request_: dict[str, Any], resource: str) -> None:
    assert resource_of(SCOPE, operation, request_) == ARN + resource


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("ListTrainingJobs", {"NameContains": "x"}),
        ("Search", {"Resource": "TrainingJob"}),
        ("CreateTrainingJob", {}),
        ("CreateTrainingJob", {"TrainingJobName": 3}),
    ],
)
def test_what_names_no_resource_acts_on_all(operation: str, request_: dict[str, Any]) -> None:
    assert resource_of(SCOPE, operation, request_) == "*"


def test_endpoint_s_configuration_and_tags_are_needed_too() -> None:
    request = {"EndpointName": "e", "EndpointConfigName": "c", "Tags": [{"Key": "k", "Value": "v"}]}
    assert [(each.action, each.resource.removeprefix(ARN)) for each in needs(SCOPE, "CreateEndpoint", request)] == [
        ("sagemaker:CreateEndpoint", "endpoint/e"),
        ("sagemaker:CreateEndpoint", "endpoint-config/c"),
        ("sagemaker:AddTags", "endpoint/e"),
    ]
    assert needs(SCOPE, "InvokeEndpointAsync", request)[0].action == "sagemaker:InvokeEndpoint"


def test_roles_are_found_wherever_they_stand() -> None:
    definition = {"RoleArn": "a"}
    request = {"TrainingJobDefinition": definition, "TrainingJobDefinitions": [definition, {"RoleArn": "b"}]}
    assert passed_roles(request) == ["a", "b"]
    assert passed_roles({"ExecutionRoleArn": "c", "Containers": [{"RoleArn": None}]}) == ["c"]


def test_condition_keys_come_from_the_request() -> None:
    request = {
        "Tags": [{"Key": "team", "Value": "a"}, "nonsense"],
        "ResourceConfig": {"InstanceGroups": [{"InstanceType": "ml.m5.large"}, {"InstanceType": "ml.p3.2xlarge"}]},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "VpcConfig": {"Subnets": ["s-1", "s-2"]},
        "EnableNetworkIsolation": True,
    }
    assert conditions(request, {"owner": "me"}) == {
        "aws:RequestTag/team": "a",
        "aws:TagKeys": ["team"],
        "aws:ResourceTag/owner": "me",
        "sagemaker:InstanceTypes": ["ml.m5.large", "ml.p3.2xlarge"],
        "sagemaker:VpcSubnets": ["s-1", "s-2"],
        "sagemaker:MaxRuntimeInSeconds": "60",
        "sagemaker:NetworkIsolation": "true",
    }


@pytest.mark.parametrize(
    ("resource", "arguments", "needed"),
    [
        (
            "arn:aws:states:::lambda:invoke",
            {"FunctionName": "f"},
            ("lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:function:f"),
        ),
        (
            "arn:aws:states:::dynamodb:putItem",
            {"TableName": "arn:aws:dynamodb:eu-west-1:123456789012:table/t"},
            ("dynamodb:PutItem", "arn:aws:dynamodb:eu-west-1:123456789012:table/t"),
        ),
        (
            "arn:aws:states:::sqs:sendMessage",
            {"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/999999999999/q"},
            ("sqs:SendMessage", "arn:aws:sqs:eu-west-1:999999999999:q"),
        ),
        (
            "arn:aws:states:::events:putEvents",
            {"Entries": [{"EventBusName": "b"}]},
            ("events:PutEvents", "arn:aws:events:eu-west-1:123456789012:event-bus/b"),
        ),
        ("arn:aws:states:::states:startExecution.sync:2", {"StateMachineArn": "m"}, ("states:StartExecution", "m")),
        ("arn:aws:states:::aws-sdk:s3:getObject", {}, None),
        ("arn:aws:states:eu-west-1:123456789012:activity:a", {}, None),
    ],
)
def test_task_needs_what_its_integration_does(
    resource: str, arguments: dict[str, Any], needed: tuple[str, str] | None
) -> None:
    assert need(SCOPE, resource, arguments) == needed
