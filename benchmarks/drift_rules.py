"""The rules that drift is usually alarmed by, for bench_drift: fast enough for tens of thousands of windows.

All of them count rows. They are shown a window's recent rows of all engines, as a monitor sees them, against the rows
of the engines in the baseline: sensors, raw where a fleet flies one regime, and in standard deviations
of their regime where it flies several, which is more than the tools do by themselves.

Evidently's rule is the one of its data drift preset with defaults, for columns of floats; bench_evidently holds it
against the library itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from turbofan.drift_summary import Normal
from turbofan.features import FIRST_SENSOR, Bools, Floats

NAMES = ("plan", "evidently", "sagemaker")
KS_LEVEL = 0.05  # the plan: alarm if the p-value of any feature is below
EVIDENTLY_DISTANCE = 0.1  # of a column, by either distance
EVIDENTLY_SHARE = 0.5  # of the columns that drift: then the data set does
EVIDENTLY_FEW = 5  # values in reference and window together: up to so many, Jensen-Shannon's distance is taken
EVIDENTLY_LEAST_SPREAD = 0.001  # Wasserstein's distance is divided by the reference's standard deviation, or by this
EVIDENTLY_LEAST_ROWS = 1001  # of a reference; up to 1,000 rows it takes tests instead of distances
SAGEMAKER_DISTANCE = 0.1  # comparison_threshold
# In standard deviations of a regime. Less is what subtracting a mean leaves of a constant, and would be ranked.
DECIMALS = 9


@dataclass(frozen=True)
class Column:
    """One column of a reference of n rows."""

    ordered: Floats  # (n,), ascending
    sums: Floats  # (n + 1,): of the first 0, 1, … n of them, divided by n
    spread: float
    values: Floats  # the distinct ones, ascending
    shares: Floats  # of the rows that have each

    @classmethod
    def of(cls, column: Floats) -> Column:
        """From the rows of the reference (n,)."""
        ordered = np.sort(column)
        values, counts = np.unique(ordered, return_counts=True)
        sums = np.concatenate(([0.0], np.cumsum(ordered))) / len(ordered)
        return cls(ordered, sums, float(column.std()), values, counts / len(ordered))

    def ks(self, ordered: Floats) -> float:
        """Largest distance of the distribution functions, of an ordered window's column (rows,)."""
        below = np.searchsorted(self.ordered, ordered, side="right") / len(self.ordered)
        before = np.searchsorted(self.ordered, ordered, side="left") / len(self.ordered)
        # The window's distribution steps at its own values only; ties step at their last one.
        last = np.searchsorted(ordered, ordered, side="right") / len(ordered)
        first = np.searchsorted(ordered, ordered, side="left") / len(ordered)
        return float(max(np.abs(last - below).max(), np.abs(first - before).max()))

    def evidently(self, ordered: Floats) -> float:
        """The library's drift score of an ordered window's column (rows,): drift from EVIDENTLY_DISTANCE on."""
        if len(self.values) <= EVIDENTLY_FEW:
            values, counts = np.unique(ordered, return_counts=True)
            union = np.union1d(self.values, values)
            if len(union) <= EVIDENTLY_FEW:
                reference, window = np.zeros(len(union)), np.zeros(len(union))
                reference[np.searchsorted(union, self.values)] = self.shares
                window[np.searchsorted(union, values)] = counts / len(ordered)
                return _jensen_shannon(reference, window)
        return self._wasserstein(ordered) / max(self.spread, EVIDENTLY_LEAST_SPREAD)

    def _wasserstein(self, ordered: Floats) -> float:
        """Integral of |reference's quantile - window's quantile| over (0, 1).

        The window's is one value w in each step of 1/rows; the reference's is below w up to the share of its rows that
        is, and its integral is linear between its rows.
        """
        levels = np.arange(len(ordered) + 1) / len(ordered)
        below = np.searchsorted(self.ordered, ordered, side="right") / len(self.ordered)
        middle = np.minimum(np.maximum(below, levels[:-1]), levels[1:])
        ends = self._integral(levels)
        parts = ordered * (2 * middle - levels[:-1] - levels[1:]) + ends[:-1] + ends[1:] - 2 * self._integral(middle)
        return float(parts.sum())

    def _integral(self, level: Floats) -> Floats:
        """Of the reference's quantiles from 0 to each level."""
        rows = level * len(self.ordered)
        whole = np.minimum(rows.astype(np.int64), len(self.ordered) - 1)
        integral: Floats = self.sums[whole] + (rows - whole) * self.ordered[whole] / len(self.ordered)
        return integral


@dataclass(frozen=True)
class Rules:
    """A reference, column by column."""

    normal: Normal
    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, raw: Floats) -> Rules:
        """From the rows (n, 26) of the baseline's engines; ValueError where Evidently would take another rule."""
        if len(raw) < EVIDENTLY_LEAST_ROWS:
            raise ValueError(f"a reference of {len(raw)} rows; Evidently's distances take {EVIDENTLY_LEAST_ROWS}")
        normal = Normal.fit(raw)
        return cls(normal, tuple(Column.of(column) for column in values(normal, raw).T))

    def rates(self, windows: Floats) -> dict[str, float]:
        """Share of windows (D, rows, 26) at which each of NAMES alarms."""
        alarms = np.array([self._alarms(window) for window in windows])
        return dict(zip(NAMES, alarms.mean(axis=0).tolist(), strict=True))

    def shown(self, window: Floats) -> Floats:
        """What the rules see of a window (rows, 26), (present rows, 21)."""
        return values(self.normal, window[np.isfinite(window[:, 1])])

    def evidently(self, shown: Floats) -> tuple[Floats, bool]:
        """Evidently's score of each column, (21,), and whether the data set drifts."""
        scores = np.array([column.evidently(np.sort(each)) for column, each in zip(self.columns, shown.T, strict=True)])
        return scores, bool(drifted(scores).mean() >= EVIDENTLY_SHARE)

    def _alarms(self, window: Floats) -> tuple[bool, bool, bool]:
        shown = self.shown(window)
        distance = np.array([column.ks(np.sort(each)) for column, each in zip(self.columns, shown.T, strict=True)])
        # Kolmogorov's distribution, one-term: the p-value is below the level where D exceeds this.
        rows = len(self.columns[0].ordered)
        critical = np.sqrt(-0.5 * np.log(KS_LEVEL / 2)) * np.sqrt(1 / len(shown) + 1 / rows)
        plan = bool((distance > critical).any())
        sagemaker = bool((distance > SAGEMAKER_DISTANCE).any())
        return plan, self.evidently(shown)[1], sagemaker


def drifted(scores: Floats) -> Bools:
    """Which columns drift, by Evidently's scores of them."""
    found: Bools = scores >= EVIDENTLY_DISTANCE
    return found


def values(normal: Normal, raw: Floats) -> Floats:
    """Sensors (n, 21): as they are in one regime, else in standard deviations of theirs."""
    sensors = raw[:, FIRST_SENSOR:]
    if len(normal.mean) == 1:
        return sensors
    regime, _, _ = normal.assign(raw[None])
    return np.round((sensors - normal.mean[regime[0]]) / normal.std[regime[0]], DECIMALS)


def _jensen_shannon(one: Floats, other: Floats) -> float:
    """Root of the Jensen-Shannon divergence in nats of two distributions over the same values."""
    middle = (one + other) / 2

    def divergence(shares: Floats) -> float:
        some = shares > 0
        return float((shares[some] * np.log(shares[some] / middle[some])).sum())

    return float(np.sqrt(max(0.0, (divergence(one) + divergence(other)) / 2)))
