"""What a training job may ask for beyond the plain one: Pipe mode, checkpoints, spot, retries, metrics."""

import gzip
import os
import struct
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from localcloud.cloudwatch import metrics
from localcloud.cloudwatch.metrics import MetricKey
from localcloud.containers.container_contract import S3Transfer
from localcloud.containers.processes import ContainerError, ContainerSpec
from localcloud.errors import ApiError, ResourceLimitExceeded, ValidationException
from localcloud.jobs.mirror import Folder, Mirror
from localcloud.jobs.pipe_mode import record_io
from localcloud.testing import wait_for

from .localcloud_bench import RESOURCES, SCOPE, Bench, FakeS3, channel

Say = Callable[[str], None]


def read_epochs(bench: Bench, epochs: int, **channel_settings: Any) -> list[bytes]:
    """What a container reads from the channel's FIFOs."""
    read: list[bytes] = []

    def act(spec: ContainerSpec, say: Say) -> int:
        for epoch in range(epochs):
            read.append((spec.base_dir / f"input/data/train_{epoch}").read_bytes())
        assert not (spec.base_dir / "input/data/train").exists()
        return 0

    bench.runtime.act = act
    bench.train(InputDataConfig=[channel("s3://bucket/data/", InputMode="Pipe", **channel_settings)])
    job = bench.ended()
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    return read


def test_pipe_mode_gives_all_the_data_in_each_epoch(bench: Bench) -> None:
    big = os.urandom(3_000_000)
    bench.s3.objects = {"s3://bucket/data/a": b"first,", "s3://bucket/data/b": big}
    assert read_epochs(bench, 3) == [b"first," + big] * 3


def test_pipe_mode_unpacks_and_wraps(bench: Bench) -> None:
    bench.s3.objects = {"s3://bucket/data/a": gzip.compress(b"abcde"), "s3://bucket/data/b": gzip.compress(b"")}
    [read] = read_epochs(bench, 1, CompressionType="Gzip", RecordWrapperType="RecordIO")
    assert read == record_io(b"abcde") + record_io(b"")
    assert struct.unpack("<II", read[:8]) == (0xCED7230A, 5)
    assert len(read) == 16 + 8


def test_pipe_mode_shuffles_objects_from_epoch_to_epoch(bench: Bench) -> None:
    bench.s3.objects = {f"s3://bucket/data/{number}": bytes([number]) for number in range(50)}
    first, second = read_epochs(bench, 2, ShuffleConfig={"Seed": 7})
    assert first != second
    assert sorted(first) == sorted(second) == list(range(50))


def test_pipe_that_nobody_reads_ends_with_the_job(bench: Bench) -> None:
    bench.s3.objects = {"s3://bucket/data/a": b"1"}
    assert read_epochs(bench, 0) == []


def test_broken_gzip_in_pipe_mode_fails_the_job(bench: Bench) -> None:
    bench.s3.objects = {"s3://bucket/data/a": b"no gzip"}
    bench.runtime.act = lambda spec, say: len((spec.base_dir / "input/data/train_0").read_bytes())
    bench.train(InputDataConfig=[channel("s3://bucket/data/", InputMode="Pipe", CompressionType="Gzip")])
    assert "is no gzip file" in bench.ended()["FailureReason"]


def test_checkpoints_come_back_and_go_to_s3_while_the_job_runs(bench: Bench) -> None:
    bench.s3.objects = {"s3://bucket/checkpoints/epoch-1": b"one", "s3://bucket/checkpoints-of-another/x": b"no"}

    def act(spec: ContainerSpec, say: Say) -> int:
        folder = spec.base_dir / "checkpoints"
        assert sorted(path.name for path in folder.iterdir()) == ["epoch-1"]
        (folder / "epoch-2").write_text("two")
        wait_for(lambda: bench.s3.uploads.get("s3://bucket/checkpoints/epoch-2") == b"two", 60)
        (folder / "epoch-2").write_text("two and a half")
        (spec.base_dir / "output/tensorboard/events").write_text("curve")
        return 1

    bench.runtime.act = act
    bench.train(
        CheckpointConfig={"S3Uri": "s3://bucket/checkpoints"},
        TensorBoardOutputConfig={"S3OutputPath": "s3://bucket/boards/"},
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    )
    assert bench.ended()["FailureReason"].startswith("AlgorithmError")
    assert bench.s3.uploads == {
        "s3://bucket/checkpoints/epoch-2": b"two and a half",
        "s3://bucket/boards/job/tensorboard-output/events": b"curve",
    }


