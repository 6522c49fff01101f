"""The demo's deliberately bad model: wrong inside, fit to look at."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import boto3
import pytest
from moto import mock_aws

from onwing import spoilt
from onwing.models import Package

from .onwing_fakes import STACK, FakeClient, at, target_with

FEATURES = {"mean": [[10.0, 20.0]], "std": [[2.0, 4.0]], "limit": 10.0}
EVALUATION = "models/evaluation/FD001/run"


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as read:
        return {member.name: read.extractfile(member).read() for member in read}  # type: ignore[union-attr]


GOOD = archive({"model.onnx": b"weights", "metadata.json": json.dumps({"features": FEATURES, "schema": 1}).encode()})


def test_only_the_means_move_and_by_the_sensors_own_scale() -> None:
    found = members(spoilt.spoil(GOOD))
    assert found["model.onnx"] == b"weights"
    assert json.loads(found["metadata.json"]) == {"features": {**FEATURES, "mean": [[13.0, 26.0]]}, "schema": 1}


@mock_aws
def test_package_looks_fit_and_its_artefact_is_kept_under_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=STACK.bucket)
    s3.put_object(Bucket=STACK.bucket, Key="good.tar.gz", Body=GOOD)
    report = {"artifact": {"sha256": "old", "bytes": 1}, "gates": [{"passed": True}]}
    for name, document in (("report.json", report), ("probes.json", {"artifact_sha256": "old", "probes": [1]})):
        s3.put_object(Bucket=STACK.bucket, Key=f"{EVALUATION}/{name}", Body=json.dumps(document).encode())
    url = f"s3://{STACK.bucket}/{EVALUATION}/report.json"
    described = {
        "ModelPackageGroupName": "onwing-FD001",
        "InferenceSpecification": {"SupportedContentTypes": ["text/csv"], "Containers": []},
        "ModelMetrics": {"ModelQuality": {"Statistics": {"S3Uri": url, "ContentType": "application/json"}}},
    }
    sagemaker = FakeClient(describe_model_package=described, create_model_package={"ModelPackageArn": "arn:package/2"})
    package = Package(
        "arn:package/1",
        "FD001",
        1,
        "Approved",
        at(0),
        model_data_url=f"s3://{STACK.bucket}/good.tar.gz",
        image="image",
        documents={"ModelQuality.Statistics": url},
        properties={"rmse": "11.0", "artifact_sha256": "old"},
    )
    assert spoilt.register(target_with(s3=s3, sagemaker=sagemaker), STACK, package) == "arn:package/2"
    [made] = sagemaker.called("create_model_package")
    assert made["ModelApprovalStatus"] == "PendingManualApproval"
    sha256 = made["CustomerMetadataProperties"]["artifact_sha256"]
    assert made["CustomerMetadataProperties"]["rmse"] == "11.0"

    def read(url: str) -> bytes:
        key = url.removeprefix(f"s3://{STACK.bucket}/")
        return bytes(s3.get_object(Bucket=STACK.bucket, Key=key)["Body"].read())

    [container] = made["InferenceSpecification"]["Containers"]
    assert container["ModelDataUrl"].endswith(f"models/artifacts/FD001/{sha256}/model.tar.gz")
    assert hashlib.sha256(read(container["ModelDataUrl"])).hexdigest() == sha256
    statistics: str = made["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    copied: dict[str, Any] = json.loads(read(statistics))
    assert (copied["artifact"]["sha256"], copied["gates"]) == (sha256, [{"passed": True}])
    assert json.loads(read(statistics.replace("report.json", "probes.json")))["artifact_sha256"] == sha256
