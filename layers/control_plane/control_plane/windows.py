"""Windows of captured traffic: which files a run of monitoring judges, so that every record is counted exactly once.

A window is a half-open interval [start, end) of the capture files' deliveries (S3's LastModified), for each variant of
an endpoint. The control table's MONITOR item says where a variant's next window starts at the earliest; only closing a
window moves that, and closing is conditional on the claim. What lies between two windows of a variant is time in which
nothing was delivered and it was not the champion. A window is claimed before anything is done about it. A claim whose
execution does not run any more is taken over with the same start and end; the job of it that may exist is found by its
name. So an execution that dies, or two at once, neither lose a file nor count one twice. A window of a variant that
serves nothing any more is given up when its job has failed five times: the machine closes it as failed.

QUALITY items do the same for ground truth, which is always judged as a whole: a window of quality is due when ground
truth came since the last one (`truth_until`). It is due again when what was delivered before that truth had not all
been judged by then (`predicted_until`: a job had failed, or more had come than one window takes), and more of it has
been since: its predictions were written too late for the last window of quality. Truth comes months later: every
variant with predictions is compared, whether it still serves or not.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field

from control_plane import captures, clients, executions
from control_plane.datasets import fleet_key
from control_plane.settings import Settings, WindowSettings

VARIANT = re.compile(r"v([1-9][0-9]*)")
TRUTH_PREFIX = "monitoring/ground-truth"
PREDICTIONS_PREFIX = "monitoring/predictions"
# Windows of quality that one call opens: each is a job of minutes, and they run one after the other. The rest is due in
# the next call, those first that were compared longest ago.
QUALITY_AT_MOST = 10


class WindowsRequest(BaseModel):
    """What the monitoring machine asks."""

    model_config = ConfigDict(extra="forbid")

    fleet: str = Field(min_length=1)
    execution: str = Field(pattern=r"^arn:", description="of the monitoring machine: the owner of what is claimed")


class Window(BaseModel):
    """What a monitoring job is to judge; the claim in the control table."""

    kind: Literal["data", "quality"]
    fleet: str
    endpoint: str
    variant: str
    version: int
    champion: bool
    serving: bool = True  # champion, predecessor or challenger; claims of former releases do not say
    id: str  # the window's start as yyyymmddThhmmssZ; a window of quality's end, after `quality-`
    start: str  # ISO, whole seconds; empty for the first window of quality
    end: str
    final: bool  # it closes even when there is too little in it to judge
    job: str  # the job's name, to which the machine adds a dash and the number of the try
    attempt: int = 0  # the first number to try: those below it belong to jobs that failed
    manifest: str = ""
    files: int = 0
    baseline: str = ""
    evaluation: str
    report: str  # key prefix
    predictions: str  # key prefix
    truth: str = ""
    truth_until: str = ""
    predicted_until: str = ""  # what was delivered before has its predictions, when a window of quality is opened
    execution: str


class Skipped(BaseModel):
    """A variant without a window: nothing to do for now, or `problem`: something that a person has to look at."""

    variant: str
    reason: str
    problem: bool = False


class WindowsResult(BaseModel):
    """The windows that are this execution's now, and what is not."""

    windows: list[Window] = []
    skipped: list[Skipped] = []


@dataclass(frozen=True)
class _Variant:
    """A variant of the endpoint of which traffic was captured or predictions are kept, or which serves."""

    name: str
    package_arn: str
    champion: bool
    serving: bool  # champion, predecessor or challenger
    since: datetime | None = None  # of the champion

    @property
    def number(self) -> int:
        return int(self.name[1:])


@dataclass(frozen=True)
class _Scope:
    """One call: for whom, and until when."""

    settings: Settings
    limits: WindowSettings
    fleet: str
    execution: str
    now: datetime
    end: datetime  # no window ends later: what was delivered before that is surely listed

    @property
    def endpoint(self) -> str:
        return f"{self.settings.project_name}-{self.fleet}"

    def uri(self, key: str) -> str:
        return f"s3://{self.settings.bucket_name}/{key}"

    def key(self, sort_key: str) -> dict[str, dict[str, str]]:
        return {"pk": {"S": fleet_key(self.fleet)}, "sk": {"S": sort_key}}


