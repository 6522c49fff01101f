"""localcloud.fidelity.task_events."""

import json
from typing import Any

from localcloud.testing import Cloud

from ..localcloud_requests import training, unique
from .steps import events_of, run


def scheduled(cloud: Cloud, resource: str, arguments: dict[str, Any]) -> dict[str, Any]:
    task = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Arguments": arguments, "End": True}
    execution = run(cloud, {"Task": task})
    assert execution["status"] == "SUCCEEDED", execution
    event = next(event for event in events_of(cloud, execution["executionArn"]) if event["type"] == "TaskScheduled")
    details: dict[str, Any] = event["taskScheduledEventDetails"]
    return details


def test_scheduled_job_is_named_with_its_parameters(localcloud: Cloud, bucket: str) -> None:
    request = training(unique("told"), bucket)
    details = scheduled(localcloud, "sagemaker:createTrainingJob.sync", request)
    assert (details["resourceType"], details["resource"]) == ("sagemaker", "createTrainingJob.sync")
    assert details["region"] == "us-east-1"
    assert json.loads(details["parameters"])["TrainingJobName"] == request["TrainingJobName"]


def test_sdk_call_is_named_by_service_and_action(localcloud: Cloud, bucket: str) -> None:
    details = scheduled(localcloud, "aws-sdk:s3:listObjectsV2", {"Bucket": bucket, "Prefix": "none/"})
    assert (details["resourceType"], details["resource"]) == ("aws-sdk:s3", "listObjectsV2")
    assert json.loads(details["parameters"]) == {"Bucket": bucket, "Prefix": "none/"}
