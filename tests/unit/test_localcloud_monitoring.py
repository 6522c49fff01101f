"""Model Monitor: when schedules run, over which data, as which jobs, and what becomes of them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localcloud.cloudwatch import metrics
from localcloud.cloudwatch.metrics import MetricKey
from localcloud.containers.processes import ContainerSpec
from localcloud.errors import ApiError, ValidationException
from localcloud.monitoring import metrics_file, windows
from localcloud.testing import wait_for

from .localcloud_bench import RESOURCES, ROLE, SCOPE, Bench

HOURLY = "cron(0 * ? * * *)"
TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
ANALYZER = "159807026194.dkr.ecr.us-west-2.amazonaws.com/sagemaker-model-monitor-analyzer"


def definition(**more: Any) -> dict[str, Any]:
    source = {"EndpointName": "engines", "LocalPath": "/opt/ml/processing/input/endpoint"}
    target = {"S3Uri": "s3://bucket/reports", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    return {
        "MonitoringInputs": [{"EndpointInput": source}],
        "MonitoringOutputConfig": {"MonitoringOutputs": [{"S3Output": target}]},
        "MonitoringResources": {"ClusterConfig": RESOURCES},
        "MonitoringAppSpecification": {"ImageUri": "stub:1", "ContainerArguments": ["monitor"]},
        "RoleArn": ROLE,
        **more,
    }


class Monitored:
    """SageMaker with one endpoint that captures to s3://bucket/capture, and a clock that is set."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.now = TEN + timedelta(minutes=20)
        sagemaker = bench.sagemaker
        sagemaker.monitoring_executions._describe_endpoint = self.endpoint
        sagemaker.monitoring_schedules._clock = lambda: self.now
        sagemaker.monitoring_schedules._wind = lambda: None  # type: ignore[method-assign]
        self.capture: dict[str, Any] = {"EnableCapture": True, "DestinationS3Uri": "s3://bucket/capture"}

    def endpoint(self, _scope: Any, request: dict[str, Any]) -> dict[str, Any]:
        if request["EndpointName"] != "engines":
            raise ValidationException("Could not find endpoint")
        return {"DataCaptureConfig": self.capture}

    def schedule(self, expression: str = HOURLY, name: str = "watch", timing: Any = None, **config: Any) -> None:
        if "MonitoringJobDefinitionName" not in config:
            config.setdefault("MonitoringJobDefinition", definition())
        config["ScheduleConfig"] = {"ScheduleExpression": expression, **(timing or {})}
        self.bench.call("CreateMonitoringSchedule", MonitoringScheduleName=name, MonitoringScheduleConfig=config)

    def at(self, moment: datetime) -> None:
        self.now = moment
        self.bench.sagemaker.monitoring_schedules.tick()

    def put(self, *keys: str) -> None:
        for key in keys:
            self.bench.s3.objects[f"s3://bucket/capture/engines/{key}"] = b"{}\n"

    def executions(self, **request: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.bench.call("ListMonitoringExecutions", **request)[
            "MonitoringExecutionSummaries"
        ]
        return found

    def ended(self, count: int = 1) -> list[dict[str, Any]]:
        """The newest execution first, once all have ended."""

        def look() -> list[dict[str, Any]] | None:
            found = self.executions(SortBy="ScheduledTime")
            over = [each["MonitoringExecutionStatus"] not in ("Pending", "InProgress", "Stopping") for each in found]
            return found if len(found) == count and all(over) else None

        return wait_for(look, 60)

    def job(self, execution: dict[str, Any]) -> dict[str, Any]:
        name = execution["ProcessingJobArn"].rpartition("/")[2]
        found: dict[str, Any] = self.bench.call("DescribeProcessingJob", ProcessingJobName=name)
        return found


@pytest.fixture
def monitored(bench: Bench) -> Monitored:
    return Monitored(bench)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (HOURLY, [11, 12, 13]),
        ("cron(0 12 ? * * *)", [12, 12, 12]),
        ("cron(0 00 ? * * *)", [0, 0, 0]),
        ("cron(0 17/12 ? * * *)", [17, 5, 17]),
        ("cron(0 0/2 ? * * *)", [12, 14, 16]),
        ("cron(0 20/3 ? * * *)", [11, 14, 17]),
        ("cron(0 1/9 ? * * *)", [19, 1, 10]),  # what does not divide a day begins anew each day
    ],
)
def test_a_schedule_runs_at_its_hours(expression: str, expected: list[int]) -> None:
    moment, found = TEN + timedelta(minutes=20), []
    for _ in expected:
        due = windows.next_time("s", expression, moment)
        assert due is not None
        assert due > moment
        assert (due.minute, due.second) == (0, 0)
        found.append(due.hour)
        moment = due
    assert found == expected


