"""`onwing drift truth`: true remaining useful lives, checked and put where monitoring finds them."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cmapss import MAX_COUNT, MAX_RUL
from rich.markup import escape

from onwing import endpoints
from onwing.command import Context
from onwing.errors import Exit, UsageError

HEADER = ("unit", "cycle", "rul")
PREFIX = "monitoring/ground-truth/"
TOLD = 5  # faults shown of one file


@dataclass(frozen=True)
class Truth:
    """A file that passed: its content, and the engines whose truth it knows."""

    content: bytes
    units: int


def check(content: bytes, name: str) -> Truth:
    """Check a file: header unit,cycle,rul; whole numbers; each engine once. Raises UsageError naming the lines."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"It is no CSV file: {error}", where=name, todo=_TODO) from error
    if not rows or tuple(field.strip() for field in rows[0]) != HEADER:
        raise UsageError(f"Its first line is not {','.join(HEADER)}.", where=f"{name}, line 1", todo=_TODO)
    faults: list[str] = []
    lines: dict[int, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if fault := _fault(row, lines, number):
            faults.append(f"line {number}: {fault}")
    if not faults and not lines:
        faults = ["it has no rows"]
    if faults:
        more = f" (and {len(faults) - TOLD} more)" if len(faults) > TOLD else ""
        raise UsageError("; ".join(faults[:TOLD]) + more, where=name, todo=_TODO)
    return Truth(content.removeprefix(codecs.BOM_UTF8), len(lines))


_TODO = "Each line is unit,cycle,rul: the true RUL of an engine after that cycle; a failure at cycle 200 is 17,200,0."


def _fault(row: list[str], lines: dict[int, int], number: int) -> str:
    if len(row) != len(HEADER):
        return f"{len(row)} fields, not {len(HEADER)}"
    try:
        unit, cycle, rul = (int(field) for field in row)
    except ValueError:
        return "a field is no whole number"
    if not (1 <= unit <= MAX_COUNT and 1 <= cycle <= MAX_COUNT):
        return f"units and cycles count from 1, to {MAX_COUNT}"
    if not 0 <= rul <= MAX_RUL:
        return f"a RUL is from 0 to {MAX_RUL} cycles"
    if unit in lines:
        return f"engine {unit} stands in line {lines[unit]} already"
    lines[unit] = number
    return ""


def run(context: Context, fleet: str, path: Path) -> Exit:
    """Check, upload, and say what happens with it."""
    out, target, stack = context.out, context.target, context.stack
    try:
        truth = check(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"The file cannot be read: {error}", where=str(path), todo="Name a CSV file.") from error
    endpoints.get(target, stack, fleet)
    digest = hashlib.sha256(truth.content).hexdigest()[:8]
    key = f"{PREFIX}{fleet}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{digest}.csv"
    target.client("s3").put_object(Bucket=stack.bucket, Key=key, Body=truth.content, ContentType="text/csv")
    location = f"s3://{stack.bucket}/{key}"
    out.document({"fleet": fleet, "engines": truth.units, "object": location})
    out.ok(f"The truth of {truth.units} engines of {escape(fleet)} is at {escape(location)}")
    out.line("The next run of monitoring compares it with the predictions that were captured of these engines.")
    out.next(f"onwing drift run {fleet}   (or wait for the schedule)", f"onwing drift report {fleet} --quality")
    return Exit.OK