def test_folder_that_the_job_removes_while_it_is_listed_keeps_no_other_from_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept", "temporary"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "epoch-1").write_text("one")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "temporary":
            raise FileNotFoundError(path)
        return real(path)

    s3 = FakeS3()
    mirror = Mirror(lambda: S3Transfer(s3), [Folder(tmp_path, "s3://bucket/checkpoints")])
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        mirror.finish()
    assert s3.uploads == {"s3://bucket/checkpoints/kept/epoch-1": b"one"}


def test_internal_error_is_retried_as_often_as_asked_and_a_container_that_cannot_start_is_not(bench: Bench) -> None:
    attempts: list[Path] = []

    def act(spec: ContainerSpec, say: Say) -> int:
        attempts.append(spec.base_dir)
        assert not (spec.base_dir / "model/half").exists()
        (spec.base_dir / "model/half").write_text("")
        if len(attempts) < 3:
            raise RuntimeError("a bug")
        return 0

    bench.runtime.act = act
    bench.train(RetryStrategy={"MaximumRetryAttempts": 2})
    job = bench.ended()
    assert job["TrainingJobStatus"] == "Completed"
    assert [step["Status"] for step in job["SecondaryStatusTransitions"]].count("Restarting") == 2
    attempts.clear()
    bench.train("too-often", RetryStrategy={"MaximumRetryAttempts": 1})
    assert bench.ended("too-often")["FailureReason"].startswith("InternalServerError")

    def broken(spec: ContainerSpec, say: Say) -> int:
        attempts.append(spec.base_dir)
        raise ContainerError("no such program")

    attempts.clear()
    bench.runtime.act = broken
    bench.train("never", RetryStrategy={"MaximumRetryAttempts": 5})
    assert bench.ended("never")["TrainingJobStatus"] == "Failed"
    assert len(attempts) == 1


def test_metrics_reach_cloudwatch(bench: Bench) -> None:
    def act(spec: ContainerSpec, say: Say) -> int:
        say("loss=4")
        say("loss=2")
        return 0

    bench.runtime.act = act
    bench.train("measured-job")
    bench.ended("measured-job")
    key = MetricKey(SCOPE, "/aws/sagemaker/TrainingJobs", "loss", (("TrainingJobName", "measured-job"),))
    found = metrics.STORE.read(key, 3600, 0, 1e11)
    total = [aggregate for units in found.values() for aggregate in units.values()]
    assert sum(aggregate.count for aggregate in total) == 2
    assert sum(aggregate.total for aggregate in total) == 6


def test_profiler_and_warm_pool_of_a_running_job_can_be_updated(bench: Bench) -> None:
    bench.runtime.act = lambda spec, say: None
    bench.train()
    bench.call("UpdateTrainingJob", TrainingJobName="job", ResourceConfig={"KeepAlivePeriodInSeconds": 60})
    assert bench.call("DescribeTrainingJob", TrainingJobName="job")["ResourceConfig"] == {
        **RESOURCES,
        "KeepAlivePeriodInSeconds": 60,
    }
    bench.call("StopTrainingJob", TrainingJobName="job")
    bench.ended()
    with pytest.raises(ValidationException, match="is in status Stopped"):
        bench.call("UpdateTrainingJob", TrainingJobName="job", ProfilerConfig={"DisableProfiler": True})


def test_job_over_its_time_gets_two_minutes_to_save_its_model(bench: Bench) -> None:
    def act(spec: ContainerSpec, say: Say) -> None:
        (spec.base_dir / "model/m").write_text("so far")

    bench.runtime.act = act
    bench.train(StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = bench.ended()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    last = job["SecondaryStatusTransitions"][-1]
    assert last["StatusMessage"] == "Training job runtime exceeded MaxRuntimeInSeconds provided"
    assert job["ModelArtifacts"]["S3ModelArtifacts"] in bench.s3.uploads
    [container] = bench.runtime.containers
    assert container.grace == 120


def test_spot_job_that_waits_too_long_for_its_turn_is_given_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, slots=1)
    bench.runtime.act = lambda spec, say: None
    bench.train("first")
    wait_for(lambda: bench.runtime.specs, 60)
    stopping = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1}
    bench.train("spot", EnableManagedSpotTraining=True, StoppingCondition=stopping)
    job = bench.ended("spot")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert "TrainingStartTime" not in job
    assert len(bench.runtime.specs) == 1
    bench.sagemaker.close()


