"""constraint_violations.json: where one belongs by its key, and what it says, whoever wrote it.

Our monitoring jobs write Model Monitor's schema, with what they know besides under `onwing`. Model Monitor's own files
differ by the kind of monitor: data quality names a feature, model quality a metric, bias a facet, explainability a
label. Shapes: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-interpreting-violations.html and the pages
on bias and feature attribution drift. A check of a type that is not known is kept like any other.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from botocore.exceptions import ClientError

from control_plane import clients, moments

Source = Literal["onwing", "model-monitor"]
Severity = Literal["none", "moderate", "severe"]
Cause = Literal["data", "drift", "model"]

REPORTS_PREFIX = "monitoring/reports/"
FILE = "constraint_violations.json"
MAX_BYTES = 8 << 20  # Model Monitor's entries have some 250 bytes: this is a file of 30,000 of them
KEPT = 100  # violations that a record holds, in at most KEPT_BYTES; the file has them all
KEPT_BYTES = 100_000  # an item of DynamoDB holds 400 KB
TEXT_LIMIT = 500  # characters of a text in a record
FEATURE_LIMIT = 100  # characters of a feature's name in a list of them
NO_WINDOW = "unknown"
NAME_LIMIT = 63  # characters of a schedule's name; any folder may stand where one is expected
AFFECTED_KEPT, AFFECTED_LIMIT = 5, 40  # engines and regimes that are named, and characters of each
MOST_ENGINES = 10**9  # no report has compared more
WINDOW_TIME, QUALITY = "%Y%m%dT%H%M%SZ", "quality-"
CLOCKS_APART = timedelta(days=1)  # in another time zone, say

FLEET = re.compile(r"[A-Za-z0-9]{1,10}")
OURS = re.compile(r"([^/]+)/(v[0-9]+)/((?:quality-)?[0-9]{8}T[0-9]{6}Z)/" + re.escape(FILE))
MODEL_MONITORS = re.compile(
    r"([^/]+)/([^/]+)/(?:.+/)?([0-9]{4})/([0-9]{2})/([0-9]{2})/([0-9]{2})/(?:.+/)?" + re.escape(FILE)
)
DISTANCE = re.compile(r"distance: ([0-9.eE+-]+) exceeds threshold: ([0-9.eE+-]+)")
GONE = ("NoSuchVersion", "NoSuchKey", "404", "MethodNotAllowed")

# Broken input comes before all else: it makes distributions differ, too, and no other model would help.
CAUSES: tuple[tuple[Cause, frozenset[str]], ...] = (
    (
        "data",
        frozenset(
            {
                "data_type_check",
                "completeness_check",
                "missing_column_check",
                "extra_column_check",
                "categorical_values_check",
            }
        ),
    ),
    ("drift", frozenset({"baseline_drift_check"})),
    (
        "model",
        frozenset({"GreaterThanThreshold", "LessThanThreshold", "bias_drift_check", "feature_attribution_drift_check"}),
    ),
)


class UnreadableError(Exception):
    """The file says nothing that could be acted upon; the text says why, as the end of a sentence about it."""


@dataclass(frozen=True)
class Place:
    """Which monitor, of which endpoint, wrote a file, and for which window: all that its key tells."""

    key: str
    fleet: str  # empty: the endpoint is no fleet's of this project
    endpoint: str
    source: Source
    monitor: str  # variant whose traffic was judged, or the name of Model Monitor's schedule
    window: str  # the window's id, NO_WINDOW when the key has none

    @property
    def variant(self) -> str:
        """The variant; empty for Model Monitor, which does not tell variants apart."""
        return self.monitor if self.source == "onwing" else ""

    @property
    def is_quality(self) -> bool:
        """Whether it is about our figures of model quality, not about traffic."""
        return self.source == "onwing" and self.window.startswith(QUALITY)

    @property
    def started_at(self) -> str:
        """When the window began, ISO-8601; empty if that is not known."""
        return start_of(self.window)

    def order(self, written_at: datetime) -> str:
        """The id that gives the window its place among others: its own, if it says when the window began.

        Else it is that of a window which began when the file came. No window begins later than that.
        """
        start = moments.parse(self.started_at)
        if start is not None and start <= written_at + CLOCKS_APART:
            return self.window
        return f"{QUALITY if self.is_quality else ''}{written_at:{WINDOW_TIME}}"

    @property
    def folder(self) -> str:
        """The report's prefix."""
        return self.key.rpartition("/")[0] + "/"