class _NotDescribedError(Exception):
    """A variant's package does not say what its traffic is to be compared with."""


def open_windows(
    settings: Settings, limits: WindowSettings, request: WindowsRequest, now: datetime | None = None
) -> WindowsResult:
    """Claim every window of the fleet's endpoint that is due: data before quality, the champion's first.

    Of quality at most QUALITY_AT_MOST.

    Called again by the same execution it answers with the same windows.
    """
    now = now or datetime.now(UTC)
    end = now.replace(microsecond=0) - timedelta(seconds=limits.delivery_delay_seconds)
    scope = _Scope(settings, limits, request.fleet, request.execution, now, end)
    roles = _read_roles(scope)
    if roles is None:
        return WindowsResult()
    variants, strange = _captured_variants(scope, roles)
    found = [_open_or_skip(variant, _open_data, scope) for variant in variants]
    if (truth := _newest_truth(scope)) is not None:
        opened = 0
        for variant, item in _predicting_variants(scope, roles):
            if opened == QUALITY_AT_MOST:
                break
            found.append(_open_or_skip(variant, _open_quality, scope, truth, item))
            opened += isinstance(found[-1], Window)
    return WindowsResult(
        windows=[each for each in found if isinstance(each, Window)],
        skipped=[each for each in found if isinstance(each, Skipped)] + strange,
    )


def _open_or_skip(variant: _Variant, open_: Any, *arguments: Any) -> Window | Skipped | None:
    try:
        window: Window | Skipped | None = open_(variant, *arguments)
    except _NotDescribedError as error:
        # Of a champion that is a fault; of a version that served once and was deleted it is the end.
        return Skipped(variant=variant.name, reason=str(error), problem=variant.champion)
    return window


# --- the two kinds ---


def _open_data(variant: _Variant, scope: _Scope) -> Window | Skipped | None:
    sort_key, bucket = f"MONITOR#{variant.name}", scope.settings.bucket_name
    item = _read(scope, sort_key)
    held = _held(scope, sort_key, item, variant)
    if isinstance(held, Skipped):
        return held
    if held is not None:
        interval = _moment(held.start), _moment(held.end)
        files = captures.find(bucket, scope.endpoint, variant.name, *interval).keys
        return _with_manifest(scope, held, files)
    cursor = _moment(item["start"]) if "start" in item else None
    limit = scope.limits.max_window_files
    found = captures.find(bucket, scope.endpoint, variant.name, cursor, scope.end, limit)
    start = _start(variant, cursor, found.first)
    if start is None or found.end <= start or not (found.keys or variant.champion):
        return None
    final = found.cut or found.end - start >= timedelta(seconds=scope.limits.max_window_seconds)
    looked = json.loads(item["open"])["end"] if "open" in item and start == cursor else None
    if looked and not final and (found.last is None or found.last < _moment(looked)):
        _touch(scope, sort_key)
        return Skipped(variant=variant.name, reason=f"nothing was delivered since the last look at {looked}")
    dataset_version, evaluation = _package(variant)
    identifier = f"{start:%Y%m%dT%H%M%SZ}"
    window = Window(
        kind="data",
        id=identifier,
        start=_iso(start),
        end=_iso(found.end),
        final=final,
        job=_job_name(scope, variant, "monitor", f"{identifier}/{_iso(found.end)}"),
        baseline=scope.uri(f"monitoring/baseline/{scope.fleet}/{dataset_version}/"),
        evaluation=evaluation,
        report=f"monitoring/reports/{scope.endpoint}/{variant.name}/{identifier}/",
        **_whose(scope, variant),
    )
    if not _claim(scope, sort_key, window, cursor="start", seen=item.get("start"), sets={"start": window.start}):
        return Skipped(variant=variant.name, reason="another execution has just claimed the window")
    return _with_manifest(scope, window, found.keys)


