"""SageMaker's container contract: the files under /opt/ml, S3 transfers and metrics from logs."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from localcloud.containers import archives
from localcloud.containers import container_contract as contract
from localcloud.containers.container_contract import ContractError, MetricScraper, S3Transfer, TransferError


def read(path: Path) -> Any:
    return json.loads(path.read_text())


# --- paths ---


def test_container_paths_lie_under_the_base(tmp_path: Path) -> None:
    assert contract.local_path(tmp_path, "/opt/ml/processing/input/data") == tmp_path / "processing/input/data"
    assert contract.local_path(tmp_path, "/opt/ml") == tmp_path


@pytest.mark.parametrize("path", ["/tmp/x", "/opt/mlx", "opt/ml/x", "/opt/ml/../../etc", ""])
def test_path_outside_opt_ml_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ContractError, match="must be under /opt/ml/"):
        contract.local_path(tmp_path, path)


# --- training ---

CHANNELS = [
    {
        "ChannelName": "train",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bkt/train"}},
        "ContentType": "text/csv",
    },
    {
        "ChannelName": "validation",
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": "s3://bkt/v",
                "S3DataDistributionType": "ShardedByS3Key",
            }
        },
        "InputMode": "FastFile",
        "RecordWrapperType": "RecordIO",
    },
]


def training(base: Path, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "job_name": "job",
        "hyperparameters": {"epochs": "3", "rate": "0.01"},
        "input_data_config": CHANNELS,
        "resource_config": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "environment": {},
    }
    contract.prepare_training(base, **{**arguments, **changes})


def test_training_finds_hyperparameters_as_strings(tmp_path: Path) -> None:
    training(tmp_path)
    assert read(tmp_path / "input/config/hyperparameters.json") == {"epochs": "3", "rate": "0.01"}


def test_training_finds_its_channels(tmp_path: Path) -> None:
    training(tmp_path)
    assert read(tmp_path / "input/config/inputdataconfig.json") == {
        "train": {
            "ContentType": "text/csv",
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        },
        "validation": {
            "TrainingInputMode": "FastFile",
            "S3DistributionType": "ShardedByS3Key",
            "RecordWrapperType": "RecordIO",
        },
    }


def test_training_finds_its_one_host(tmp_path: Path) -> None:
    training(tmp_path)
    assert read(tmp_path / "input/config/resourceconfig.json") == {
        "current_host": "algo-1",
        "current_instance_type": "ml.m5.large",
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.large", "hosts": ["algo-1"]}
        ],
        "network_interface_name": "lo",
    }


def test_training_finds_its_directories(tmp_path: Path) -> None:
    training(tmp_path)
    for directory in ("model", "output/data", "input/data/train", "input/data/validation", "code", "checkpoints"):
        assert (tmp_path / directory).is_dir()


def test_training_without_channels_or_hyperparameters_is_fine(tmp_path: Path) -> None:
    training(tmp_path, hyperparameters={}, input_data_config=[])
    assert read(tmp_path / "input/config/hyperparameters.json") == {}
    assert read(tmp_path / "input/config/inputdataconfig.json") == {}


def test_training_environment_is_the_requests_and_sagemakers() -> None:
    assert contract.training_environment(
        job_name="job", job_arn="arn", region="eu-west-1", environment={"A": "1", "AWS_REGION": "other"}
    ) == {"A": "1", "AWS_REGION": "eu-west-1", "TRAINING_JOB_NAME": "job", "TRAINING_JOB_ARN": "arn"}


@pytest.mark.parametrize(
    ("written", "code", "reason"),
    [
        (b"no data in channel train", 1, "AlgorithmError: no data in channel train, exit code: 1"),
        (None, 2, "AlgorithmError: , exit code: 2"),
        (b"caf\xe9", 1, "AlgorithmError: caf\N{REPLACEMENT CHARACTER}, exit code: 1"),
        (None, -9, "AlgorithmError: , exit code: 137"),
    ],
)
def test_training_failure_reason_is_the_failure_file(
    tmp_path: Path, written: bytes | None, code: int, reason: str
) -> None:
    training(tmp_path)
    if written is not None:
        (tmp_path / "output/failure").write_bytes(written)
    assert contract.training_failure_reason(tmp_path, code) == reason


def test_failure_file_counts_up_to_1024_characters(tmp_path: Path) -> None:
    training(tmp_path)
    (tmp_path / "output/failure").write_text("é" * 5000)
    assert contract.read_failure(tmp_path) == "é" * 1024
    reason = contract.training_failure_reason(tmp_path, 1)
    assert len(reason) == 1024
    assert reason.endswith(", exit code: 1")


# --- processing ---

PROCESSING: dict[str, Any] = {
    "ProcessingJobArn": "arn:aws:sagemaker:us-east-1:000000000000:processing-job/p",
    "ProcessingJobName": "p",
    "ProcessingJobStatus": "InProgress",
    "AppSpecification": {"ImageUri": "image", "ContainerArguments": ["process"]},
    "Environment": {"SEED": "1"},
    "ProcessingInputs": [
        {
            "InputName": "data",
            "AppManaged": False,
            "S3Input": {
                "S3Uri": "s3://bkt/in",
                "LocalPath": "/opt/ml/processing/input/data",
                "S3DataType": "S3Prefix",
                "S3InputMode": "File",
            },
        }
    ],
    "ProcessingOutputConfig": {
        "Outputs": [
            {
                "OutputName": "train",
                "S3Output": {
                    "S3Uri": "s3://bkt/out",
                    "LocalPath": "/opt/ml/processing/output/train",
                    "S3UploadMode": "EndOfJob",
                },
            }
        ]
    },
    "ProcessingResources": {"ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}},
    "RoleArn": "arn:aws:iam::000000000000:role/r",
}


def test_processing_finds_its_configuration_as_aws_writes_it(tmp_path: Path) -> None:
    contract.prepare_processing(tmp_path, describe=PROCESSING)
    config = read(tmp_path / "config/processingjobconfig.json")
    assert config["ProcessingJobArn"] == PROCESSING["ProcessingJobArn"]
    assert config["ProcessingJobName"] == "p"
    assert config["AppSpecification"] == {
        "ImageUri": "image",
        "ContainerEntrypoint": None,
        "ContainerArguments": ["process"],
    }
    assert config["Environment"] == {"SEED": "1"}
    assert config["ProcessingInputs"] == PROCESSING["ProcessingInputs"]
    assert config["ProcessingOutputConfig"]["Outputs"] == PROCESSING["ProcessingOutputConfig"]["Outputs"]
    assert config["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.m5.large"
    assert config["StoppingCondition"] == {"MaxRuntimeInSeconds": 86400}
    assert "ProcessingJobStatus" not in config
    assert read(tmp_path / "config/resourceconfig.json") == {"current_host": "algo-1", "hosts": ["algo-1"]}


def test_processing_finds_a_directory_for_each_local_path(tmp_path: Path) -> None:
    contract.prepare_processing(tmp_path, describe=PROCESSING)
    assert (tmp_path / "processing/input/data").is_dir()
    assert (tmp_path / "processing/output/train").is_dir()


def test_processing_refuses_a_local_path_elsewhere(tmp_path: Path) -> None:
    job = {**PROCESSING, "ProcessingInputs": [{"InputName": "x", "S3Input": {"LocalPath": "/data"}}]}
    with pytest.raises(ContractError, match="must begin with /opt/ml/processing/"):
        contract.prepare_processing(tmp_path, describe=job)


def test_exit_message_is_read_and_the_reason_points_to_the_log(tmp_path: Path) -> None:
    contract.prepare_processing(tmp_path, describe=PROCESSING)
    assert contract.read_exit_message(tmp_path) == ""
    (tmp_path / "output/message").write_text("CompletedWithViolations: 3\n")
    assert contract.read_exit_message(tmp_path) == "CompletedWithViolations: 3"
    reason = contract.processing_failure_reason(tmp_path, -9)
    assert reason == "AlgorithmError: See job logs for more information, exit code: 137"


def test_exit_message_that_is_not_utf8_is_a_client_error(tmp_path: Path) -> None:
    contract.prepare_processing(tmp_path, describe=PROCESSING)
    (tmp_path / "output/message").write_bytes(b"caf\xe9")
    assert contract.processing_failure_reason(tmp_path, 1).startswith("ClientError: ")


# --- model.tar.gz ---


def model(base: Path) -> None:
    training(base)
    (base / "model/model.onnx").write_bytes(b"onnx" * 1000)
    (base / "model/code").mkdir()
    (base / "model/code/run.sh").write_text("#!/bin/sh\n")
    (base / "model/code/run.sh").chmod(0o755)


def test_model_is_packed_with_names_relative_to_its_directory(tmp_path: Path) -> None:
    model(tmp_path)
    assert contract.pack_model(tmp_path, tmp_path / "out/model.tar.gz")
    with tarfile.open(tmp_path / "out/model.tar.gz") as archive:
        assert archive.getnames() == ["code/run.sh", "model.onnx"]
        assert archive.getmember("code/run.sh").mode == 0o755
        archives.unpack(archive, tmp_path / "extracted")
    assert (tmp_path / "extracted/model.onnx").read_bytes() == b"onnx" * 1000


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for number, time in ((1, 0), (2, 1_600_000_000)):
        base = tmp_path / str(number)
        model(base)
        os.utime(base / "model/model.onnx", (time, time))
        contract.pack_model(base, base / f"{number}.tar.gz")
        digests.add(hashlib.sha256((base / f"{number}.tar.gz").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_empty_model_directory_gives_no_archive(tmp_path: Path) -> None:
    training(tmp_path)
    assert not contract.pack_model(tmp_path, tmp_path / "model.tar.gz")
    assert not contract.pack_output(tmp_path, tmp_path / "output.tar.gz")
    assert not (tmp_path / "model.tar.gz").exists()


def test_output_data_is_packed_apart(tmp_path: Path) -> None:
    training(tmp_path)
    (tmp_path / "output/data/report.txt").write_text("fine")
    assert contract.pack_output(tmp_path, tmp_path / "output.tar.gz")
    with tarfile.open(tmp_path / "output.tar.gz") as archive:
        assert archive.getnames() == ["report.txt"]


# --- S3 ---


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="bkt")
        yield client


def put(s3: Any, *keys: str) -> None:
    for key in keys:
        s3.put_object(Bucket="bkt", Key=key, Body=key.encode())


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("uri", "files"),
    [
        ("s3://bkt/data/train/", ["a.csv", "sub/b.csv"]),
        ("s3://bkt/data/train", ["a.csv", "sub/b.csv", "train-more/c.csv"]),  # a prefix, as S3 means it
        ("s3://bkt/data/train/a.csv", ["a.csv"]),
        ("s3://bkt/data/tr", ["train-more/c.csv", "train/a.csv", "train/sub/b.csv"]),
        ("s3://bkt", ["data/train-more/c.csv", "data/train/a.csv", "data/train/sub/b.csv", "other"]),
    ],
)
def test_download_takes_all_below_the_prefix(tmp_path: Path, s3: Any, uri: str, files: list[str]) -> None:
    put(s3, "data/train/", "data/train/a.csv", "data/train/sub/b.csv", "data/train-more/c.csv", "other")
    total = S3Transfer(s3).download_prefix(uri, tmp_path / "channel")
    assert tree(tmp_path / "channel") == files
    assert total == sum(path.stat().st_size for path in (tmp_path / "channel").rglob("*") if path.is_file())


def test_download_pages_through_many_objects(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:02}" for number in range(12)]
    put(s3, *(f"many/{name}" for name in names))
    paginate = s3.get_paginator("list_objects_v2").paginate
    monkeypatch.setattr(
        type(s3.get_paginator("list_objects_v2")),
        "paginate",
        lambda self, **arguments: paginate(**arguments, PaginationConfig={"PageSize": 5}),
    )
    S3Transfer(s3).download_prefix("s3://bkt/many", tmp_path / "channel")
    assert tree(tmp_path / "channel") == names


def test_download_of_nothing_fails_in_sagemakers_words(tmp_path: Path, s3: Any) -> None:
    with pytest.raises(TransferError) as raised:
        S3Transfer(s3).download_prefix("s3://bkt/nothing", tmp_path)
    assert str(raised.value).startswith(
        'ClientError: Data download failed:No S3 objects found under S3 URL "s3://bkt/nothing" given in input data '
        "source. Please ensure that the bucket exists in the selected region (us-east-1)"
    )


def test_download_from_a_missing_bucket_is_a_transfer_error(tmp_path: Path, s3: Any) -> None:
    with pytest.raises(TransferError, match=r"ClientError: Data download failed: s3://nowhere/x: .*NoSuchBucket"):
        S3Transfer(s3).download_prefix("s3://nowhere/x", tmp_path)


@pytest.mark.parametrize("uri", ["https://b/x", "s3://", "b/x", ""])
def test_uri_that_is_none_is_a_transfer_error(tmp_path: Path, s3: Any, uri: str) -> None:
    with pytest.raises(TransferError, match="is no S3 URI"):
        S3Transfer(s3).download_prefix(uri, tmp_path)


def test_key_that_climbs_out_is_refused(tmp_path: Path, s3: Any) -> None:
    put(s3, "data/../../../evil")
    with pytest.raises(TransferError, match="outside its channel"):
        S3Transfer(s3).download_prefix("s3://bkt/data/", tmp_path / "channel")
    assert not (tmp_path / "evil").exists()


def test_key_that_is_both_file_and_directory_is_refused(tmp_path: Path, s3: Any) -> None:
    put(s3, "data/a", "data/a/b")
    with pytest.raises(TransferError, match="Data download failed"):
        S3Transfer(s3).download_prefix("s3://bkt/data/", tmp_path)


def test_strange_keys_keep_their_names(tmp_path: Path, s3: Any) -> None:
    put(s3, "data/a+b %25 ü.csv")
    S3Transfer(s3).download_prefix("s3://bkt/data/", tmp_path)
    assert tree(tmp_path) == ["a+b %25 ü.csv"]


def test_manifest_lists_objects(tmp_path: Path, s3: Any) -> None:
    put(s3, "data/x/1.csv", "data/2.csv", "data/3.csv")
    s3.put_object(Bucket="bkt", Key="manifest", Body=json.dumps([{"prefix": "s3://bkt/data/"}, "x/1.csv", "2.csv"]))
    S3Transfer(s3).download_prefix("s3://bkt/manifest", tmp_path, "ManifestFile")
    assert tree(tmp_path) == ["2.csv", "x/1.csv"]


def test_an_object_that_a_manifest_lists_in_vain_is_named(tmp_path: Path, s3: Any) -> None:
    put(s3, "data/2.csv")
    s3.put_object(Bucket="bkt", Key="manifest", Body=json.dumps([{"prefix": "s3://bkt/data/"}, "2.csv", "no/3 é.csv"]))
    with pytest.raises(TransferError, match=r"Data download failed: s3://bkt/data/no/3 é\.csv: .*(NoSuchKey|404)"):
        S3Transfer(s3).download_prefix("s3://bkt/manifest", tmp_path, "ManifestFile")


@pytest.mark.parametrize("body", ["no JSON", "{}", "[]", '["s3://bkt/data"]', "[1, 2]"])
def test_wrong_manifest_is_refused(tmp_path: Path, s3: Any, body: str) -> None:
    s3.put_object(Bucket="bkt", Key="manifest", Body=body)
    with pytest.raises(TransferError, match="s3://bkt/manifest is no manifest"):
        S3Transfer(s3).download_prefix("s3://bkt/manifest", tmp_path, "ManifestFile")


def test_upload_keeps_the_tree_and_follows_no_links(tmp_path: Path, s3: Any) -> None:
    (tmp_path / "out/sub").mkdir(parents=True)
    (tmp_path / "out/a").write_text("aa")
    (tmp_path / "out/sub/b").write_text("b")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "out/link").symlink_to(tmp_path / "secret")
    assert S3Transfer(s3).upload_tree(tmp_path / "out", "s3://bkt/to/here") == 3
    listed = s3.list_objects_v2(Bucket="bkt")["Contents"]
    assert [item["Key"] for item in listed] == ["to/here/a", "to/here/sub/b"]


def test_upload_encrypts_with_the_key_given(tmp_path: Path, s3: Any) -> None:
    (tmp_path / "a").write_text("a")
    S3Transfer(s3).upload_file(tmp_path / "a", "s3://bkt/a", kms_key="alias/mine")
    head = s3.head_object(Bucket="bkt", Key="a")
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"] == "alias/mine"


def test_upload_to_a_missing_bucket_is_a_transfer_error(tmp_path: Path, s3: Any) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(TransferError, match=r"ClientError: Data upload failed: s3://nowhere/x/a: .*NoSuchBucket"):
        S3Transfer(s3).upload_tree(tmp_path, "s3://nowhere/x")


# --- metrics ---


def test_metric_is_the_first_group_of_a_search() -> None:
    scraper = MetricScraper(
        [{"Name": "val:rmse", "Regex": r"Val RMSE: ([0-9.]+)"}, {"Name": "loss", "Regex": "loss=(.*?);"}]
    )
    scraper.feed("epoch 1 Val RMSE: 17.25 loss=1e-3;", 1.0)
    scraper.feed("nothing here", 2.0)
    assert scraper.feed("Val RMSE: 16 and Val RMSE: 3", 3.0) == [("val:rmse", 16.0)]
    assert scraper.latest == {"val:rmse": 16.0, "loss": 0.001}
    assert scraper.history == [("val:rmse", 17.25, 1.0), ("loss", 0.001, 1.0), ("val:rmse", 16.0, 3.0)]


@pytest.mark.parametrize("line", ["x=nan;", "x=inf;", "x=;", "x=much;", "y"])
def test_what_is_no_finite_number_is_no_metric(line: str) -> None:
    scraper = MetricScraper([{"Name": "x", "Regex": "x=(.*);|(y)"}])
    assert scraper.feed(line, 0.0) == []
    assert scraper.latest == {}


@pytest.mark.parametrize(("regex", "message"), [("(", "is invalid"), ("loss: .*", "has no group")])
def test_wrong_expression_is_refused(regex: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetricScraper([{"Name": "x", "Regex": regex}])
