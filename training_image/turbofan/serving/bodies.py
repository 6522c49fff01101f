"""Bodies of requests become raw rows of engines, or an error that says what is wrong and where.

Reading numbers is much of what a request costs, so it is done twice: quickly, by a JSON parser in C++, where nothing is
odd; line by line where the quick way gave up, to find the very line and column. Values are not held to the ranges of
`cmapss`: what an engine really measured must be answered, and seen by the drift monitor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import msgspec
import numpy as np
import simdjson
from cmapss import COLUMNS, MAX_COUNT

from turbofan.features import CYCLE, UNIT, Bools, Floats, Ints, engine_offsets

CSV, JSON = "text/csv", "application/json"
WIDTH = len(COLUMNS)

BLOCK = 64 << 10  # bytes read at a time: what is made of them stays in the processor's cache, which halves the time

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NOT_FINITE = re.compile(rb"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_ODD = re.compile(rb"[^\t\x20-\x7e]")
_SPACE, _TAB, _LINE_FEED, _COMMA = b" \t\n,"


class RequestError(Exception):
    """A request that cannot be answered, by its sender's fault: HTTP status, a code for programs, what and where."""

    def __init__(self, status: int, code: str, message: str, where: str) -> None:
        super().__init__(f"{status} {code}: {message} [{where}]")
        self.status = status
        self.code = code
        self.message = message
        self.where = where


@dataclass(frozen=True)
class Engines:
    """The engines of one request, in order of appearance."""

    raw: Floats  # (n, 26), finite
    offsets: Ints  # (n_engines + 1,): where engines begin

    @property
    def units(self) -> list[int]:
        """Number of each engine."""
        return [int(unit) for unit in self.raw[self.offsets[:-1], UNIT]]

    @property
    def cycles(self) -> list[int]:
        """The cycle that each engine's answer is for: its last one."""
        return [int(cycle) for cycle in self.raw[self.offsets[1:] - 1, CYCLE]]


class _Instance(msgspec.Struct):
    """One engine of a JSON request."""

    rows: list[list[float]]
    unit: int | None = None


class _Instances(msgspec.Struct):
    """A JSON request."""

    instances: list[_Instance | list[list[float]]]


_instances = msgspec.json.Decoder(_Instances)


def read(kind: str, body: bytes) -> Engines:
    """The engines in a body of media type `kind`, CSV or JSON. Raises RequestError, status 400."""
    return read_csv(body) if kind == CSV else read_json(body)


def read_csv(body: bytes) -> Engines:
    """Rows of 26 numbers, separated by commas or by blanks; an engine's rows stand together."""
    body = body.rstrip()
    if not body:
        raise _bad("empty", "there are no rows: send 26 numbers a line", "the body")
    body += b"\n"
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n")
    raw = _read_lines(body)

    def place(row: int, column: int) -> str:
        return f"line {row + 1}, column {COLUMNS[column]}"

    offsets = engine_offsets(raw[:, UNIT])
    _check_counts(raw, offsets, place)
    first_rows: dict[float, int] = {}
    for row in offsets[:-1].tolist():
        first = first_rows.setdefault(raw[row, UNIT], row)
        if first != row:
            raise _bad(
                "unit_sequence",
                f"engine {raw[row, UNIT]:.0f} comes again, its rows began in line {first + 1}: keep each engine's rows "
                "together",
                place(row, UNIT),
            )
    return Engines(raw, offsets)


def read_json(body: bytes) -> Engines:
    """{"instances": […]}, each one engine: {"unit": 1, "rows": [[26 numbers], …]}, or the list of rows alone."""
    if not body.strip():
        raise _bad("empty", 'there is nothing: send {"instances": [{"rows": [[26 numbers], ...]}, ...]}', "the body")
    try:
        instances = _instances.decode(body).instances
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        raise _bad("instances", message.replace("`", "'"), path.strip("`$.") or "the body") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _bad("json", f"this is not JSON (NaN and Infinity are not, either): {error}", "the body") from error
    if not instances:
        raise _bad("empty", "there are no instances", "instances")

    histories = [given.rows if isinstance(given, _Instance) else given for given in instances]
    offsets = np.cumsum([0, *map(len, histories)], dtype=np.int64)
    paths = [f"instances[{i}]{'.rows' if isinstance(given, _Instance) else ''}" for i, given in enumerate(instances)]
    for path, rows in zip(paths, histories, strict=True):
        if not rows:
            raise _bad("empty", "the engine has no rows", path)
        if set(map(len, rows)) != {WIDTH}:
            row = next(i for i, values in enumerate(rows) if len(values) != WIDTH)
            raise _bad("columns", _wrong_width(len(rows[row])), f"{path}[{row}]")
    count = int(offsets[-1]) * WIDTH
    values = chain.from_iterable(chain.from_iterable(histories))
    raw = np.fromiter(values, np.float64, count).reshape(-1, WIDTH)

    def place(row: int, column: int) -> str:
        instance = int(np.searchsorted(offsets, row, side="right")) - 1
        return f"{paths[instance]}[{row - offsets[instance]}][{column}] ({COLUMNS[column]})"

    _check_counts(raw, offsets, place)
    for i, given in enumerate(instances):
        units = raw[offsets[i] : offsets[i + 1], UNIT]
        expected = units[0] if not isinstance(given, _Instance) or given.unit is None else given.unit
        others = np.flatnonzero(units != expected)
        if len(others):
            row = int(offsets[i] + others[0])
            raise _bad(
                "unit_sequence",
                f"a row of engine {raw[row, UNIT]:.0f} stands among those of engine {expected:.0f}: give each engine "
                "an instance of its own",
                place(row, UNIT),
            )
    return Engines(raw, offsets)


