"""Is a model still as good as it was registered? Errors of engines whose true RUL is known, against its evaluation's.

Like is compared with like: errors depend on how much life is left, so the registered figures are those of the
evaluation's engines in the same mix of bands of true RUL. The sampling unit is the engine: its many predictions are one
sample, and weigh as much as another engine's one. Thresholds are quantiles of what whole engines, drawn from the
evaluation's own errors, show by chance at the same number of engines and the same mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from turbofan import scoring
from turbofan.features import Bools, Floats, Ints

# The chance of any violation in one check of a model that is as good as registered, over all figures and scopes.
LEVEL = 0.03
DRAWS, SEED = 4000, 1
# A band of fewer registered engines says too little about the errors in it: predictions there are not compared.
MIN_BAND_ENGINES = 5
FIGURES = ("rmse", "bias", "phm08")
CELLS_AT_ONCE = 2_000_000  # draws x engines worked on together: a bound for memory


@dataclass(frozen=True)
class Predictions:
    """Predictions whose truth is known: arrays (n,), a place a prediction."""

    engine: Ints  # 0 … engines - 1, each at least once
    true: Floats  # RUL in cycles, not clipped
    predicted: Floats

    @property
    def engines(self) -> int:
        """How many engines there are."""
        return int(self.engine.max()) + 1 if len(self.engine) else 0

    def of(self, chosen: Bools) -> Predictions:
        """Those of the predictions `chosen` (n,), engines renumbered."""
        _, engine = np.unique(self.engine[chosen], return_inverse=True)
        return Predictions(engine.astype(np.int64), self.true[chosen], self.predicted[chosen])


@dataclass(frozen=True)
class Figure:
    """One figure of one check, with what it is compared with."""

    name: str  # of FIGURES
    value: float  # rmse: cycles; bias: mean of predicted - true; phm08: score per engine, held as `costs` says
    registered: float  # the same of the evaluation's engines, in the same mix of bands
    statistic: float  # what is held against the threshold: the value, of the bias its distance from the registered one
    threshold: float

    @property
    def ratio(self) -> float:
        """1 is the threshold."""
        return self.statistic / self.threshold if self.threshold > 0 else float(self.statistic > 0)

    @property
    def violated(self) -> bool:
        """Whether it is beyond what chance explains."""
        return self.statistic > self.threshold


@dataclass(frozen=True)
class Registered:
    """The errors of a model's evaluation: engines cut off once each."""

    ceiling: float
    cycles: Ints  # (m,): the age at the cut
    true: Floats  # (m,): not clipped
    predicted: Floats  # (m,)

    @property
    def edges(self) -> Floats:
        """Upper ends of the bands; above the last one is a band of its own."""
        return np.array([*(float(edge) for edge in scoring.BAND_EDGES if edge < self.ceiling), self.ceiling])

    @property
    def names(self) -> list[str]:
        """Names of the bands, as in the evaluation's report."""
        edges = [0.0, *self.edges]
        return [f"{a:g}-{b:g}" for a, b in pairwise(edges)] + [f">{self.ceiling:g}"]

    def bands(self, true: Floats) -> Ints:
        """The band of each true RUL (n,); a band holds its upper end."""
        return np.searchsorted(self.edges, true, side="left")

    @property
    def counts(self) -> Ints:
        """Registered engines of each band."""
        return np.bincount(self.bands(self.true), minlength=len(self.edges) + 1)

    @property
    def enough(self) -> Bools:
        """Which bands have registered engines enough to compare with."""
        return self.counts >= MIN_BAND_ENGINES

    def comparable(self, predictions: Predictions, cycles: Floats | Ints) -> Bools:
        """Which predictions (n,), made at the ages `cycles`, have enough registered ones of their kind.

        Neither those in a band with too few, nor those of engines younger than any that was evaluated.
        """
        chosen: Bools = self.enough[self.bands(predictions.true)] & (cycles >= self.cycles.min())
        return chosen

    @property
    def largest(self) -> Floats:
        """The largest PHM08 of a registered engine in each band; 0 in a band without any."""
        scores = np.zeros(len(self.edges) + 1)
        error = self.predicted - np.minimum(self.true, self.ceiling)
        np.maximum.at(scores, self.bands(self.true), _phm08(error))
        return scores

    def costs(self, true: Floats, predicted: Floats) -> Floats:
        """What each prediction adds to the figures: squared error, error, PHM08; (3, n), true RUL clipped.

        PHM08 grows exponentially: no resampling of some hundred engines tells how often its tail is met. For the
        verdict, a prediction counts at most as much as the largest of the evaluation in its band.
        """
        error = predicted - np.minimum(true, self.ceiling)
        return np.stack([error**2, error, np.minimum(_phm08(error), self.largest[self.bands(true)])])

    def expected(self, predictions: Predictions) -> Floats:
        """The registered rmse, bias and phm08 in the mix of bands of `predictions`, all comparable: (3,)."""
        bands, costs = self.bands(self.true), self.costs(self.true, self.predicted)
        mix = self.mix(predictions).mean(axis=0)
        means = [costs[:, bands == b].mean(axis=1) if share else np.zeros(3) for b, share in enumerate(mix)]
        return _figures(np.stack(means, axis=1) @ mix)

    def mix(self, predictions: Predictions) -> Floats:
        """Which share of each engine's predictions lies in which band, (engines, bands)."""
        shares = np.zeros((predictions.engines, len(self.edges) + 1))
        np.add.at(shares, (predictions.engine, self.bands(predictions.true)), 1.0)
        normalised: Floats = shares / shares.sum(axis=1, keepdims=True)
        return normalised

    def measure(self, predictions: Predictions) -> Floats:
        """The rmse, bias and phm08 of `predictions`, every engine weighing the same: (3,)."""
        return _figures(np.array([cost.mean() for cost in self.by_engine(predictions)]))

    def by_engine(self, predictions: Predictions) -> Floats:
        """The mean costs of each engine's predictions, (3, engines)."""
        counts = np.bincount(predictions.engine)
        costs = self.costs(predictions.true, predictions.predicted)
        return np.stack([np.bincount(predictions.engine, weights=cost) / counts for cost in costs])

    def check(self, predictions: Predictions, level: float = LEVEL) -> list[Figure]:
        """Hold the figures of comparable `predictions` against their thresholds, at one error rate for all three."""
        return self.compare(predictions, self.thresholds(predictions, level))

    def compare(self, predictions: Predictions, thresholds: Floats) -> list[Figure]:
        """The figures of comparable `predictions` beside `thresholds` (3,): how far each may be from the registered."""
        found = []
        for name, value, registered, threshold in zip(
            FIGURES, self.measure(predictions), self.expected(predictions), thresholds, strict=True
        ):
            if name == "bias":
                found.append(Figure(name, value, registered, abs(value - registered), threshold))
            else:
                found.append(Figure(name, value, registered, value, registered + threshold))
        return found

    def thresholds(self, predictions: Predictions, level: float = LEVEL) -> Floats:
        """How far each figure gets from the registered one by chance, (3,), given the engines' mix of bands.

        Of models as good as registered, a share `level` has any of the three further away.
        """
        mix = self.mix(predictions)
        differences = _figures(self._drawn(mix)) - _figures(np.tensordot(mix.mean(axis=0), self._redrawn, axes=1))
        differences[1] = np.abs(differences[1])
        return familywise(differences, level)

    def _drawn(self, mix: Floats) -> Floats:
        """Mean costs of engines that err as the evaluation's do, (3, DRAWS), for `mix` (engines, bands).

        Each engine gets one rank among the registered errors, the same in every band: one that is late is late all its
        life, which varies at least as much as what real engines do.
        """
        random = np.random.default_rng(SEED)
        costs = self.costs(self.true, self.predicted)
        members = [rows[np.argsort(costs[1, rows])] for rows in self._members]
        parts = []
        for size in _parts(DRAWS, len(mix)):
            rank = random.random((size, len(mix)))
            drawn = np.zeros((3, size))
            for rows, shares in zip(members, mix.T, strict=True):
                if shares.any():
                    drawn += costs[:, rows[(rank * len(rows)).astype(np.int64)]] @ shares / len(mix)
            parts.append(drawn)
        return np.concatenate(parts, axis=1)

    @cached_property
    def _redrawn(self) -> Floats:
        """Mean costs of each band in evaluations redrawn, (bands, 3, DRAWS): the evaluation is a sample too.

        Each redraws one engine less than the band has, which makes up for what drawing from a sample instead of from
        all engines loses in variance.
        """
        random = np.random.default_rng(SEED + 1)
        costs = self.costs(self.true, self.predicted)
        means = np.zeros((len(self._members), 3, DRAWS))
        for rows, mean in zip(self._members, means, strict=True):
            if len(rows):
                parts = [
                    costs[:, rows[random.integers(len(rows), size=(size, max(1, len(rows) - 1)))]].mean(axis=2)
                    for size in _parts(DRAWS, len(rows))
                ]
                mean[:] = np.concatenate(parts, axis=1)
        return means

    @cached_property
    def _members(self) -> list[Ints]:
        """The registered engines of each band."""
        bands = self.bands(self.true)
        return [np.flatnonzero(bands == band) for band in range(len(self.edges) + 1)]


