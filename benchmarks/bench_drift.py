"""How often monitoring alarms without drift, and how often with it, on C-MAPSS: `make bench ARGS=drift`.

Engines of each fleet's training file are split at random, PARTITIONS times, into those that a stand-in model learns
from (fit), those that it does not (calibration) and those that traffic is drawn from (unseen). The baselines of
inputs and predictions come from fit and calibration together: they are cross-fitted. Nothing of the unseen engines is
in either.
A draw is a window of 5 or 20 unseen engines, each cut off at a random cycle; a fault affects every engine from the
window's start, that is all of its RECENT_ROWS newest rows. Every rule judges the same draws. The stand-in model is
a small neural network on means of the features over 10, 40 and all cycles, and age.

Environment: CMAPSS_DIR; BENCH_DRIFT=quick for a tenth of the draws; BENCH_DRIFT_DOCS=1 to write docs/drift.png and the
table in docs/drift.md.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cmapss
import numpy as np
from turbofan.drift import DriftBaseline, cut_ages
from turbofan.drift_predictions import CUTS, PredictionBaseline
from turbofan.drift_summary import RECENT_ROWS, Normal, recent_rows
from turbofan.features import (
    FIRST_SENSOR,
    UNIT,
    Features,
    Floats,
    Ints,
    engine_offsets,
    run_to_failure_rul,
    window_rows,
)

from benchmarks import drift_rules

FLEETS = ("FD001", "FD002", "FD003", "FD004")
PARTITIONS, DRAWS = 20, 200
FIT, CALIBRATION = 0.4, 0.3  # of the engines; the rest is unseen
SIZES = (5, 20)
CEILING = 125.0
STEPS = 250_000  # rows that the stand-in learns from, however many there are
FIRST_CYCLE = RECENT_ROWS
# Every rule looks at faulty draws, but the slower ones at these many of each partition only.
RULE_DRAWS = 50
BOOTSTRAPS = 2000
SCENARIOS = (
    "bias 1 σ",
    "gain 1 %",
    "stuck",
    "noise ×3",
    "dropped out",
    "°R read as K",
    "K read as °R",
    "model +15 cycles",
)
REPORTED = ("bias 0.5 σ", "bias 1 σ, half the engines", "model +10 cycles", "model ×0.8")
RAMP = 0.05  # σ added from window to window
RAMP_WINDOWS = 40
BARS = {"false": 0.05, "detected": 0.90}
OTHER_FLEETS = {"second fault mode (FD003, late life)": "FD003", "new regimes (FD002)": "FD002"}
LATE = 0.75  # of a life
NO_DATA = "CMAPSS_DIR does not hold the C-MAPSS files"


@dataclass(frozen=True)
class Engines:
    """Rows of some engines (n, 26) and what a model says after each of them."""

    raw: Floats
    offsets: Ints
    answers: Floats  # (n,) in cycles

    @property
    def count(self) -> int:
        """How many engines."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Split:
    """The engines of a fleet's training file, parted for one partition."""

    known: Engines  # fit and calibration
    ends: Ints  # (known engines, CUTS): rows after which the known are looked at
    unseen: Engines
    random: np.random.Generator  # what is drawn next

    @classmethod
    def of(cls, directory: Path, fleet: str, number: int, answers: Callable[[Floats, Ints, Ints], Floats]) -> Split:
        """Partition `number`; `answers` says of rows, offsets and the engines of fit what a model answers, (n,)."""
        random = np.random.default_rng([number, int(fleet[-1])])
        raw = read_rows(directory, f"train_{fleet}")
        offsets = engine_offsets(raw[:, UNIT])
        engines = len(offsets) - 1
        order = random.permutation(engines)
        first, second = round(engines * FIT), round(engines * (FIT + CALIBRATION))
        answered = answers(raw, offsets, order[:first])

        def part(chosen: Ints) -> Engines:
            rows = np.concatenate([np.arange(offsets[e], offsets[e + 1]) for e in chosen])
            return Engines(raw[rows], engine_offsets(raw[rows, UNIT]), answered[rows])

        known = part(order[:second])
        return cls(known, cut_ages(known.offsets, random, CUTS), part(order[second:]), random)


