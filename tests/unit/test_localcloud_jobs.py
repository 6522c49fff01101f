"""Jobs on a stand-in for the container runtime: what becomes of them, whatever happens to the container."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers import ContainerError, ContainerSpec
from localcloud.errors import ResourceInUse, ValidationException
from localcloud.events import Events
from localcloud.images import Image, ImageMap
from localcloud.jobs import Platform
from localcloud.logs import Logs
from localcloud.service import INTERRUPTED, SageMaker
from localcloud.slots import Slots
from localcloud.store import Scope, Store
from localcloud.testing import wait_for

SCOPE = Scope("123456789012", "eu-west-1")
ROLE = "arn:aws:iam::123456789012:role/job-role"
RESOURCES = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}


class FakeContainer:
    """Ends when it is told to, or when it is stopped."""

    def __init__(self, code: int | None) -> None:
        self.pid = 1
        self.out_of_memory = False
        self.code = code
        self.over = threading.Event()
        if code is not None:
            self.over.set()

    def wait(self, timeout: float | None = None) -> int | None:
        return self.code if self.over.wait(timeout) else None

    def stop(self, grace: float = 30.0) -> None:
        self.code = -15 if self.code is None else self.code
        self.over.set()


class FakeRuntime:
    """Runs ``act`` in place of a container."""

    def __init__(self) -> None:
        self.act: Callable[[ContainerSpec, Callable[[str], None]], int | None] = lambda spec, say: 0
        self.specs: list[ContainerSpec] = []

    def start(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> Any:
        self.specs.append(spec)
        return FakeContainer(self.act(spec, on_line))


class FakeS3:
    """An S3 that takes everything and has nothing."""

    def __init__(self) -> None:
        self.uploads: dict[str, bytes] = {}

    def upload_file(self, name: str, bucket: str, key: str, **_: Any) -> None:
        self.uploads[f"s3://{bucket}/{key}"] = Path(name).read_bytes()


class Bench:
    """SageMaker on stand-ins."""

    def __init__(self, directory: Path, slots: int = 2) -> None:
        self.runtime, self.s3 = FakeRuntime(), FakeS3()
        self.events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.lines: list[str] = []
        self.sagemaker = SageMaker(
            Platform(
                store=Store(),
                images=ImageMap([("stub*", Image("stub", ("run",)))]),
                runtime=self.runtime,
                slots=Slots(slots),
                logs=Logs(self._log),
                events=Events(lambda scope, entry: self.events.put(dict(entry))),
                s3=lambda scope, role: self.s3,
                environment=lambda scope, role: {"AWS_ENDPOINT_URL": "http://localhost"},
                directory=directory,
            )
        )

    def _log(self, scope: Scope, operation: str, request: Any) -> dict[str, Any]:
        self.lines += [event["message"] for event in request.get("logEvents", [])]
        return {}

    def call(self, operation: str, **request: Any) -> Any:
        return self.sagemaker.call(SCOPE, operation, request)

    def train(self, name: str = "job", **more: Any) -> None:
        self.call(
            "CreateTrainingJob",
            TrainingJobName=name,
            RoleArn=ROLE,
            AlgorithmSpecification={
                "TrainingImage": "stub:1",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
            },
            OutputDataConfig={"S3OutputPath": "s3://bucket/models/"},
            ResourceConfig=RESOURCES,
            StoppingCondition={"MaxRuntimeInSeconds": 60},
            **more,
        )

    def ended(self, name: str = "job") -> Any:
        live = self.sagemaker.platform.live(SCOPE, "training-job", name)
        if live is not None:
            assert live.finished.wait(10)
        return self.call("DescribeTrainingJob", TrainingJobName=name)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.sagemaker.close()


def test_metrics_logs_and_model_of_a_training_job(bench: Bench) -> None:
    def act(spec: ContainerSpec, say: Callable[[str], None]) -> int:
        say("loss=3.5")
        say("")
        say("loss=2.5")
        (spec.base_dir / "model/m").write_text("weights")
        return 0

    bench.runtime.act = act
    bench.train(Environment={"MODE": "x"})
    job = bench.ended()
    assert job["TrainingJobStatus"] == "Completed"
    assert [(metric["MetricName"], metric["Value"]) for metric in job["FinalMetricDataList"]] == [("loss", 2.5)]
    assert job["ModelArtifacts"] == {"S3ModelArtifacts": "s3://bucket/models/job/output/model.tar.gz"}
    assert list(bench.s3.uploads) == ["s3://bucket/models/job/output/model.tar.gz"]
    assert bench.lines == ["loss=3.5", " ", "loss=2.5"]
    [spec] = bench.runtime.specs
    assert spec.command == ("run", "train")
    assert spec.environment["MODE"] == "x"
    assert spec.environment["AWS_REGION"] == "eu-west-1"
    assert spec.environment["TRAINING_JOB_NAME"] == "job"
    assert not spec.base_dir.exists()


@pytest.mark.parametrize("error", [ContainerError("no such program"), RuntimeError("a bug")])
def test_job_that_cannot_start_fails_and_frees_its_slot(bench: Bench, error: Exception) -> None:
    def act(spec: ContainerSpec, say: Callable[[str], None]) -> int:
        raise error

    bench.runtime.act = act
    for number in range(3):
        bench.train(f"job-{number}")
    for number in range(3):
        job = bench.ended(f"job-{number}")
        assert job["TrainingJobStatus"] == "Failed"
        assert str(error) in job["FailureReason"]


def test_long_failure_reason_is_cut(bench: Bench) -> None:
    def act(spec: ContainerSpec, say: Callable[[str], None]) -> int:
        (spec.base_dir / "output/failure").write_text("x" * 5000)
        return 7

    bench.runtime.act = act
    bench.train()
    assert len(bench.ended()["FailureReason"]) <= 1024


def test_stop_while_queued_never_starts_a_container(tmp_path: Path) -> None:
    bench = Bench(tmp_path, slots=1)
    bench.runtime.act = lambda spec, say: None  # runs until it is stopped
    bench.train("first")
    wait_for(lambda: bench.runtime.specs)
    bench.train("second")
    wait_for(lambda: bench.call("DescribeTrainingJob", TrainingJobName="second")["SecondaryStatus"] == "Pending")
    bench.call("StopTrainingJob", TrainingJobName="second")
    assert bench.ended("second")["TrainingJobStatus"] == "Stopped"
    bench.call("StopTrainingJob", TrainingJobName="first")
    assert bench.ended("first")["SecondaryStatus"] == "Stopped"
    assert len(bench.runtime.specs) == 1
    bench.sagemaker.close()


def test_running_job_is_not_deleted_and_an_ended_one_is(bench: Bench) -> None:
    bench.runtime.act = lambda spec, say: None
    bench.train()
    with pytest.raises(ResourceInUse):
        bench.call("DeleteTrainingJob", TrainingJobName="job")
    bench.call("StopTrainingJob", TrainingJobName="job")
    bench.ended()
    bench.call("DeleteTrainingJob", TrainingJobName="job")
    with pytest.raises(ValidationException):
        bench.call("DescribeTrainingJob", TrainingJobName="job")


def test_accounts_do_not_see_each_other(bench: Bench) -> None:
    bench.train()
    bench.ended()
    other = Scope("999999999999", "eu-west-1")
    assert bench.sagemaker.call(other, "ListTrainingJobs", {}) == {"TrainingJobSummaries": []}


def test_closing_stops_every_job(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.runtime.act = lambda spec, say: None
    bench.train()
    bench.sagemaker.close()
    assert bench.call("DescribeTrainingJob", TrainingJobName="job")["TrainingJobStatus"] == "Stopped"


def test_restored_jobs_that_were_cut_off_have_failed(bench: Bench, tmp_path: Path) -> None:
    bench.runtime.act = lambda spec, say: None
    bench.train()
    kept = bench.sagemaker.platform.store.snapshot()
    restarted = Bench(tmp_path / "restarted")
    restarted.sagemaker.platform.store.restore(kept)
    restarted.sagemaker.restored()
    job = restarted.ended()
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", INTERRUPTED)
    assert restarted.events.get(timeout=5)["DetailType"] == "SageMaker Training Job State Change"
    restarted.sagemaker.close()


def test_events_tell_each_status_once_and_in_order(bench: Bench) -> None:
    bench.train(Tags=[{"Key": "team", "Value": "a"}])
    bench.ended()
    bench.sagemaker.platform.events.close()
    details = []
    while not bench.events.empty():
        entry = bench.events.get()
        assert entry["Source"] == "aws.sagemaker"
        details.append(json.loads(entry["Detail"]))
    assert [detail["SecondaryStatus"] for detail in details] == [
        *("Starting", "Downloading", "Training", "Uploading", "Completed")
    ]
    assert details[-1]["Tags"] == {"team": "a"}
    assert isinstance(details[-1]["TrainingEndTime"], int)


@pytest.mark.parametrize(
    "patience",
    [
        {"TargetObjectiveMetricValue": 10.0},
        {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}},
    ],
)
def test_tuning_ends_early_when_its_criterion_is_met(bench: Bench, patience: dict[str, Any]) -> None:
    def act(spec: ContainerSpec, say: Callable[[str], None]) -> int:
        say("loss=5.0")
        return 0

    bench.runtime.act = act
    bench.call(
        "CreateHyperParameterTuningJob",
        HyperParameterTuningJobName="tune",
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "99"}]},
            "TuningJobCompletionCriteria": patience,
        },
        TrainingJobDefinition={
            "AlgorithmSpecification": {
                "TrainingImage": "stub",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
            },
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": "s3://b/m"},
            "ResourceConfig": RESOURCES,
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
    )
    live = bench.sagemaker.platform.live(SCOPE, "hyper-parameter-tuning-job", "tune")
    assert live is None or live.finished.wait(20)
    job = bench.call("DescribeHyperParameterTuningJob", HyperParameterTuningJobName="tune")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] <= 4
