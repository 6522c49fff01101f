"""Whether requests have the form and the units of the data that the model was trained with.

Judged before any statistics, on every captured request, those among them that the server refused: columns, types,
completeness, plausible ranges. What is wrong becomes violations of Model Monitor's types, by the baseline's
constraints.json (the share of values that must be there, and of those that must have the type: 100 % unless it says
otherwise), in Model Monitor's words where it has words for it.

A single request that nobody could answer is a slip, and says nothing of what is usually sent: up to a tolerated share
of the window's requests, and always one unless that share is 0, what is wrong with them is told, but is no violation.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from cmapss import COLUMNS, MEASUREMENTS, Column

from turbofan.baseline import OURS, TOLERATED, TOLERATED_REQUESTS
from turbofan.capture import Body
from turbofan.errors import InputError
from turbofan.features import CYCLE, FIRST_SETTING, UNIT, Bools, Floats
from turbofan.outcome import violation
from turbofan.serving.bodies import CSV, JSON, WIDTH, Engines, RequestError, read

MISSING_COLUMNS, EXTRA_COLUMNS, REQUEST = "Missing columns", "Extra columns", "Request"
# No row of the eight C-MAPSS files is outside the plausible ranges: one in a hundred is no accident, and neither is one
# engine of which half the rows are.
OUTSIDE_SHARE, OUTSIDE_HISTORY = 0.01, 0.5
UNITS_NAMED = 5
DIAGNOSED_ROWS = 10_000  # of a refused request: what is wrong shows long before, and looking cell by cell is slow
SEVERE_SHARE = 0.1  # of requests, values or rows that are wrong
_NO_VALUE = frozenset({"", "nan", "+nan", "-nan", "null", "none", "na", "n/a"})
_SEQUENCES = {"unit_sequence": "unit", "cycle_sequence": "cycle"}

# Units in which a quantity is also measured: (name, factor, offset), right value = wrong value x factor + offset.
_OTHER_UNITS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "°R": (("K", 1.8, 0.0), ("°F", 1.0, 459.67), ("°C", 1.8, 491.67)),
    "psia": (("kPa", 0.14503774, 0.0), ("bar", 14.503774, 0.0)),
    "rpm": (("rad/s", 9.5492966, 0.0), ("revolutions per second", 60.0, 0.0)),
    "lbm/s": (("kg/s", 2.2046226, 0.0),),
    "1000 ft": (("ft", 0.001, 0.0), ("m", 0.0032808399, 0.0)),
    "%": (("a fraction of 1", 100.0, 0.0),),
}
# A unit is named if so many of the values that are out of range would be within the baseline's range in it, which is
# widened by this much of itself on both sides, because fleets age and fly elsewhere. Two units are named if the second
# explains nearly as many of the values as the first.
_SURE_SHARE, _MARGIN, _AS_WELL = 0.9, 0.05, 0.98


@dataclass(frozen=True)
class Constraint:
    """What constraints.json says of one column."""

    completeness: float
    is_integral: bool
    is_non_negative: bool


@dataclass(frozen=True)
class Constraints:
    """The baseline's constraints, and the range of each column in its statistics where they are known."""

    columns: Mapping[str, Constraint]
    type_share: float  # of the values that must have the column's type
    tolerated_requests: float  # share of the requests that may be broken
    is_evaluated: bool
    observed: Mapping[str, tuple[float, float]]

    @classmethod
    def from_dict(cls, constraints: Mapping[str, Any], statistics: Mapping[str, Any] | None = None) -> Constraints:
        """From constraints.json and statistics.json of Model Monitor. Raises InputError."""
        try:
            config = constraints.get("monitoring_config", {})
            tolerated = float(constraints.get(OURS, {}).get(TOLERATED, TOLERATED_REQUESTS))
            if not 0 <= tolerated <= 1:
                raise ValueError(f"{OURS}.{TOLERATED} is {tolerated:g}, no share from 0 to 1")
            observed = {
                each["name"]: (float(each["numerical_statistics"]["min"]), float(each["numerical_statistics"]["max"]))
                for each in (statistics or {}).get("features", [])
                if "numerical_statistics" in each
            }
            return cls(
                columns={
                    str(each["name"]): Constraint(
                        completeness=float(each.get("completeness", 0.0)),
                        is_integral=each.get("inferred_type") == "Integral",
                        is_non_negative=bool(each.get("num_constraints", {}).get("is_non_negative", False)),
                    )
                    for each in constraints["features"]
                },
                type_share=float(config.get("datatype_check_threshold", 1.0)),
                tolerated_requests=tolerated,
                is_evaluated=config.get("evaluate_constraints", "Enabled") == "Enabled",
                observed=observed,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"the baseline's constraints or statistics are broken ({error!r})",
                "constraints.json, statistics.json",
                "Use the files that the process job wrote under monitoring/baseline/.",
            ) from error


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the requests of a window."""

    feature: str
    check: str
    description: str
    short: str  # the same in a few words
    share: float  # of the requests, values or rows

    @property
    def violation(self) -> dict[str, str]:
        """As an entry of constraint_violations.json."""
        return violation(self.feature, self.check, self.description)


class SchemaCheck:
    """Takes the requests of a window one by one, then says what is wrong with them. Memory: some numbers a column."""

    def __init__(self, constraints: Constraints) -> None:
        self._constraints = constraints
        self.requests = self.malformed = self.rows = 0
        # By column: numbers of the right type, values that are no such number, and cells without a value.
        self._values, self._wrong, self._missing = (np.zeros(WIDTH, dtype=np.int64) for _ in range(3))
        self._wrong_examples: dict[int, str] = {}
        self._widths: Counter[int] = Counter()  # of requests, by the first wrong number of columns in them
        self._others: dict[str, tuple[int, RequestError]] = {}  # by code: how many requests, the first one's error
        low = np.array([column.low for column in MEASUREMENTS])
        floor = np.array([self._is_non_negative(column) for column in MEASUREMENTS])
        self._low = np.where(floor, np.maximum(low, 0.0), low)
        self._high = np.array([column.high for column in MEASUREMENTS])
        self._outside = [_Outside(column, constraints.observed.get(column.name)) for column in MEASUREMENTS]

    def take(self, body: Body) -> Engines | None:
        """The engines of a request, or None for one that no server of this image would answer."""
        self.requests += 1
        try:
            if body.kind not in (CSV, JSON):
                raise RequestError(415, "unsupported_media_type", f"{body.kind!r} is not known", "header Content-Type")
            engines = read(body.kind, body.content)
        except RequestError as error:
            self.malformed += 1
            self._diagnose(body, error)
            return None
        self._values += len(engines.raw)
        self._take_rows(engines)
        return engines

    def problems(self) -> list[Problem]:
        """What is wrong by the constraints, the worst first; nothing if these say that they are not to be evaluated."""
        if not self._constraints.is_evaluated:
            return []
        broken = self._request_problems() if self.malformed > self.allowed else []
        return _worst_first([*broken, *self._range_problems()])

    def tolerated(self) -> list[Problem]:
        """What is wrong with requests so few that it is no violation, the worst first."""
        if not self._constraints.is_evaluated or self.malformed > self.allowed:
            return []
        return _worst_first(self._request_problems())

    @property
    def allowed(self) -> int:
        """How many of the requests may be broken, whatever is wrong with each.

        At 1 % a window of fewer than 200 requests may have one: a single one is no pattern in any window, and a second
        one among so few is.
        """
        share = self._constraints.tolerated_requests
        # The quotient is a number with an error of its own: 0.29 x 100 is less than 29.
        return max(1, math.floor(share * self.requests + 1e-9)) if share > 0 else 0

    @property
    def completeness(self) -> dict[str, float]:
        """Share of the values that are there, by column."""
        given = self._values + self._wrong
        total = given + self._missing
        shares = np.divide(given, total, out=np.ones(WIDTH), where=total > 0)
        return {name: round(float(share), 6) for name, share in zip(COLUMNS, shares, strict=True)}

    @property
    def missing(self) -> dict[str, int]:
        """Number of cells without a value, by column."""
        return dict(zip(COLUMNS, self._missing.tolist(), strict=True))

    def _is_non_negative(self, column: Column) -> bool:
        constraint = self._constraints.columns.get(column.name)
        return constraint is not None and constraint.is_non_negative

    def _take_rows(self, engines: Engines) -> None:
        """Compare the measurements with their ranges."""
        values = engines.raw[:, FIRST_SETTING:]
        self.rows += len(values)
        outside = (values < self._low) | (values > self._high)
        for column in np.flatnonzero(outside.any(axis=0)).tolist():
            self._outside[column].take(values[:, column], outside[:, column], engines)

    def _diagnose(self, body: Body, error: RequestError) -> None:
        """Look leniently at a request that cannot be answered: for all that is wrong with it, not the first alone."""
        rows = _csv_cells(body.content) if body.kind == CSV else _json_cells(body.content) if body.kind == JSON else []
        width, is_found = 0, False
        for cells in islice(rows, DIAGNOSED_ROWS):
            if len(cells) != WIDTH:
                width = width or len(cells)
                continue
            if all(isinstance(cell, str) for cell in cells):  # a header
                continue
            for column, cell in enumerate(cells):
                if cell is None:
                    self._missing[column] += 1
                    is_found = True
                elif isinstance(cell, str) or (column in (UNIT, CYCLE) and cell != math.floor(cell)):
                    self._wrong[column] += 1
                    self._wrong_examples.setdefault(column, str(cell)[:40])
                    is_found = True
                else:
                    self._values[column] += 1
        if width:
            self._widths[width] += 1
        elif not is_found:
            count, first = self._others.get(error.code, (0, error))
            self._others[error.code] = (count + 1, first)

    def _request_problems(self) -> list[Problem]:
        """What is wrong with those that could not be answered."""
        found = [*self._width_problems(), *self._type_problems()]
        return [*found, *self._completeness_problems(), *self._other_problems()]

    def _width_problems(self) -> Iterable[Problem]:
        for feature, check, word, widths in (
            (MISSING_COLUMNS, "missing_column_check", "missing", [w for w in self._widths if w < WIDTH]),
            (EXTRA_COLUMNS, "extra_column_check", "extra", [w for w in self._widths if w > WIDTH]),
        ):
            if widths:
                count = sum(self._widths[width] for width in widths)
                observed = max(widths, key=lambda width: self._widths[width])
                yield Problem(
                    feature,
                    check,
                    f"There are {word} columns in current dataset. Number of columns in current dataset: {observed}, "
                    f"Number of columns in baseline constraints: {WIDTH}. {self._of_requests(count)} so.",
                    f"{observed} instead of {WIDTH} columns in {count} of {self.requests} requests",
                    count / self.requests,
                )

    def _type_problems(self) -> Iterable[Problem]:
        given = self._values + self._wrong
        for column in np.flatnonzero(self._wrong).tolist():
            name, share = COLUMNS[column], float(self._values[column] / given[column])
            if share < self._constraints.type_share:
                constraint = self._constraints.columns.get(name)
                kind = (
                    "Integral" if column in (UNIT, CYCLE) or (constraint and constraint.is_integral) else "Fractional"
                )
                yield Problem(
                    name,
                    "data_type_check",
                    f"Data type match requirement is not met. Expected data type: {kind}, Expected match: "
                    f"{self._constraints.type_share:.1%}. Observed: Only {_below(share)} of data is {kind}, "
                    f"e.g. {self._wrong_examples[column]!r} is not.",
                    f"{name} {self._wrong_examples[column]!r} instead of a number",
                    1 - share,
                )

    def _completeness_problems(self) -> Iterable[Problem]:
        for name, share in self.completeness.items():
            # Unit and cycle have no row in the constraints, or may have none: an engine must have both.
            constraint = self._constraints.columns.get(name)
            needed = constraint.completeness if constraint else 1.0 if name in COLUMNS[: CYCLE + 1] else 0.0
            if share < needed:
                yield Problem(
                    name,
                    "completeness_check",
                    f"Completeness requirement is not met. Expected completeness: {needed:.1%}. Observed: Only "
                    f"{_below(share)} of data is there, {self.missing[name]} values are empty, null or NaN.",
                    f"{name} missing {self.missing[name]} times",
                    1 - share,
                )

    def _range_problems(self) -> Iterable[Problem]:
        for column, outside, low, high in zip(MEASUREMENTS, self._outside, self._low, self._high, strict=True):
            share = outside.count / self.rows if self.rows else 0.0
            if share > OUTSIDE_SHARE or outside.is_history:
                texts = outside.describe(f"in {_percent(share)} of the rows", float(low), float(high))
                yield Problem(column.name, "baseline_drift_check", *texts, share)

    def _other_problems(self) -> Iterable[Problem]:
        for code, (count, error) in self._others.items():
            text = f"{self._of_requests(count)} refused ({code}), e.g.: {error.message} [{error.where}]"
            short = f"{count} of {self.requests} requests refused ({code})"
            yield Problem(_SEQUENCES.get(code, REQUEST), "data_type_check", text, short, count / self.requests)

    def _of_requests(self, count: int) -> str:
        return f"{count} of {self.requests} request{'s' if self.requests > 1 else ''} {'is' if count == 1 else 'are'}"


def _worst_first(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: -problem.share)


class _Outside:
    """The values of one column that are outside its plausible range."""

    def __init__(self, column: Column, observed: tuple[float, float] | None) -> None:
        self._column = column
        self._units = _OTHER_UNITS.get(column.unit, ())
        low, high = observed or (column.low, column.high)
        margin = _MARGIN * max(high - low, abs(high), abs(low))
        self._low, self._high = low - margin, high + margin
        self._fits = np.zeros(len(self._units), dtype=np.int64)
        self.count = self._zeros = 0
        self.is_history = False  # at least half the rows of some engine
        self._engines: set[int] = set()
        self._least, self._most = math.inf, -math.inf

    def take(self, column: Floats, outside: Bools, engines: Engines) -> None:
        """All values of the column in a request (n,), and which of them are outside."""
        counts = np.add.reduceat(outside, engines.offsets[:-1], dtype=np.int64)
        self.is_history |= bool((counts >= OUTSIDE_HISTORY * np.diff(engines.offsets)).any())
        self._engines.update(unit for unit, count in zip(engines.units, counts.tolist(), strict=True) if count)
        values = column[outside]
        self.count += len(values)
        self._zeros += int((values == 0).sum())
        self._least, self._most = min(self._least, float(values.min())), max(self._most, float(values.max()))
        for i, (_, factor, offset) in enumerate(self._units):
            with np.errstate(over="ignore"):
                right = values * factor + offset
            self._fits[i] += int(((right >= self._low) & (right <= self._high)).sum())

    def describe(self, where: str, low: float, high: float) -> tuple[str, str]:
        """A sentence, and the same in a few words; `where` says how many rows it is about."""
        column = self._column
        name = f"{column.quantity[:1].upper()}{column.quantity[1:]},"
        unit = f" {column.unit}" if column.unit else ""
        named = ", ".join(map(str, sorted(self._engines)[:UNITS_NAMED]))
        more = f" and {len(self._engines) - UNITS_NAMED} more" if len(self._engines) > UNITS_NAMED else ""
        where = f"{where} (engine{'s' if len(self._engines) > 1 else ''} {named}{more})"
        values = f"{self._least:g} to {self._most:g}"
        if self._zeros >= _SURE_SHARE * self.count:
            text = f"{name} reads 0 {where}: the sensor or its line has dropped out."
            return text, f"{column.name} reads 0"
        least = max(_SURE_SHARE * self.count, _AS_WELL * self._fits.max(initial=0))
        fitting = [unit for unit, fits in zip(self._units, self._fits.tolist(), strict=True) if fits >= least]
        if fitting:
            other = " or ".join(each for each, _, _ in fitting)
            how = f"convert it ({_conversion(*fitting[0][1:])})" if len(fitting) == 1 else "say which and convert it"
            text = f"{name} comes in {other} instead of {column.unit} {where}, values {values}: have the sender {how}."
            return text, f"{column.name} in {other} instead of {column.unit}"
        text = f"{name} is outside {low:g} to {high:g}{unit} {where}: values {values}."
        return text, f"{column.name} outside {low:g} to {high:g}{unit}"


def _conversion(factor: float, offset: float) -> str:
    parts = [f"multiply by {factor:.5g}"] if factor != 1 else []
    return " and ".join([*parts, f"add {offset:g}"] if offset else parts)


def _percent(share: float) -> str:
    """A share that is more than nothing, never rounded down to it."""
    return f"{max(share * 100, 0.001):.3g}%"


def _below(share: float) -> str:
    """A share that is less than one, never rounded up to 100 %."""
    return f"{math.floor(share * 1e4) / 100:g}%"


def _csv_cells(content: bytes) -> Iterable[list[float | str | None]]:
    """The cells of each line that is not blank: a number, None for no value, or the text that stands in its place."""
    for line in content.decode("utf-8", "replace").splitlines():
        fields = line.split(",") if "," in line else line.split()
        if fields:
            yield [_cell(field.strip()) for field in fields]


def _json_cells(content: bytes) -> Iterable[list[float | str | None]]:
    """The same of the rows in a JSON request; nothing if it has no rows where they should be."""
    try:
        document: Any = json.loads(content)  # takes NaN, which is what is looked for
        histories = [given["rows"] if isinstance(given, dict) else given for given in document["instances"]]
        for rows in histories:
            for row in rows:
                yield [
                    value if isinstance(value, str) and value.strip() else _cell("" if value is None else str(value))
                    for value in row
                ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return


def _cell(text: str) -> float | str | None:
    if text.lower() in _NO_VALUE:
        return None
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) and "_" not in text else text
