"""What healthy input looks like, in Model Monitor's statistics.json and constraints.json.

Fitted on the raw columns of training engines, because raw rows are what the endpoint captures.
Source: "Schema for Statistics" and "Schema for Constraints" in SageMaker's Model Monitor documentation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from cmapss import COLUMNS

from turbofan.features import CYCLE, Floats

BUCKETS = 10
# Size of the sketch for each column: Model Monitor's default is 2048; 512 order statistics give a CDF within 0.2 %.
SKETCH_ITEMS = 512
COMPARISON_THRESHOLD = 0.1
# Share of a window's requests that may break the schema. Model Monitor has no field for it; its contract lets one's own
# containers enhance the format, and this project's additions stand under this member in all of its files.
OURS, TOLERATED = "onwing", "tolerated_requests"
TOLERATED_REQUESTS = 0.01


def statistics(raw: Floats) -> dict[str, Any]:
    """statistics.json of raw rows (n, 26); the unit number is left out: it is a name, not a measurement."""
    return {
        "version": 0.0,
        "dataset": {"item_count": len(raw)},
        "features": [
            {"name": name, "inferred_type": _type(name), "numerical_statistics": _numerical(values)}
            for name, values in zip(COLUMNS[CYCLE:], raw[:, CYCLE:].T, strict=True)
        ],
    }


def constraints(raw: Floats) -> dict[str, Any]:
    """constraints.json of raw rows (n, 26)."""
    return {
        "version": 0.0,
        "features": [
            {
                "name": name,
                "inferred_type": _type(name),
                "completeness": 1.0,
                "num_constraints": {"is_non_negative": bool(values.min() >= 0)},
            }
            for name, values in zip(COLUMNS[CYCLE:], raw[:, CYCLE:].T, strict=True)
        ],
        "monitoring_config": {
            "evaluate_constraints": "Enabled",
            "emit_metrics": "Enabled",
            "datatype_check_threshold": 1.0,
            "domain_content_threshold": 1.0,
            "distribution_constraints": {
                "perform_comparison": "Enabled",
                "comparison_threshold": COMPARISON_THRESHOLD,
                "comparison_method": "Robust",
            },
        },
        OURS: {TOLERATED: TOLERATED_REQUESTS},
    }


def _type(name: str) -> str:
    # A measurement that happens to be whole in the baseline (s17, s18) may have decimals tomorrow; a count may not.
    return "Integral" if name == COLUMNS[CYCLE] else "Fractional"


def _numerical(values: Floats) -> dict[str, Any]:
    order = np.sort(values)
    low, high = float(order[0]), float(order[-1])
    edges = np.linspace(low, high, BUCKETS + 1) if high > low else np.array([low, high])
    counts = np.diff(np.append(np.searchsorted(order, edges[:-1], side="left"), len(order)))
    # A KLL sketch keeps items of weight 2^level: every 2^level-th order statistic is such a sketch.
    level = max(0, math.ceil(math.log2(len(order) / SKETCH_ITEMS)))
    sketch: list[list[float]] = [[] for _ in range(level)]
    sketch.append(order[(1 << level) // 2 :: 1 << level].tolist())
    return {
        "common": {"num_present": len(order), "num_missing": 0},
        "mean": float(order.mean()),
        "sum": float(order.sum()),
        "std_dev": float(order.std()),
        "min": low,
        "max": high,
        "distribution": {
            "kll": {
                "buckets": [
                    {"lower_bound": float(a), "upper_bound": float(b), "count": float(n)}
                    for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
                ],
                "sketch": {"parameters": {"c": 0.64, "k": 2048.0}, "data": sketch},
            }
        },
    }
