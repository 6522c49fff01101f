"""Model packages without a training run: artefact, report and probes as the training machine leaves them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import uuid
from typing import Any

from tests.conftest import ROW
from tests.deployed import Deployed
from tests.stub_image.turbofan.serve import predict

MAX_RUL = 125
TOLERANCE = 0.5
DATASET_VERSION = "d" * 64
# Twelve held-out engines at different ages.
PROBE_CYCLES = (44, 75, 100, 118, 46, 72, 104, 115, 42, 78, 98, 120)


def rows(unit: int, cycles: int) -> str:
    """An engine's history up to a cycle: CSV of 26 columns, one line a cycle."""
    values = ",".join(ROW.split())
    return "\n".join(f"{unit},{cycle},{values}" for cycle in range(1, cycles + 1))


def make_probes(fleet: str, sha256: str, behaviour: dict[str, Any]) -> dict[str, Any]:
    """probes.json of a model that behaves so, as the evaluation job writes it.

    A model that is biased or constant is so offline as well: `expected` is its own answer, `rul` is the truth.
    """
    offline = {**behaviour, "mode": "constant" if behaviour.get("mode") == "constant" else "ok"}
    return {
        "schema": 1,
        "artifact_sha256": sha256,
        "fleet": fleet,
        "dataset_version": DATASET_VERSION,
        "content_type": "text/csv",
        "max_rul": MAX_RUL,
        "tolerance": TOLERANCE,
        "probes": [
            {
                "unit": unit,
                "cycle": cycle,
                "body": rows(unit, cycle),
                "rul": predict(unit, cycle, {}),
                "expected": predict(unit, cycle, offline),
            }
            for unit, cycle in enumerate(PROBE_CYCLES, 1)
        ],
    }


def make_report(fleet: str, sha256: str, size: int, rmse: float) -> dict[str, Any]:
    """report.json of a model that passed the gate, as the evaluation job writes it."""
    figures = {"rmse": rmse, "mae": 9.0, "phm08": 300.0}
    gates = [("rmse", rmse, 20.0), ("phm08", 300.0, 500.0)]
    return {
        "schema": 1,
        "fleet": fleet,
        "dataset_version": DATASET_VERSION,
        "engines": 2,
        "artifact": {"sha256": sha256, "bytes": size},
        "metrics": {"clipped": figures, "unclipped": {**figures, "rmse": rmse + 1}},
        "champion": None,
        "gates": [{"name": n, "figure": f, "threshold": t, "passed": f < t} for n, f, t in gates],
        "max_rul": MAX_RUL,
        "simulated": False,
    }


