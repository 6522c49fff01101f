"""Whether a model package may be deployed: its artefact is the one that was evaluated, and that one passed the gate."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ValidationError

from control_plane import clients
from control_plane.probes import ProbeSet
from control_plane.settings import Settings
from control_plane.verdict import Check, Reason

REPORT, PROBES = "report.json", "probes.json"
CHUNK_BYTES = 1 << 20


class PackageFacts(BaseModel):
    """What a deployment needs to know of a package; empty where the package does not say."""

    artifact_sha256: str = ""
    model_data_url: str = ""
    image: str = ""
    dataset_version: str = ""
    probes: str = ""  # S3 key
    approval_status: str = ""


def examine(settings: Settings, fleet: str, package_arn: str) -> tuple[PackageFacts, list[Reason]]:
    """Describe the package and check everything that can be checked before anything is made from it.

    What is wrong with the package comes back as reasons; AWS errors that say nothing about it are raised.
    """
    described = clients.sagemaker().describe_model_package(ModelPackageName=package_arn)
    containers = described.get("InferenceSpecification", {}).get("Containers", [])
    container: dict[str, Any] = dict(containers[0]) if containers else {}
    properties = described.get("CustomerMetadataProperties", {})
    statistics = described.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {}).get("S3Uri", "")
    folder = _key(statistics, settings.bucket_name).rpartition("/")[0]
    facts = PackageFacts(
        artifact_sha256=properties.get("artifact_sha256", ""),
        model_data_url=container.get("ModelDataUrl", ""),
        image=container.get("Image", ""),
        dataset_version=properties.get("dataset_version", ""),
        probes=f"{folder}/{PROBES}" if folder else "",
        approval_status=described.get("ModelApprovalStatus", ""),
    )
    reasons = []
    if (status := described["ModelPackageStatus"]) != "Completed":
        reasons.append(_reason("artifact", f"the package's status is {status}", status, "Completed"))
    if len(containers) != 1 or not facts.image:
        reasons.append(
            _reason("artifact", "the package does not name one container with its image", len(containers), 1)
        )
    reasons += _examine_artifact(settings.bucket_name, fleet, facts)
    if not folder:
        reasons.append(_reason("gate", f"the package names no evaluation report in bucket {settings.bucket_name}"))
    else:
        reasons += _examine_report(settings.bucket_name, f"{folder}/{REPORT}", facts.artifact_sha256)
        reasons += _examine_probes(settings.bucket_name, facts.probes, facts.artifact_sha256)
    return facts, reasons


def _examine_artifact(bucket: str, fleet: str, facts: PackageFacts) -> list[Reason]:
    """The artefact stands under its own hash, and its content has that hash."""
    if not facts.artifact_sha256:
        return [_reason("artifact", "the package's metadata has no artifact_sha256")]
    wanted = f"s3://{bucket}/models/artifacts/{fleet}/{facts.artifact_sha256}/model.tar.gz"
    if facts.model_data_url != wanted:
        message = f"the package's model is at {facts.model_data_url or 'no address'}, not where its SHA-256 puts it"
        return [_reason("artifact", message, facts.model_data_url, wanted)]
    body = _open(bucket, _key(wanted, bucket))
    if body is None:
        return [_reason("artifact", f"the artefact is missing: {wanted}", None, wanted)]
    digest = hashlib.sha256()
    for chunk in body.iter_chunks(CHUNK_BYTES):
        digest.update(chunk)
    found = digest.hexdigest()
    if found != facts.artifact_sha256:
        message = (
            f"the artefact is not the one that was registered: its content has SHA-256 {found[:12]}, the package says "
            f"{facts.artifact_sha256[:12]} ({wanted})"
        )
        return [_reason("artifact", message, found, facts.artifact_sha256)]
    return []


def _examine_report(bucket: str, key: str, sha256: str) -> list[Reason]:
    """The evaluation is of this artefact, and every gate in it was passed."""
    where = f"s3://{bucket}/{key}"
    body = _open(bucket, key)
    if body is None:
        return [_reason("gate", f"the evaluation report is missing: {where}")]
    try:
        report = json.loads(body.read())
        evaluated = str(report["artifact"]["sha256"])
        gates = [(str(gate["name"]), bool(gate["passed"]), gate) for gate in report["gates"]]
    except (ValueError, KeyError, TypeError) as error:
        return [_reason("gate", f"the evaluation report cannot be read ({type(error).__name__}: {error}): {where}")]
    if evaluated != sha256:
        message = f"the evaluation report is of another artefact ({evaluated[:12]}, not {sha256[:12]}): {where}"
        return [_reason("gate", message, evaluated, sha256)]
    if not gates:
        return [_reason("gate", f"the evaluation report has no gates: {where}")]
    return [
        _reason(
            "gate",
            f"the gate was missed: {name} {gate.get('figure')}, limit {gate.get('threshold')} ({where})",
            gate.get("figure"),
            gate.get("threshold"),
        )
        for name, passed, gate in gates
        if not passed
    ]


def _examine_probes(bucket: str, key: str, sha256: str) -> list[Reason]:
    """The probes can be read and were answered by this artefact."""
    where = f"s3://{bucket}/{key}"
    body = _open(bucket, key)
    if body is None:
        return [_reason("gate", f"the evaluation left no probes: {where} is missing. Train again with today's image")]
    try:
        probes = ProbeSet.model_validate_json(body.read())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return [_reason("gate", f"the probes cannot be read ({place}: {first['msg']}): {where}")]
    if probes.artifact_sha256 != sha256:
        message = f"the probes are of another artefact ({probes.artifact_sha256[:12]}, not {sha256[:12]}): {where}"
        return [_reason("gate", message, probes.artifact_sha256, sha256)]
    return []


def _open(bucket: str, key: str) -> Any:
    """An object's streaming body; None if it is not there.

    S3 answers 403 instead of 404 to whoever may not list the bucket, or only below a prefix, so that is looked up.
    """
    s3 = clients.s3()
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchKey":
            return None
        if code == "AccessDenied" and not _is_listed(bucket, key):
            return None
        raise


def _is_listed(bucket: str, key: str) -> bool:
    listed = clients.s3().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    return any(entry["Key"] == key for entry in listed.get("Contents", []))


def _key(uri: str, bucket: str) -> str:
    """The key of an S3 address in this bucket; empty for any other."""
    prefix = f"s3://{bucket}/"
    return uri.removeprefix(prefix) if uri.startswith(prefix) else ""


def _reason(check: Check, message: str, value: float | str | None = None, limit: float | str | None = None) -> Reason:
    return Reason(check=check, message=message, value=value, limit=limit)
