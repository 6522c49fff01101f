"""Asking an endpoint for the remaining useful life of the engines in a C-MAPSS file."""

from __future__ import annotations

import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cmapss
from botocore.exceptions import ClientError

from onwing import endpoints
from onwing.errors import NotFound, OnwingError, UsageError, error_code
from onwing.stack import Stack
from onwing.target import Target

STDIN = "-"
# InvokeEndpoint takes 25 MB and a minute; parts are smaller, so that one does not take that long.
PART_BYTES = 4_000_000
CONTENT_TYPE, ACCEPT = "text/csv", "application/json"


@dataclass(frozen=True)
class Engine:
    """One engine's rows as they stand in the file. `line` is the number of the first."""

    line: int
    rows: Sequence[bytes]


@dataclass(frozen=True)
class Part:
    """Whole engines that go into one request. `lines` are the numbers that the body's lines have in the file."""

    lines: Sequence[int]
    body: bytes


@dataclass(frozen=True)
class Prediction:
    """An engine's remaining useful life in cycles, after the last cycle that is known of it."""

    unit: int
    cycle: int
    rul: float
    variant: str


def read(path: str) -> list[Engine]:
    """The engines of a file, plain or gzip ("-": standard input). What is in the rows is the server's to check.

    Raises UsageError when it cannot be read or holds nothing.
    """
    try:
        content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"The file cannot be read: {error}", where=path, todo="Name a C-MAPSS file.") from error
    engines: list[tuple[int, list[bytes]]] = []
    unit: bytes | None = None
    for number, line in enumerate(content.splitlines(), start=1):
        fields = line.replace(b",", b" ").split(maxsplit=1)
        if not fields:
            continue
        if fields[0] != unit:
            unit = fields[0]
            engines.append((number, []))
        engines[-1][1].append(line.strip())
    if not engines:
        raise UsageError("The file holds no rows.", where=path, todo="Name a file with rows of engines.")
    return [Engine(line, rows) for line, rows in engines]


def parts(engines: Sequence[Engine], limit: int = PART_BYTES) -> Iterator[Part]:
    """Requests of at most `limit` bytes, each of whole engines; one that is larger by itself goes alone."""
    rows: list[bytes] = []
    lines: list[int] = []
    size = 0
    for engine in engines:
        more = sum(len(row) + 1 for row in engine.rows)
        if rows and size + more > limit:
            yield Part(lines, b"\n".join(rows) + b"\n")
            rows, lines, size = [], [], 0
        rows += engine.rows
        lines += range(engine.line, engine.line + len(engine.rows))
        size += more
    yield Part(lines, b"\n".join(rows) + b"\n")


def fleet_of(path: str, target: Target, stack: Stack) -> str:
    """The fleet by the file's name (test_FD001.txt), else the only one that has an endpoint. Raises UsageError."""
    try:
        return cmapss.parse_name(Path(path).name).fleet
    except cmapss.DataError:
        pass
    served = endpoints.all_of(target, stack, measured=False)
    if len(served) == 1:
        return served[0].fleet
    names = ", ".join(endpoint.fleet for endpoint in served)
    raise UsageError(
        f"Which fleet is this of? {f'Endpoints have: {names}.' if served else 'No fleet has an endpoint yet.'}",
        where=path,
        todo="Name it: --fleet FD001",
    )


def predict(
    target: Target, stack: Stack, fleet: str, engines: Sequence[Engine], *, variant: str | None = None
) -> list[Prediction]:
    """One prediction an engine, in the order of the file.

    Raises NotFound when there is no endpoint, OnwingError with the server's words when it refuses the rows or fails.
    """
    found: list[Prediction] = []
    for part in parts(engines):
        found += _invoke(target, stack, fleet, part, variant)
    return found


def _invoke(target: Target, stack: Stack, fleet: str, part: Part, variant: str | None) -> list[Prediction]:
    name = endpoints.name_of(stack, fleet)
    try:
        answer = target.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=name,
            ContentType=CONTENT_TYPE,
            Accept=ACCEPT,
            Body=part.body,
            **({"TargetVariant": variant} if variant else {}),
        )
    except ClientError as error:
        raise _refused(error, target, stack, fleet, part, variant) from error
    said = answer["Body"].read()
    try:
        return [
            Prediction(int(item["unit"]), int(item["cycle"]), float(item["rul"]), answer["InvokedProductionVariant"])
            for item in json.loads(said)["predictions"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise OnwingError(
            f"{name} answered what is no prediction: {said[:200].decode(errors='replace')}",
            where=f"{name}, {answer.get('InvokedProductionVariant', '')}",
            todo=f"Go back to the model before: `onwing rollback {fleet}`.",
        ) from error


def _refused(
    error: ClientError, target: Target, stack: Stack, fleet: str, part: Part, variant: str | None
) -> OnwingError | ClientError:
    name, code = endpoints.name_of(stack, fleet), error_code(error)
    message = error.response.get("Error", {}).get("Message", "")
    if code == "ModelError":
        return _model_error(error.response, name, fleet, part)
    if code == "ServiceUnavailable":
        return OnwingError(
            f"No server of {name} is available.",
            where=str(target),
            todo=f"Try again in a moment, and look: `onwing endpoints --fleet {fleet}`.",
        )
    if code == "ValidationError" and "ariant" in message:
        return NotFound(
            f"{name} has no variant {variant}." if variant else message,
            where=str(target),
            todo=f"See which it has: `onwing endpoints --fleet {fleet}`.",
        )
    if code == "ValidationError" and "not found" in message:
        return endpoints.not_found(target, stack, fleet)
    return error


def _model_error(response: Any, name: str, fleet: str, part: Part) -> OnwingError:
    """The model server's own words: {"error": {"code", "message", "where"}}."""
    status, original = int(response.get("OriginalStatusCode", 0)), str(response.get("OriginalMessage", ""))
    try:
        own = json.loads(original)["error"]
        what, where = str(own["message"]), str(own.get("where") or "")
    except (ValueError, KeyError, TypeError):
        what, where = original or "no message", ""
    place = f"{name}, {_in_file(where, part)}" if where else name
    if 400 <= status < 500:
        return OnwingError(what, where=place, todo="Correct the rows: 26 columns each, cycles one after the other.")
    return OnwingError(
        f"The model failed with {status or 'no answer in time'}: {what}",
        where=place,
        todo=f"See its errors: `onwing endpoints --fleet {fleet}`. Go back: `onwing rollback {fleet}`.",
    )


def _in_file(where: str, part: Part) -> str:
    """The server's "line 3, column s4" with the number that the line has in the file."""

    def number(found: re.Match[str]) -> str:
        position = int(found[1]) - 1
        return f"line {part.lines[position]}" if position < len(part.lines) else found[0]

    return re.sub(r"\bline (\d+)", number, where)