def test_without_an_expression_it_runs_once_a_day_and_now_is_no_time_to_come() -> None:
    due = windows.next_time("s", None, TEN)
    assert due is not None
    assert windows.next_time("s", None, due) == due + timedelta(days=1)
    assert windows.next_time("s", "NOW", TEN) is None


@pytest.mark.parametrize(
    ("config", "source", "start", "end"),
    [
        ({"ScheduleExpression": HOURLY}, {}, -1, 0),
        ({"ScheduleExpression": "cron(0 10 ? * * *)"}, {}, -24, 0),
        ({"ScheduleExpression": "cron(0 4/6 ? * * *)"}, {}, -6, 0),
        ({}, {}, -24, 0),
        ({"ScheduleExpression": HOURLY, "DataAnalysisStartTime": "-PT5H", "DataAnalysisEndTime": "-PT1H"}, {}, -5, -1),
        ({"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-P1D", "DataAnalysisEndTime": "PT0H"}, {}, -24, 0),
        ({"ScheduleExpression": HOURLY}, {"StartTimeOffset": "-P8D", "EndTimeOffset": "-P1D"}, -192, -24),
    ],
)
def test_a_window_is_what_came_since_the_last_run_or_by_offsets(
    config: dict[str, str], source: dict[str, str], start: int, end: int
) -> None:
    windows.check(config, source)
    found = windows.window(config, source, TEN)
    assert found == (TEN + timedelta(hours=start), TEN + timedelta(hours=end))


def test_hours_that_a_window_touches() -> None:
    window = windows.Window(datetime(2026, 2, 28, 22, 30, tzinfo=UTC), datetime(2026, 3, 1, 1, tzinfo=UTC))
    assert list(window.hours()) == ["2026/02/28/22", "2026/02/28/23", "2026/03/01/00"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"ScheduleExpression": "rate(1 hour)"}, "is not valid"),
        ({"ScheduleExpression": "cron(30 * ? * * *)"}, "is not valid"),
        ({"ScheduleExpression": "cron(0 24 ? * * *)"}, "is not valid"),
        ({"ScheduleExpression": "cron(0 0/25 ? * * *)"}, "is not valid"),
        ({"ScheduleExpression": "NOW"}, "are required when ScheduleExpression is NOW"),
        (
            {"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "-PT2H"},
            "must precede",
        ),
        ({"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-P2D", "DataAnalysisEndTime": "PT0H"}, "24 hours"),
        ({"ScheduleExpression": "NOW", "DataAnalysisStartTime": "1 h", "DataAnalysisEndTime": "PT0H"}, "ISO 8601"),
        ({"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-P", "DataAnalysisEndTime": "PT0H"}, "ISO 8601"),
    ],
)
def test_timing_that_aws_refuses_is_refused(config: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationException, match=message):
        windows.check(config, {})


