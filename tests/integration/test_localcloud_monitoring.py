"""Model Monitor over real captured traffic of a small endpoint, by a container of one's own."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud import daemon
from localcloud.testing import Cloud, wait_for
from localcloud.testing import localcloud as running_localcloud

from .localcloud_requests import RESOURCES, ROLE, unique
from .roles import acting, allow, refused
from .serving import config, endpoint, model, variant
from .test_localcloud_capture import captured, capturing

IMAGE = "test/capture-monitor:1"
TEMPLATE = (Path(__file__).parent / "localcloud_stack/monitoring.yaml").read_text()
SECONDS = 180  # for whatever starts processes, beside whatever else the machine does
LAST_HOUR = {"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "PT1M"}


def far_hour() -> int:
    """An hour of the day that does not begin while a test runs."""
    return (datetime.now(UTC).hour + 12) % 24


def definition(bucket: str, monitored: str, **more: Any) -> dict[str, Any]:
    """A MonitoringJobDefinition."""
    source = {"EndpointName": monitored, "LocalPath": "/opt/ml/processing/input/endpoint"}
    target = {
        "S3Uri": f"s3://{bucket}/reports",
        "LocalPath": "/opt/ml/processing/output",
        "S3UploadMode": "EndOfJob",
    }
    return {
        "BaselineConfig": {
            "StatisticsResource": {"S3Uri": f"s3://{bucket}/baseline/statistics.json"},
            "ConstraintsResource": {"S3Uri": f"s3://{bucket}/baseline/constraints.json"},
        },
        "MonitoringInputs": [{"EndpointInput": source}],
        "MonitoringOutputConfig": {"MonitoringOutputs": [{"S3Output": target}]},
        "MonitoringResources": {"ClusterConfig": RESOURCES},
        "MonitoringAppSpecification": {"ImageUri": IMAGE},
        "RoleArn": ROLE,
        **more,
    }


@pytest.fixture(scope="module")
def monitored(localcloud: Cloud, bucket: str) -> str:
    """An endpoint with two variants, whose traffic has been captured: sums 3, 7 and 30."""
    for name, content in (("statistics", {"mean": 4}), ("constraints", {"most": 10})):
        localcloud.client("s3").put_object(Bucket=bucket, Key=f"baseline/{name}.json", Body=json.dumps(content))
    prefix = unique("capture")
    types = {"CsvContentTypes": ["text/csv"]}
    name = endpoint(
        localcloud,
        config(
            localcloud,
            variant("v", model(localcloud, bucket)),
            variant("w", model(localcloud, bucket)),
            DataCaptureConfig=capturing(bucket, prefix, CaptureContentTypeHeader=types),
        ),
    )
    for body, target in (("1,2\n", "v"), ("3,4\n", "w"), ("10,20\n", "v")):
        localcloud.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=name, Body=body, ContentType="text/csv", TargetVariant=target
        )
    captured(localcloud, bucket, prefix, 3)
    return name


def executed(cloud: Cloud, schedule: str) -> dict[str, Any]:
    """A schedule's only execution, once it has ended."""

    def look() -> dict[str, Any] | None:
        request = {"MonitoringScheduleName": schedule}
        found = cloud.client("sagemaker").list_monitoring_executions(**request)["MonitoringExecutionSummaries"]
        assert len(found) <= 1
        running = ("Pending", "InProgress", "Stopping")
        return found[0] if found and found[0]["MonitoringExecutionStatus"] not in running else None

    return wait_for(look, SECONDS)


