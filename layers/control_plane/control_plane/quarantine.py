"""Quarantine: move a bad upload out of data/raw/ without losing it, with a report and an alert."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from control_plane import alerts, clients
from control_plane.settings import Settings

QUARANTINE_PREFIX = "data/quarantine/"
REPORT_SUFFIX = ".report.json"
KEY_LIMIT_BYTES = 1024  # S3's limit of a key, in UTF-8


@dataclass(frozen=True)
class Upload:
    """One object version under data/raw/, as the event names it."""

    bucket: str
    key: str
    name: str
    version_id: str


def quarantine_key(name: str) -> str:
    """Return the key to keep `name` under; a name too long for it is shortened, with its hash in front."""
    room = KEY_LIMIT_BYTES - len(QUARANTINE_PREFIX) - len(REPORT_SUFFIX)
    encoded = name.encode()
    if len(encoded) > room:
        digest = hashlib.sha256(encoded).hexdigest()[:16]
        name = f"{digest}-{encoded[-(room - 17) :].decode(errors='ignore')}"
    return QUARANTINE_PREFIX + name


def quarantine(settings: Settings, upload: Upload, *, fleet: str, reason: str, report: dict[str, object]) -> str:
    """Copy the object version away, write the report beside it, alert, then remove it from data/raw/.

    In this order a failure half-way loses nothing, and the event's redelivery does the rest. Removing the version
    (not the key) makes the good file that it replaced, if any, current again. Returns the key in quarantine.
    """
    s3 = clients.s3()
    target = quarantine_key(upload.name)
    report_key = target + REPORT_SUFFIX
    copied = s3.copy_object(
        Bucket=upload.bucket,
        Key=target,
        CopySource={"Bucket": upload.bucket, "Key": upload.key, "VersionId": upload.version_id},
    )
    body = {
        "file": upload.name,
        "uploaded_as": {"key": upload.key, "version_id": upload.version_id},
        "kept_as": {"key": target, "version_id": copied.get("VersionId")},
        "reason": reason,
        **report,
    }
    s3.put_object(
        Bucket=upload.bucket,
        Key=report_key,
        Body=json.dumps(body, indent=2, ensure_ascii=False).encode(),
        ContentType="application/json",
    )
    alerts.publish(
        settings,
        kind="quarantined",
        severity="warning",
        fleet=fleet,
        subject=f"{upload.name} quarantined",
        message=(
            f"{upload.name} was not accepted and starts nothing.\n\n{reason}\n\n"
            f"Kept as: s3://{upload.bucket}/{target}\n"
            f"Report:  s3://{upload.bucket}/{report_key}\n"
            f"To do:   correct the file and upload it to s3://{upload.bucket}/data/raw/ again."
        ),
    )
    s3.delete_object(Bucket=upload.bucket, Key=upload.key, VersionId=upload.version_id)
    return target
