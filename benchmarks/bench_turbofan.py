"""What the jobs cost: processing FD004, an epoch of the LSTM, an answer of the model: prints JSON when run as a script.

One compute thread, as jobs have in the embedded cloud. Training and inference need no data set: their cost does not
depend on the values.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WINDOWS, LENGTH, WIDTH = 4096, 50, 29
UNITS = (32, 64)


def run() -> dict[str, Any]:
    """Seconds, each on its own; `process_fd004` says so when CMAPSS_DIR does not hold the files."""
    os.environ["OMP_NUM_THREADS"] = "1"
    return {
        "warm_import_seconds": _import_seconds(),
        "process_fd004": _process("FD004"),
        "lstm": {f"{units}/{units}": _lstm(units) for units in UNITS},
    }


def _import_seconds() -> float:
    """What the warm parent saves each job."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import turbofan.warm"], check=True)
    return round(time.perf_counter() - started, 2)


def _process(fleet: str) -> dict[str, Any]:
    from turbofan.__main__ import main

    folder = Path(os.environ.get("CMAPSS_DIR", "data/cmapss"))
    files = [path for role in ("train", "test", "RUL") for path in sorted(folder.glob(f"{role}_{fleet}.txt*"))[:1]]
    if len(files) < 3:
        return {"skipped": f"CMAPSS_DIR holds no {fleet}"}
    with tempfile.TemporaryDirectory() as base:
        dataset = Path(base, "processing/input/dataset")
        dataset.mkdir(parents=True)
        for path in files:
            (dataset / path.name).symlink_to(path.resolve())
        os.environ["SAGEMAKER_BASE_DIR"] = base
        with contextlib.redirect_stdout(io.StringIO()) as log:
            code = main(["process"])
        del os.environ["SAGEMAKER_BASE_DIR"]
    took = re.search(r"read in ([0-9.]+) s, processed in ([0-9.]+) s", log.getvalue())
    if code or took is None:
        raise RuntimeError(f"the process job failed on {fleet} with exit code {code}:\n{log.getvalue()}")
    return {"check_and_read_seconds": float(took[1]), "process_seconds": float(took[2])}


def _lstm(units: int) -> dict[str, float]:
    from turbofan import export, models
    from turbofan.dataset import WindowSet
    from turbofan.hyperparameters import Hyperparameters

    random = np.random.default_rng(0)
    features = random.normal(size=(WINDOWS + LENGTH, WIDTH)).astype(np.float32)
    rows = np.arange(WINDOWS)[:, None] + np.arange(LENGTH)
    windows = WindowSet(features, rows, random.uniform(0, 125, WINDOWS).astype(np.float32))
    few = WindowSet(features, rows[:64], windows.labels[:64])
    hyperparameters = Hyperparameters(epochs=3, lstm_units_1=units, lstm_units_2=units)
    family = models.family("lstm")
    model = family.build(LENGTH, WIDTH, 125.0, hyperparameters)
    ends = [time.perf_counter()]
    family.fit(model, windows, few, hyperparameters, lambda epoch: ends.append(time.perf_counter()))
    epochs = np.diff(ends)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        export.export(family, model, Path(folder), few.arrays())
        exported = time.perf_counter() - started
        onnx = export.session(str(Path(folder, export.FILE)))
    one, many = few.arrays()[:1], windows.arrays()
    return {
        "epoch_seconds_per_10000_windows": round(float(epochs[1:].min()) * 10_000 / WINDOWS, 2),
        "first_epoch_extra_seconds": round(float(epochs[0] - epochs[1:].min()), 2),
        "export_and_parity_seconds": round(exported, 2),
        "onnx_milliseconds_for_one_window": round(1000 * _best(lambda: export.run(onnx, one)), 3),
        "onnx_milliseconds_per_window_of_many": round(1000 * _best(lambda: export.run(onnx, many), 3) / WINDOWS, 4),
        "keras_eager_milliseconds_for_one_window": round(1000 * _best(lambda: family.predict(model, one)), 1),
    }


def _best(action: Callable[[], object], repeats: int = 20) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