def test_a_schedule_judges_captured_traffic_by_a_container_of_ones_own(
    localcloud: Cloud, bucket: str, monitored: str
) -> None:
    sagemaker, name = localcloud.client("sagemaker"), unique("schedule")
    arn = sagemaker.create_monitoring_schedule(
        MonitoringScheduleName=name,
        MonitoringScheduleConfig={
            "ScheduleConfig": LAST_HOUR,
            "MonitoringJobDefinition": definition(bucket, monitored),
        },
        Tags=[{"Key": "team", "Value": "turbines"}],
    )["MonitoringScheduleArn"]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "turbines"}]
    execution = executed(localcloud, name)
    job = sagemaker.describe_processing_job(ProcessingJobName=execution["ProcessingJobArn"].rpartition("/")[2])
    assert execution["MonitoringExecutionStatus"] == "CompletedWithViolations", (execution, job)
    assert job["ExitMessage"] == "CompletedWithViolations: Job completed successfully with 1 violations."
    assert (job["MonitoringScheduleArn"], job["ProcessingJobStatus"]) == (arn, "Completed")

    folder = f"reports/{monitored}/{name}/{execution['ScheduledTime'].astimezone(UTC):%Y/%m/%d/%H}/"
    assert job["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] == f"s3://{bucket}/{folder.rstrip('/')}"

    def report(file: str) -> Any:
        return json.loads(localcloud.client("s3").get_object(Bucket=bucket, Key=folder + file)["Body"].read())

    assert report("statistics.json") == {"records": 3, "variants": ["v", "w"]}
    (violation,) = report("constraint_violations.json")["violations"]
    assert violation["description"] == "30.0 is above 10; the mean was 4"

    present = datetime.now(UTC)
    (statistic,) = localcloud.client("cloudwatch").get_metric_statistics(
        Namespace="aws/sagemaker/Endpoints/data-metrics",
        MetricName="feature_baseline_drift_sum",
        Dimensions=[{"Name": "Endpoint", "Value": monitored}, {"Name": "MonitoringSchedule", "Value": name}],
        StartTime=present - timedelta(minutes=10),
        EndTime=present + timedelta(minutes=10),
        Period=3600,
        Statistics=["Maximum"],
    )["Datapoints"]
    assert statistic["Maximum"] == 3.0

    described = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=name)
    assert described["LastMonitoringExecutionSummary"] == execution
    assert (described["MonitoringScheduleStatus"], described["EndpointName"]) == ("Scheduled", monitored)
    listed = sagemaker.list_monitoring_schedules(EndpointName=monitored, NameContains=name)
    assert [each["MonitoringScheduleArn"] for each in listed["MonitoringScheduleSummaries"]] == [arn]
    sagemaker.delete_monitoring_schedule(MonitoringScheduleName=name)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        sagemaker.describe_monitoring_schedule(MonitoringScheduleName=name)


def test_a_job_acts_under_the_role_of_its_definition(localcloud: Cloud, bucket: str, monitored: str) -> None:
    role = localcloud.role(
        unique("blind"), {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}
    )
    name = unique("schedule")
    localcloud.client("sagemaker").create_monitoring_schedule(
        MonitoringScheduleName=name,
        MonitoringScheduleConfig={
            "ScheduleConfig": LAST_HOUR,
            "MonitoringJobDefinition": definition(bucket, monitored, RoleArn=role),
        },
    )
    execution = executed(localcloud, name)
    assert execution["MonitoringExecutionStatus"] == "Failed"
    assert "s3:GetObject" in execution["FailureReason"]


def test_who_makes_a_schedule_must_be_allowed_to_pass_its_role(localcloud: Cloud, bucket: str, monitored: str) -> None:
    sagemaker = acting(localcloud, unique("caller"), allow("sagemaker:*"))("sagemaker")
    code, message = refused(
        sagemaker.create_monitoring_schedule,
        MonitoringScheduleName=unique("schedule"),
        MonitoringScheduleConfig={
            "ScheduleConfig": {"ScheduleExpression": "cron(0 * ? * * *)"},
            "MonitoringJobDefinition": definition(bucket, monitored),
        },
    )
    assert code == "AccessDeniedException"
    assert "iam:PassRole" in message