@dataclass(frozen=True)
class Findings:
    """What a file says, fit for records and messages whatever it holds: nothing of its shape is certain."""

    violations: list[Any]  # as they stand in the file, long texts cut; at most KEPT
    count: int
    features: list[str]  # names of what was violated, each once, in the file's order
    severity: Severity
    cause: Cause | None  # None: a kind of check that is not known
    drift: float | None  # largest ratio of a statistic to its threshold
    # What our own report says besides, under `onwing`:
    summary: str = ""
    what_to_do: str = ""
    simulated: bool = False
    engines: int | None = None  # how many were compared
    end: str = ""  # of the window, ISO-8601 in UTC
    affected: Mapping[str, list[str]] = field(default_factory=dict)  # the worst of "engines" and of "regimes"


def locate(project: str, key: str) -> Place:
    """Tell from a key what the file belongs to."""
    path = key.removeprefix(REPORTS_PREFIX)
    endpoint = path.partition("/")[0]
    fleet = endpoint.removeprefix(f"{project}-")
    if fleet == endpoint or not FLEET.fullmatch(fleet):
        fleet = ""
    if ours := OURS.fullmatch(path):
        return Place(key, fleet, endpoint, "onwing", ours[2], ours[3])
    if theirs := MODEL_MONITORS.fullmatch(path):
        year, month, day, hour = theirs.groups()[2:]
        return Place(key, fleet, endpoint, "model-monitor", theirs[2][:NAME_LIMIT], f"{year}{month}{day}T{hour}0000Z")
    monitor = path.split("/")[1] if path.count("/") > 1 else NO_WINDOW
    return Place(key, fleet, endpoint, "model-monitor", monitor[:NAME_LIMIT], NO_WINDOW)


def digest(text: str) -> str:
    """Eight characters that tell texts apart in names."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def start_of(window: str) -> str:
    """When a window of this id began, ISO-8601; empty if its id does not say."""
    try:
        start = datetime.strptime(window.removeprefix(QUALITY), WINDOW_TIME).replace(tzinfo=UTC)
    except ValueError:
        return ""
    return start.isoformat().replace("+00:00", "Z")


def read(bucket: str, key: str, version_id: str) -> tuple[Findings, datetime]:
    """Read one version of a file: what it says, and when it came.

    Raises UnreadableError if it is empty, malformed, larger than MAX_BYTES or no longer there. AWS errors that say
    nothing about the file are raised as they are.
    """
    try:
        response = clients.s3().get_object(Bucket=bucket, Key=key, VersionId=version_id)
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            raise UnreadableError("was deleted before it could be read") from error
        raise
    if (size := response["ContentLength"]) > MAX_BYTES:
        response["Body"].close()
        raise UnreadableError(f"has {size} bytes, more than the {MAX_BYTES} that are read")
    with response["Body"] as body:
        return parse(body.read()), response["LastModified"].astimezone(UTC)


def parse(content: bytes) -> Findings:
    """Understand a file's content; raises UnreadableError."""
    if not content.strip():
        raise UnreadableError(f"is empty ({len(content)} bytes)")
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise UnreadableError(f"is not JSON ({' '.join(str(error).split())[:200]})") from error
    found = document.get("violations") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise UnreadableError('is JSON, but not an object with a list of "violations"')
    details = document.get("onwing")
    try:
        return _understand(found, details if isinstance(details, dict) else {})
    except RecursionError as error:
        raise UnreadableError("is nested too deeply") from error


