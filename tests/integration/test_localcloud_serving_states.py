"""Serving from Step Functions: model, configuration, endpoint, update, invocation, by both kinds of integration."""

import json
from typing import Any

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ROLE, unique
from .serving import IMAGE, archive, invoke, settled

DESCRIBE = "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint"


def waiting(label: str, following: str) -> dict[str, Any]:
    """States that wait until the endpoint is in service."""
    return {
        f"Look{label}": {
            "Type": "Task",
            "Resource": DESCRIBE,
            "Parameters": {"EndpointName.$": "$.name"},
            "ResultPath": "$.described",
            "Next": f"Choose{label}",
        },
        f"Choose{label}": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.described.EndpointStatus", "StringEquals": "InService", "Next": following},
                {"Variable": "$.described.EndpointStatus", "StringEquals": "Failed", "Next": "Failed"},
            ],
            "Default": f"Wait{label}",
        },
        f"Wait{label}": {"Type": "Wait", "Seconds": 1, "Next": f"Look{label}"},
    }


def task(resource: str, parameters: dict[str, Any], following: str) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"arn:aws:states:::{resource}",
        "Parameters": parameters,
        "ResultPath": None,
        "Next": following,
    }


def configured(name: str, weight: float) -> dict[str, Any]:
    variants = [
        {
            "VariantName": "v",
            "ModelName.$": "$.name",
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
            "InitialVariantWeight": weight,
        }
    ]
    return {"EndpointConfigName": name, "ProductionVariants": variants}


def test_a_state_machine_deploys_updates_and_asks(localcloud: Cloud, bucket: str) -> None:
    states, name = localcloud.client("stepfunctions"), unique("states")
    localcloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/model.tar.gz", Body=archive())
    container = {
        "Image": IMAGE,
        "ModelDataUrl": f"s3://{bucket}/{name}/model.tar.gz",
        "Environment": {"NAME": "machine"},
    }
    definition = {
        "StartAt": "CreateModel",
        "States": {
            "CreateModel": task(
                "sagemaker:createModel",
                {"ModelName.$": "$.name", "ExecutionRoleArn": ROLE, "PrimaryContainer": container},
                "CreateConfig",
            ),
            "CreateConfig": task("sagemaker:createEndpointConfig", configured(f"{name}-1", 1), "CreateEndpoint"),
            "CreateEndpoint": task(
                "sagemaker:createEndpoint",
                {"EndpointName.$": "$.name", "EndpointConfigName": f"{name}-1"},
                "LookFirst",
            ),
            **waiting("First", "AnotherConfig"),
            "AnotherConfig": task("aws-sdk:sagemaker:createEndpointConfig", configured(f"{name}-2", 2), "Update"),
            "Update": task(
                "sagemaker:updateEndpoint",
                {"EndpointName.$": "$.name", "EndpointConfigName": f"{name}-2"},
                "LookSecond",
            ),
            **waiting("Second", "Weigh"),
            "Weigh": task(
                "aws-sdk:sagemaker:updateEndpointWeightsAndCapacities",
                {
                    "EndpointName.$": "$.name",
                    "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredWeight": 3}],
                },
                "LookThird",
            ),
            **waiting("Third", "Ask"),
            "Ask": {
                "Type": "Task",
                "Resource": "arn:aws:states:::aws-sdk:sagemakerruntime:invokeEndpoint",
                "Parameters": {"EndpointName.$": "$.name", "Body": '{"x": 1}', "ContentType": "application/json"},
                "ResultPath": "$.answer",
                "End": True,
            },
            "Failed": {"Type": "Fail"},
        },
    }
    machine = states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
    execution = states.start_execution(stateMachineArn=machine["stateMachineArn"], input=json.dumps({"name": name}))[
        "executionArn"
    ]

    def look() -> dict[str, Any] | None:
        described: dict[str, Any] = states.describe_execution(executionArn=execution)
        return described if described["status"] != "RUNNING" else None

    described = wait_for(look, 300)
    assert described["status"] == "SUCCEEDED", (described, localcloud.client("sagemaker").list_endpoints())
    output = json.loads(described["output"])
    assert output["answer"]["InvokedProductionVariant"] == "v"
    assert "machine" in str(output["answer"]["Body"])
    endpoint = settled(localcloud, name)
    assert endpoint["EndpointConfigName"] == f"{name}-2"
    assert endpoint["ProductionVariants"][0]["CurrentWeight"] == 3.0
    assert invoke(localcloud, name)["name"] == "machine"


def test_an_error_of_an_endpoint_is_caught_by_its_name(localcloud: Cloud) -> None:
    states, name = localcloud.client("stepfunctions"), unique("states")
    definition = {
        "StartAt": "Ask",
        "States": {
            "Ask": {
                "Type": "Task",
                "Resource": "arn:aws:states:::aws-sdk:sagemakerruntime:invokeEndpoint",
                "Parameters": {"EndpointName": "nobody", "Body": "{}"},
                "Catch": [
                    {
                        "ErrorEquals": [
                            "SageMakerRuntime.ValidationErrorException",
                            "SageMakerRuntime.SageMakerRuntimeException",
                        ],
                        "Next": "Caught",
                    }
                ],
                "End": True,
            },
            "Caught": {"Type": "Pass", "End": True},
        },
    }
    machine = states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
    execution = states.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"]
    described = wait_for(
        lambda: next(
            (each for each in [states.describe_execution(executionArn=execution)] if each["status"] != "RUNNING"), None
        )
    )
    assert described["status"] == "SUCCEEDED", described
    assert "Endpoint nobody of account 000000000000 not found." in described["output"]