def test_an_hour_is_judged_after_it_by_a_processing_job_with_the_container_contract(monitored: Monitored) -> None:
    seen: dict[str, Any] = {}

    def act(spec: ContainerSpec, _say: Callable[[str], None]) -> int:
        seen.update(spec.environment)
        folder = spec.base_dir / "processing/input/endpoint"
        seen["files"] = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jsonl"))
        seen["baseline"] = (spec.base_dir / "processing/baseline/constraints/limits.json").read_text()
        (spec.base_dir / "processing/output/constraint_violations.json").write_text('{"violations": []}')
        (spec.base_dir / "output/message").write_text("CompletedWithViolations: Job completed with 2 violations.")
        return 0

    bench = monitored.bench
    bench.runtime.act = act
    bench.s3.objects["s3://bucket/base/limits.json"] = b"limits"
    monitored.put("v1/2026/03/01/10/a.jsonl", "v2/2026/03/01/10/b.jsonl", "v1/2026/03/01/09/c.jsonl")
    baseline = {"ConstraintsResource": {"S3Uri": "s3://bucket/base/limits.json"}}
    monitored.schedule(MonitoringJobDefinition=definition(BaselineConfig=baseline, Environment={"PLACE": "hangar"}))
    monitored.at(TEN + timedelta(hours=1, seconds=5))  # the hour's last data may still be on its way
    assert monitored.executions() == []
    monitored.put("v1/2026/03/01/11/d.jsonl")
    monitored.at(TEN + timedelta(hours=1, seconds=11))
    monitored.at(TEN + timedelta(hours=1, seconds=13))
    (execution,) = monitored.ended()
    assert execution["MonitoringExecutionStatus"] == "CompletedWithViolations"
    assert execution["ScheduledTime"] == (TEN + timedelta(hours=1)).timestamp()
    assert (execution["EndpointName"], execution["MonitoringScheduleName"]) == ("engines", "watch")
    assert "FailureReason" not in execution
    assert seen["files"] == [f"engines/{path}" for path in ("v1/2026/03/01/10/a.jsonl", "v2/2026/03/01/10/b.jsonl")]
    assert seen["baseline"] == "limits"
    contract = {
        "dataset_source": "/opt/ml/processing/input/endpoint",
        "output_path": "/opt/ml/processing/output",
        "baseline_constraints": "/opt/ml/processing/baseline/constraints/limits.json",
        "publish_cloudwatch_metrics": "Enabled",
        "sagemaker_endpoint_name": "engines",
        "sagemaker_monitoring_schedule_name": "watch",
        "start_time": "2026-03-01T10:00:00Z",
        "end_time": "2026-03-01T11:00:00Z",
        "PLACE": "hangar",
    }
    assert {name: seen.get(name) for name in contract} == contract
    assert "baseline_statistics" not in seen
    assert json.loads(seen["dataset_format"])["sagemakerCaptureJson"]["captureIndexNames"][0] == "endpointInput"
    report = "s3://bucket/reports/engines/watch/2026/03/01/11/constraint_violations.json"
    assert bench.s3.uploads == {report: b'{"violations": []}'}
    job = monitored.job(execution)
    schedule = bench.call("DescribeMonitoringSchedule", MonitoringScheduleName="watch")
    assert job["MonitoringScheduleArn"] == schedule["MonitoringScheduleArn"]
    assert job["ProcessingJobName"].startswith("model-monitoring-202603011100-")
    assert schedule["LastMonitoringExecutionSummary"] == execution
    assert schedule["MonitoringScheduleStatus"] == "Scheduled"