def make_archive(behaviour: dict[str, Any]) -> bytes:
    """model.tar.gz with behaviour.json; no two are alike."""
    content = json.dumps({**behaviour, "made": uuid.uuid4().hex}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("behaviour.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def register(
    deployed: Deployed,
    fleet: str,
    *,
    behaviour: dict[str, Any] | None = None,
    tampered: bool = False,
    rmse: float = 12.5,
    dataset_version: str = DATASET_VERSION,
    probes: bool = True,
    **metadata: str,
) -> str:
    """Register a package that waits for approval; the fleet's group is made when there is none.

    Args:
        behaviour: of its model server, see tests/stub_image/turbofan/serve.py; none for a good model.
        tampered: the artefact is not the one whose hash its key and its package give.
        rmse: in its report and metadata.
        probes: whether there is a probes.json.
        metadata: more customer metadata, or other values.

    Returns:
        The package's ARN.
    """
    behaviour = behaviour or {}
    s3, sagemaker = deployed.client("s3"), deployed.client("sagemaker")
    bucket, group = deployed.outputs["BucketName"], f"{deployed.outputs['ProjectName']}-{fleet}"
    archive = make_archive(behaviour)
    sha256 = hashlib.sha256(archive).hexdigest()
    artifact = f"models/artifacts/{fleet}/{sha256}/model.tar.gz"
    content = make_archive(behaviour) if tampered else archive
    s3.put_object(Bucket=bucket, Key=artifact, Body=content, IfNoneMatch="*")
    run = f"{group}-{uuid.uuid4().hex[:8]}"
    evaluation = f"models/evaluation/{fleet}/{run}"
    documents = {"report.json": make_report(fleet, sha256, len(archive), rmse)}
    if probes:
        documents["probes.json"] = make_probes(fleet, sha256, behaviour)
    for name, document in documents.items():
        s3.put_object(Bucket=bucket, Key=f"{evaluation}/{name}", Body=json.dumps(document).encode())
    tags = [
        {"Key": "onwing:project", "Value": deployed.outputs["ProjectName"]},
        {"Key": "onwing:fleet", "Value": fleet},
    ]
    groups = sagemaker.list_model_package_groups(NameContains=group, MaxResults=100)["ModelPackageGroupSummaryList"]
    if group not in [each["ModelPackageGroupName"] for each in groups]:
        sagemaker.create_model_package_group(ModelPackageGroupName=group, Tags=tags)
    statistics = {"ContentType": "application/json", "S3Uri": f"s3://{bucket}/{evaluation}/report.json"}
    response = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelPackageDescription=f"RUL of fleet {fleet}",
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": deployed.outputs["ImageUri"], "ModelDataUrl": f"s3://{bucket}/{artifact}"}],
            "SupportedContentTypes": ["text/csv", "application/json"],
            "SupportedResponseMIMETypes": ["application/json", "text/csv"],
            "SupportedRealtimeInferenceInstanceTypes": ["ml.c7i.large"],
        },
        ModelMetrics={"ModelQuality": {"Statistics": statistics}},
        CustomerMetadataProperties={
            "fleet": fleet,
            "dataset_version": dataset_version,
            "training_job": f"{run}-00-001",
            "source_revision": "unknown",
            "artifact_sha256": sha256,
            "rmse": f"{rmse:.3f}",
            "phm08": "300.000",
            "simulated": "false",
            **metadata,
        },
    )
    return str(response["ModelPackageArn"])


def version_of(package_arn: str) -> int:
    """The number of a package in its group."""
    return int(package_arn.rsplit("/", 1)[1])


def approve(deployed: Deployed, package_arn: str, strategy: dict[str, Any] | None = None) -> None:
    """Approve a package, by a strategy of its own if one is given, as `onwing approve` does."""
    fleet = package_arn.split("/")[1].removeprefix(f"{deployed.outputs['ProjectName']}-")
    if strategy is not None:
        deployed.client("dynamodb").update_item(
            TableName=deployed.outputs["TableName"],
            Key={"pk": {"S": f"FLEET#{fleet}"}, "sk": {"S": f"APPROVAL#{version_of(package_arn):06d}"}},
            UpdateExpression="SET strategy = :strategy",
            ExpressionAttributeValues={":strategy": {"S": json.dumps(strategy)}},
        )
    deployed.client("sagemaker").update_model_package(
        ModelPackageArn=package_arn, ModelApprovalStatus="Approved", ApprovalDescription="approved by a test"
    )


def fleet_items(deployed: Deployed, fleet: str, prefix: str = "") -> dict[str, dict[str, Any]]:
    """The fleet's items in the control table by sort key; attributes without their types, JSON text parsed."""
    response = deployed.client("dynamodb").query(
        TableName=deployed.outputs["TableName"],
        KeyConditionExpression="pk = :fleet AND begins_with(sk, :prefix)" if prefix else "pk = :fleet",
        ExpressionAttributeValues={":fleet": {"S": f"FLEET#{fleet}"}, **({":prefix": {"S": prefix}} if prefix else {})},
        ConsistentRead=True,
    )
    return {
        item["sk"]["S"]: {k: _plain(v) for k, v in item.items() if k not in ("pk", "sk")} for item in response["Items"]
    }


def _plain(value: dict[str, Any]) -> Any:
    [(kind, content)] = value.items()
    if kind == "N":
        return float(content) if "." in content else int(content)
    if kind == "S" and content[:1] in "{[" and content:
        return json.loads(content)
    return content
