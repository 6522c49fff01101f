"""How good predictions are: RMSE, MAE, the PHM08 score, and all of them by band of remaining life."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Upper ends of the bands, in cycles; the ceiling closes the last one.
BAND_EDGES = (20, 50, 100)


def rmse(true: Array, predicted: Array) -> float:
    """Root mean squared error in cycles over all engines at once (not the mean over batches)."""
    return float(np.sqrt(np.mean((predicted - true) ** 2)))


def mae(true: Array, predicted: Array) -> float:
    """Mean absolute error in cycles."""
    return float(np.mean(np.abs(predicted - true)))


def phm08(true: Array, predicted: Array) -> float:
    """The score of the PHM08 data challenge: a sum over engines, 0 is perfect, late predictions cost more.

    With d = predicted - true: exp(-d / 13) - 1 for d < 0, exp(d / 10) - 1 otherwise (Saxena et al. 2008, eq. 11).
    """
    d = np.asarray(predicted, dtype=np.float64) - true
    return float(np.sum(np.expm1(np.where(d < 0, -d / 13.0, d / 10.0))))


def metrics(true: Array, predicted: Array) -> dict[str, Any]:
    """RMSE, MAE, PHM08 and what the predictions look like, as JSON values."""
    return {
        "rmse": rmse(true, predicted),
        "mae": mae(true, predicted),
        "phm08": phm08(true, predicted),
        "predictions": {
            "mean": float(predicted.mean()),
            "std": float(predicted.std()),
            "min": float(predicted.min()),
            "max": float(predicted.max()),
        },
    }


def bands(true: Array, predicted: Array, ceiling: float) -> list[dict[str, Any]]:
    """Errors by band of true RUL, as JSON values: 0-20, 20-50, 50-100, 100-ceiling, and above if there is any.

    A band holds its upper end, the first one 0 as well. A band without engines has no figures (None).
    """
    edges = [0.0, *(float(edge) for edge in BAND_EDGES if edge < ceiling), float(ceiling)]
    rows = []
    for low, high in pairwise(edges):
        inside = (true <= high) & ((true > low) | (low == 0))
        rows.append(_band(f"{low:g}-{high:g}", true[inside], predicted[inside]))
    above = true > ceiling
    if above.any():
        rows.append(_band(f">{ceiling:g}", true[above], predicted[above]))
    return rows


def _band(name: str, true: Array, predicted: Array) -> dict[str, Any]:
    if len(true) == 0:
        return {"band": name, "engines": 0, "rmse": None, "mae": None, "bias": None, "phm08": None}
    return {
        "band": name,
        "engines": len(true),
        "rmse": rmse(true, predicted),
        "mae": mae(true, predicted),
        "bias": float(np.mean(predicted - true)),
        "phm08": phm08(true, predicted),
    }
