"""The rules that drift is usually alarmed by, as their documentation states them, for bench_drift.

All of them count rows. They are shown a window's recent rows of all engines, as a monitor sees them, against the rows
of the engines in the baseline: sensors, raw where a fleet flies one regime, and in standard deviations
of their regime where it flies several, which is more than the tools do by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from turbofan.drift_summary import Normal
from turbofan.features import FIRST_SENSOR, Floats

NAMES = ("plan", "evidently", "sagemaker")
KS_LEVEL = 0.05  # the plan: alarm if the p-value of any feature is below
EVIDENTLY_DISTANCE = 0.1  # Wasserstein over the standard deviation of a reference of more than 1,000 rows
EVIDENTLY_SHARE = 0.5  # of the columns that drift: then the data set does
QUANTILES = 200
SAGEMAKER_DISTANCE = 0.1  # comparison_threshold


@dataclass(frozen=True)
class Rules:
    """A reference, sorted column by column."""

    normal: Normal
    columns: tuple[Floats, ...]
    quantiles: Floats
    spread: Floats

    @classmethod
    def fit(cls, raw: Floats) -> Rules:
        """From the rows (n, 26) of the baseline's engines."""
        normal = Normal.fit(raw)
        values = _values(normal, raw)
        columns = tuple(np.sort(column) for column in values.T)
        return cls(normal, columns, np.array([_quantiles(column) for column in columns]), values.std(axis=0))

    def rates(self, windows: Floats) -> dict[str, float]:
        """Share of windows (D, rows, 26) at which each of NAMES alarms."""
        alarms = np.array([self._alarms(window) for window in windows])
        return dict(zip(NAMES, alarms.mean(axis=0).tolist(), strict=True))

    def _alarms(self, window: Floats) -> tuple[bool, bool, bool]:
        rows = window[np.isfinite(window[:, 1])]
        values = _values(self.normal, rows)
        distances, moved = [], []
        for j, reference in enumerate(self.columns):
            column = np.sort(values[:, j])
            below = np.searchsorted(reference, column, side="right") / len(reference)
            before = np.searchsorted(reference, column, side="left") / len(reference)
            n = len(column)
            # The window's distribution steps at its own values only; ties step at their last one.
            last = np.searchsorted(column, column, side="right") / n
            first = np.searchsorted(column, column, side="left") / n
            distances.append(max(np.abs(last - below).max(), np.abs(first - before).max()))
            gap = np.abs(_quantiles(column) - self.quantiles[j]).mean()
            moved.append(gap / self.spread[j] >= EVIDENTLY_DISTANCE if self.spread[j] > 0 else gap > 0)
        distance = np.array(distances)
        # Kolmogorov's distribution, one-term: the p-value is below the level where D exceeds this.
        critical = np.sqrt(-0.5 * np.log(KS_LEVEL / 2)) * np.sqrt(1 / len(rows) + 1 / len(self.columns[0]))
        plan = bool((distance > critical).any())
        evidently = bool(np.mean(moved) >= EVIDENTLY_SHARE)
        sagemaker = bool((distance > SAGEMAKER_DISTANCE).any())
        return plan, evidently, sagemaker


def _values(normal: Normal, raw: Floats) -> Floats:
    """Sensors (n, 21): as they are in one regime, else in standard deviations of theirs."""
    sensors = raw[:, FIRST_SENSOR:]
    if len(normal.mean) == 1:
        return sensors
    regime, _, _ = normal.assign(raw[None])
    return (sensors - normal.mean[regime[0]]) / normal.std[regime[0]]


def _quantiles(ordered: Floats) -> Floats:
    """Wasserstein's distance is the mean difference of quantiles: QUANTILES of an ordered column."""
    return ordered[((np.arange(QUANTILES) + 0.5) / QUANTILES * len(ordered)).astype(np.int64)]
