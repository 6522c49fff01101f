"""Tuning jobs on stand-ins: several definitions, warm start, early stopping, what their training jobs get."""

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localcloud.containers.processes import ContainerSpec
from localcloud.errors import ResourceLimitExceeded, ValidationException
from localcloud.sagemaker.quotas import TRAINING_JOBS, TUNING_JOBS
from localcloud.testing import wait_for
from localcloud.tuning import tuning_run

from .localcloud_bench import Bench, definition

Say = Callable[[str], None]
OBJECTIVE = {"Type": "Minimize", "MetricName": "loss"}
RANGES = {"IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "99"}]}


def say_n(spec: ContainerSpec, say: Say) -> int:
    """A container whose loss is its hyperparameter n."""
    say(f"loss={hyperparameters(spec)['n']}")
    return 0


def hyperparameters(spec: ContainerSpec) -> dict[str, str]:
    found: dict[str, str] = json.loads((spec.base_dir / "input/config/hyperparameters.json").read_text())
    return found


def children(bench: Bench, name: str = "tune") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bench.call(
        "ListTrainingJobsForHyperParameterTuningJob", HyperParameterTuningJobName=name, MaxResults=100
    )["TrainingJobSummaries"]
    return found


def test_several_definitions_are_tuned_side_by_side(bench: Bench) -> None:
    def act(spec: ContainerSpec, say: Say) -> int:
        say(f"{'loss' if hyperparameters(spec)['kind'] == 'a' else 'error'}=5")
        return 0

    bench.runtime.act = act
    other = definition()["AlgorithmSpecification"] | {
        "MetricDefinitions": [{"Name": "err", "Regex": "error=([0-9.]+)"}]
    }
    bench.call(
        "CreateHyperParameterTuningJob",
        HyperParameterTuningJobName="tune",
        HyperParameterTuningJobConfig={
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 2},
        },
        TrainingJobDefinitions=[
            definition(
                DefinitionName="a",
                TuningObjective=OBJECTIVE,
                HyperParameterRanges=RANGES,
                StaticHyperParameters={"kind": "a"},
            ),
            definition(
                DefinitionName="b",
                TuningObjective={"Type": "Minimize", "MetricName": "err"},
                HyperParameterRanges=RANGES,
                StaticHyperParameters={"kind": "b"},
                AlgorithmSpecification=other,
            ),
        ],
    )
    job = bench.ended("tune", "HyperParameterTuning")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["ObjectiveStatusCounters"]["Succeeded"] == 6
    found = children(bench)
    assert {child["TrainingJobDefinitionName"] for child in found} == {"a", "b"}
    metrics = {
        child["TrainingJobDefinitionName"]: child["FinalHyperParameterTuningJobObjectiveMetric"]["MetricName"]
        for child in found
    }
    assert metrics == {"a": "loss", "b": "err"}
    assert job["BestTrainingJob"]["TrainingJobDefinitionName"] in ("a", "b")


def test_identical_warm_start_knows_the_best_of_all(bench: Bench) -> None:
    bench.runtime.act = lambda spec, say: say("loss=1") or 0  # type: ignore[func-returns-value]
    bench.tune("parent")
    parent = bench.ended("parent", "HyperParameterTuning")
    assert "OverallBestTrainingJob" not in parent
    bench.runtime.act = lambda spec, say: say("loss=2") or 0  # type: ignore[func-returns-value]
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    bench.tune("child", WarmStartConfig=warm)
    job = bench.ended("child", "HyperParameterTuning")
    assert job["BestTrainingJob"]["TrainingJobName"].startswith("child-")
    assert job["OverallBestTrainingJob"]["TrainingJobName"] == parent["BestTrainingJob"]["TrainingJobName"]
    assert job["OverallBestTrainingJob"]["TuningJobName"] == "parent"
    with pytest.raises(ValidationException, match="training image must be"):
        bench.tune(
            "other",
            WarmStartConfig=warm,
            TrainingJobDefinition=definition(
                AlgorithmSpecification=definition()["AlgorithmSpecification"] | {"TrainingImage": "stub:2"}
            ),
        )


