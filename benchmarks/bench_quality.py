"""How often `turbofan quality` calls a model worse that is not, and finds one that is: prints JSON as a script.

Real engines. A cheap model (ridge regression) is fitted on half of the training engines; the official test engines are
its evaluation; the other half, which ran to failure unseen, are its production, asked at random ages until they failed.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from cmapss import read_rul, read_table
from turbofan.features import CYCLE, UNIT, Features, engine_offsets, run_to_failure_rul
from turbofan.quality_check import LEVEL, Predictions, Registered

FLEETS: tuple[str, ...] = ("FD001", "FD002", "FD003", "FD004")
ENGINES = (5, 20)
PARTITIONS, DRAWS = 20, 50
CEILING = 125.0
RIDGE = 10.0
EVERY = (1, 5, 20)  # cycles between two questions about an engine
# What is done to the predictions of a model that is worse: the first is none that is.
FAULTS: dict[str, Callable[[Any], Any]] = {
    "none": lambda rul: rul,
    "10 cycles late": lambda rul: rul + 10,
    "20 cycles late": lambda rul: rul + 20,
    "10 cycles early": lambda rul: np.maximum(rul - 10, 0),
    "RUL x 1.25": lambda rul: np.minimum(rul * 1.25, CEILING),
    "always 80": lambda rul: np.full_like(rul, 80.0),
}


def run() -> dict[str, Any]:
    """Shares of checks with a violation, at 5 and 20 engines; `skipped` when CMAPSS_DIR does not hold the files."""
    folder = Path(os.environ.get("CMAPSS_DIR", "data/cmapss"))
    found = {fleet: _fleet(folder, fleet) for fleet in FLEETS if list(folder.glob(f"train_{fleet}.txt*"))}
    if not found:
        return {"skipped": "CMAPSS_DIR holds no training file"}
    return {"level": LEVEL, "partitions": PARTITIONS, "draws": DRAWS, **found}


def _fleet(folder: Path, fleet: str) -> dict[str, Any]:
    started = time.perf_counter()
    raw, test = (_rows(folder, role, fleet) for role in ("train", "test"))
    truth = np.array(read_rul(next(folder.glob(f"RUL_{fleet}.txt*"))), dtype=np.float64)
    random = np.random.default_rng(1)
    shares: dict[int, dict[str, list[float]]] = {n: {fault: [] for fault in FAULTS} for n in ENGINES}
    errors = []
    for _ in range(PARTITIONS):
        units = random.permutation(np.unique(raw[:, UNIT]))
        known, unseen = (raw[np.isin(raw[:, UNIT], half)] for half in np.array_split(units, 2))
        model = Ridge(known)
        ends = engine_offsets(test[:, UNIT])[1:] - 1
        predicted = model.predict(test)[ends]
        registered = Registered(CEILING, test[ends, CYCLE].astype(np.int64), truth, predicted)
        errors.append(float(registered.measure(Predictions(np.arange(len(ends)), truth, predicted))[0]))
        lives = _lives(unseen, model)
        for n in ENGINES:
            hits = dict.fromkeys(FAULTS, 0)
            for _ in range(DRAWS):
                asked, ages = _production(lives, n, random)
                production = asked.of(registered.comparable(asked, ages))
                thresholds = registered.thresholds(production)
                for fault, spoil in FAULTS.items():
                    spoilt = replace(production, predicted=spoil(production.predicted))
                    hits[fault] += any(figure.violated for figure in registered.compare(spoilt, thresholds))
            for fault, count in hits.items():
                shares[n][fault].append(count / DRAWS)
    return {
        "model_rmse": round(float(np.mean(errors)), 1),
        **{f"{n} engines": {fault: _summary(values) for fault, values in shares[n].items()} for n in ENGINES},
        "seconds": round(time.perf_counter() - started, 1),
    }


class Ridge:
    """RUL by ridge regression on the model's own features and their squares."""

    def __init__(self, raw: Any) -> None:
        self.features = Features.fit(raw)
        offsets = engine_offsets(raw[:, UNIT])
        inputs, labels = self._inputs(raw), np.minimum(run_to_failure_rul(offsets), CEILING)
        self.weights = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ labels)

    def predict(self, raw: Any) -> Any:
        """After every row of whole histories (n, 26): RUL in cycles (n,)."""
        return np.clip(self._inputs(raw) @ self.weights, 0.0, CEILING)

    def _inputs(self, raw: Any) -> Any:
        inputs = self.features.transform(raw)[0].astype(np.float64)
        return np.hstack((inputs, inputs**2, np.ones((len(inputs), 1))))


def _rows(folder: Path, role: str, fleet: str) -> Any:
    path = next(folder.glob(f"{role}_{fleet}.txt*"))
    return np.frombuffer(read_table(path).values).reshape(-1, 26)


def _lives(raw: Any, model: Ridge) -> list[tuple[Any, Any]]:
    """True and predicted RUL after every cycle of each engine."""
    offsets = engine_offsets(raw[:, UNIT])
    true, predicted = run_to_failure_rul(offsets).astype(np.float64), model.predict(raw)
    return [(true[a:b], predicted[a:b]) for a, b in pairwise(offsets)]


def _production(lives: list[tuple[Any, Any]], n: int, random: np.random.Generator) -> tuple[Predictions, Any]:
    """Captured predictions of `n` engines, each asked about every so often, from some age on until it failed."""
    engine, true, predicted, ages = [], [], [], []
    for place, life in enumerate(random.choice(len(lives), n, replace=False)):
        rul, answers = lives[life]
        cycles = np.arange(random.integers(len(rul) // 2), len(rul), random.choice(EVERY))
        engine.append(np.full(len(cycles), place))
        true.append(rul[cycles])
        predicted.append(answers[cycles])
        ages.append(cycles + 1)
    return Predictions(*map(np.concatenate, (engine, true, predicted))), np.concatenate(ages)


def _summary(shares: list[float]) -> dict[str, Any]:
    """The pooled share, and its 95 % interval from a bootstrap over partitions."""
    random = np.random.default_rng(2)
    means = random.choice(shares, (2000, len(shares))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return {"share": round(float(np.mean(shares)), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


if __name__ == "__main__":
    FLEETS = tuple(sys.argv[1:]) or FLEETS
    print(json.dumps(run(), indent=2))
