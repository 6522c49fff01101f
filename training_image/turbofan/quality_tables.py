"""What the model quality report shows: errors over all, by remaining life, over time, by engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from turbofan import scoring
from turbofan.features import Bools, Floats, Ints
from turbofan.quality_check import FIGURES, Predictions, Registered
from turbofan.truth import Match

# Predictions over more days are shown by ISO week.
DAYS_SHOWN = 14
ENGINES_LISTED, PERIODS_LISTED = 300, 104  # the state machine reads the report: a state holds 256 KiB


@dataclass(frozen=True)
class Sample:
    """Matches as arrays (n,), with the engines and times that the report names."""

    predictions: Predictions
    cycles: Floats
    times: Sequence[datetime]
    units: Sequence[int]  # (engines,)

    @classmethod
    def of(cls, matches: Sequence[Match]) -> Sample:
        """`matches` of the same engine may stand anywhere."""
        units, engine = np.unique([match.prediction.unit for match in matches], return_inverse=True)
        predictions = Predictions(
            engine.astype(np.int64).reshape(-1),
            np.array([match.true for match in matches], dtype=np.float64),
            np.array([match.prediction.rul for match in matches], dtype=np.float64),
        )
        cycles = np.array([match.prediction.cycle for match in matches], dtype=np.float64)
        return cls(predictions, cycles, [match.prediction.time for match in matches], units.tolist())

    def where(self, chosen: Bools) -> Sample:
        """Those `chosen` (n,)."""
        kept = np.flatnonzero(chosen)
        units = [self.units[i] for i in np.unique(self.predictions.engine[kept])]
        return Sample(self.predictions.of(chosen), self.cycles[kept], [self.times[int(i)] for i in kept], units)


def metrics(registered: Registered, sample: Sample) -> dict[str, Any] | None:
    """RMSE, MAE, bias and PHM08 per engine, as they are (nothing held), true RUL clipped and not."""
    predictions = sample.predictions
    if not predictions.engines:
        return None
    counts = np.bincount(predictions.engine)
    found = {}
    for kind, true in (
        ("clipped", np.minimum(predictions.true, registered.ceiling)),
        ("unclipped", predictions.true),
    ):
        error = predictions.predicted - true
        # Up to 1e300: a late prediction of some thousand cycles has a score that JSON has no number for.
        score = np.expm1(np.minimum(np.where(error < 0, -error / 13.0, error / 10.0), 690.0))
        squared, absolute, mean, phm08 = (
            float((np.bincount(predictions.engine, weights=cost) / counts).mean())
            for cost in (error**2, np.abs(error), error, score)
        )
        found[kind] = {"rmse": float(np.sqrt(squared)), "mae": absolute, "bias": mean, "phm08_per_engine": phm08}
    return found


def bands(registered: Registered, sample: Sample) -> list[dict[str, Any]]:
    """Errors by band of true RUL, each engine weighing the same within a band; true RUL clipped at the ceiling."""
    predictions, known = sample.predictions, registered.counts
    band, registered_band = registered.bands(predictions.true), registered.bands(registered.true)
    clipped = np.minimum(registered.true, registered.ceiling)
    rows = []
    for number, name in enumerate(registered.names):
        inside, reference = band == number, registered_band == number
        part = predictions.of(inside)
        rmse, bias = registered.measure(part)[:2] if part.engines else (None, None)
        error = (registered.predicted - clipped)[reference]
        rows.append(
            {
                "band": name,
                "engines": part.engines,
                "predictions": int(inside.sum()),
                "rmse": _json(rmse),
                "bias": _json(bias),
                "registered_engines": int(known[number]),
                "registered_rmse": scoring.rmse(0 * error, error) if len(error) else None,
                "registered_bias": float(error.mean()) if len(error) else None,
                "compared": bool(registered.enough[number]),
            }
        )
    return rows


def periods(registered: Registered, compared: Sample) -> list[dict[str, Any]]:
    """The figures by day or ISO week (UTC) in which predictions were made."""
    if not compared.times:
        return []
    times = [time.astimezone(UTC) for time in compared.times]
    by_week = (max(times) - min(times)).days > DAYS_SHOWN
    labels = np.array([_week(time) if by_week else time.date().isoformat() for time in times])
    rows = []
    for label in np.unique(labels)[-PERIODS_LISTED:]:
        part = compared.where(labels == label)
        found, expected = registered.measure(part.predictions), registered.expected(part.predictions)
        rows.append(
            {
                "period": str(label),
                "engines": part.predictions.engines,
                "predictions": len(part.times),
                **{name: _json(value) for name, value in zip(FIGURES, found, strict=True)},
                **{f"registered_{n}": _json(v) for n, v in zip(FIGURES, expected, strict=True)},
            }
        )
    return rows


def engines(registered: Registered, sample: Sample) -> list[dict[str, Any]]:
    """Each engine's predictions, the largest errors first."""
    if not sample.units:
        return []
    squared, error, _ = registered.by_engine(sample.predictions)
    counts = np.bincount(sample.predictions.engine)
    order: Ints = np.argsort(-squared, kind="stable")[:ENGINES_LISTED]
    return [
        {
            "unit": sample.units[i],
            "predictions": int(counts[i]),
            "error": round(float(error[i]), 2),
            "rmse": round(float(np.sqrt(squared[i])), 2),
        }
        for i in order
    ]


def _week(time: datetime) -> str:
    year, week, _ = time.isocalendar()
    return f"{year}-W{week:02d}"


def _json(value: Any) -> float | None:
    return None if value is None else float(value)
