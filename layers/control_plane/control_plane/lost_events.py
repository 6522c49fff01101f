"""What an event was lost for: approvals, uploads, data sets, reports of violations. What was to happen is made up for.

Each is brought to the same code as its event would have been, which is repeatable: if the event comes after all, it
finds that nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import cmapss

from control_plane import (
    approval_records,
    approvals,
    captures,
    clients,
    datasets,
    ingestion,
    inventory,
    violation_files,
    violations,
)
from control_plane.approval_records import Approval, Package
from control_plane.errors import ControlPlaneError, DatasetNotFoundError
from control_plane.findings import Finding, Scope, stamp
from control_plane.inventory import PAGE, Inventory
from control_plane.manifest import version_of
from control_plane.package_events import PackageStateChange

REPORTS_SINCE = timedelta(days=2)
# Report keys hold the time at which a window began, which is that much earlier than the report at most.
LONGEST_WINDOW = timedelta(days=7)
REPAIRS_AT_MOST = 50  # files a run: each may take as long as an upload's own run; the rest is for the next day
SAME_CHANGE = Decimal(1)  # seconds: events' times may be whole seconds


class NotRepairedError(ControlPlaneError):
    """The code that was to make up for an event did not do it, and says why."""


# --- model packages ---


def check_approvals(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """Packages whose approval status is another than the one acted upon last, or whose approval was left half-way."""
    if fleet not in seen.groups:
        return
    record, table = seen.record(fleet), scope.settings.table_name
    changing = record.is_changing
    unknown = fleet in seen.endpoints and record.champion is None and not changing
    items = {item["sk"]: item for item in inventory.read_items(table, fleet, "APPROVAL#")}
    lost: list[tuple[datetime, dict[str, Any], Approval]] = []
    for arn, status in _list_packages(scope.settings.project_name, fleet):
        package = Package(fleet, int(arn.rsplit("/", 1)[1]), arn)
        item = items.get(package.key["sk"]["S"], {})
        told, state = item.get("status"), item.get("state")
        half_way = state == "refusing" or (state == "starting" and status == told == "Approved")
        if (status == told and not half_way) or (told is None and status != "Approved"):
            continue
        if changing and (told, status) == ("Rejected", "Approved"):
            continue  # a deployment rejects its package in two steps, the record first
        described: dict[str, Any] = dict(clients.sagemaker().describe_model_package(ModelPackageName=arn))
        modified = described.get("LastModifiedTime") or described["CreationTime"]
        if described["ModelApprovalStatus"] == status and scope.is_old(modified):
            lost.append((modified, described, approval_records.read(table, package)))
    for modified, described, acted in sorted(lost, key=lambda each: each[0]):  # so that the newest approval wins
        yield _settle_package(scope, fleet, modified, described, acted, unknown=unknown)


def _list_packages(project: str, fleet: str) -> list[tuple[str, str]]:
    """ARN and approval status of each of a fleet's packages."""
    pages = (
        clients.sagemaker()
        .get_paginator("list_model_packages")
        .paginate(ModelPackageGroupName=f"{project}-{fleet}", PaginationConfig={"PageSize": PAGE})
    )
    return [
        (each["ModelPackageArn"], each["ModelApprovalStatus"])
        for page in pages
        for each in page["ModelPackageSummaryList"]
        if "ModelApprovalStatus" in each
    ]


