"""Files: read a table or a RUL file whole, or check one of any size as it streams by."""

import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .columns import WIDTH
from .errors import DataError, Violation
from .names import Role, parse_name
from .parser import LineParser, RulParser, TableParser
from .stream import MAX_BYTES, Content, Readable, StreamProblem

LIMIT: Final = 20
"""Violations kept of one file; the rest are counted."""

Source = str | os.PathLike[str] | Readable


@dataclass(frozen=True, slots=True)
class Table:
    """A train or test file that passed every check.

    `values` is row-major, `rows` * 26 doubles in the order of COLUMNS; numpy.frombuffer(table.values).reshape(-1, 26)
    shares its memory. `cycles_per_engine` counts the rows of unit 1, 2, ...
    """

    values: "array[float]"  # only Python 3.12 can subscript it at run time
    rows: int
    engines: int
    cycles_per_engine: list[int]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What check() found.

    `sha256` (hex) and `bytes` are of the uncompressed content, so a file and its .gz have the same; where reading had
    to stop (rules gzip, too_large) they cover the part that was read. `engines` of a RUL file is its number of rows.
    `violations` are the first ones, `violation_count` is all of them. `rows` counts rows without a violation.
    """

    file: str
    fleet: str
    role: Role
    gzip: bool
    rows: int
    engines: int
    bytes: int
    sha256: str
    violation_count: int
    violations: list[Violation] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No violation at all."""
        return self.violation_count == 0

    def to_dict(self) -> dict[str, Any]:
        """All fields and `ok`, ready for JSON."""
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "violations"}
        return {**fields, "ok": self.ok, "violations": [violation.to_dict() for violation in self.violations]}


def read_table(source: Source, name: str | None = None, *, max_bytes: int = MAX_BYTES) -> Table:
    """Read a train or test file, plain or gzip, from a path or a binary stream.

    `name` stands for the file in messages; by default the path's last part. Raises DataError with the first
    violations if there is any, OSError if the file cannot be read.
    """
    with _opened(source, name) as (stream, shown):
        parser = TableParser(shown, LIMIT, keep=True)
        parser.run(Content(stream, max_bytes))
    _raise_violations(parser)
    cycles = parser.values[1::WIDTH]
    starts = [row for row, cycle in enumerate(cycles) if cycle == 1]
    lengths = [end - start for start, end in zip(starts, [*starts[1:], len(cycles)], strict=True)]
    return Table(parser.values, parser.rows, parser.engines, lengths)


def read_rul(source: Source, name: str | None = None, *, max_bytes: int = MAX_BYTES) -> list[int]:
    """Read a RUL file: the remaining useful life, in cycles, of test unit 1, 2, ... Raises as read_table does."""
    with _opened(source, name) as (stream, shown):
        parser = RulParser(shown, LIMIT, keep=True)
        parser.run(Content(stream, max_bytes))
    _raise_violations(parser)
    return parser.values


def check(stream: Readable, name: str, limit: int = LIMIT, *, max_bytes: int = MAX_BYTES) -> CheckResult:
    """Check a file as it streams by, in memory that does not depend on its size.

    `name` is the bare file name: it says whether a table or a RUL file is expected. What is wrong with the content is
    in the result; raises DataError only if the name is outside the pattern, and whatever stream.read raises.
    """
    parts = parse_name(name)
    parser = RulParser(name, limit, keep=False) if parts.role == "RUL" else TableParser(name, limit, keep=False)
    content = Content(stream, max_bytes)
    parser.run(content)
    return CheckResult(
        file=name,
        fleet=parts.fleet,
        role=parts.role,
        gzip=content.gzip,
        rows=parser.rows,
        engines=parser.rows if isinstance(parser, RulParser) else parser.engines,
        bytes=content.bytes,
        sha256=content.sha256,
        violation_count=parser.violation_count,
        violations=parser.violations,
    )


def check_trio(train: CheckResult, test: CheckResult, rul: CheckResult) -> list[Violation]:
    """Check what only the three files of a data set together can break: one fleet, one RUL for each test engine."""
    found = []
    for result, role in ((train, "train"), (test, "test"), (rul, "RUL")):
        if (result.role, result.fleet) != (role, train.fleet):
            message = f"this is not the {role} file of fleet {train.fleet}"
            found.append(Violation(result.file, None, None, "trio", message))
    if rul.rows != test.engines:
        message = f"there are {rul.rows} RUL values for the {test.engines} engines of {test.file}"
        found.append(Violation(rul.file, None, None, "rul_rows", message))
    return found


def sha256(source: Source, name: str | None = None, *, max_bytes: int = MAX_BYTES) -> str:
    """Hex digest of the uncompressed content, unchecked. Raises DataError if it cannot be unpacked."""
    with _opened(source, name) as (stream, shown):
        content = Content(stream, max_bytes)
        try:
            for _ in content:
                pass
        except StreamProblem as problem:
            violation = Violation(shown, None, None, problem.rule, problem.message)
            raise DataError(problem.message, shown, "Fetch or compress the file again", [violation]) from problem
    return content.sha256


@contextmanager
def _opened(source: Source, name: str | None) -> Iterator[tuple[Readable, str]]:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        with path.open("rb") as stream:
            yield stream, name or path.name
    else:
        yield source, name or str(getattr(source, "name", "stream"))


def _raise_violations(parser: LineParser) -> None:
    if parser.violation_count:
        others = parser.violation_count - 1
        more = f" (and {others} more violation{'s' if others > 1 else ''})" if others else ""
        raise DataError(
            f"the file breaks the C-MAPSS format: {parser.violations[0]}{more}",
            parser.file,
            "Correct the file and try again",
            parser.violations,
        )
