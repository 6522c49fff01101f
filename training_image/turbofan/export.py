"""The model as ONNX, and the proof that it answers as the framework's own model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from turbofan.container import compute_threads
from turbofan.dataset import WindowSet
from turbofan.errors import ParityError
from turbofan.features import Floats32
from turbofan.models import Family, Model

FILE = "model.onnx"
PARITY_TOLERANCE = 1e-3  # cycles
PARITY_WINDOWS = 512


def session(model: str | bytes) -> Any:
    """An ONNX Runtime session on as many threads as the job may use, for a path or the content of a file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compute_threads()
    options.inter_op_num_threads = 1
    # Threads that wait do so asleep: spinning gains nothing measurable, and costs 2 ms of processor time an answer.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(onnx: Any, windows: Floats32) -> Floats32:
    """Raw outputs in cycles, float32 (m,), of windows (m, length, k)."""
    name = onnx.get_inputs()[0].name
    parts = [onnx.run(None, {name: windows[i : i + 1024]})[0] for i in range(0, len(windows), 1024)]
    return np.concatenate(parts).reshape(-1).astype(np.float32)


def run_set(onnx: Any, windows: WindowSet) -> Floats32:
    """Raw outputs in cycles, float32 (m,), of a set of windows, cut as they are needed."""
    numbers = np.arange(len(windows))
    return np.concatenate([run(onnx, windows.arrays(numbers[i : i + 1024])) for i in range(0, len(windows), 1024)])


def export(family: Family, model: Model, folder: Path, windows: Floats32) -> dict[str, float]:
    """Write the model's files to `folder` and compare both on `windows`, in one batch and one by one.

    Gives the figures of the check; raises ParityError if they differ by more than PARITY_TOLERANCE.
    """
    family.export(model, folder)
    onnx = session(str(folder / FILE))
    expected = family.predict(model, windows)
    singles = np.concatenate([run(onnx, windows[i : i + 1]) for i in range(min(8, len(windows)))])
    difference = max(
        float(np.abs(run(onnx, windows) - expected).max()),
        float(np.abs(singles - expected[: len(singles)]).max()),
    )
    # Written so that NaN, which compares as false, fails too.
    if not difference <= PARITY_TOLERANCE:
        raise ParityError(
            f"the ONNX model is {difference:.3g} cycles off the {family.native_file} (allowed {PARITY_TOLERANCE:g})",
            f"{FILE}, {len(windows)} validation windows",
            "Check the versions of keras, tf2onnx and onnxruntime; the model was not released.",
        )
    return {"max_difference": difference, "tolerance": PARITY_TOLERANCE, "windows": len(windows)}
