"""boto3 as people use it: clients and resources by AWS_ENDPOINT_URL alone, waiters, paginators, presigned URLs."""

from __future__ import annotations

import io
import threading
import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import WaiterError

from localcloud.testing import Cloud

from .localcloud_requests import ended, processing, training, tuning, unique


@pytest.fixture
def session(localcloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> boto3.session.Session:
    """A session as a script has it: nothing but the environment says where to."""
    for name, value in localcloud.environment.items():
        monkeypatch.setenv(name, value)
    return boto3.session.Session()


# Each wait has minutes, for a busy machine; several may come together.
pytestmark = pytest.mark.timeout(900)

FAST = {"Delay": 1, "MaxAttempts": 240}


def test_waiters_of_all_kinds_of_jobs(session: boto3.session.Session, bucket: str) -> None:
    sagemaker: Any = session.client("sagemaker")
    name = unique("waited")
    sagemaker.create_training_job(**training(name, bucket))
    sagemaker.create_processing_job(**processing(name, bucket))
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name, WaiterConfig=FAST)
    sagemaker.get_waiter("processing_job_completed_or_stopped").wait(ProcessingJobName=name, WaiterConfig=FAST)
    assert sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "Completed"


def test_waiter_gives_up_on_a_job_that_fails(session: boto3.session.Session, bucket: str) -> None:
    sagemaker: Any = session.client("sagemaker")
    name = unique("failing")
    sagemaker.create_training_job(**training(name, bucket, hyperparameters={"fail": "on purpose"}))
    with pytest.raises(WaiterError, match="terminal failure state"):
        sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name, WaiterConfig=FAST)
    assert "on purpose" in sagemaker.describe_training_job(TrainingJobName=name)["FailureReason"]


def test_paginators_give_everything_once(session: boto3.session.Session, localcloud: Cloud, bucket: str) -> None:
    sagemaker: Any = session.client("sagemaker")
    name = unique("paged")
    sagemaker.create_hyper_parameter_tuning_job(**tuning(name, bucket, jobs=3))
    for group in range(5):
        sagemaker.create_model_package_group(ModelPackageGroupName=f"{name}-{group}")
    pages = sagemaker.get_paginator("list_model_package_groups").paginate(
        NameContains=name, SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    lists = [[group["ModelPackageGroupName"] for group in page["ModelPackageGroupSummaryList"]] for page in pages]
    assert [len(page) for page in lists] == [2, 2, 1]
    assert [group for page in lists for group in page] == [f"{name}-{group}" for group in range(5)]
    tunings = sagemaker.get_paginator("list_hyper_parameter_tuning_jobs").paginate(NameContains=name)
    assert len(tunings.build_full_result()["HyperParameterTuningJobSummaries"]) == 1
    ended(localcloud, "HyperParameterTuning", name)  # its slots are for the tests that follow


def test_resources_work_like_the_clients(session: boto3.session.Session) -> None:
    s3: Any = session.resource("s3")
    bucket = s3.create_bucket(Bucket=unique("resource"))
    bucket.wait_until_exists()
    for number in range(3):
        bucket.Object(f"a/{number}").put(Body=str(number).encode())
    assert [item.key for item in bucket.objects.filter(Prefix="a/")] == ["a/0", "a/1", "a/2"]
    table = session.resource("dynamodb").create_table(
        TableName=unique("table"),
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    table.wait_until_exists()
    table.put_item(Item={"pk": "a", "n": 7})
    assert table.get_item(Key={"pk": "a"})["Item"] == {"pk": "a", "n": 7}
    bucket.objects.delete()
    bucket.delete()


def test_file_of_many_parts_comes_back_whole(session: boto3.session.Session, bucket: str) -> None:
    s3: Any = session.client("s3")
    body, key = bytes(range(256)) * 4096 * 12, unique("parts")  # 12 MiB
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_fileobj(io.BytesIO(body), bucket, key, Config=config)
    assert s3.head_object(Bucket=bucket, Key=key)["ETag"].endswith('-3"')
    received = io.BytesIO()
    s3.download_fileobj(bucket, key, received, Config=config)
    assert received.getvalue() == body


def test_presigned_url_opens_the_object_and_no_other(session: boto3.session.Session, bucket: str) -> None:
    s3: Any = session.client("s3")
    key = unique("presigned")
    s3.put_object(Bucket=bucket, Key=key, Body=b"inside")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"inside"
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(url.replace(key, "other"))
    assert missing.value.code in (403, 404)


def test_one_client_serves_many_threads(session: boto3.session.Session) -> None:
    sagemaker: Any = session.client("sagemaker")
    name, failures = unique("threads"), []

    def create(number: int) -> None:
        try:
            sagemaker.create_model_package_group(ModelPackageGroupName=f"{name}-{number}")
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = sagemaker.list_model_package_groups(NameContains=name)["ModelPackageGroupSummaryList"]
    assert len(found) == 8
