"""Ingesting one uploaded object: check it, quarantine or record it, and start training when the trio is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cmapss
from botocore.exceptions import ClientError
from pydantic import BaseModel

from control_plane import alerts, clients, datasets, training
from control_plane.errors import SettingsError
from control_plane.manifest import DatasetFile, Manifest, make_manifest
from control_plane.quarantine import Upload, quarantine
from control_plane.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

RAW_PREFIX = "data/raw/"
COPY_LIMIT_BYTES = 5 * 2**30  # CopyObject takes no larger object, and a version is pinned by copying
GONE = ("NoSuchVersion", "NoSuchKey", "404", "MethodNotAllowed")


class IngestResult(BaseModel):
    """What became of one upload."""

    outcome: Literal["ignored", "gone", "quarantined", "waiting", "kept", "started", "already", "running"]
    key: str
    fleet: str = ""
    dataset_version: str = ""
    execution_arn: str = ""
    message: str


def ingest(settings: Settings, *, bucket: str, key: str, version_id: str, sequencer: str) -> IngestResult:
    """Take in one object version under data/raw/.

    Every step can be repeated: the event may come twice, late, or beside the other files' events.
    """
    if version_id == "null":
        raise SettingsError(f"bucket {bucket} is not versioned: uploads could not be told apart. Turn versioning on.")
    name = key.removeprefix(RAW_PREFIX)
    if not name or name.endswith("/"):
        return IngestResult(outcome="ignored", key=key, message="a folder's marker, not a file")
    upload = Upload(bucket=bucket, key=key, name=name, version_id=version_id)
    try:
        parsed = cmapss.parse_name(name)
        checked = _check(settings, upload, parsed)
    except cmapss.DataError as error:
        if not _exists(upload):
            return _gone(upload)
        kept = quarantine(settings, upload, fleet="", reason=str(error), report={"violations": []})
        return IngestResult(outcome="quarantined", key=key, message=f"{error} Kept as {kept}")
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return _gone(upload)
        raise
    if isinstance(checked, cmapss.CheckResult):
        return _quarantine_violations(settings, upload, parsed.fleet, checked)
    file, last_modified = checked
    fleet = datasets.record_file(settings.table_name, file, sequencer=sequencer, last_modified=last_modified)
    return start_when_complete(settings, bucket, key, fleet)


def _check(
    settings: Settings, upload: Upload, parsed: cmapss.FileName
) -> tuple[DatasetFile, float] | cmapss.CheckResult:
    """Read the object. Returns the file to record and when it was uploaded, or the result that found violations."""
    response = _open(upload)
    with response["Body"] as body:
        result = cmapss.check(body, upload.name, max_bytes=settings.max_validated_bytes)
    too_large = [violation.rule for violation in result.violations] == ["too_large"]
    if not result.ok and not too_large:
        return result
    file = DatasetFile(
        role=parsed.role,
        fleet=parsed.fleet,
        name=upload.name,
        key=upload.key,
        version_id=upload.version_id,
        bytes=response["ContentLength"],
        sha256=_digest(upload) if too_large else result.sha256,
        simulated=response["Metadata"].get("simulated") == "true",
        validated=not too_large,
        rows=None if too_large else result.rows,
        engines=None if too_large else result.engines,
    )
    return file, response["LastModified"].timestamp()


def _open(upload: Upload) -> GetObjectOutputTypeDef:
    return clients.s3().get_object(Bucket=upload.bucket, Key=upload.key, VersionId=upload.version_id)


def _digest(upload: Upload) -> str:
    """Hash what is too large to check here. Raises DataError for more than S3 can copy, and for a damaged .gz."""
    with _open(upload)["Body"] as body:
        return cmapss.sha256(body, upload.name, max_bytes=COPY_LIMIT_BYTES)


def _quarantine_violations(settings: Settings, upload: Upload, fleet: str, result: cmapss.CheckResult) -> IngestResult:
    listed = "\n".join(f"  {violation}" for violation in result.violations[:10])
    more = result.violation_count - min(len(result.violations), 10)
    reason = f"It breaks the C-MAPSS format in {result.violation_count} place(s):\n{listed}"
    if more > 0:
        reason += f"\n  and {more} more"
    kept = quarantine(settings, upload, fleet=fleet, reason=reason, report=result.to_dict())
    return IngestResult(outcome="quarantined", key=upload.key, fleet=fleet, message=f"{reason}\nKept as {kept}")


def wants_training(settings: Settings, fleet: str, version: str) -> bool:
    """Whether an upload that completes this version of a fleet's data set starts its training.

    With TRAIN_ON_UPLOAD=DISABLED only the fleet's first version does: what the model is to be trained on next is then
    decided by the schedule, by violations, or by a person. A first version that was replaced before its training had
    begun does not count: its execution gives way to this one's.
    """
    if settings.train_on_upload == "ENABLED":
        return True
    statuses = datasets.version_statuses(settings.table_name, fleet)
    return all(other == version or status in ("starting", "superseded") for other, status in statuses.items())


def start_when_complete(settings: Settings, bucket: str, key: str, fleet: datasets.FleetFiles) -> IngestResult:
    """Pin and start what a fleet's files make up, once all three are there; repeatable. `key` is of the last upload."""
    if fleet.missing:
        waiting = ", ".join(f"{role}_{fleet.fleet}.txt" for role in fleet.missing)
        return IngestResult(outcome="waiting", key=key, fleet=fleet.fleet, message=f"accepted; waiting for {waiting}")
    manifest = make_manifest(fleet.files)
    _pin(bucket, manifest)
    replaced = datasets.make_current(
        settings.table_name, fleet.fleet, version=manifest.version, revision=fleet.revision
    )
    if not wants_training(settings, fleet.fleet, manifest.version):
        return IngestResult(
            outcome="kept",
            key=key,
            fleet=fleet.fleet,
            dataset_version=manifest.version,
            message=f"accepted; {fleet.fleet} {manifest.version[:12]} waits for the weekly schedule, violations or: "
            f"onwing train --fleet {fleet.fleet}",
        )
    result = training.start(settings, fleet.fleet, manifest.version, trigger="upload")
    if result.status == "already" and replaced not in (None, manifest.version):
        # Earlier content is back. Not said for the same files uploaded again, or an event delivered twice.
        alerts.publish(
            settings,
            kind="recognised",
            severity="info",
            fleet=fleet.fleet,
            subject=f"{fleet.fleet}: earlier content is back, not trained again",
            message=f"{result.message}\n\nData set version: {manifest.version}\nReplaces:         {replaced}",
        )
    return IngestResult(
        outcome=result.status,
        key=key,
        fleet=fleet.fleet,
        dataset_version=manifest.version,
        execution_arn=result.execution_arn,
        message=result.message,
    )


def _pin(bucket: str, manifest: Manifest) -> None:
    """Copy the trio to where no later upload changes it, then write the manifest that says it is complete."""
    s3 = clients.s3()
    for role, file in manifest.files.items():
        s3.copy_object(
            Bucket=bucket,
            Key=manifest.pinned[role],
            CopySource={"Bucket": bucket, "Key": file.key, "VersionId": file.version_id},
        )
    s3.put_object(
        Bucket=bucket,
        Key=manifest.key,
        Body=manifest.model_dump_json(indent=2).encode(),
        ContentType="application/json",
    )


def _exists(upload: Upload) -> bool:
    try:
        clients.s3().head_object(Bucket=upload.bucket, Key=upload.key, VersionId=upload.version_id)
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return False
        raise
    return True


def _gone(upload: Upload) -> IngestResult:
    return IngestResult(
        outcome="gone",
        key=upload.key,
        message=f"version {upload.version_id} of it was quarantined or deleted since the event was sent",
    )