def test_training_jobs_of_parents_count_against_the_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quotas={TRAINING_JOBS: 6})
    bench.runtime.act = say_n
    bench.tune("parent")
    bench.ended("parent", "HyperParameterTuning")
    warm = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}],
        "WarmStartType": "TransferLearning",
    }
    with pytest.raises(ResourceLimitExceeded, match="current utilization of 4 Training Jobs and a request delta of 4"):
        bench.tune("child", WarmStartConfig=warm)
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1}
    bench.tune("child", config={"ResourceLimits": limits}, WarmStartConfig=warm)
    assert "OverallBestTrainingJob" not in bench.ended("child", "HyperParameterTuning")
    bench.sagemaker.close()


def test_training_jobs_get_checkpoints_retries_and_tags_of_their_own(bench: Bench) -> None:
    bench.runtime.act = say_n
    bench.tune(
        TrainingJobDefinition=definition(
            CheckpointConfig={"S3Uri": "s3://bucket/checkpoints/"}, RetryStrategy={"MaximumRetryAttempts": 1}
        ),
        Tags=[{"Key": "team", "Value": "x"}],
    )
    bench.ended("tune", "HyperParameterTuning")
    for child in children(bench):
        job = bench.call("DescribeTrainingJob", TrainingJobName=child["TrainingJobName"])
        assert job["CheckpointConfig"]["S3Uri"] == f"s3://bucket/checkpoints/{child['TrainingJobName']}"
        assert job["RetryStrategy"] == {"MaximumRetryAttempts": 1}
        tags = bench.call("ListTags", ResourceArn=job["TrainingJobArn"])["Tags"]
        assert tags == [{"Key": "team", "Value": "x"}]


def test_bad_trials_are_stopped_early_and_keep_their_last_value(bench: Bench) -> None:
    values = iter(["1", "1", "9", "9"])

    def act(spec: ContainerSpec, say: Say) -> int | None:
        value = next(values)
        for _ in range(3):
            say(f"loss={value}")
        return 0 if value == "1" else None  # a bad one would go on for ever

    bench.runtime.act = act
    bench.tune(config={"TrainingJobEarlyStoppingType": "Auto"})
    job = bench.ended("tune", "HyperParameterTuning")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert [child["TrainingJobStatus"] for child in children(bench)] == ["Completed"] * 2 + ["Stopped"] * 2
    assert job["TrainingJobStatusCounters"]["Stopped"] == 2
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 4, "Pending": 0, "Failed": 0}


def test_tuning_job_over_its_time_completes_with_what_it_has(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    count = itertools.count()

    def monotonic() -> float:
        """Its time is over once the second has begun."""
        return time.monotonic() + (600 if len(children(bench)) > 1 else 0)

    monkeypatch.setattr(tuning_run, "time", SimpleNamespace(monotonic=monotonic))

    def act(spec: ContainerSpec, say: Say) -> int | None:
        say("loss=1")
        return 0 if next(count) == 0 else None  # the second would go on for ever

    bench.runtime.act = act
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 120}
    bench.tune(config={"ResourceLimits": limits})
    job = bench.ended("tune", "HyperParameterTuning")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert [child["TrainingJobStatus"] for child in children(bench)] == ["Completed", "Stopped"]
    assert job["BestTrainingJob"]["TrainingJobStatus"] == "Completed"


def test_internal_errors_count_as_retryable(bench: Bench) -> None:
    def act(spec: ContainerSpec, say: Say) -> int:
        raise RuntimeError("a bug")

    bench.runtime.act = act
    bench.tune()
    counters = bench.ended("tune", "HyperParameterTuning")["TrainingJobStatusCounters"]
    assert (counters["RetryableError"], counters["NonRetryableError"]) == (4, 0)


def test_only_so_many_tuning_jobs_run_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quotas={TUNING_JOBS: 1})
    bench.runtime.act = lambda spec, say: None
    bench.tune("first")
    with pytest.raises(ResourceLimitExceeded, match="is 1 Tuning Jobs, with current utilization of 1 Tuning Jobs"):
        bench.tune("second")
    wait_for(lambda: bench.runtime.specs, 60)
    bench.call("StopHyperParameterTuningJob", HyperParameterTuningJobName="first")
    bench.ended("first", "HyperParameterTuning")
    bench.runtime.act = say_n
    bench.tune("second")
    assert bench.ended("second", "HyperParameterTuning")["HyperParameterTuningJobStatus"] == "Completed"
    bench.sagemaker.close()