def _bad(code: str, message: str, where: str) -> RequestError:
    return RequestError(400, code, message, where)


def _wrong_width(found: int) -> str:
    return f"there {'is' if found == 1 else 'are'} {found} column{'' if found == 1 else 's'} instead of {WIDTH}"


def _read_lines(body: bytes) -> Floats:
    """All rows (n, 26) of lines that each end with a line feed."""
    blocks: list[Floats] = []
    start, line = 0, 1
    while start < len(body):
        end = body.find(b"\n", start + BLOCK) + 1 or len(body)
        block = body[start:end]
        rows = _read_block(block)
        if rows is None:
            lines = block[:-1].split(b"\n")
            rows = np.array([_read_line(number, text) for number, text in enumerate(lines, start=line)])
        blocks.append(rows)
        start, line = end, line + len(rows)
    return np.concatenate(blocks)


def _read_block(block: bytes) -> Floats | None:
    """The rows of some of the lines, or None if anything is odd about them."""
    commas = block.count(b",")
    blanks = b" " in block or b"\t" in block
    if (commas and blanks) or b"[" in block:
        return None
    array = _commas_only(block, commas) if commas else _blanks_only(block)
    if array is None:
        return None
    # A JSON parser that fills a buffer of doubles is six times as fast as numpy's readers.
    try:
        parsed = simdjson.Parser().parse(b"[" + array + b"]")
        assert isinstance(parsed, simdjson.Array)
        values = parsed.as_buffer(of_type="d")
    except (ValueError, TypeError, RuntimeError):  # no number; no number at all; an integer beyond 64 bits
        return None
    return np.frombuffer(values).reshape(-1, WIDTH)


def _commas_only(block: bytes, commas: int) -> bytes | None:
    """Lines with commas as the inside of one JSON array, or None if some line has not as many as it should."""
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == _LINE_FEED) + 1
    if commas != (WIDTH - 1) * len(ends):
        return None
    counts = np.add.reduceat(text == _COMMA, np.concatenate(([0], ends[:-1])), dtype=np.int64)
    return None if (counts != WIDTH - 1).any() else block[:-1].replace(b"\n", b",")


def _blanks_only(block: bytes) -> bytes | None:
    """Lines with blanks or tabs as the inside of one JSON array, or None if some line has not 26 fields."""
    text = np.frombuffer(block, np.uint8)
    newline = text == _LINE_FEED
    separator = newline | (text == _SPACE) | (text == _TAB)
    ends = np.flatnonzero(separator[1:] & ~separator[:-1]) + 1  # of fields
    lines = np.flatnonzero(newline)
    last, first = ends[WIDTH - 1 :: WIDTH], ends[WIDTH::WIDTH]  # each line's last field, and the next one's first
    if len(ends) != WIDTH * len(lines) or (lines < last).any() or (lines[:-1] > first).any():
        return None
    array = text.copy()
    array[ends[:-1]] = _COMMA
    return array.tobytes()


def _read_line(number: int, line: bytes) -> list[float]:
    """The numbers of one line."""
    where = f"line {number}"
    if odd := _ODD.search(line):
        found = f"byte 0x{line[odd.start()]:02x} at position {odd.start() + 1}"
        raise _bad("encoding", f"{found} does not belong in plain ASCII text", where)
    fields = [field.strip() for field in line.split(b",")] if b"," in line else line.split()
    if not fields:
        raise _bad("blank_line", "the line is blank", where)
    if not any(map(_NUMBER.fullmatch, fields)):
        message = f"the line has no number at all: it starts with {_shown(line)}; send rows without a header"
        raise _bad("number", message, where)
    if len(fields) != WIDTH:
        raise _bad("columns", _wrong_width(len(fields)), where)
    return [_number(field, f"{where}, column {name}") for field, name in zip(fields, COLUMNS, strict=True)]


def _number(field: bytes, where: str) -> float:
    if not field:
        raise _bad("number", "the value is missing", where)
    if not _NUMBER.fullmatch(field) and not _NOT_FINITE.fullmatch(field):
        raise _bad("number", f"{_shown(field)} is not a number", where)
    value = float(field)
    if not math.isfinite(value):
        raise _bad("finite", f"{_shown(field)} is not a finite number", where)
    return value


def _check_counts(raw: Floats, offsets: Ints, place: Callable[[int, int], str]) -> None:
    """Unit and cycle are whole numbers from 1, and the cycles of an engine rise. Gaps are allowed: rows get lost."""
    counts = raw[:, : CYCLE + 1]
    wrong: Bools = (counts < 1) | (counts > MAX_COUNT) | (counts != np.floor(counts))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        message = f"{counts[row, column]:g} is not a whole number from 1 to {MAX_COUNT}"
        raise _bad("integer", message, place(row, column))
    stuck = np.diff(raw[:, CYCLE]) <= 0
    stuck[offsets[1:-1] - 1] = False
    if stuck.any():
        row = int(stuck.argmax()) + 1
        before, cycle = (f"{raw[i, CYCLE]:.0f}" for i in (row - 1, row))
        raise _bad(
            "cycle_sequence",
            f"cycle {cycle} of engine {raw[row, UNIT]:.0f} follows cycle {before}: sort each engine's rows by cycle",
            place(row, CYCLE),
        )


def _shown(text: bytes, width: int = 40) -> str:
    """A piece of the body, short and harmless enough for a message."""
    start = text[:width].decode("ascii", "backslashreplace")
    return repr(start + "..." if len(text) > width else start)
