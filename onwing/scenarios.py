"""Faults and changes of the world, put into the histories of real engines: named scenarios, as pure functions.

A history is a list of rows, a row the 26 numbers of a C-MAPSS file. A fault holds from an engine's first row on, as if
it had been there since the last overhaul, in every engine; only `ramp` grows as the engine ages.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cmapss

from onwing.errors import UsageError
from onwing.predict import Engine

Row = list[float]
History = list[Row]
Regime = tuple[int, int]

FIRST_SENSOR: Final = cmapss.COLUMNS.index("s1")
KELVIN: Final = 5 / 9  # of a degree Rankine
RAMP_CYCLES: Final = 100  # in which a ramp grows by its size
LATE_CYCLES: Final = (5, 30)  # remaining useful life of an engine that is late in its life
EARLY_ROWS: Final = 30  # rows at either end of a life between which a fault shows
_DECIMALS: Final = (0, 0, *(column.decimals for column in cmapss.MEASUREMENTS))
_OUTER_FAULT: Final = cmapss.COLUMNS.index("s7")  # P30 falls with a fault of the HPC, and rises with one of the fan


@dataclass(frozen=True)
class Scenario:
    """One change. `size` is its default in `unit`; `sensors` are those that it is in unless others are named.

    `source`: whose engines are sent, the fleet's "own", those of a fleet in six "regimes", or with a second "fault".
    """

    name: str
    says: str
    size: float | None = None
    unit: str = ""
    sensors: tuple[str, ...] = ()
    source: str = "own"


# T50, the temperature behind the turbine, is what engines are first judged by: EGT.
_ONE: Final = ("s4",)
SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("clean", "the engines as they are"),
        Scenario("bias", "reads higher by {size:g} σ of its regime", 1.0, "σ", _ONE),
        Scenario("gain", "reads {size:g} % higher", 1.0, "%", _ONE),
        Scenario("stuck", "shows what it showed first, flight after flight", None, "", _ONE),
        Scenario("noise", "has {size:g} times its noise", 3.0, "×", _ONE),
        Scenario("dropout", "sends nothing but 0", None, "", _ONE),
        Scenario("kelvin", "sends kelvin instead of degrees Rankine", None, "", ("s2", "s3", "s4")),
        Scenario("regime", "engines of {fleet}, which fly in six operating regimes", source="regimes"),
        Scenario("fault", "engines of {fleet} late in their lives, whose fan fails, not the HPC", source="fault"),
        Scenario("ramp", f"reads higher by {{size:g}} σ more every {RAMP_CYCLES} cycles", 1.0, "σ", _ONE),
    )
}
# A fleet's twin: as many fault modes in six regimes; as many regimes with a second fault mode.
SOURCES: Final[Mapping[str, Mapping[str, str]]] = {
    "regimes": {"FD001": "FD002", "FD003": "FD004"},
    "fault": {"FD001": "FD003", "FD002": "FD004"},
}


@dataclass(frozen=True)
class Change:
    """A scenario made out: in which sensors, and how large."""

    scenario: Scenario
    sensors: tuple[str, ...] = ()
    size: float | None = None
    fleet: str = "another fleet"  # whose engines are sent, where it matters

    def __str__(self) -> str:
        said = self.scenario.says.format(size=self.size if self.size is not None else 0, fleet=self.fleet)
        return f"{', '.join(self.sensors)}: {said}" if self.sensors else said


def change(name: str, *, sensors: Sequence[str] = (), size: float | None = None) -> Change:
    """The scenario of that name with its own sensors and size, or with others. Raises UsageError."""
    scenario = SCENARIOS.get(name)
    if scenario is None:
        raise UsageError(f"There is no scenario '{name}'.", todo=f"Use one of: {', '.join(SCENARIOS)}.")
    unknown = [sensor for sensor in sensors if sensor not in cmapss.SENSORS]
    if unknown:
        raise UsageError(f"There is no sensor '{unknown[0]}'.", todo="The sensors are called s1 to s21.")
    if sensors and not scenario.sensors:
        raise UsageError(f"Scenario {name} is not in a sensor.", todo="Leave --sensor out.")
    if size is not None and (scenario.size is None or not math.isfinite(size)):
        raise UsageError(f"Scenario {name} has no such size.", todo="Leave --size out.")
    return Change(scenario, tuple(sensors) or scenario.sensors, scenario.size if size is None else size)


def source_fleet(scenario: Scenario, fleet: str) -> str:
    """The fleet whose engines are sent to the endpoint of `fleet`. Raises UsageError where there is none."""
    if scenario.source == "own":
        return fleet
    found = SOURCES[scenario.source].get(fleet)
    if found is None:
        raise UsageError(
            f"There are no engines for scenario {scenario.name} of {fleet}.",
            todo=f"It is there for: {', '.join(SOURCES[scenario.source])}.",
        )
    return found


def regime(row: Row) -> Regime:
    """The operating regime of a flight: altitude in 1000 ft and throttle resolver angle, whole."""
    return round(row[2]), round(row[4])


@dataclass(frozen=True)
class Spread:
    """How a fleet's sensors vary, by (regime, column): σ of all rows, and of the noise from flight to flight."""

    sigma: Mapping[tuple[Regime, int], float]
    noise: Mapping[tuple[Regime, int], float]


