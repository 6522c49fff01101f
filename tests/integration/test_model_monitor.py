"""The image in a Model Monitor schedule, for accounts that had Model Monitor before AWS closed it to others."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests import captured
from tests.deployed import PARAMETERS, Deployed, until
from tests.integration.rollouts import Rollout
from tests.packages import fleet_items

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)

ENDED = ("Completed", "CompletedWithViolations", "Failed", "Stopped")
NOW = {"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "PT1M"}
CLUSTER = {"InstanceCount": 1, "InstanceType": "ml.c7i.large", "VolumeSizeInGB": 5}


def serve(deployed: Deployed, fleet: str) -> str:
    """An endpoint that captures where deployments let it capture; its name."""
    rollout, bucket = Rollout(deployed, fleet), deployed.outputs["BucketName"]
    rollout.champion = rollout.make(config=False)
    deployed.client("sagemaker").create_endpoint_config(
        EndpointConfigName=rollout.endpoint,
        ProductionVariants=[rollout.variant(rollout.champion, 1)],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{bucket}/monitoring/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": captured.TYPES,
        },
    )
    deployed.client("sagemaker").create_endpoint(EndpointName=rollout.endpoint, EndpointConfigName=rollout.endpoint)
    rollout.settled("InService")
    return rollout.endpoint


def watch(deployed: Deployed, endpoint: str, baseline: str) -> dict[str, Any]:
    """Judge the last hour's traffic by a schedule of the image, under the monitoring jobs' role; the execution."""
    roles = deployed.client("iam").list_roles()["Roles"]
    target = {
        "S3Uri": f"s3://{deployed.outputs['BucketName']}/monitoring/reports",
        "LocalPath": "/opt/ml/processing/output",
        "S3UploadMode": "EndOfJob",
    }
    source = {"EndpointName": endpoint, "LocalPath": "/opt/ml/processing/input/endpoint"}
    name = f"{endpoint}-model-monitor-{time.monotonic_ns()}"
    sagemaker = deployed.client("sagemaker")
    sagemaker.create_monitoring_schedule(
        MonitoringScheduleName=name,
        MonitoringScheduleConfig={
            "ScheduleConfig": NOW,
            "MonitoringJobDefinition": {
                "BaselineConfig": {
                    "StatisticsResource": {"S3Uri": f"{baseline}drift.json"},
                    "ConstraintsResource": {"S3Uri": f"{baseline}constraints.json"},
                },
                "MonitoringInputs": [{"EndpointInput": source}],
                "MonitoringOutputConfig": {"MonitoringOutputs": [{"S3Output": target}]},
                "MonitoringResources": {"ClusterConfig": CLUSTER},
                "MonitoringAppSpecification": {
                    "ImageUri": PARAMETERS["ImageUri"],
                    "ContainerArguments": ["monitor"],
                },
                "RoleArn": next(each["Arn"] for each in roles if "MonitoringJobRole" in each["RoleName"]),
            },
        },
    )

    def ended() -> dict[str, Any] | None:
        found = sagemaker.list_monitoring_executions(MonitoringScheduleName=name)["MonitoringExecutionSummaries"]
        return dict(found[0]) if found and found[0]["MonitoringExecutionStatus"] in ENDED else None

    return until(f"the execution of {name} ended", ended, seconds=400)


def test_violations_of_a_schedule_of_the_image_are_handled_like_our_own(deployed: Deployed, fleet: str) -> None:
    endpoint, baseline = serve(deployed, fleet), captured.put_baseline(deployed, fleet)
    captured.ask(deployed, endpoint, captured.biased(captured.histories(12), "s4", sigmas=3.0))
    execution = watch(deployed, endpoint, baseline)
    job = deployed.client("sagemaker").describe_processing_job(
        ProcessingJobName=execution["ProcessingJobArn"].rpartition("/")[2]
    )
    assert execution["MonitoringExecutionStatus"] == "CompletedWithViolations", f"{execution} {job}"
    schedule = execution["MonitoringScheduleName"]
    hour = execution["ScheduledTime"].astimezone(UTC)
    folder = f"monitoring/reports/{endpoint}/{schedule}/{hour:%Y/%m/%d/%H}/"
    written = json.loads(deployed.read(f"{folder}constraint_violations.json"))
    assert "s4" in [each["feature_name"] for each in written["violations"]]
    assert f"{folder}report.html" in deployed.keys(folder)

    def handled() -> dict[str, Any] | None:
        found = fleet_items(deployed, fleet, "VIOLATION#").values()
        return next((item["record"] for item in found if item["state"] == "done"), None)

    record = until("the violations are handled", handled, seconds=180)
    assert (record["source"], record["decision"]) == ("model-monitor", "alert")
    assert record["report"] == f"{folder}constraint_violations.json"
    alert = deployed.alert(fleet, "s4")
    assert endpoint in alert["Message"]

    present = datetime.now(UTC)
    drift = deployed.client("cloudwatch").get_metric_statistics(
        Namespace="aws/sagemaker/Endpoints/data-metrics",
        MetricName="DataDrift",
        Dimensions=[{"Name": "Endpoint", "Value": endpoint}, {"Name": "MonitoringSchedule", "Value": schedule}],
        StartTime=present - timedelta(minutes=30),
        EndTime=present + timedelta(minutes=30),
        Period=3600,
        Statistics=["Maximum"],
    )["Datapoints"]
    assert [each["Maximum"] > 1 for each in drift] == [True]