def _settle_package(
    scope: Scope, fleet: str, modified: datetime, described: dict[str, Any], acted: Approval, *, unknown: bool
) -> Finding:
    version, status = described["ModelPackageVersion"], described["ModelApprovalStatus"]
    name = f"{fleet}/{version}"
    told = "nothing was acted upon" if acted.status is None else f"{acted.status} was acted upon last"
    finding = Finding(
        what="approval",
        where=f"{fleet} v{version}",
        problem=f"the Model Registry says {status} since {stamp(modified)}, but {told}"
        + (f" and left {acted.state}" if acted.state in ("starting", "refusing") else ""),
        action=f"onwing {'approve' if status == 'Approved' else 'reject'} {name}, once more",
    )
    later = None if acted.modified is None else Decimal(modified.timestamp()) - acted.modified
    rejected_here = acted.status == "Rejected" and later is not None and later < SAME_CHANGE
    if status == "Approved" and rejected_here and acted.state != "refusing":
        # The control plane rejects in two steps, its record first; the second one failed. It is no new approval.
        problem = "the control plane rejected it, but the Model Registry still says Approved"
        return finding.model_copy(update={"problem": problem, "action": f"onwing reject {name}"})
    if status == "Approved" and unknown:
        problem = f"{finding.problem}; its endpoint serves something that the control table does not know"
        return finding.model_copy(update={"problem": problem, "action": f"onwing restore {fleet}, then approve again"})
    detail = {name: described.get(name) for name in ("ModelPackageArn", "ModelPackageGroupName", "ApprovalDescription")}
    detail |= {"ModelPackageVersion": version, "ModelApprovalStatus": status, "LastModifiedTime": modified}
    change = PackageStateChange.model_validate({"resources": [described["ModelPackageArn"]], "detail": detail})

    def act() -> str:
        result = approvals.act_on(scope.settings, scope.deploying, change)
        if result.outcome in ("stale", "ignored"):
            raise NotRepairedError(result.message)
        return result.message

    return scope.settle(finding, act)


# --- uploads ---


@dataclass(frozen=True)
class _Upload:
    key: str
    version_id: str
    modified: datetime


def check_uploads(scope: Scope, seen: Inventory) -> Iterator[Finding]:
    """Files under data/raw/ that are newer than what is recorded of their role, or that should be in quarantine."""
    repairs = 0
    for upload in _list_uploads(scope.settings.bucket_name):
        if not scope.is_old(upload.modified):
            continue
        sequencer = _lost_sequencer(scope.settings.table_name, upload)
        if sequencer is None:
            continue
        finding = Finding(
            what="upload",
            where=f"s3://{scope.settings.bucket_name}/{upload.key}",
            problem=f"uploaded {stamp(upload.modified)} and never taken in",
            action="upload it again",
        )
        repairs += 1
        if repairs > REPAIRS_AT_MOST:
            yield finding.model_copy(update={"action": f"{REPAIRS_AT_MOST} are taken in a day; or upload it again"})
            continue
        yield scope.settle(finding, lambda upload=upload, sequencer=sequencer: _ingest(scope, upload, sequencer))  # type: ignore[misc]


def _list_uploads(bucket: str) -> Iterator[_Upload]:
    """The current version of each object under data/raw/."""
    pages = clients.s3().get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=ingestion.RAW_PREFIX)
    for page in pages:
        for each in page.get("Versions", []):
            if each["IsLatest"] and not each["Key"].endswith("/"):
                yield _Upload(each["Key"], each["VersionId"], each["LastModified"])


def _lost_sequencer(table: str, upload: _Upload) -> str | None:
    """What to record a lost upload under; None if it is not lost: it is recorded, or older than what is.

    Only events carry S3's sequencer. For a file of the same key it is the next one after that recorded, which every
    later event's exceeds: S3's are a fraction as long as the recorded ones, which are padded with zeros.
    """
    try:
        name = cmapss.parse_name(upload.key.removeprefix(ingestion.RAW_PREFIX))
        files = datasets.read_files(table, name.fleet)
    except (cmapss.DataError, DatasetNotFoundError):
        return "0"
    recorded = files.files.get(name.role)
    if recorded is None:
        return "0"
    same = recorded.key == upload.key
    # S3 lists milliseconds, where there are any; an object's own header, which is recorded, has whole seconds.
    if (same and recorded.version_id == upload.version_id) or int(upload.modified.timestamp()) < int(
        files.modified[name.role]
    ):
        return None
    last = files.sequencers[name.role]
    return last[:-1] + chr(ord(last[-1]) + 1) if same else "0"


def _ingest(scope: Scope, upload: _Upload, sequencer: str) -> str:
    result = ingestion.ingest(
        scope.settings,
        bucket=scope.settings.bucket_name,
        key=upload.key,
        version_id=upload.version_id,
        sequencer=sequencer,
    )
    return f"{result.outcome}: {result.message}"