def _start(variant: _Variant, cursor: datetime | None, first: datetime | None) -> datetime | None:
    """Where the next window begins, a whole second: at the cursor, or where there is something to judge after it.

    A champion's windows follow each other without a gap, for its silence counts; but only since it is the champion
    (again). Others begin with their first file.
    """
    if cursor is not None and variant.champion and variant.since is None:
        return cursor
    begin = min((each for each in (first, variant.since) if each), default=None)
    return max((each.replace(microsecond=0) for each in (cursor, begin) if each), default=None)


def _open_quality(variant: _Variant, scope: _Scope, truth: datetime, item: dict[str, str]) -> Window | Skipped | None:
    sort_key = f"QUALITY#{variant.name}"
    held = _held(scope, sort_key, item, variant)
    if held is not None:
        return held
    counted = item.get("truth_until", "")
    until, predicted_until = _iso(scope.end), _predicted_until(scope, variant)
    is_newer = not counted or truth >= _moment(counted)
    # Items of former releases do not say how far the predictions went.
    before = item.get("predicted_until", "")
    is_completed = bool(before) and _moment(before) <= truth and before < predicted_until and counted < until
    if not (is_newer or is_completed):
        return None
    identifier = f"quality-{scope.end:%Y%m%dT%H%M%SZ}"
    dataset_version, evaluation = _package(variant)
    window = Window(
        kind="quality",
        id=identifier,
        start=counted,
        end=until,
        final=False,
        job=_job_name(scope, variant, "quality", identifier),
        baseline=scope.uri(f"monitoring/baseline/{scope.fleet}/{dataset_version}/"),
        evaluation=evaluation,
        report=f"monitoring/reports/{scope.endpoint}/{variant.name}/{identifier}/",
        truth=scope.uri(f"{TRUTH_PREFIX}/{scope.fleet}/"),
        truth_until=until,
        predicted_until=_without_idle_time(scope, variant, predicted_until, truth),
        **_whose(scope, variant),
    )
    if not _claim(scope, sort_key, window, cursor="truth_until", seen=counted, sets={}):
        return Skipped(variant=variant.name, reason="another execution has just claimed the window of quality")
    return window


def _predicted_until(scope: _Scope, variant: _Variant) -> str:
    """What was delivered before this moment (ISO) has its predictions; empty if nothing was ever judged."""
    item = _read(scope, f"MONITOR#{variant.name}")
    return str(json.loads(item["open"])["end"]) if "open" in item else item.get("start", "")


def _without_idle_time(scope: _Scope, variant: _Variant, predicted_until: str, truth: datetime) -> str:
    """`predicted_until`, or just after `truth` if nothing was delivered in between: there is nothing to wait for."""
    start = _moment(predicted_until) if predicted_until else None
    end = truth.replace(microsecond=0) + timedelta(seconds=1)
    if captures.find(scope.settings.bucket_name, scope.endpoint, variant.name, start, end).keys:
        return predicted_until
    return max(predicted_until, _iso(end))


def _whose(scope: _Scope, variant: _Variant) -> dict[str, Any]:
    return {
        "fleet": scope.fleet,
        "endpoint": scope.endpoint,
        "variant": variant.name,
        "version": variant.number,
        "champion": variant.champion,
        "serving": variant.serving,
        "predictions": f"{PREDICTIONS_PREFIX}/{scope.endpoint}/{variant.name}/",
        "execution": scope.execution,
    }


def _with_manifest(scope: _Scope, window: Window, keys: list[str]) -> Window:
    """The window with its files' manifest, which only the owner of the claim writes; none where there are no files."""
    if not keys:
        return window.model_copy(update={"files": 0, "manifest": ""})
    key = f"monitoring/windows/{window.endpoint}/{window.variant}/{window.id}.manifest"
    uri = captures.write_manifest(scope.settings.bucket_name, key, window.endpoint, window.variant, keys)
    return window.model_copy(update={"files": len(keys), "manifest": uri})


