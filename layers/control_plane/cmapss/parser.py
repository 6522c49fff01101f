"""The parser: text in, checked values and violations out; fast by the block, slow by the line once one is odd.

A block of lines takes the fast path when it holds nothing but numbers, 26 a line, in range and in sequence. If not, the
same block goes line by line through the slow path, which says what broke where. Both paths share the state of the
sequence, so the outcome does not depend on where blocks begin. Memory is bounded: one block, the first violations.
"""

import math
import re
from array import array
from itertools import chain
from typing import Final

from .columns import COLUMNS, MAX_RUL, MEASUREMENTS, WIDTH
from .errors import Violation
from .stream import Content, StreamProblem

MAX_LINE: Final = 1024
"""Bytes in a line without its end; NASA's longest has 170."""

_FAST: Final = b"0123456789+-.eE \t\n"
_PRINTABLE: Final = bytes(range(0x20, 0x7F)) + b"\t"
_NUMBER: Final = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NOT_FINITE: Final = re.compile(rb"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_BOM: Final = b"\xef\xbb\xbf"


class LineParser:
    """What table and RUL files have in common: text, lines and their limits.

    `run` consumes a stream; afterwards `rows`, `violation_count` and the first `limit` violations are final.
    """

    def __init__(self, file: str, limit: int) -> None:
        self.file = file
        self.limit = limit
        self.rows = 0
        self.violations: list[Violation] = []
        self.violation_count = 0
        self._line = 0  # of the last line taken
        self._rest = b""  # an unfinished line
        self._dropping = False  # inside a line over the limit
        self._stopped = False

    def run(self, content: Content) -> None:
        """Read the stream to its end (or to the first point after which nothing can be read)."""
        try:
            for piece in content:
                if not self._stopped:  # else only the digest goes on
                    self._feed(piece)
        except StreamProblem as problem:
            self.report(None, None, problem.rule, problem.message)
            return
        if self._rest:
            self.report(self._line + 1, None, "line_end", "the last line has no line end: the file may be cut off")
            self._block(self._rest + b"\n")
        if content.bytes == 0:
            self.report(None, None, "empty", "the file is empty")

    def report(self, line: int | None, column: str | None, rule: str, message: str) -> None:
        """Count a violation and keep it if it is one of the first."""
        self.violation_count += 1
        if len(self.violations) < self.limit:
            self.violations.append(Violation(self.file, line, column, rule, message))

    def _feed(self, piece: bytes) -> None:
        nul = piece.find(b"\0")
        text = self._rest + (piece if nul < 0 else piece[:nul])
        if self._dropping:
            end = text.find(b"\n") + 1
            self._dropping = end == 0
            text = text[end:] if end else b""
        end = text.rfind(b"\n") + 1
        if end:
            self._block(text[:end])
        self._rest = text[end:]
        if nul >= 0:
            self.report(self._line + 1, None, "binary", "there is a NUL byte: this is not a text file")
            self._stopped, self._rest = True, b""
        elif len(self._rest) > MAX_LINE + 1:  # one more than the limit may be the CR of a CR LF
            self._line += 1
            self._too_long(self._rest)
            self._dropping, self._rest = True, b""

    def _block(self, block: bytes) -> None:
        """Take whole lines; `block` ends with a line feed."""
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if not self._fast(block):
            for line in block[:-1].split(b"\n"):
                self._line += 1
                self._slow(line)

    def _fast(self, block: bytes) -> bool:
        """Take the block if nothing is wrong with it; otherwise leave all state as it was and return False."""
        raise NotImplementedError

    def _slow(self, line: bytes) -> None:
        """Take one line (without its end), reporting what is wrong with it."""
        raise NotImplementedError

    def _lost(self) -> None:
        """A line had to be left out: it may have been a row or not."""

    def _too_long(self, line: bytes) -> None:
        start = _shown(line)
        self.report(
            self._line, None, "line_length", f"the line is longer than {MAX_LINE} bytes: it starts with {start}"
        )
        self._lost()

    def _fields(self, line: bytes, expected: int) -> list[bytes]:
        """Split a line; reports it, and returns what is there, when it is not text or has not the columns expected."""
        if len(line) > MAX_LINE:
            self._too_long(line)
            return []
        if odd := line.translate(None, _PRINTABLE):
            if line.startswith(_BOM) and self._line == 1:
                message = "the file starts with a byte order mark: save it as plain ASCII"
            else:
                message = (
                    f"byte 0x{odd[0]:02x} at position {line.index(odd[:1]) + 1} does not belong in plain ASCII text"
                )
            self.report(self._line, None, "encoding", message)
            self._lost()
            return []
        fields = line.split()
        if not fields:
            self.report(self._line, None, "blank_line", "the line is blank")
        elif len(fields) != expected:
            are = "1 column" if len(fields) == 1 else f"{len(fields)} columns"
            self.report(self._line, None, "columns", f"the line has {are} instead of {expected}")
        return fields

    def _number(self, field: bytes, column: str) -> float | None:
        """The number in a field, or None after reporting that there is none."""
        if _NUMBER.fullmatch(field):
            value = float(field)
            if math.isfinite(value):
                return value
        elif not _NOT_FINITE.fullmatch(field):
            hint = ": use a decimal point" if b"," in field else ""
            self.report(self._line, column, "number", f"{_shown(field)} is not a number{hint}")
            return None
        self.report(self._line, column, "finite", f"{_shown(field)} is not a finite number")
        return None


class TableParser(LineParser):
    """Train and test files: 26 columns. With `keep`, `values` collects them, row-major; else it stays empty."""

    def __init__(self, file: str, limit: int, keep: bool) -> None:
        super().__init__(file, limit)
        self.values = array("d")
        self.engines = 0
        self._keep = keep
        # Where the sequence may stand: (unit, cycle) of the row before. It is one place until a row breaks it; then
        # the row may be wrong or its predecessors missing, and the next row tells. Before the first row the cycle
        # is NaN, so that no cycle follows it.
        self._places: list[tuple[float, float]] = [(0, math.nan)]

    def _fast(self, block: bytes) -> bool:
        if len(self._places) > 1 or block.translate(None, _FAST):
            return False
        lines = block.splitlines()
        rows = [line.split() for line in lines]
        if set(map(len, rows)) != {WIDTH} or max(map(len, lines)) > MAX_LINE:
            return False
        try:
            values = list(map(float, chain.from_iterable(rows)))
        except ValueError:
            return False
        for index, column in enumerate(MEASUREMENTS, start=2):
            numbers = values[index::WIDTH]
            if min(numbers) < column.low or max(numbers) > column.high:
                return False
        ((unit, cycle),) = self._places
        engines = self.engines
        for next_unit, next_cycle in zip(values[::WIDTH], values[1::WIDTH], strict=True):
            if next_unit != unit or next_cycle != cycle + 1:
                if next_unit != unit + 1 or next_cycle != 1:
                    return False
                unit = next_unit
                engines += 1
            cycle = next_cycle
        self._places = [(unit, cycle)]
        self.engines = engines
        self._line += len(lines)
        self.rows += len(lines)
        if self._keep:
            self.values += array("d", values)
        return True

    def _slow(self, line: bytes) -> None:
        fields = self._fields(line, WIDTH)
        if not fields:
            return
        if len(fields) != WIDTH:
            # The numbering mostly survives a lost column; a wrong one is not worth a second violation.
            numbers = [float(field) if _NUMBER.fullmatch(field) else math.nan for field in fields[:2]]
            self._lost()
            self._places.append((numbers[0], numbers[-1]))
            return
        if not any(map(_NUMBER.fullmatch, fields)):
            start = _shown(line)
            self.report(
                self._line, None, "number", f"the line has no number at all, like a header: it starts with {start}"
            )
            self._lost()
            return
        before = self.violation_count
        unit, cycle = (self._count(field, column) for field, column in zip(fields, COLUMNS[:2], strict=False))
        if unit is None or cycle is None:
            self._lost()
        else:
            self._follow(unit, cycle)
        values = [unit, cycle]
        for field, column in zip(fields[2:], MEASUREMENTS, strict=True):
            value = self._number(field, column.name)
            values.append(value)
            if value is not None and not column.low <= value <= column.high:
                self.report(
                    self._line,
                    column.name,
                    "range",
                    f"{_shown(field)} is outside {column.low:g} to {column.high:g} {column.unit}".rstrip()
                    + f", where {column.quantity} is plausible: check unit and column order",
                )
        if self.violation_count == before:
            self.rows += 1
            if self._keep:
                self.values.extend(value for value in values if value is not None)

    def _count(self, field: bytes, column: str) -> float | None:
        value = self._number(field, column)
        if value is not None and not value.is_integer():
            self.report(self._line, column, "integer", f"{_shown(field)} is not a whole number")
            return None
        return value

    def _follow(self, unit: float, cycle: float) -> None:
        """Check that a row follows its predecessor."""
        if any((unit, cycle) in _successors(place) for place in self._places):
            self._places = [(unit, cycle)]
            self.engines += cycle == 1
            return
        last_unit, last_cycle = self._places[0]
        if last_unit == 0 and unit != 1:
            self.report(self._line, "unit", "unit_sequence", f"the first unit is {unit:.0f} instead of 1")
        elif unit == last_unit:
            self.report(
                self._line,
                "cycle",
                "cycle_sequence",
                f"cycle {cycle:.0f} of unit {unit:.0f} stands where cycle {last_cycle + 1:.0f} is expected",
            )
        elif unit == last_unit + 1:
            self.report(
                self._line, "cycle", "cycle_sequence", f"unit {unit:.0f} starts at cycle {cycle:.0f} instead of 1"
            )
        else:
            self.report(
                self._line,
                "unit",
                "unit_sequence",
                f"unit {unit:.0f} stands where unit {last_unit:.0f} or {last_unit + 1:.0f} is expected",
            )
        self._places = [*_successors(self._places[0]), (unit, cycle)]

    def _lost(self) -> None:
        self._places = [*_successors(self._places[0]), self._places[0]]


class RulParser(LineParser):
    """RUL files: one whole number of cycles a line. With `keep`, `values` collects them."""

    def __init__(self, file: str, limit: int, keep: bool) -> None:
        super().__init__(file, limit)
        self.values: list[int] = []
        self._keep = keep

    def _fast(self, block: bytes) -> bool:
        return False  # the files are short

    def _slow(self, line: bytes) -> None:
        fields = self._fields(line, 1)
        if len(fields) != 1:
            return
        value = self._number(fields[0], "RUL")
        if value is None:
            return
        if not value.is_integer():
            self.report(self._line, "RUL", "integer", f"{_shown(fields[0])} is not a whole number of cycles")
        elif not 0 <= value <= MAX_RUL:
            self.report(self._line, "RUL", "range", f"{_shown(fields[0])} is outside 0 to {MAX_RUL} cycles")
        else:
            self.rows += 1
            if self._keep:
                self.values.append(int(value))


def _successors(place: tuple[float, float]) -> list[tuple[float, float]]:
    """The next cycle of the unit, or the first of the next unit."""
    unit, cycle = place
    return [(1, 1)] if unit == 0 else [(unit, cycle + 1), (unit + 1, 1)]


def _shown(text: bytes, width: int = 40) -> str:
    """A piece of the file, short and harmless enough for a message."""
    start = text[:width].decode("ascii", "backslashreplace")
    return repr(start + "..." if len(text) > width else start)
