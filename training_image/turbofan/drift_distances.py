"""Textbook distances between a window and the baseline, for people to read: KS, Wasserstein and PSI of each sensor.

They are taken between values in standard deviations of their regime, and against baseline engines in the same mix of
life stages. The verdict is not theirs: they count rows, and a row is not an independent sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from turbofan.drift_summary import SENSOR_COUNT, Summary
from turbofan.features import Bools, Floats, Ints

if TYPE_CHECKING:
    from turbofan.drift import Reference

STAGES = 5
QUANTILES = 41
PSI_BINS = 10
# A bin without a row would make PSI infinite.
PSI_FLOOR = 1e-4
# Sensors that tell the stage of life: those that carry at least this share of the strongest one's part in it.
LEADING = 0.5
DIGITS = 4


@dataclass(frozen=True)
class Distances:
    """Of one sensor: Kolmogorov and Smirnov's D, Wasserstein's distance in standard deviations, PSI over deciles."""

    ks: float
    wasserstein: float
    psi: float


@dataclass(frozen=True)
class Profile:
    """How healthy values are distributed at each stage of life."""

    loading: Floats  # (p,): direction in which engine means move with wear
    edges: Floats  # (STAGES - 1,) of the position along it
    quantiles: Floats  # (STAGES, 21, QUANTILES), in standard deviations of the regime

    @classmethod
    def fit(cls, reference: Reference, summary: Summary, recent: Floats) -> Profile:
        """From summaries of engines and their recent rows (C, rows, 26)."""
        _, vectors = np.linalg.eigh(reference.covariance)
        profile = cls(vectors[:, -1], np.zeros(STAGES - 1), np.zeros((STAGES, SENSOR_COUNT, QUANTILES)))
        position = profile._position(reference, summary)
        profile = cls(profile.loading, np.quantile(position, np.arange(1, STAGES) / STAGES), profile.quantiles)
        stage = profile.stage(reference, summary)
        values, valid = sensor_values(reference, recent)
        at = (np.arange(QUANTILES) + 0.5) / QUANTILES
        for s in range(STAGES):
            inside = stage == s
            for j in range(SENSOR_COUNT):
                column = values[inside, :, j][valid[inside, :, j]]
                if len(column):
                    profile.quantiles[s, j] = np.round(np.quantile(column, at), DIGITS)
        return profile

    def stage(self, reference: Reference, summary: Summary) -> Ints:
        """The stage of life of each engine, (C,) from 0."""
        stage: Ints = np.searchsorted(self.edges, self._position(reference, summary))
        return stage

    def _position(self, reference: Reference, summary: Summary) -> Floats:
        """Along the direction of wear; the median over sensors, so that a broken one does not age an engine."""
        leading = np.abs(self.loading) >= LEADING * np.abs(self.loading).max()
        distance = summary.mean[:, reference.sensors] - reference.centre
        each = np.where(np.isfinite(distance), distance, 0.0)[:, leading] / self.loading[leading]
        position: Floats = np.median(each, axis=1)
        return position

    def distances(self, stage: Ints, values: Floats, valid: Bools) -> list[Distances | None]:
        """Of each sensor, of engines at `stage` (C,) with values (C, rows, 21); None where there are no values."""
        weight = np.bincount(stage, minlength=STAGES) / len(stage)
        found: list[Distances | None] = []
        for j in range(SENSOR_COUNT):
            column = values[:, :, j][valid[:, :, j]]
            points = self.quantiles[:, j].ravel()
            found.append(_distances(column, points, np.repeat(weight / QUANTILES, QUANTILES)) if len(column) else None)
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` restores exactly."""
        return {
            "loading": self.loading.tolist(),
            "edges": self.edges.tolist(),
            "quantiles": self.quantiles.tolist(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Profile:
        """Restore what `to_dict` gave. Raises KeyError, TypeError or ValueError for something else."""
        return cls(*(np.array(content[name], dtype=np.float64) for name in ("loading", "edges", "quantiles")))


def sensor_values(reference: Reference, recent: Floats) -> tuple[Floats, Bools]:
    """Sensors of recent rows in standard deviations of their regime (C, rows, 21), and which of them are readings."""
    regime, _, known = reference.normal.assign(recent)
    return reference.normal.normalise(recent, regime), reference.normal.valid(recent) & known[:, :, None]


def psi(expected: Floats, actual: Floats) -> float:
    """Population stability index of shares (bins,) against expected shares (bins,)."""
    expected, actual = np.maximum(expected, PSI_FLOOR), np.maximum(actual, PSI_FLOOR)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def _distances(values: Floats, points: Floats, weights: Floats) -> Distances:
    order = np.argsort(points, kind="stable")
    points, weights = points[order], weights[order]
    total = np.concatenate(([0.0], np.cumsum(weights)))
    values = np.sort(values)
    grid = np.union1d(values, points)
    expected = total[np.searchsorted(points, grid, side="right")]
    actual = np.searchsorted(values, grid, side="right") / len(values)
    gap = np.abs(expected - actual)
    deciles = np.unique(
        points[np.minimum(np.searchsorted(total[1:], np.arange(1, PSI_BINS) / PSI_BINS), len(points) - 1)]
    )
    expected_bins = np.bincount(np.searchsorted(deciles, points), weights, len(deciles) + 1)
    actual_bins = np.bincount(np.searchsorted(deciles, values), minlength=len(deciles) + 1) / len(values)
    return Distances(
        ks=float(gap.max()),
        wasserstein=float((gap[:-1] * np.diff(grid)).sum()),
        psi=psi(expected_bins.astype(np.float64), actual_bins),
    )