def _job_name(scope: _Scope, variant: _Variant, what: str, which: str) -> str:
    """The same window has the same job, whichever execution starts it."""
    digest = hashlib.sha256(f"{scope.endpoint}/{variant.name}/{which}".encode()).hexdigest()
    return f"{scope.endpoint}-{what}-{digest[:8]}"


# --- claims ---


def _held(scope: _Scope, sort_key: str, item: dict[str, str], variant: _Variant) -> Window | Skipped | None:
    """The window that is claimed already: this execution's, or taken over from one that does not run any more."""
    if "claim" not in item:
        return None
    owner = item["claimed_by"]
    now = {"champion": variant.champion, "serving": variant.serving, "attempt": int(item.get("tries", "0"))}
    window = Window.model_validate_json(item["claim"]).model_copy(update={"execution": scope.execution} | now)
    if owner == scope.execution:
        return window
    if executions.describe(owner).is_running:
        return Skipped(variant=variant.name, reason=f"execution {owner} is at the {window.kind} window {window.id}")
    condition = "claimed_by = :owner AND claim = :seen"
    if _write_claim(scope, sort_key, window, condition, {":owner": owner, ":seen": item["claim"]}):
        return window
    return Skipped(variant=variant.name, reason=f"another execution has just taken over the window {window.id}")


def _claim(
    scope: _Scope, sort_key: str, window: Window, *, cursor: str, seen: str | None, sets: dict[str, str]
) -> bool:
    """Claim a new window, unless somebody has claimed or closed one since the item was read; whether it was done."""
    condition = "attribute_not_exists(claim) AND " + ("#cursor = :seen" if seen else "attribute_not_exists(#cursor)")
    return _write_claim(scope, sort_key, window, condition, {":seen": seen} if seen else {}, cursor=cursor, sets=sets)