def test_an_hour_without_data_fails_in_awss_words_and_without_a_job(monitored: Monitored) -> None:
    monitored.put("v1/2026/03/01/09/c.jsonl")
    monitored.schedule()
    monitored.at(TEN + timedelta(hours=1, minutes=1))
    (execution,) = monitored.ended()
    assert (execution["MonitoringExecutionStatus"], execution["FailureReason"]) == ("Failed", "Job inputs had no data")
    assert "ProcessingJobArn" not in execution


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        (0, "", "Completed"),
        (0, "Completed: no drift", "Completed"),
        (0, "CompletedWithViolations: 3", "CompletedWithViolations"),
        (1, "CompletedWithViolations: but it failed", "Failed"),
    ],
)
def test_the_exit_message_says_whether_there_were_violations(
    monitored: Monitored, code: int, message: str, status: str
) -> None:
    def act(spec: ContainerSpec, _say: Callable[[str], None]) -> int:
        (spec.base_dir / "output/message").write_text(message)
        return code

    monitored.bench.runtime.act = act
    monitored.put("v1/2026/03/01/10/a.jsonl")
    monitored.schedule("NOW", timing={"DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "PT0H"})
    (execution,) = monitored.ended()
    assert execution["MonitoringExecutionStatus"] == status
    assert ("FailureReason" in execution) == (status == "Failed")
    monitored.at(TEN + timedelta(hours=3))
    assert len(monitored.executions()) == 1, "NOW is once"


def test_a_job_that_runs_is_in_progress_can_be_stopped_and_keeps_its_schedule(monitored: Monitored) -> None:
    monitored.bench.runtime.act = lambda spec, say: None
    monitored.put("v1/2026/03/01/10/a.jsonl")
    monitored.schedule("NOW", timing={"DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "PT0H"})
    call = monitored.bench.call
    (execution,) = wait_for(lambda: monitored.executions(StatusEquals="InProgress") or None, 60)
    with pytest.raises(ValidationException, match="has an execution in progress"):
        call("DeleteMonitoringSchedule", MonitoringScheduleName="watch")
    call("StopProcessingJob", ProcessingJobName=execution["ProcessingJobArn"].rpartition("/")[2])
    assert monitored.ended()[0]["MonitoringExecutionStatus"] == "Stopped"
    call("DeleteMonitoringSchedule", MonitoringScheduleName="watch")
    with pytest.raises(ApiError, match="ResourceNotFound"):
        call("DescribeMonitoringSchedule", MonitoringScheduleName="watch")
    assert len(monitored.executions(MonitoringScheduleName="watch")) == 1, "its history stays"


def test_whoever_finds_an_executions_job_in_the_list_finds_the_job(
    monitored: Monitored, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, listed = bench.sagemaker.processing, []
    register = jobs.register

    def registering(*arguments: Any) -> None:
        listed.extend(monitored.executions())
        register(*arguments)

    monkeypatch.setattr(jobs, "register", registering)
    monitored.put("v1/2026/03/01/10/a.jsonl")
    monitored.schedule()
    monitored.at(TEN + timedelta(hours=1, minutes=1))
    assert monitored.ended()[0]["MonitoringExecutionStatus"] == "Completed"
    assert [execution.get("ProcessingJobArn") for execution in listed] == [None]


def test_a_stopped_schedule_rests_until_it_is_started_and_nothing_is_made_up_for(monitored: Monitored) -> None:
    call = monitored.bench.call
    monitored.schedule()
    call("StopMonitoringSchedule", MonitoringScheduleName="watch")
    monitored.at(TEN + timedelta(hours=3, minutes=1))
    assert monitored.executions() == []
    stopped = call("ListMonitoringSchedules", StatusEquals="Stopped")["MonitoringScheduleSummaries"]
    assert [each["MonitoringScheduleName"] for each in stopped] == ["watch"]
    call("StartMonitoringSchedule", MonitoringScheduleName="watch")
    monitored.at(TEN + timedelta(hours=4, seconds=20))
    assert len(monitored.ended(1)) == 1
    monitored.at(TEN + timedelta(hours=30))  # the server was down
    assert len(monitored.ended(1)) == 1
    monitored.at(TEN + timedelta(hours=31, seconds=20))
    assert len(monitored.ended(2)) == 2


def test_an_update_replaces_the_configuration(monitored: Monitored) -> None:
    call = monitored.bench.call
    monitored.schedule()
    config = {
        "ScheduleConfig": {"ScheduleExpression": "cron(0 23 ? * * *)"},
        "MonitoringJobDefinition": definition(Environment={"A": "b"}),
    }
    call("UpdateMonitoringSchedule", MonitoringScheduleName="watch", MonitoringScheduleConfig=config)
    found = call("DescribeMonitoringSchedule", MonitoringScheduleName="watch")
    assert found["MonitoringScheduleConfig"] == config
    monitored.at(TEN + timedelta(hours=12, minutes=59))
    assert monitored.executions() == []
    monitored.at(TEN + timedelta(hours=13, minutes=1))
    assert len(monitored.ended()) == 1


def test_executions_are_filtered_sorted_and_paged(monitored: Monitored) -> None:
    monitored.schedule(name="a")
    monitored.schedule(name="b")
    for hour in (1, 2, 3):
        monitored.at(TEN + timedelta(hours=hour, minutes=1))
    monitored.ended(6)
    at = [(TEN + timedelta(hours=hour)).timestamp() for hour in (1, 2, 3)]
    ours = monitored.executions(MonitoringScheduleName="a", SortBy="ScheduledTime", SortOrder="Ascending")
    assert [each["ScheduledTime"] for each in ours] == at
    between = monitored.executions(ScheduledTimeAfter=at[0], ScheduledTimeBefore=at[2])
    assert [each["ScheduledTime"] for each in between] == [at[1]] * 2
    assert monitored.executions(EndpointName="other") == monitored.executions(StatusEquals="Completed") == []
    first = monitored.bench.call("ListMonitoringExecutions", MaxResults=4)
    second = monitored.bench.call("ListMonitoringExecutions", MaxResults=4, NextToken=first["NextToken"])
    assert [len(each["MonitoringExecutionSummaries"]) for each in (first, second)] == [4, 2]
    assert second.get("NextToken") is None


def test_a_data_quality_job_definition_is_what_a_schedule_runs(monitored: Monitored) -> None:
    call, inline = monitored.bench.call, definition()
    named = {
        "JobDefinitionName": "quality",
        "DataQualityAppSpecification": {"ImageUri": "stub:1", "Environment": {"FROM": "the definition"}},
        "DataQualityJobInput": inline["MonitoringInputs"][0],
        "DataQualityJobOutputConfig": inline["MonitoringOutputConfig"],
        "JobResources": inline["MonitoringResources"],
        "RoleArn": ROLE,
    }
    arn = call("CreateDataQualityJobDefinition", **named)["JobDefinitionArn"]
    assert arn.endswith(":data-quality-job-definition/quality")
    with pytest.raises(ApiError, match="ResourceInUse"):
        call("CreateDataQualityJobDefinition", **named)
    described = call("DescribeDataQualityJobDefinition", JobDefinitionName="quality")
    assert {name: described[name] for name in named} == named
    (summary,) = call("ListDataQualityJobDefinitions", EndpointName="engines")["JobDefinitionSummaries"]
    assert (summary["MonitoringJobDefinitionName"], summary["EndpointName"]) == ("quality", "engines")

    monitored.put("v1/2026/03/01/10/a.jsonl")
    monitored.schedule(MonitoringJobDefinitionName="quality", MonitoringType="DataQuality")
    monitored.at(TEN + timedelta(hours=1, minutes=1))
    (execution,) = monitored.ended()
    assert (execution["MonitoringJobDefinitionName"], execution["MonitoringType"]) == ("quality", "DataQuality")
    assert execution["MonitoringExecutionStatus"] == "Completed"
    assert monitored.job(execution)["Environment"]["FROM"] == "the definition"
    call("DeleteDataQualityJobDefinition", JobDefinitionName="quality")
    monitored.at(TEN + timedelta(hours=2, minutes=1))
    newest = monitored.ended(2)[0]
    assert newest["MonitoringExecutionStatus"] == "Failed"
    assert "quality was not found" in newest["FailureReason"]


def test_other_kinds_of_definitions_are_kept_but_no_schedule_runs_them(monitored: Monitored) -> None:
    call, inline = monitored.bench.call, definition()
    call(
        "CreateModelBiasJobDefinition",
        JobDefinitionName="bias",
        ModelBiasAppSpecification={"ImageUri": "clarify", "ConfigUri": "s3://bucket/config.json"},
        ModelBiasJobInput={**inline["MonitoringInputs"][0], "GroundTruthS3Input": {"S3Uri": "s3://bucket/truth"}},
        ModelBiasJobOutputConfig=inline["MonitoringOutputConfig"],
        JobResources=inline["MonitoringResources"],
        RoleArn=ROLE,
    )
    assert call("DescribeModelBiasJobDefinition", JobDefinitionName="bias")["RoleArn"] == ROLE
    with pytest.raises(ValidationException, match=r"no monitoring schedules of type ModelBias.*Clarify"):
        monitored.schedule(MonitoringJobDefinitionName="bias", MonitoringType="ModelBias")


def _changed(**more: Any) -> dict[str, Any]:
    return {"MonitoringJobDefinition": definition(**more)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (_changed(MonitoringAppSpecification={"ImageUri": ANALYZER}), "Images of your own run"),
        (_changed(MonitoringAppSpecification={"ImageUri": "nobody/knows:1"}), "Cannot find repository for image"),
        (_changed(MonitoringResources={"ClusterConfig": {**RESOURCES, "InstanceCount": 2}}), "one machine"),
        (
            _changed(
                MonitoringInputs=[{"EndpointInput": {"EndpointName": "none", "LocalPath": "/opt/ml/processing/i"}}]
            ),
            "Could not find endpoint",
        ),
        (
            _changed(MonitoringInputs=[{"EndpointInput": {"EndpointName": "engines", "LocalPath": "/tmp"}}]),
            "must begin with /opt/ml/processing/",
        ),
        (
            {"MonitoringJobDefinitionName": "d", "MonitoringType": "DataQuality"},
            "data-quality-job-definition/d was not found",
        ),
        ({"MonitoringJobDefinition": definition(), "MonitoringJobDefinitionName": "d"}, "Exactly one of"),
    ],
)
def test_what_cannot_run_is_refused_when_the_schedule_is_made(
    monitored: Monitored, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ApiError) as error:
        monitored.bench.call("CreateMonitoringSchedule", MonitoringScheduleName="s", MonitoringScheduleConfig=config)
    assert message in error.value.message


def test_an_endpoint_that_captures_nothing_cannot_be_monitored(monitored: Monitored) -> None:
    monitored.put("v1/2026/03/01/10/a.jsonl")
    monitored.schedule()
    monitored.capture = {}
    monitored.at(TEN + timedelta(hours=1, minutes=1))
    assert monitored.ended()[0]["FailureReason"] == "Data capture is not enabled for endpoint engines"
    with pytest.raises(ValidationException, match="Data capture is not enabled for endpoint engines"):
        monitored.schedule(name="other")


def test_metrics_that_the_container_leaves_in_a_file_are_published(monitored: Monitored) -> None:
    dimensions = [{"Name": "Endpoint", "Value": "engines"}, {"Name": "MonitoringSchedule", "Value": "watch"}]
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:00Z")
    lines = [
        json.dumps({"MetricName": "drift", "Timestamp": stamp, "Dimensions": dimensions, "Value": 1.5}),
        "no metric",
        json.dumps({"MetricName": "drift", "Timestamp": stamp, "Dimensions": dimensions}),
        json.dumps(
            {
                "MetricName": "sensor",
                "Timestamp": stamp,
                "Dimensions": dimensions,
                "StatisticValues": {"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4},
            }
        ),
    ]

    def act(spec: ContainerSpec, _say: Callable[[str], None]) -> int:
        file = spec.base_dir / metrics_file.FILE
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(lines))
        return 0

    monitored.bench.runtime.act = act
    monitored.put("v1/2026/03/01/10/a.jsonl")
    monitored.schedule("NOW", timing={"DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "PT0H"})
    assert monitored.ended()[0]["MonitoringExecutionStatus"] == "Completed"

    def read(name: str) -> Any:
        when = datetime.fromisoformat(stamp).timestamp()
        pairs = tuple((each["Name"], each["Value"]) for each in dimensions)
        key = MetricKey(SCOPE, "aws/sagemaker/Endpoints/data-metrics", name, pairs)
        (found,) = metrics.STORE.read(key, 60, when, when + 60).values()
        return found["None"]

    assert (read("drift").total, read("drift").count) == (1.5, 1)
    assert (read("sensor").total, read("sensor").least, read("sensor").most) == (10, 1, 4)


def test_what_a_restart_cut_off_has_failed_and_the_schedule_goes_on(monitored: Monitored, bench: Bench) -> None:
    store = bench.sagemaker.platform.store
    bench.runtime.act = lambda spec, say: None
    monitored.put("v1/2026/03/01/10/a.jsonl")
    monitored.schedule()
    monitored.at(TEN + timedelta(hours=1, minutes=1))
    wait_for(lambda: (monitored.executions(StatusEquals="InProgress") and bench.runtime.containers) or None, 60)
    rows = json.loads(json.dumps(store.snapshot()))
    bench.runtime.containers[0].stop()
    monitored.ended()
    store.restore(rows)
    bench.sagemaker.restored()
    (execution,) = monitored.executions()
    assert execution["MonitoringExecutionStatus"] == "Failed"
    assert "localcloud was stopped" in execution["FailureReason"]
    bench.runtime.act = lambda spec, say: 0
    monitored.put("v1/2026/03/01/11/a.jsonl")
    monitored.at(TEN + timedelta(hours=2, minutes=1))
    assert monitored.ended(2)[0]["MonitoringExecutionStatus"] == "Completed"
