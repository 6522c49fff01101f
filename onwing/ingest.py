"""Uploading data files to data/raw/, and waiting until the stack has said what became of each of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from onwing import control
from onwing.control import FleetRecord
from onwing.errors import NotFound, UsageError, error_code
from onwing.stack import Stack
from onwing.target import Target

RAW = "data/raw/"
QUARANTINE = "data/quarantine/"
LARGEST = 5 * 2**30  # bytes in one PutObject
# The file names that the project's data has; only used to pick files from a folder and to group them by fleet.
_NAME = re.compile(r"(train|test|RUL)_([A-Za-z0-9]{1,10})\.txt(\.gz)?")


@dataclass(frozen=True)
class Upload:
    """One file, uploaded. The version tells this upload from any other of the same name."""

    path: Path
    name: str
    key: str
    bytes: int
    version_id: str


@dataclass(frozen=True)
class FileOutcome:
    """What became of an upload: accepted, quarantined (with the report's reason and location), or pending."""

    name: str
    status: str
    reason: str = ""
    report: str = ""


@dataclass(frozen=True)
class FleetOutcome:
    """What a fleet's data set came to.

    `status`: incomplete (files are missing), started, running (an execution of it was under way), already (this
    content was trained before), or pending.
    """

    fleet: str
    status: str
    dataset_version: str = ""
    execution_arn: str = ""
    missing: Sequence[str] = ()
    simulated: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one call of ingest."""

    files: Sequence[FileOutcome]
    fleets: Sequence[FleetOutcome]

    @property
    def settled(self) -> bool:
        """Whether everything is known."""
        statuses = [file.status for file in self.files] + [fleet.status for fleet in self.fleets]
        return "pending" not in statuses


def collect(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files to upload and those left alone. Files are taken as they are; of a folder, those named like data files.

    Where a folder has both x.txt and x.txt.gz, the plain one is taken. Raises NotFound and UsageError.
    """
    chosen: list[Path] = []
    skipped: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(child for child in path.iterdir() if child.is_file() and not child.name.startswith("."))
            named = {child.name for child in found}
            for child in found:
                twin = child.name.removesuffix(".gz") != child.name and child.name.removesuffix(".gz") in named
                (chosen if _NAME.fullmatch(child.name) and not twin else skipped).append(child)
        elif path.is_file():
            chosen.append(path)
        else:
            raise NotFound(f"There is no file or folder {path}.", where=str(path.absolute()), todo="Check the path.")
    skipped = [path for path in skipped if path not in chosen]  # in the folder, but named by itself as well
    if not chosen:
        raise UsageError(
            "There is nothing to upload.",
            where=", ".join(str(path) for path in paths),
            todo="Data files are named train_X.txt, test_X.txt and RUL_X.txt (or .txt.gz), X being the fleet.",
        )
    names = [path.name for path in chosen]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"Two files have the same name: {', '.join(sorted(twice))}.", todo="Upload them one by one.")
    return chosen, skipped


def fleets_of(files: Sequence[Path]) -> list[str]:
    """The fleets that the files belong to by their names, sorted."""
    return sorted({match[2] for path in files if (match := _NAME.fullmatch(path.name))})


def upload(target: Target, stack: Stack, files: Sequence[Path], *, simulated: bool = False) -> list[Upload]:
    """Put the files under data/raw/, side by side. Encryption is the bucket's default."""
    s3 = target.client("s3")  # made here: threads may share a client, but not make one
    bucket = stack.bucket

    def put(path: Path) -> Upload:
        size = path.stat().st_size
        if size > LARGEST:
            raise UsageError(f"{path} is larger than 5 GB.", todo="Compress it: the name then ends in .txt.gz.")
        key = RAW + path.name
        metadata = {"simulated": "true"} if simulated else {}
        with path.open("rb") as body:
            answer = s3.put_object(Bucket=bucket, Key=key, Body=body, ContentLength=size, Metadata=metadata)
        return Upload(path, path.name, key, size, answer.get("VersionId", "null"))

    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="upload") as pool:
        return list(pool.map(put, files))


def records(target: Target, stack: Stack, fleets: Sequence[str]) -> dict[str, FleetRecord]:
    """What the control table says of these fleets; taken before an upload, it tells new runs from old ones."""
    return {name: control.fleet(target, stack, name) for name in fleets}


def wait(
    target: Target,
    stack: Stack,
    uploads: Sequence[Upload],
    before: Mapping[str, FleetRecord],
    *,
    timeout: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Wait until the stack has taken in, or quarantined, every upload; what it has not looked at yet is pending."""
    deadline = time.monotonic() + timeout
    pause = 0.2
    while True:
        outcome = look(target, stack, uploads, before)
        if outcome.settled or time.monotonic() >= deadline:
            return outcome
        sleep(pause)
        pause = min(pause * 1.5, 3.0)


def look(target: Target, stack: Stack, uploads: Sequence[Upload], before: Mapping[str, FleetRecord]) -> Outcome:
    """What has become of the uploads by now."""
    after = records(target, stack, list(before))
    files = [_file_outcome(target, stack, item, after) for item in uploads]
    done = {item.name: outcome.status for item, outcome in zip(uploads, files, strict=True)}
    fleets = []
    for name, record in after.items():
        own = [done[item.name] for item in uploads if (match := _NAME.fullmatch(item.name)) and match[2] == name]
        if "accepted" in own or "pending" in own:
            fleets.append(_fleet_outcome(target, record, before[name], pending="pending" in own))
    return Outcome(files, fleets)


def _file_outcome(target: Target, stack: Stack, item: Upload, after: Mapping[str, FleetRecord]) -> FileOutcome:
    match = _NAME.fullmatch(item.name)
    record = after.get(match[2]) if match else None
    accepted = record.files.get(match[1]) if record and match else None
    if accepted and (accepted.key, accepted.version_id) == (item.key, item.version_id):
        return FileOutcome(item.name, "accepted")
    report = _report(target, stack, item)
    if report is not None:
        location = f"s3://{stack.bucket}/{QUARANTINE}{item.name}.report.json"
        return FileOutcome(item.name, "quarantined", str(report.get("reason", "")), location)
    return FileOutcome(item.name, "pending")


def _report(target: Target, stack: Stack, item: Upload) -> dict[str, Any] | None:
    """The quarantine report on this very upload, if there is one."""
    try:
        answer = target.client("s3").get_object(Bucket=stack.bucket, Key=f"{QUARANTINE}{item.name}.report.json")
    except ClientError as error:
        if error_code(error) in ("NoSuchKey", "404"):
            return None
        raise
    report: dict[str, Any] = json.loads(answer["Body"].read())
    uploaded = report.get("uploaded_as", {})
    return report if uploaded.get("version_id") == item.version_id else None


def _fleet_outcome(target: Target, record: FleetRecord, before: FleetRecord, *, pending: bool) -> FleetOutcome:
    version = record.dataset_version or ""
    newest = record.newest
    arn = newest.execution_arn if newest else ""

    def outcome(status: str) -> FleetOutcome:
        return FleetOutcome(record.fleet, status, version, arn, record.missing, record.simulated)

    if pending:
        return outcome("pending")
    if record.missing:
        return outcome("incomplete")
    if not record.settled or newest is None or not arn:
        return outcome("pending")
    earlier = before.versions.get(version)
    if earlier is None or earlier.execution_arn != arn:
        return outcome("started")
    if newest.status == "superseded":
        return outcome("pending")  # a new attempt at it is about to be made
    execution = target.client("stepfunctions").describe_execution(executionArn=arn)
    return outcome("running" if execution["status"] == "RUNNING" else "already")