def test_a_stack_has_a_schedule_and_its_definition(localcloud: Cloud, bucket: str, monitored: str) -> None:
    cloudformation, sagemaker = localcloud.client("cloudformation"), localcloud.client("sagemaker")
    name = unique("monitoring")

    def deploy(operation: str, **values: str) -> dict[str, str]:
        given = {"Endpoint": monitored, "Bucket": bucket, "Role": ROLE, **values}
        getattr(cloudformation, operation)(
            StackName=name,
            TemplateBody=TEMPLATE,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        )

        def settled() -> Any:
            stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
            return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

        stack = wait_for(settled, SECONDS)
        expected = "CREATE_COMPLETE" if operation == "create_stack" else "UPDATE_COMPLETE"
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        assert stack["StackStatus"] == expected, [each.get("ResourceStatusReason") for each in events]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    hour = far_hour()  # a schedule that runs could not be deleted
    first = deploy("create_stack", Expression=f"cron(0 {hour} ? * * *)")
    schedule = first["ScheduleArn"].rpartition("/")[2]
    described = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=schedule)
    assert described["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"] == first["Definition"]
    second = deploy("update_stack", Expression=f"cron(0 {hour}/24 ? * * *)", Minutes="20")
    assert second["ScheduleArn"] == first["ScheduleArn"]
    assert second["Definition"] != first["Definition"]
    described = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=schedule)["MonitoringScheduleConfig"]
    assert described["ScheduleConfig"]["ScheduleExpression"] == f"cron(0 {hour}/24 ? * * *)"
    assert described["MonitoringJobDefinitionName"] == second["Definition"]
    cloudformation.delete_stack(StackName=name)
    request = {"NameContains": name}
    wait_for(lambda: not sagemaker.list_monitoring_schedules(**request)["MonitoringScheduleSummaries"], SECONDS)
    wait_for(lambda: not sagemaker.list_data_quality_job_definitions(**request)["JobDefinitionSummaries"], SECONDS)


def test_schedules_and_their_history_outlast_a_kill(tmp_path: Path) -> None:
    images = [Path(__file__).parent / "localcloud_images/stub.toml"]
    with running_localcloud(tmp_path / "localcloud", images=images, keep=True) as cloud:
        cloud.role("job-role")
        s3, sagemaker = cloud.client("s3"), cloud.client("sagemaker")
        s3.create_bucket(Bucket="kept-bucket")
        served = config(
            cloud, variant("v", model(cloud, "kept-bucket")), DataCaptureConfig=capturing("kept-bucket", "captured")
        )
        name = endpoint(cloud, served)
        inline = definition("kept-bucket", name)
        daily = {"ScheduleExpression": f"cron(0 {far_hour()} ? * * *)"}
        for schedule, timing in (("daily", daily), ("once", LAST_HOUR)):
            sagemaker.create_monitoring_schedule(
                MonitoringScheduleName=schedule,
                MonitoringScheduleConfig={"ScheduleConfig": timing, "MonitoringJobDefinition": inline},
                Tags=[{"Key": "team", "Value": "turbines"}],
            )
        execution = executed(cloud, "once")
        assert execution["FailureReason"] == "Job inputs had no data"
        sagemaker.stop_monitoring_schedule(MonitoringScheduleName="once")
        before = sagemaker.describe_monitoring_schedule(MonitoringScheduleName="daily")
        wait_for(lambda: (daemon.snapshots(cloud.running) or {})["current"], SECONDS)
        cloud.kill()
        cloud.start_again()
        sagemaker = cloud.client("sagemaker")
        after = sagemaker.describe_monitoring_schedule(MonitoringScheduleName="daily")
        assert {**after, "ResponseMetadata": 0} == {**before, "ResponseMetadata": 0}
        assert executed(cloud, "once") == execution
        tags = sagemaker.list_tags(ResourceArn=after["MonitoringScheduleArn"])["Tags"]
        assert tags == [{"Key": "team", "Value": "turbines"}]
        stopped = sagemaker.list_monitoring_schedules(StatusEquals="Stopped")["MonitoringScheduleSummaries"]
        assert [each["MonitoringScheduleName"] for each in stopped] == ["once"]
