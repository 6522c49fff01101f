"""A deliberately bad model for the demo: the champion with the feature parameters of another fleet.

Its report and its probes are the champion's, so it looks fit for approval: what a person can see does not tell. Such a
mix-up of artefacts is what a deployment has to find by asking the model itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import uuid
from typing import Any
from urllib.parse import urlsplit

from onwing.models import Package
from onwing.stack import Stack
from onwing.target import Target

METADATA = "metadata.json"
REPORT, PROBES = "report.json", "probes.json"
SHIFT = 1.5  # standard deviations by which the other fleet's sensors read higher
WHAT = f"trained for a fleet whose sensors read {SHIFT:g} standard deviations higher"


def register(target: Target, stack: Stack, package: Package) -> str:
    """Register a spoilt copy of a package, pending approval; returns its ARN."""
    s3 = target.client("s3")
    good = _object(s3, package.model_data_url)
    content = spoil(good)
    sha256 = hashlib.sha256(content).hexdigest()
    run = f"{stack.project}-{package.fleet}-{uuid.uuid4().hex[:8]}"
    artifact = f"models/artifacts/{package.fleet}/{sha256}/model.tar.gz"
    s3.put_object(Bucket=stack.bucket, Key=artifact, Body=content, IfNoneMatch="*")
    evaluation = package.documents["ModelQuality.Statistics"].rpartition("/")[0]
    for name in (REPORT, PROBES):
        document = json.loads(_object(s3, f"{evaluation}/{name}"))
        if name == REPORT:
            document["artifact"] = {"sha256": sha256, "bytes": len(content)}
        else:
            document["artifact_sha256"] = sha256
        key = f"models/evaluation/{package.fleet}/{run}/{name}"
        s3.put_object(Bucket=stack.bucket, Key=key, Body=json.dumps(document).encode())
    sagemaker = target.client("sagemaker")
    described = sagemaker.describe_model_package(ModelPackageName=package.arn)
    specification = described["InferenceSpecification"]
    specification["Containers"] = [{"Image": package.image, "ModelDataUrl": f"s3://{stack.bucket}/{artifact}"}]
    metrics = described["ModelMetrics"]
    metrics["ModelQuality"]["Statistics"]["S3Uri"] = (
        f"s3://{stack.bucket}/models/evaluation/{package.fleet}/{run}/{REPORT}"
    )
    answer = sagemaker.create_model_package(
        ModelPackageGroupName=described["ModelPackageGroupName"],
        ModelPackageDescription=f"For the demo: deliberately bad, {WHAT}",
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification=specification,
        ModelMetrics=metrics,
        CustomerMetadataProperties={**package.properties, "artifact_sha256": sha256},
    )
    return str(answer["ModelPackageArn"])


def spoil(archive: bytes) -> bytes:
    """The same model.tar.gz with the means of all sensors moved up by SHIFT standard deviations."""
    spoilt = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as source, tarfile.open(fileobj=spoilt, mode="w:gz") as made:
        for member in source:
            stream = source.extractfile(member)
            content = stream.read() if stream is not None else b""
            if member.name.removeprefix("./") == METADATA:
                content = json.dumps(_shifted(json.loads(content))).encode()
                member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return spoilt.getvalue()


def _shifted(metadata: dict[str, Any]) -> dict[str, Any]:
    features = metadata["features"]
    features["mean"] = [
        [mean + SHIFT * std for mean, std in zip(means, stds, strict=True)]
        for means, stds in zip(features["mean"], features["std"], strict=True)
    ]
    return metadata


def _object(s3: Any, url: str) -> bytes:
    parts = urlsplit(url)
    return bytes(s3.get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))["Body"].read())
