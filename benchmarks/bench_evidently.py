"""Whether drift_rules' re-statement of Evidently's rule says what the library says: `make bench ARGS=evidently`.

The windows are bench_drift's, of its first partition: the first CLEAN windows of each fleet and size as they are,
and one of each fault of the inputs. The library judges them in an environment of its own, by evidently_verdicts.

Environment: CMAPSS_DIR.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from turbofan.drift_summary import RECENT_ROWS, Normal
from turbofan.features import Floats

from benchmarks import bench_drift, drift_rules

STAMP = Path(".venvs/evidently/.stamp")
PROGRAM = Path(__file__).with_name("evidently_verdicts.py")
CLEAN = 4
FAULTS = [name for name in bench_drift.SCENARIOS + bench_drift.REPORTED if not name.startswith("model")]
LISTED = 20  # columns that differ


@dataclass(frozen=True)
class Window:
    """What a rule is shown, and what the re-statement says of it."""

    fleet: str
    name: str
    shown: Floats  # (rows, 21)
    scores: Floats  # (21,)
    drift: bool


def run() -> dict[str, Any]:
    """How often library and re-statement agree; `skipped` without the data or the library's environment."""
    if (directory := bench_drift.data_folder()) is None:
        return {"skipped": bench_drift.NO_DATA}
    if not STAMP.exists():
        return {"skipped": f"Evidently's environment is missing; to make it: make {STAMP}"}
    started = time.perf_counter()
    references: dict[str, Floats] = {}
    windows: list[Window] = []
    for fleet in bench_drift.FLEETS:
        split = bench_drift.Split.of(directory, fleet, 0, lambda raw, *_: np.zeros(len(raw)))
        rules = drift_rules.Rules.fit(split.known.raw)
        references[fleet] = drift_rules.values(rules.normal, split.known.raw)
        draws = bench_drift.Draws(split.unseen, Normal.fit(split.known.raw), split.random, bench_drift.DRAWS)
        windows += _windows(fleet, rules, draws)
    result = compare(windows, _library(references, windows))
    return result | {"seconds": round(time.perf_counter() - started, 1)}


def _windows(fleet: str, rules: drift_rules.Rules, draws: bench_drift.Draws) -> list[Window]:
    found = []
    for size in bench_drift.SIZES:
        # Each fault is put into the next window, so that they are of different engines.
        chosen = [("clean", number) for number in range(CLEAN)]
        chosen += [(fault, CLEAN + number) for number, fault in enumerate(FAULTS)]
        for scenario, number in chosen:
            recent = draws.recent(scenario, size)
            shown = rules.shown(recent.reshape(-1, size * RECENT_ROWS, recent.shape[2])[number])
            found.append(Window(fleet, f"{fleet}, {size} engines, {scenario}", shown, *rules.evidently(shown)))
    return found


def _library(references: dict[str, Floats], windows: list[Window]) -> list[dict[str, Any]]:
    """The library's verdicts, one a window: see evidently_verdicts; CalledProcessError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "windows.npz"), Path(folder, "verdicts.json")
        np.savez(
            source,
            fleets=np.array([window.fleet for window in windows]),
            **{f"reference {fleet}": values for fleet, values in references.items()},
            **{f"window {number}": window.shown for number, window in enumerate(windows)},
        )
        # Its warnings are many, about its own plots; what fails is said by its traceback.
        subprocess.run([STAMP.parent / "bin/python", "-W", "ignore", PROGRAM, source, target], check=True)
        verdicts: list[dict[str, Any]] = json.loads(target.read_text("utf-8"))
    return verdicts


def compare(windows: list[Window], verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of windows and columns, of those with the same verdict and of alarms, and what differs."""
    different: list[dict[str, Any]] = []
    largest = 0.0
    methods: Counter[str] = Counter()
    for window, verdict in zip(windows, verdicts, strict=True):
        moved = drift_rules.drifted(window.scores)
        for sensor, column in enumerate(verdict["columns"]):
            methods[column["method"]] += 1
            score = float(window.scores[sensor])
            largest = max(largest, abs(column["score"] - score))
            if column["drifted"] != moved[sensor]:
                different.append(
                    {"window": window.name, "sensor": f"s{sensor + 1}", "restated": score, "library": column["score"]}
                )
    pairs = [(window.drift, verdict["drift"]) for window, verdict in zip(windows, verdicts, strict=True)]
    return {
        "windows": len(pairs),
        "windows_same": sum(ours == theirs for ours, theirs in pairs),
        "drift": {"restated": sum(ours for ours, _ in pairs), "library": sum(theirs for _, theirs in pairs)},
        "columns": methods.total(),
        "columns_same": methods.total() - len(different),
        "methods": dict(methods),
        "largest_score_difference": largest,
        "windows_different": [window.name for window, (a, b) in zip(windows, pairs, strict=True) if a != b],
        "columns_different": different[:LISTED],
    }
