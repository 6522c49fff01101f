"""Jobs on a stand-in for the container runtime: what becomes of them, whatever happens to the container."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers.processes import ContainerError, ContainerSpec
from localcloud.errors import ResourceInUse, ValidationException
from localcloud.sagemaker.service import INTERRUPTED
from localcloud.store import Scope
from localcloud.testing import wait_for

from .localcloud_bench import RESOURCES, ROLE, SCOPE, Bench


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
    wait_for(lambda: bench.runtime.specs, 60)
    bench.train("second")
    wait_for(lambda: bench.call("DescribeTrainingJob", TrainingJobName="second")["SecondaryStatus"] == "Pending", 60)
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
    assert restarted.events.get(timeout=60)["DetailType"] == "SageMaker Training Job State Change"
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
    assert live is None or live.finished.wait(60)
    job = bench.call("DescribeHyperParameterTuningJob", HyperParameterTuningJobName="tune")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] <= 4