def spread(histories: Iterable[History]) -> Spread:
    """σ in each regime, and of it the noise: differences of flights in the same regime, one after the other, over √2.

    Means over each regime's rows; a regime with one row varies by nothing.
    """
    columns = range(FIRST_SENSOR, cmapss.columns.WIDTH)
    rows: dict[Regime, list[Row]] = {}
    steps: dict[Regime, list[tuple[Row, Row]]] = {}
    for history in histories:
        latest: dict[Regime, Row] = {}
        for row in history:
            where = regime(row)
            rows.setdefault(where, []).append(row)
            if where in latest:
                steps.setdefault(where, []).append((latest[where], row))
            latest[where] = row
    sigma: dict[tuple[Regime, int], float] = {}
    noise: dict[tuple[Regime, int], float] = {}
    for where, found in rows.items():
        pairs = steps.get(where, [])
        for column in columns:
            mean = math.fsum(row[column] for row in found) / len(found)
            sigma[where, column] = math.sqrt(math.fsum((row[column] - mean) ** 2 for row in found) / len(found))
            squares = math.fsum((after[column] - before[column]) ** 2 for before, after in pairs)
            noise[where, column] = math.sqrt(squares / (2 * len(pairs))) if pairs else 0.0
    return Spread(sigma, noise)


def apply(made: Change, history: History, found: Spread, rng: random.Random) -> History:
    """A changed copy of an engine's history. `found` is the fleet's spread, `rng` the source of noise."""
    changed = [list(row) for row in history]
    for sensor in made.sensors:
        column = cmapss.COLUMNS.index(sensor)
        for row in changed:
            row[column] = _value(made, row, column, history, found, rng)
    return changed


def _value(made: Change, row: Row, column: int, history: History, found: Spread, rng: random.Random) -> float:
    value, size, where = row[column], made.size or 0.0, regime(row)
    match made.scenario.name:
        case "bias":
            return value + size * found.sigma.get((where, column), 0.0)
        case "ramp":
            return value + size * found.sigma.get((where, column), 0.0) * row[1] / RAMP_CYCLES
        case "gain":
            return value * (1 + size / 100)
        case "noise":
            # Variances add: what is there already is one part of size² of them.
            return value + rng.gauss(0.0, math.sqrt(max(0.0, size**2 - 1)) * found.noise.get((where, column), 0.0))
        case "stuck":
            return history[0][column]
        case "dropout":
            return 0.0
        case "kelvin":
            return value * KELVIN
    raise ValueError(f"scenario {made.scenario.name} is in no sensor")


def require_variation(made: Change, found: Spread, fleet: str) -> None:
    """Raise UsageError where a change is measured by what a sensor varies by, and it never does."""
    if made.scenario.name not in ("bias", "ramp", "noise"):
        return
    for sensor in made.sensors:
        column = cmapss.COLUMNS.index(sensor)
        if not any(value > 1e-9 for (_, at), value in found.sigma.items() if at == column):
            raise UsageError(
                f"{sensor} never varies in {fleet}: {made.scenario.unit} of it is nothing.",
                todo="Choose another one: --sensor s11",
            )


def late_with_outer_fault(histories: Sequence[History], rng: random.Random) -> list[tuple[int, History]]:
    """Of run-to-failure histories: those in which P30 rises (the fan fails), cut off shortly before the end.

    Returns (place in `histories`, history). In six regimes, only flights in the regime of the first one are compared.
    """
    found = []
    for place, history in enumerate(histories):
        values = [row[_OUTER_FAULT] for row in history if regime(row) == regime(history[0])]
        ends = min(EARLY_ROWS, len(values) // 3)
        if ends and math.fsum(values[-ends:]) > math.fsum(values[:ends]):
            found.append((place, history[: max(1, len(history) - rng.randint(*LATE_CYCLES))]))
    return found


def history_of(engine: Engine) -> History:
    """An engine's rows as numbers. Raises UsageError where they are none."""
    try:
        rows = [[float(field) for field in row.replace(b",", b" ").split()] for row in engine.rows]
    except ValueError as error:
        raise UsageError(f"A row from line {engine.line} on is not made of numbers: {error}") from error
    if any(len(row) != cmapss.columns.WIDTH for row in rows):
        raise UsageError(f"A row from line {engine.line} on has not {cmapss.columns.WIDTH} columns.")
    return rows


def engine_of(history: History, unit: int, line: int = 1) -> Engine:
    """Rows as a file has them, with NASA's numbers of decimals, for the engine called `unit`."""
    return Engine(line, [text([float(unit), *row[1:]]) for row in history])


def text(row: Row) -> bytes:
    """One row of a file."""
    return b" ".join(b"%.*f" % (decimals, value) for decimals, value in zip(_DECIMALS, row, strict=True))
