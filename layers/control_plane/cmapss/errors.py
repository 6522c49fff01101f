"""What can be wrong with a file: violations, and the one error that carries them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

RULES: Final = {
    "name": "the file is called train_, test_ or RUL_, a fleet of 1 to 10 letters and digits, then .txt or .txt.gz",
    "empty": "the file holds at least one line",
    "gzip": "a compressed file is whole: header, every member and its checksum",
    "too_large": "the uncompressed content stays under the size limit",
    "binary": "the content is text: no NUL bytes",
    "encoding": "the content is plain ASCII: digits, signs, points, exponents and white space",
    "line_length": "no line is longer than the limit",
    "blank_line": "no line is blank",
    "line_end": "every line, the last one too, ends with a line feed (or CR LF); else it may be cut off",
    "columns": "each line has 26 columns (a RUL line has one)",
    "number": "each field is a decimal number",
    "finite": "no NaN and no infinity",
    "integer": "unit, cycle and RUL are whole numbers",
    "unit_sequence": "units are numbered 1, 2, 3, ... without gaps, each in one piece",
    "cycle_sequence": "cycles of a unit count 1, 2, ..., n without gaps",
    "range": "settings, sensors and RUL lie in their plausible ranges (cmapss.columns)",
    "trio": "train, test and RUL file of a data set are of one fleet",
    "rul_rows": "the RUL file has one line for each engine of the test file",
}
"""Every rule that a Violation can name, and what it demands."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule; `line` counts from 1 and `column` is a name of COLUMNS, None where neither applies."""

    file: str
    line: int | None
    column: str | None
    rule: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}, line {self.line}"
        if self.column is not None:
            where += f", column {self.column}"
        return f"{where}: {self.message} (rule: {self.rule})"

    def to_dict(self) -> dict[str, str | int | None]:
        """The five fields, ready for JSON."""
        return asdict(self)


class DataError(ValueError):
    """A file or its name breaks the format: says what is wrong, where, and what to do about it.

    `violations` holds the first violations found (empty when the name itself is wrong).
    """

    def __init__(self, what: str, where: str, remedy: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(f"{where}: {what}. {remedy}")
        self.what = what
        self.where = where
        self.remedy = remedy
        self.violations = list(violations)
