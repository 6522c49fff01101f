"""Probes: histories of held-out engines and what the model answers to them, so that a served model can be recognised.

A deployment sends them to the endpoint (control_plane.probes) and compares: the right answers mean that the endpoint
serves the very model that was evaluated, and serves it well, before anybody's request reaches it. The engines are
validation engines, which no weight was fitted on; the official test engines stay with the evaluation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from turbofan.artifact import Artifact
from turbofan.dataset import Rows
from turbofan.features import CYCLE, UNIT, Floats, engine_offsets

FILE = "probes.json"
SCHEMA = 1
ENGINES = 12
# How much of its life an engine has behind it: from healthy, where most models answer the ceiling, to nearly worn out.
SHARES_OF_LIFE = (0.35, 0.60, 0.80, 0.95)
# Cycles that a served answer may be off: other processors and batch sizes round float32 differently, by some 1e-3.
TOLERANCE = 0.5


def make(model: Artifact, validation: Rows, raw: Floats, fleet: str, dataset_version: str) -> dict[str, Any]:
    """The content of probes.json: at most ENGINES engines of all lengths of life, each cut off once.

    `rul` is the true RUL after the last row, clipped at the model's ceiling, `expected` the model's own answer, both in
    cycles. `raw` (n, 26) are the rows of `validation` as read.
    """
    lives = np.diff(validation.offsets)
    ranked = np.argsort(lives, kind="stable")
    chosen = ranked[np.unique(np.linspace(0, len(ranked) - 1, ENGINES).round().astype(np.int64))]
    shares = np.resize(SHARES_OF_LIFE, len(chosen))
    starts = validation.offsets[chosen]
    ends = starts + np.maximum(1, np.round(lives[chosen] * shares).astype(np.int64))
    histories = [raw[start:end] for start, end in zip(starts, ends, strict=True)]
    joined = np.concatenate(histories)
    expected, _ = model.predict(joined, engine_offsets(joined[:, UNIT]))
    true = np.minimum(validation.rul[ends - 1], model.max_rul)
    return {
        "schema": SCHEMA,
        "artifact_sha256": model.sha256,
        "fleet": fleet,
        "dataset_version": dataset_version,
        "content_type": "text/csv",
        "max_rul": model.max_rul,
        "tolerance": TOLERANCE,
        "probes": [
            {
                "unit": int(history[-1, UNIT]),
                "cycle": int(history[-1, CYCLE]),
                "body": to_csv(history),
                "rul": float(rul),
                "expected": float(answer),
            }
            for history, rul, answer in zip(histories, true, expected, strict=True)
        ],
    }


def to_csv(raw: Floats) -> str:
    """Raw rows (n, 26) as text that reads back as exactly the same numbers, without a line end after the last."""
    return "\n".join(",".join(f"{x:.0f}" if x.is_integer() else repr(x) for x in row) for row in raw.tolist())
