"""Captured traffic: SageMaker's Data Capture files, read record by record however large they are.

A file holds JSON lines: captureData (endpointInput, endpointOutput; either may be missing, as the endpoint's capture
options say), eventMetadata (eventId, inferenceTime, and inferenceId when the caller gave one) and eventVersion. Bodies
are text (encoding CSV or JSON) or BASE64. What cannot be read is counted and named, and does not stop the rest.

Source: "Capture data from real-time endpoint" in SageMaker's developer guide.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from turbofan.serving.bodies import CSV, JSON

EVENT_VERSION = "0"
PROBE = "onwing-probe-"  # inferenceId of the control plane's own requests begins with it
# Of all records. A torn line now and then costs nothing; if more is lost than this, what is left is no fair sample.
UNREADABLE_SHARE = 0.05
EXAMPLES = 20
# A request and its answer may have 25 MiB each, and base64 adds a third. What is longer is passed over, not gathered.
MOST_LINE_BYTES = 96 << 20


class _Side(msgspec.Struct):
    data: str
    encoding: str
    observedContentType: str | None = None


class _Captured(msgspec.Struct):
    endpointInput: _Side | None = None
    endpointOutput: _Side | None = None


class _Metadata(msgspec.Struct):
    eventId: str
    inferenceTime: str
    inferenceId: str | None = None


class _Line(msgspec.Struct):
    captureData: _Captured
    eventMetadata: _Metadata
    eventVersion: str


class _Version(msgspec.Struct):
    eventVersion: str


class _Prediction(msgspec.Struct):
    unit: int
    cycle: int
    rul: float


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction]


_lines = msgspec.json.Decoder(_Line)
_versions = msgspec.json.Decoder(_Version)
_predictions = msgspec.json.Decoder(_Predictions)


class CaptureError(Exception):
    """A line that is no capture record: the message says why."""


class VersionError(CaptureError):
    """A record in a version of the format that this image does not know."""


@dataclass(frozen=True)
class Body:
    """One side of an exchange."""

    content: bytes
    kind: str  # media type without parameters, in lower case; "" when none was given


@dataclass(frozen=True)
class Record:
    """One request and what was answered, as far as they were captured."""

    event_id: str
    time: str  # inferenceTime, ISO 8601
    is_probe: bool
    request: Body | None
    answer: Body | None


@dataclass(frozen=True)
class Prediction:
    """What a model answered for one engine."""

    unit: int
    cycle: int
    rul: float


@dataclass(frozen=True)
class Unreadable:
    """A line that could not be read."""

    file: str
    line: int
    reason: str


class Capture:
    """The records below a folder, each once. Iterate, then look at the counts."""

    def __init__(self, folder: Path, start: datetime | None = None, end: datetime | None = None) -> None:
        """`start`, `end`: leave out what was asked outside [start, end), as Model Monitor's contract demands."""
        self._folder = folder
        self._start, self._end = start, end
        self._seen: set[int] = set()
        self.files = 0
        self.delivered = 0  # different records, and lines that could not be read
        self.duplicates = 0
        self.unreadable = 0
        self.examples: list[Unreadable] = []
        self._reasons: list[str] = []  # why the whole capture is unreadable, whatever the share

    def __iter__(self) -> Iterator[Record]:
        """Each record, file by file in the order of their paths. Memory: one line, and 100 bytes a record."""
        for path in sorted(path for path in self._folder.rglob("*") if path.is_file()):
            self.files += 1
            yield from self._read(path)

    @property
    def problem(self) -> str | None:
        """Why what was read is no fair sample of the traffic; None if it is."""
        if self._reasons:
            more = f" (and {len(self._reasons) - 1} more files)" if len(self._reasons) > 1 else ""
            return self._reasons[0] + more
        if self.unreadable > UNREADABLE_SHARE * self.delivered:
            first = self.examples[0]
            return (
                f"{self.unreadable} of {self.delivered} records cannot be read (at most {UNREADABLE_SHARE:.0%} may be "
                f"so); the first is line {first.line} of {first.file}: {first.reason}"
            )
        return None

    def _read(self, path: Path) -> Iterator[Record]:
        name = path.relative_to(self._folder).as_posix()
        lines = broken = 0
        version: CaptureError | None = None
        for number, line in _numbered(path):
            lines += 1
            try:
                record = parse(line)
            except CaptureError as error:
                broken += 1
                version = error if isinstance(error, VersionError) else version
                self.delivered += 1
                self.unreadable += 1
                if len(self.examples) < EXAMPLES:
                    self.examples.append(Unreadable(name, number, str(error)))
                continue
            if not self._is_inside(record.time):
                continue
            identity = hash(record.event_id)
            if identity in self._seen:
                self.duplicates += 1
                continue
            self._seen.add(identity)
            self.delivered += 1
            yield record
        if version is not None:
            self._reasons.append(f"{name}: {version}")
        elif lines and broken == lines:
            self._reasons.append(f"{name}: not one of its {lines} lines is a capture record")

    def _is_inside(self, time: str) -> bool:
        if self._start is None or self._end is None:
            return True
        try:
            return self._start <= instant(time) < self._end
        except ValueError:  # counted rather than lost
            return True