def _write_claim(
    scope: _Scope,
    sort_key: str,
    window: Window,
    condition: str,
    values: dict[str, str],
    *,
    cursor: str | None = None,
    sets: dict[str, str] | None = None,
) -> bool:
    values = values | {":claim": window.model_dump_json(), ":me": scope.execution, ":now": _iso(scope.now)}
    change = "SET claim = :claim, claimed_by = :me, updated_at = :now"
    names = {"#cursor": cursor} if cursor else {}
    for name, value in (sets or {}).items():
        change += f", #{name} = :{name}"
        names[f"#{name}"] = name
        values[f":{name}"] = value
    dynamodb = clients.dynamodb()
    try:
        dynamodb.update_item(
            TableName=scope.settings.table_name,
            Key=scope.key(sort_key),
            UpdateExpression=change,
            ConditionExpression=condition,
            ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
            **({"ExpressionAttributeNames": names} if names else {}),  # type: ignore[arg-type]
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def _touch(scope: _Scope, sort_key: str) -> None:
    """Write down that somebody has looked."""
    clients.dynamodb().update_item(
        TableName=scope.settings.table_name,
        Key=scope.key(sort_key),
        UpdateExpression="SET updated_at = :now",
        ExpressionAttributeValues={":now": {"S": _iso(scope.now)}},
    )


def _read(scope: _Scope, sort_key: str) -> dict[str, str]:
    """An item's attributes without their types; empty if there is none."""
    response = clients.dynamodb().get_item(
        TableName=scope.settings.table_name, Key=scope.key(sort_key), ConsistentRead=True
    )
    return {name: str(next(iter(value.values()))) for name, value in response.get("Item", {}).items()}


# --- what there is ---


@dataclass(frozen=True)
class _Roles:
    """What DEPLOYMENT says of the fleet's variants."""

    champion: dict[str, Any]
    serving: dict[str, str]  # package ARN by name, of champion, predecessor and challenger

    def variant(self, name: str) -> _Variant:
        """A variant, whether it serves or not."""
        is_champion, group = name == self.champion["variant"], self.champion["package_arn"].rpartition("/")[0]
        since = _moment(self.champion["since"]) if is_champion and self.champion.get("since") else None
        arn = self.serving.get(name, f"{group}/{name[1:]}")
        return _Variant(name, arn, is_champion, name in self.serving, since)


def _read_roles(scope: _Scope) -> _Roles | None:
    """None for a fleet without a champion."""
    deployment = _read(scope, "DEPLOYMENT")
    if "champion" not in deployment:
        return None
    champion = json.loads(deployment["champion"])
    under_way = json.loads(deployment.get("under_way", "null")) or {}
    predecessor = json.loads(deployment.get("predecessor", "null"))
    known = [each for each in (predecessor, under_way.get("challenger"), champion) if each]
    return _Roles(champion, {each["variant"]: each["package_arn"] for each in known})


def _captured_variants(scope: _Scope, roles: _Roles) -> tuple[list[_Variant], list[Skipped]]:
    """The variants whose traffic counts, the champion first, then the newest; and the folders that are none of ours."""
    prefix = captures.capture_prefix(scope.endpoint)
    names = {roles.champion["variant"], *captures.list_folders(scope.settings.bucket_name, prefix)}
    ours = [roles.variant(name) for name in names if VARIANT.fullmatch(name)]
    strange = [
        Skipped(variant=name, reason="its name says no version of a model package: not judged")
        for name in names
        if not VARIANT.fullmatch(name)
    ]
    return sorted(ours, key=lambda each: (not each.champion, -each.number)), strange


def _predicting_variants(scope: _Scope, roles: _Roles) -> list[tuple[_Variant, dict[str, str]]]:
    """The variants with predictions: the champion, what else serves, those compared longest ago; then the newest.

    Each with its QUALITY item.
    """
    names = captures.list_folders(scope.settings.bucket_name, f"{PREDICTIONS_PREFIX}/{scope.endpoint}/")
    found = [(roles.variant(name), _read(scope, f"QUALITY#{name}")) for name in names if VARIANT.fullmatch(name)]

    def order(pair: tuple[_Variant, dict[str, str]]) -> tuple[bool, bool, str, int]:
        variant, item = pair
        compared = "" if variant.serving else item.get("truth_until", "")
        return not variant.champion, not variant.serving, compared, -variant.number

    return sorted(found, key=order)


def _package(variant: _Variant) -> tuple[str, str]:
    """The data set version and the evaluation's folder (S3 address) of a variant's package."""
    try:
        described = clients.sagemaker().describe_model_package(ModelPackageName=variant.package_arn)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        raise _NotDescribedError(f"model package {variant.package_arn} cannot be found: {error}") from error
    dataset_version = described.get("CustomerMetadataProperties", {}).get("dataset_version", "")
    statistics = described.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {}).get("S3Uri", "")
    if not dataset_version or "/" not in statistics:
        missing = "data set version" if not dataset_version else "evaluation report"
        raise _NotDescribedError(
            f"model package {variant.package_arn} names no {missing}: its traffic cannot be compared with anything. "
            "Train and approve a new version"
        )
    return dataset_version, f"{statistics.rpartition('/')[0]}/"


def _newest_truth(scope: _Scope) -> datetime | None:
    """When the newest file of ground truth was uploaded that is surely listed by now."""
    pages = (
        clients.s3()
        .get_paginator("list_objects_v2")
        .paginate(Bucket=scope.settings.bucket_name, Prefix=f"{TRUTH_PREFIX}/{scope.fleet}/")
    )
    uploaded = [each["LastModified"].astimezone(UTC) for page in pages for each in page.get("Contents", [])]
    return max((each for each in uploaded if each < scope.end), default=None)


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _moment(iso: str) -> datetime:
    return datetime.fromisoformat(iso).astimezone(UTC)
