"""What Evidently's data drift preset says of windows, with defaults: a program for .venvs/evidently's Python.

    python evidently_verdicts.py windows.npz verdicts.json

windows.npz: `fleets` (windows,), names; `reference <fleet>` (n, columns) for each of them; `window <number>`
(rows, columns), numbered from 0. verdicts.json has for each window {"drift": of the data set, "columns":
[{"method", "score", "drifted"}]}.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

os.environ["DO_NOT_TRACK"] = "1"  # the library reports its use over the network otherwise
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset


def main(source: str, target: str) -> None:
    """Judge the windows, on all cores."""
    with np.load(source) as archive:
        count = len(archive["fleets"])
    verdicts = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, verdict in enumerate(pool.map(functools.partial(judge, source), range(count)), start=1):
            verdicts.append(verdict)
            if done % 10 == 0 or done == count:
                print(f"  {done}/{count} windows", file=sys.stderr, flush=True)
    with open(target, "w", encoding="utf-8") as file:
        json.dump(verdicts, file)


def judge(source: str, number: int) -> dict[str, Any]:
    """The verdict on one window; ValueError if the report is not what it was with the pinned version."""
    with np.load(source) as archive:
        reference, window = archive[f"reference {archive['fleets'][number]}"], archive[f"window {number}"]
    names = [f"s{place}" for place in range(1, reference.shape[1] + 1)]
    frames = (pd.DataFrame(values, columns=names) for values in (window, reference))
    with np.errstate(all="ignore"):  # correlations of constants, for its page
        found = Report([DataDriftPreset()], include_tests=True).run(*frames).dict()
    metrics = {metric["config"].get("column", "data set"): metric for metric in found["metrics"]}
    failed = {
        test["metric_config"]["params"].get("column", "data set"): test["status"] == "FAIL" for test in found["tests"]
    }
    if set(metrics) != {*names, "data set"} or set(failed) != set(metrics):
        raise ValueError(f"metrics {sorted(metrics)}, tests {sorted(failed)}: one each of the data set and {names}")
    return {
        "drift": failed["data set"],
        "columns": [
            {
                "method": metrics[name]["config"]["method"],
                "score": float(metrics[name]["value"]),
                "drifted": failed[name],
            }
            for name in names
        ],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