def _understand(found: list[Any], details: dict[str, Any]) -> Findings:
    checks = {str(each.get("constraint_check_type")) for each in found if isinstance(each, dict)}
    cause = details.get("cause")
    if cause not in ("data", "drift", "model"):
        cause = next((each for each, types in CAUSES if checks & types), None)
    # Only a threshold that was calibrated on whole engines says anything about severity: Model Monitor's default
    # distance rule is broken by most windows without any drift.
    severity: Severity = "severe" if details.get("severity") == "severe" else "moderate" if found else "none"
    return Findings(
        violations=_keep(found),
        count=len(found),
        features=list(dict.fromkeys(name[:FEATURE_LIMIT] for each in found if (name := name_of(each))))[:KEPT],
        severity=severity,
        cause=cause,
        drift=_number(details.get("drift")) or _largest_ratio(found),
        summary=_text(details.get("summary")),
        what_to_do=_text(details.get("what_to_do")),
        simulated=details.get("simulated") is True,
        engines=_count(details.get("engines")),
        end=_end(details.get("window")),
        affected={"engines": _worst(details, "engines", "unit"), "regimes": _worst(details, "regimes", "regime")},
    )


def _keep(found: list[Any]) -> list[Any]:
    """The first entries, as many as fit into a record."""
    kept: list[Any] = []
    room = KEPT_BYTES
    for each in found[:KEPT]:
        entry = _cut(each)
        room -= len(json.dumps(entry))
        if room < 0:
            break
        kept.append(entry)
    return kept


def name_of(violation: Any) -> str:
    """What one entry is about: a feature, a metric, or a facet's or label's metric."""
    if not isinstance(violation, dict):
        return ""
    if name := violation.get("feature_name"):
        return _clean(str(name))
    facet = "=".join(str(violation[part]) for part in ("facet", "facet_value") if violation.get(part) is not None)
    parts = [facet, violation.get("label"), violation.get("metric_name")]
    return _clean(" ".join(str(part) for part in parts if part))


def _largest_ratio(found: list[Any]) -> float | None:
    """Model Monitor writes a distance and its threshold into the description."""
    ratios = []
    for each in found:
        if isinstance(each, dict) and (match := DISTANCE.search(str(each.get("description")))):
            distance, threshold = (_number(text.rstrip(".")) for text in match.groups())
            if distance is not None and threshold and (ratio := _number(distance / threshold)) is not None:
                ratios.append(ratio)
    return max(ratios, default=None)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # JSON has whole numbers of any length
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_ENGINES else None


def _text(value: Any) -> str:
    return _clean(value) if isinstance(value, str) else ""


def _end(window: Any) -> str:
    try:
        end = moments.parse(window.get("end") if isinstance(window, dict) else None)
        return f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if end else ""
    except OverflowError:  # no time in UTC: the first or last hours of the calendar
        return ""


def _worst(details: Mapping[str, Any], part: str, name: str) -> list[str]:
    affected = details.get("affected")
    listed = affected.get(part) if isinstance(affected, dict) else None
    named = [each for each in listed if isinstance(each, dict) and name in each] if isinstance(listed, list) else []
    return [_clean(str(each[name]))[:AFFECTED_LIMIT] for each in named[:AFFECTED_KEPT]]


def _cut(entry: Any) -> Any:
    """An entry small enough for a record, whatever it is."""
    if isinstance(entry, dict):
        return {_clean(name): _cut_text(value) for name, value in list(entry.items())[:12]}
    return _cut_text(entry)


def _cut_text(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < 1e300:  # which is false for NaN, too
        return value
    return _clean(value if isinstance(value, str) else json.dumps(value))


def _clean(text: str) -> str:
    """A text of one line that is not too long and that every reader can show.

    JSON may hold lone surrogates, which UTF-8 may not, and control characters, which terminals act upon.
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text[:TEXT_LIMIT])