def familywise(samples: Floats, level: float) -> Floats:
    """Thresholds (k,) that any of the k statistics in `samples` (k, draws) exceeds in a share `level` of the draws.

    Each statistic gets the same rate of its own: the thresholds are the quantiles whose smallest p-value is that rare.
    """
    draws = samples.shape[1]
    order = np.argsort(np.argsort(samples, axis=1), axis=1)  # rank of each draw within its statistic
    above = draws - 1 - order.max(axis=0)  # how few draws are beyond the most extreme of the statistics
    tail = int(np.quantile(above, level, method="lower"))
    thresholds: Floats = np.sort(samples, axis=1)[:, draws - 1 - tail]
    return thresholds


def _phm08(error: Floats) -> Floats:
    score: Floats = np.expm1(np.where(error < 0, -error / 13.0, error / 10.0))
    return score


def _figures(costs: Floats) -> Floats:
    """rmse, bias, phm08 of mean costs (3, ...)."""
    return np.stack([np.sqrt(costs[0]), costs[1], costs[2]])


def _parts(total: int, width: int) -> list[int]:
    """`total` draws in parts of at most CELLS_AT_ONCE draws x `width`."""
    most = max(1, CELLS_AT_ONCE // width)
    return [min(most, total - done) for done in range(0, total, most)]