def run() -> dict[str, Any]:
    """Every figure of docs/drift.md; says so when CMAPSS_DIR does not hold the data."""
    directory = data_folder()
    if directory is None:
        return {"skipped": NO_DATA}
    quick = os.environ.get("BENCH_DRIFT") == "quick"
    partitions = 4 if quick else PARTITIONS
    started = time.perf_counter()
    jobs = [
        (str(directory), fleet, number, DRAWS // 4 if quick else DRAWS)
        for number in range(partitions)
        for fleet in FLEETS
    ]
    parts = []
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, part in enumerate(pool.map(_partition, *zip(*jobs, strict=True)), start=1):
            parts.append(part)
            if done % len(FLEETS) == 0:
                print(
                    f"  {done // len(FLEETS)}/{partitions} partitions, {_running(parts)}", file=sys.stderr, flush=True
                )
    result = summarise(parts) | {"partitions": partitions, "draws": jobs[0][3]}
    result["seconds"] = round(time.perf_counter() - started, 1)
    if os.environ.get("BENCH_DRIFT_DOCS"):
        from benchmarks import drift_docs

        drift_docs.write(result)
    return result


def _running(parts: list[dict[str, Any]]) -> str:
    rates = [np.mean([part["false"][str(size)]["onwing"] for part in parts]) for size in SIZES]
    return "false alarms " + ", ".join(f"{100 * rate:.1f} % at {size}" for size, rate in zip(SIZES, rates, strict=True))


def data_folder() -> Path | None:
    """Where CMAPSS_DIR holds the training files, if it does."""
    directory = Path(os.environ.get("CMAPSS_DIR", "data/cmapss"))
    return directory if any(path.is_file() for path in _files(directory, "train_FD004")) else None


def _files(directory: Path, name: str) -> tuple[Path, ...]:
    return directory / f"{name}.txt", directory / f"{name}.txt.gz"


def _read(directory: Path, name: str) -> Floats:
    path = next(filter(Path.is_file, _files(directory, name)))
    return np.frombuffer(cmapss.read_table(path).values).reshape(-1, len(cmapss.COLUMNS)).copy()


_cache: dict[str, Floats] = {}


def read_rows(directory: Path, name: str) -> Floats:
    """A file of the data set, (n, 26); read once."""
    if name not in _cache:
        _cache[name] = _read(directory, name)
    return _cache[name]


def _partition(folder: str, fleet: str, number: int, draws: int) -> dict[str, Any]:
    """All rates of one partition of one fleet."""
    directory = Path(folder)
    split = Split.of(directory, fleet, number, _stand_in)
    known = split.known
    drift = DriftBaseline.fit(known.raw, known.offsets, seed=number)
    # As the evaluation job does: the engines that the model learnt from, and those that it did not.
    answered = known.answers[split.ends - 1]
    predictions = PredictionBaseline.fit(drift, known.raw, known.offsets, split.ends, answered, number)
    rules = drift_rules.Rules.fit(known.raw)
    trial = _Trial(drift, predictions, rules, Draws(split.unseen, drift.reference.normal, split.random, draws))
    result: dict[str, Any] = {"fleet": fleet, "partition": number, "false": {}, "detected": {}, "ramp": {}}
    for size in SIZES:
        result["false"][str(size)] = trial.rates("clean", size, draws)
        result["detected"][str(size)] = {
            name: trial.rates(name, size, RULE_DRAWS if draws > RULE_DRAWS else draws) for name in SCENARIOS + REPORTED
        }
        result["ramp"][str(size)] = trial.ramp(size)
    if fleet == "FD001":
        result["fleets"] = {
            name: trial.foreign(read_rows(directory, f"train_{other}"), LATE if "late" in name else 0.0)
            for name, other in OTHER_FLEETS.items()
        }
    return result


def _stand_in(raw: Floats, offsets: Ints, fit: Ints) -> Floats:
    """What a model trained on engines `fit` says after each row, in cycles (n,)."""
    from sklearn.neural_network import MLPRegressor

    rows = np.concatenate([np.arange(offsets[e], offsets[e + 1]) for e in fit])
    features = Features.fit(raw[rows])
    inputs, _ = features.transform(raw, offsets)
    sensors = len(features.sensors)
    values = np.vstack((np.zeros(sensors), np.cumsum(inputs[:, :sensors], axis=0, dtype=np.float64)))
    parts = []
    for length in (10, 40):
        begin = window_rows(offsets, length)[:, 0]
        ends = np.arange(len(raw)) + 1
        parts.append((values[ends] - values[begin]) / (ends - begin)[:, None])
    inputs = np.hstack((*parts, inputs[:, sensors:]))
    chosen = rows[::2]
    model = MLPRegressor(
        hidden_layer_sizes=(32,),
        alpha=1.0,
        learning_rate_init=0.003,
        max_iter=max(10, STEPS // len(chosen)),
        n_iter_no_change=1000,
        random_state=0,
    )
    labels = np.minimum(run_to_failure_rul(offsets), CEILING) / CEILING
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it stops at max_iter is meant
        model.fit(inputs[chosen], labels[chosen])
    return np.clip(model.predict(inputs) * CEILING, 0.0, CEILING)


class Draws:
    """Windows of one partition's unseen engines, as they are and with faults."""

    def __init__(self, unseen: Engines, normal: Normal, random: np.random.Generator, draws: int) -> None:
        self.unseen, self.normal, self.random, self.draws = unseen, normal, random, draws
        self.moving = np.flatnonzero(self._moves(normal))
        self.windows = {size: self.of(unseen, size) for size in SIZES}

    @staticmethod
    def _moves(normal: Normal) -> Any:
        """Sensors that vary within a regime at all, (21,): the others have no σ, no noise, and cannot be seen stuck."""
        several = np.array([max((len(each) for each in levels), default=2) > 1 for levels in normal.levels])
        return ~normal.few | several

    def of(self, engines: Engines, size: int, least: float = 0.0) -> tuple[Ints, Ints]:
        """Starts and ends of the histories of each window of such engines, both (draws, size)."""
        picked = np.array([self.random.choice(engines.count, size, replace=False) for _ in range(self.draws)])
        starts, stops = engines.offsets[picked], engines.offsets[picked + 1]
        lengths = stops - starts
        first = np.maximum(np.minimum(FIRST_CYCLE, lengths), np.ceil(least * lengths).astype(np.int64))
        return starts, starts + first + np.floor(self.random.random(picked.shape) * (lengths - first + 1)).astype(
            np.int64
        )

    def recent(self, scenario: str, size: int) -> Floats:
        """Recent rows (draws * size, rows, 26) with the fault; each draw has a sensor of its own."""
        starts, ends = self.windows[size]
        recent = recent_rows(self.unseen.raw, starts.ravel(), ends.ravel())
        if scenario == "clean" or scenario.startswith("model"):
            return recent
        normal = self.normal
        choice = {"dropped out": np.arange(21), "gain 1 %": np.arange(21)}.get(scenario, self.moving)
        if scenario.startswith(("°R", "K ")):
            choice = np.arange(4)
        if scenario == "stuck":
            choice = np.flatnonzero(~normal.few | (len(normal.mean) > 1))
        sensor = np.repeat(self.random.choice(choice, self.draws), size)
        at = np.arange(len(recent))
        column = FIRST_SENSOR + sensor
        values = recent[at, :, column]
        regime, present, _ = normal.assign(recent)
        sigma = np.where(present, normal.std[regime, sensor[:, None]], 0.0)
        if scenario.startswith("bias"):
            step = 0.5 if "0.5" in scenario else 1.0
            sign = np.repeat(self.random.choice((-1.0, 1.0), self.draws), size)[:, None]
            changed = values + sign * step * sigma
        elif scenario == "gain 1 %":
            changed = values * 1.01
        elif scenario == "stuck":
            first = np.argmax(present, axis=1)
            changed = np.where(present, values[at, first][:, None], np.nan)
        elif scenario == "noise ×3":
            noise = normal.noise[regime, sensor[:, None]] * sigma
            changed = values + np.sqrt(8.0) * noise * self.random.standard_normal(values.shape)
        elif scenario == "dropped out":
            changed = np.where(present, 0.0, np.nan)
        elif scenario == "°R read as K":
            changed = values * 5 / 9
        else:
            changed = values * 9 / 5
        if "half" in scenario:
            healthy = (np.arange(len(recent)) % size) >= size // 2
            changed[healthy] = values[healthy]
        recent[at, :, column] = changed
        return recent


class _Trial:
    """What each rule says to the draws of one partition."""

    def __init__(
        self, drift: DriftBaseline, predictions: PredictionBaseline, rules: drift_rules.Rules, draws: Draws
    ) -> None:
        self.drift, self.predictions, self.rules, self.draws = drift, predictions, rules, draws

    def rates(self, scenario: str, size: int, rule_draws: int) -> dict[str, float]:
        """Share of the draws that each rule alarms at."""
        starts, ends = self.draws.windows[size]
        recent = self.draws.recent(scenario, size)
        answered = self.draws.unseen.answers[ends.ravel() - 1]
        if scenario.startswith("model +"):
            answered = np.minimum(answered + float(scenario.split()[1]), CEILING)
        elif scenario.startswith("model ×"):
            answered = answered * float(scenario.removeprefix("model ×"))
        which = np.arange(len(recent)).reshape(-1, size)
        inputs = self._inputs(recent, which) > 1.0
        expected = self._expected(starts.ravel(), ends.ravel(), size)
        models = self.predictions.statistics(expected, answered, which) > 1.0
        found = {
            "onwing": float((inputs | models).mean()),
            "inputs": float(inputs.mean()),
            "model": float(models.mean()),
        }
        shown = recent.reshape(-1, size * RECENT_ROWS, recent.shape[2])[:rule_draws]
        return found | self.rules.rates(shown)

    def _inputs(self, recent: Floats, which: Ints) -> Floats:
        """Largest ratio of an input's statistic to its threshold in each window, (draws,)."""
        summary = self.drift.reference.normal.summarise(recent)
        return self.drift.statistics(summary, which).max(axis=1)

    def _expected(self, starts: Ints, ends: Ints, size: int) -> Floats:
        """What the model is expected to say to the histories as they are: the model's own faults are judged by it."""
        key = f"expected {size}"
        if key not in self.__dict__:
            self.__dict__[key] = self.predictions.expected(self.drift, self.draws.unseen.raw, starts, ends)
        return self.__dict__[key]

    def ramp(self, size: int) -> dict[str, float]:
        """Windows until a bias of one sensor that grows by RAMP σ a window is seen: median and nine tenths."""
        starts, ends = self.draws.windows[size]
        draws = min(50, self.draws.draws)
        clean = recent_rows(self.draws.unseen.raw, starts[:draws].ravel(), ends[:draws].ravel())
        normal = self.drift.reference.normal
        regime, _, _ = normal.assign(clean)
        sensor = np.repeat(self.draws.random.choice(self.draws.moving, draws), size)
        at = np.arange(len(clean))
        which = at.reshape(-1, size)
        seen = np.full(draws, RAMP_WINDOWS + 1)
        for window in range(1, RAMP_WINDOWS + 1):
            recent = clean.copy()
            recent[at, :, FIRST_SENSOR + sensor] += RAMP * window * normal.std[regime, sensor[:, None]]
            seen = np.where((self._inputs(recent, which) > 1.0) & (seen > window), window, seen)
            if (seen <= window).all():
                break
        return {"median": float(np.median(seen)), "p90": float(np.quantile(seen, 0.9))}

    def foreign(self, raw: Floats, least: float) -> dict[str, float]:
        """Share of windows of 20 engines of another fleet that each rule alarms at."""
        offsets = engine_offsets(raw[:, UNIT])
        engines = Engines(raw, offsets, np.zeros(len(raw)))
        starts, ends = self.draws.of(engines, 20, least)
        recent = recent_rows(raw, starts.ravel(), ends.ravel())
        which = np.arange(len(recent)).reshape(-1, 20)
        rate = float((self._inputs(recent, which) > 1.0).mean())
        shown = recent.reshape(-1, 20 * RECENT_ROWS, recent.shape[2])[:RULE_DRAWS]
        return {"onwing": rate} | self.rules.rates(shown)


def summarise(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Pooled rates, their intervals over partitions, and whether the bars are met."""
    rules = ("onwing", *drift_rules.NAMES)
    random = np.random.default_rng(0)
    numbers = sorted({part["partition"] for part in parts})

    def pooled(values: dict[int, list[float]]) -> dict[str, float]:
        each = np.array([np.mean(values[number]) for number in numbers])
        again = random.choice(each, (BOOTSTRAPS, len(each))).mean(axis=1)
        low, high = np.quantile(again, (0.025, 0.975))
        return {"rate": round(float(each.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}

    def gather(read: Any, chosen: list[dict[str, Any]]) -> dict[str, float]:
        values: dict[int, list[float]] = {number: [] for number in numbers}
        for part in chosen:
            values[part["partition"]].append(read(part))
        return pooled(values)

    false = {
        size: {
            where: {
                rule: gather(lambda p, s=size, r=rule: p["false"][s][r], chosen) for rule in (*rules, "inputs", "model")
            }
            for where, chosen in _by_fleet(parts).items()
        }
        for size in map(str, SIZES)
    }
    detected = {
        size: {
            scenario: {
                where: {
                    rule: gather(lambda p, s=size, c=scenario, r=rule: p["detected"][s][c][r], chosen) for rule in rules
                }
                for where, chosen in _by_fleet(parts).items()
            }
            for scenario in SCENARIOS + REPORTED
        }
        for size in map(str, SIZES)
    }
    first = [part for part in parts if "fleets" in part]
    fleets = {
        name: {rule: gather(lambda p, n=name, r=rule: p["fleets"][n][r], first) for rule in rules}
        for name in OTHER_FLEETS
    }
    ramp = {
        size: {key: round(float(np.mean([part["ramp"][size][key] for part in parts])), 1) for key in ("median", "p90")}
        for size in map(str, SIZES)
    }
    pooled_false = gather(lambda p: float(np.mean([p["false"][str(s)]["onwing"] for s in SIZES])), parts)
    missed = [f"false alarms {pooled_false['rate']}"] if pooled_false["rate"] > BARS["false"] else []
    missed += [
        f"{scenario} at {size}: {detected[size][scenario]['all']['onwing']['rate']}"
        for size in map(str, SIZES)
        for scenario in SCENARIOS
        if detected[size][scenario]["all"]["onwing"]["rate"] < BARS["detected"]
    ]
    missed += [
        f"{name}: {each['onwing']['rate']}"
        for name, each in fleets.items()
        if each["onwing"]["rate"] < BARS["detected"]
    ]
    return {
        "false": false,
        "false_pooled": pooled_false,
        "detected": detected,
        "fleets": fleets,
        "ramp": {"sigma_per_window": RAMP} | ramp,
        "missed": missed,
    }


def _by_fleet(parts: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {"all": parts} | {fleet: [part for part in parts if part["fleet"] == fleet] for fleet in FLEETS}


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