def parse(line: bytes | None) -> Record:
    """The record of one line; None for a line that was too long to read. Raises CaptureError."""
    if line is None:
        raise CaptureError(f"the line is longer than {MOST_LINE_BYTES >> 20} MiB")
    if line[:2] == b"\x1f\x8b":
        raise CaptureError("the file is compressed: Data Capture writes plain JSON lines")
    try:
        read = _lines.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if (version := _version(line)) not in (None, EVENT_VERSION):
            raise _unknown(version) from error
        raise CaptureError(f"not a capture record: {error}") from error
    if read.eventVersion != EVENT_VERSION:
        raise _unknown(read.eventVersion)
    captured, about = read.captureData, read.eventMetadata
    if captured.endpointInput is None and captured.endpointOutput is None:
        raise CaptureError("neither the request nor the answer was captured")
    return Record(
        event_id=about.eventId,
        time=about.inferenceTime,
        is_probe=(about.inferenceId or "").startswith(PROBE),
        request=_body(captured.endpointInput, "endpointInput"),
        answer=_body(captured.endpointOutput, "endpointOutput"),
    )


def predictions(answer: Body) -> list[Prediction] | None:
    """The predictions in an answer, CSV or JSON; None if there are none: an error of the server, or nothing of ours."""
    try:
        if answer.kind == JSON or answer.content[:1] == b"{":
            given = _predictions.decode(answer.content).predictions
            return [Prediction(each.unit, each.cycle, each.rul) for each in given] or None
        rows = [line.split(",") for line in answer.content.decode("ascii").splitlines()]
        found = [Prediction(int(unit), int(cycle), float(rul)) for unit, cycle, rul in rows]
    except (msgspec.MsgspecError, ValueError):
        return None
    return found if found and all(abs(each.rul) < float("inf") for each in found) else None


def instant(text: str) -> datetime:
    """An ISO 8601 time, by default in UTC. Raises ValueError.

    Blanks are dropped: Model Monitor's own example of its environment has them ("2019-12-01T16: 20: 00Z").
    """
    time = datetime.fromisoformat(text.replace(" ", ""))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def media_type(content_type: str | None) -> str:
    """A content type without its parameters, in lower case; "" for none."""
    return (content_type or "").partition(";")[0].strip().lower()


def _body(side: _Side | None, name: str) -> Body | None:
    if side is None:
        return None
    kind = media_type(side.observedContentType)
    if side.encoding == "BASE64":
        try:
            content = b64decode(side.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise CaptureError(f"{name} is not base64: {error}") from error
        if not kind:
            kind = JSON if content.lstrip()[:1] in (b"{", b"[") else CSV
        return Body(content, kind)
    if side.encoding not in ("CSV", "JSON"):
        raise CaptureError(f"{name} has an encoding that is not known: {side.encoding[:40]!r}")
    return Body(side.data.encode(), kind or (JSON if side.encoding == "JSON" else CSV))


def _numbered(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Each line that is not blank, with its number; None for one that is too long to be read."""
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(MOST_LINE_BYTES):
            number += 1
            if len(line) == MOST_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
                    pass
                yield number, None
            elif line.strip():
                yield number, line


def _version(line: bytes) -> str | None:
    try:
        return _versions.decode(line).eventVersion
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _unknown(version: str | None) -> VersionError:
    return VersionError(f"eventVersion {(version or '')[:40]!r} is not known: this image reads {EVENT_VERSION!r}")
