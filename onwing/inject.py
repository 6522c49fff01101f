"""`onwing drift inject`: real engines with a named change in them, sent through a fleet's endpoint."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from onwing import captured, data, deployments, endpoints, models, predict, scenarios, traffic_view
from onwing.command import Context
from onwing.console import SIMULATED, duration
from onwing.data import DataSet
from onwing.errors import Exit, UsageError
from onwing.predict import Engine
from onwing.scenarios import Change, History, Spread
from onwing.stack import Stack
from onwing.target import Target
from onwing.traffic import Replay

ENGINES, RATE, REPORTS = 40, 20.0, 3
CAPTURE_TIMEOUT = 1800.0  # seconds; on AWS captured traffic is delivered within minutes
FOREIGN_UNITS = 1000  # added to the unit numbers of another fleet's engines: they are others than the fleet's own


@dataclass(frozen=True)
class Load:
    """What will be sent: engines, each with its whole history, and how they are changed."""

    change: Change
    engines: Sequence[Engine]
    units: Sequence[int]


def load(change: Change, files: DataSet, source: DataSet, *, engines: int, seed: int) -> Load:
    """Draw engines of `source` and change them. `files` are the fleet's own, whose spread is the measure.

    Own engines are those of the official test file, which end at any age; engines late in their lives are cut from the
    training file. The same seed draws the same engines. Raises UsageError when there are too few.
    """
    rng = random.Random(seed)
    late = change.scenario.source == "fault"
    everything = histories(source, "train" if late else "test")
    found = scenarios.late_with_outer_fault(everything, rng) if late else list(enumerate(everything))
    if not 1 <= engines <= len(found):
        raise UsageError(
            f"{source.fleet} has {len(found)} engines for scenario {change.scenario.name}, not {engines}.",
            where=source.source,
            todo=f"Ask for 1 to {len(found)}: --engines {len(found)}",
        )
    measure = spread_of(change, files)
    chosen = sorted(rng.sample(found, engines), key=lambda item: item[0])
    beyond = FOREIGN_UNITS if source.fleet != files.fleet else 0
    units = [round(history[0][0]) + beyond for _, history in chosen]
    changed = [scenarios.apply(change, history, measure, rng) for _, history in chosen]
    return Load(change, [scenarios.engine_of(*pair) for pair in zip(changed, units, strict=True)], units)


def histories(files: DataSet, role: str) -> list[History]:
    """The engines of a train or test file."""
    return [scenarios.history_of(engine) for engine in predict.read(str(files.paths[role]))]


def spread_of(change: Change, files: DataSet) -> Spread:
    """How the fleet's sensors vary in its training file, for what is measured by that."""
    if not change.sensors:
        return Spread({}, {})
    found = scenarios.spread(histories(files, "train"))
    scenarios.require_variation(change, found, files.fleet)
    return found


def other_world(target: Target, stack: Stack, fleet: str, files: DataSet) -> str:
    """What to say if the fleet's champion was trained on another kind of engines, real or simulated; else empty."""
    champion = deployments.read(target, stack, fleet).champion
    if champion is None:
        return ""
    package = models.describe(target, stack, champion.package_arn)
    if package.simulated == files.simulated:
        return ""
    kinds = ("simulated", "real") if package.simulated else ("real", "simulated")
    return f"{package.name} was trained on {kinds[0]} engines, and these are {kinds[1]}: that is a change in itself."


def run(
    context: Context,
    fleet: str,
    *,
    scenario: str,
    sensors: Sequence[str],
    size: float | None,
    engines: int,
    reports: int,
    rate: float,
    seed: int,
    data_dir: Path | None,
    wait: bool = True,
    timeout: float = CAPTURE_TIMEOUT,
) -> Exit:
    """Prepare, say what it is, send it, wait until it has been captured, report. Exit code 1 if a request failed."""
    out = context.out
    made = scenarios.change(scenario, sensors=sensors, size=size)
    whose = scenarios.source_fleet(made.scenario, fleet)
    endpoint = endpoints.get(context.target, context.stack, fleet)
    files = data.resolve(fleet, data_dir, root=context.project.root)
    source = files if whose == fleet else data.resolve(whose, data_dir, root=context.project.root)
    made = Change(made.scenario, made.sensors, made.size, whose)
    with out.step(f"Preparing {engines} engines of {escape(source.fleet)}"):
        prepared = load(made, files, source, engines=engines, seed=seed)
    simulated = files.simulated or source.simulated
    out.line(f"Data: {escape(source.source)}" + (f"  {SIMULATED}" if simulated else ""))
    out.line(f"Scenario [bold]{escape(scenario)}[/]: {escape(str(made))}")
    if other := other_world(context.target, context.stack, fleet, files):
        out.warn(escape(other))
    replay = Replay(context.target, endpoint.name, prepared.engines, reports=reports, rate=rate)
    with out.step(f"Sending the last {reports} flights of each to {escape(endpoint.name)}, {rate:g} requests a second"):
        report = replay.run()
    out.document({**described(prepared, fleet, source), "traffic": report})
    traffic_view.show(out, report)
    out.line(f"Engines {_ranges(prepared.units)}, each request with the history so far; {duration(report.seconds)}")
    if wait and report.answered:
        with out.step("Waiting until they have been captured"):
            captured.wait(context.target, context.stack, endpoint.name, report, timeout)
    out.next(f"onwing drift run {fleet}   (judges what has been captured)", f"onwing drift status {fleet}")
    return Exit.FAILED if report.failed or not report.answered else Exit.OK


def described(prepared: Load, fleet: str, source: DataSet) -> Mapping[str, object]:
    """What was sent, for a report."""
    return {
        "fleet": fleet,
        "scenario": prepared.change.scenario.name,
        "change": str(prepared.change),
        "sensors": prepared.change.sensors,
        "size": prepared.change.size,
        "source": source.source,
        "simulated": source.simulated,
        "units": prepared.units,
    }


def _ranges(units: Sequence[int]) -> str:
    """1, 2, 3, 7 as 1-3, 7."""
    parts: list[list[int]] = []
    for unit in sorted(units):
        if parts and unit == parts[-1][-1] + 1:
            parts[-1].append(unit)
        else:
            parts.append([unit])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