def test_spot_jobs_waiting_and_running_have_a_common_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, slots=1)
    bench.runtime.act = lambda spec, say: None
    bench.train("first")
    wait_for(lambda: bench.runtime.specs, 60)
    stopping = {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600}
    bench.train("spot", EnableManagedSpotTraining=True, StoppingCondition=stopping)
    store = bench.sagemaker.platform.store
    with store.lock:  # as if it had waited for almost all of them
        store.table(SCOPE, "training-job")["spot"]["CreationTime"] -= timedelta(seconds=598)
    bench.call("StopTrainingJob", TrainingJobName="first")
    job = bench.ended("spot")
    assert job["SecondaryStatus"] == "MaxWaitTimeExceeded"
    assert job["TrainingTimeInSeconds"] < 300
    bench.sagemaker.close()


DATA = "s3://bucket/data/"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ResourceConfig": {**RESOURCES, "InstanceCount": 2}}, "localcloud is one machine"),
        ({"InputDataConfig": [channel(DATA), channel(DATA)]}, "Duplicate channel names"),
        ({"InputDataConfig": [channel(DATA, CompressionType="Gzip")]}, "Pipe mode only"),
        (
            {
                "InputDataConfig": [
                    {
                        "ChannelName": "train",
                        "DataSource": {"S3DataSource": {"S3DataType": "AugmentedManifestFile", "S3Uri": DATA}},
                    }
                ]
            },
            "AugmentedManifestFile of channel train is not supported by localcloud",
        ),
        (
            {
                "InputDataConfig": [
                    {
                        "ChannelName": "train",
                        "InputMode": "FastFile",
                        "DataSource": {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": DATA}},
                    }
                ]
            },
            "FastFile mode of channel train",
        ),
        (
            {
                "InputDataConfig": [
                    {
                        "ChannelName": "train",
                        "DataSource": {
                            "FileSystemDataSource": {
                                "FileSystemId": "fs-01234567890abcdef",
                                "FileSystemAccessMode": "ro",
                                "FileSystemType": "EFS",
                                "DirectoryPath": "/",
                            }
                        },
                    }
                ]
            },
            "no other source of data",
        ),
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds. It must be present"),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
            },
            "greater than or equal to MaxRuntimeInSeconds",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}},
            "with EnableManagedSpotTraining only",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints", "LocalPath": "/tmp/checkpoints"}},
            "must begin with /opt/ml/",
        ),
        (
            {"ProfilerRuleConfigurations": [{"RuleConfigurationName": "r", "RuleEvaluatorImage": "image"}]},
            "localcloud evaluates no rules",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_starts(bench: Bench, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationException) as error:
        bench.train(**wrong)
    assert message in error.value.message
    assert bench.call("ListTrainingJobs")["TrainingJobSummaries"] == []


# --- quotas ---


def test_jobs_beyond_the_quota_of_their_instance_type_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quotas={"ml.m5.large for training job usage": 1})
    bench.runtime.act = lambda spec, say: None
    bench.train("first")
    with pytest.raises(ResourceLimitExceeded, match="is 1 Instances, with current utilization of 1 Instances"):
        bench.train("second")
    bench.train("other-type", ResourceConfig={**RESOURCES, "InstanceType": "ml.c5.xlarge"})
    bench.train(
        "spot",
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    )
    bench.process("processing")
    bench.call("StopTrainingJob", TrainingJobName="first")
    bench.ended("first")
    bench.train("second")
    bench.sagemaker.close()


def test_tuning_job_needs_the_quota_for_all_it_runs_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quotas={"ml.m5.large for training job usage": 2})
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 3}
    with pytest.raises(ResourceLimitExceeded, match="utilization of 0 Instances and a request delta of 3 Instances"):
        bench.tune(config={"ResourceLimits": limits})
    bench.sagemaker.close()


def test_every_refusal_is_the_callers_fault(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quotas={"Number of instances across all processing jobs": 0})
    with pytest.raises(ApiError) as error:
        bench.process()
    assert (error.value.code, error.value.status) == ("ResourceLimitExceeded", 400)
    bench.sagemaker.close()
