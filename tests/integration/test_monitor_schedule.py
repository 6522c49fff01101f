"""The training image as it is in a Model Monitor schedule, over traffic that an endpoint captured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for
from localcloud.testing import localcloud as running_localcloud
from tests import captured
from tests.deployed import ROOT

from .localcloud_requests import RESOURCES, ROLE, unique
from .serving import archive, config, settled, variant
from .test_localcloud_monitoring import LAST_HOUR, executed

pytestmark = pytest.mark.timeout(2400)
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/onwing-turbofan:test"
BUCKET, ENDPOINT = "fleet-bucket", "onwing-FD001"
TYPES = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud with an endpoint that captures, a baseline in S3, and the image whose `monitor` is the real one."""
    folder = tmp_path_factory.mktemp("schedule")
    (folder / "image.toml").write_text(
        f'[[image]]\nmatch = "*onwing-turbofan*"\nbase = "{ROOT}"\nentrypoint = ["python", "-m", "turbofan"]\n'
        f'pythonpath = ["tests/stub_image"]\nenv = {{ STUB_PLANS = "{folder}" }}\n'
    )
    with running_localcloud(folder / "cloud", images=[folder / "image.toml"], slots=2) as cloud:
        cloud.role("job-role")
        s3, sagemaker = cloud.client("s3"), cloud.client("sagemaker")
        s3.create_bucket(Bucket=BUCKET)
        for name, content in captured.baseline_files().items():
            s3.put_object(Bucket=BUCKET, Key=f"baseline/{name}", Body=content.encode())
        s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=archive())
        container = {"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}
        sagemaker.create_model(ModelName="v7", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        capture = {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{BUCKET}/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": TYPES,
        }
        name = config(cloud, variant("v7", "v7"), DataCaptureConfig=capture)
        sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=name)
        assert settled(cloud, ENDPOINT)["EndpointStatus"] == "InService"
        yield cloud


def ask(cloud: Cloud, engines: list[captured.Array], **more: str) -> None:
    runtime = cloud.client("sagemaker-runtime")
    for rows in engines:
        body = captured.csv_body(rows)
        runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="text/csv", Body=body, **more)


def test_schedule_runs_the_image_as_it_is(cloud: Cloud) -> None:
    ask(cloud, captured.biased(captured.histories(12)))
    ask(cloud, captured.histories(3), InferenceId="onwing-probe-1")
    s3, sagemaker = cloud.client("s3"), cloud.client("sagemaker")

    def delivered() -> bool | None:
        keys = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix="capture/").get("Contents", [])]
        lines = sum(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().count(b"\n") for key in keys)
        return True if lines == 15 else None

    wait_for(delivered, 180)
    name = unique("schedule")
    definition = {
        "BaselineConfig": {
            "StatisticsResource": {"S3Uri": f"s3://{BUCKET}/baseline/drift.json"},
            "ConstraintsResource": {"S3Uri": f"s3://{BUCKET}/baseline/constraints.json"},
        },
        "MonitoringInputs": [
            {"EndpointInput": {"EndpointName": ENDPOINT, "LocalPath": "/opt/ml/processing/input/endpoint"}}
        ],
        "MonitoringOutputConfig": {
            "MonitoringOutputs": [
                {"S3Output": {"S3Uri": f"s3://{BUCKET}/reports", "LocalPath": "/opt/ml/processing/output/report"}}
            ]
        },
        "MonitoringResources": {"ClusterConfig": RESOURCES},
        "MonitoringAppSpecification": {"ImageUri": IMAGE, "ContainerArguments": ["monitor"]},
        "RoleArn": ROLE,
    }
    schedule = {"ScheduleConfig": LAST_HOUR, "MonitoringJobDefinition": definition}
    sagemaker.create_monitoring_schedule(MonitoringScheduleName=name, MonitoringScheduleConfig=schedule)
    execution = executed(cloud, name)
    job = sagemaker.describe_processing_job(ProcessingJobName=execution["ProcessingJobArn"].rpartition("/")[2])
    assert execution["MonitoringExecutionStatus"] == "CompletedWithViolations", job

    folder = f"reports/{ENDPOINT}/{name}/{execution['ScheduledTime'].astimezone(UTC):%Y/%m/%d/%H}"
    document: dict[str, Any] = json.loads(
        s3.get_object(Bucket=BUCKET, Key=f"{folder}/constraint_violations.json")["Body"].read()
    )
    assert "s4" in [violation["feature_name"] for violation in document["violations"]]
    assert (document["onwing"]["endpoint"], document["onwing"]["variant"]) == (ENDPOINT, "v7")
    records = document["onwing"]["records"]
    assert (records["delivered"], records["probes"], records["used"]) == (15, 3, 12)

    present = datetime.now(UTC)
    statistics = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="aws/sagemaker/Endpoints/data-metrics",
        MetricName="DataDrift",
        Dimensions=[{"Name": "Endpoint", "Value": ENDPOINT}, {"Name": "MonitoringSchedule", "Value": name}],
        StartTime=present - timedelta(hours=2),
        EndTime=present + timedelta(hours=2),
        Period=3600,
        Statistics=["Maximum"],
    )["Datapoints"]
    assert [each["Maximum"] for each in statistics] == [pytest.approx(document["onwing"]["drift"])]