# --- data sets ---


def check_dataset(scope: Scope, seen: Inventory, fleet: str) -> Iterator[Finding]:
    """A data set that is complete, wants training, and never got it."""
    settings = scope.settings
    try:
        files = datasets.read_files(settings.table_name, fleet)
    except DatasetNotFoundError:
        return
    if files.missing or not scope.is_old(datetime.fromtimestamp(max(files.modified.values()), scope.now.tzinfo)):
        return
    version = version_of(files.files)
    attempt = inventory.read_item(settings.table_name, fleet, f"{datasets.VERSION_SORT_PREFIX}{version}")
    is_current = files.dataset_version == version
    if is_current and (
        attempt.get("status") not in (None, "superseded") or not ingestion.wants_training(settings, fleet, version)
    ):
        return
    finding = Finding(
        what="dataset",
        where=f"{fleet} {version[:12]}",
        problem="the data set is complete, but " + ("was never trained on" if is_current else "was never made current"),
        action=f"onwing train --fleet {fleet}" if is_current else f"upload one of {fleet}'s files again",
    )

    def start() -> str:
        key = max((files.modified[role], file.key) for role, file in files.files.items())[1]
        return ingestion.start_when_complete(settings, settings.bucket_name, key, files).message

    yield scope.settle(finding, start)


# --- reports of violations ---


def check_violations(scope: Scope, seen: Inventory) -> Iterator[Finding]:
    """Violations files of the last two days that nobody has decided on."""
    settings, repairs = scope.settings, 0
    for key, modified in list_reports(settings.bucket_name, scope.now):
        if not scope.is_old(modified):
            continue
        version_id = clients.s3().head_object(Bucket=settings.bucket_name, Key=key)["VersionId"]
        if violations.is_handled(settings, key, version_id):
            continue
        finding = Finding(
            what="violations",
            where=f"s3://{settings.bucket_name}/{key}",
            problem=f"written {stamp(modified)}, and nobody decided on it",
            action="read it, and decide yourself: onwing rollback FLEET, or onwing train --fleet FLEET",
        )
        repairs += 1
        if repairs > REPAIRS_AT_MOST:
            yield finding.model_copy(update={"action": f"{REPAIRS_AT_MOST} are decided on a day; or: {finding.action}"})
            continue

        def handle(key: str = key, version_id: str = version_id) -> str:
            result = violations.handle(settings, scope.deploying, scope.violating, key=key, version_id=version_id)
            return result.message

        yield scope.settle(finding, handle)


def list_reports(bucket: str, now: datetime) -> Iterator[tuple[str, datetime]]:
    """Key and time of the violations files written in the last REPORTS_SINCE, oldest window first.

    Reports are kept for years, so only keys of recent windows are listed: our own are `<variant>/<time>/` and
    `<variant>/quality-<time>/`, Model Monitor's `<schedule>/yyyy/mm/dd/hh/`.
    """
    earliest = now - REPORTS_SINCE - LONGEST_WINDOW
    years = [f"{year}/" for year in range(earliest.year, now.year + 1)]
    for endpoint in captures.list_folders(bucket, violation_files.REPORTS_PREFIX):
        folder = f"{violation_files.REPORTS_PREFIX}{endpoint}/"
        for name in captures.list_folders(bucket, folder):
            monitor = f"{folder}{name}/"
            for prefix, first in (
                ("2", f"{earliest:%Y%m%d}"),  # a window's time; Model Monitor's years sort before: "/" is before "0"
                ("quality-", f"quality-{earliest:%Y%m%d}"),
                *((year, f"{earliest:%Y/%m/%d}" if year == years[0] else year) for year in years),
            ):
                pages = (
                    clients.s3()
                    .get_paginator("list_objects_v2")
                    .paginate(Bucket=bucket, Prefix=monitor + prefix, StartAfter=monitor + first)
                )
                for page in pages:
                    for each in page.get("Contents", []):
                        recent = each["LastModified"] >= now - REPORTS_SINCE
                        if recent and each["Key"].endswith(f"/{violation_files.FILE}"):
                            yield each["Key"], each["LastModified"]
