"""The training job: fit a model on the training engines, stop on the validation engines, release it as ONNX.

The official test set is no input of this job, so it cannot be looked at.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from turbofan import export, metadata, models
from turbofan.container import Paths, compute_threads
from turbofan.dataset import Rows, WindowSet
from turbofan.errors import InputError
from turbofan.features import to_rul
from turbofan.hyperparameters import Hyperparameters
from turbofan.scoring import rmse


def train(paths: Paths) -> None:
    """Run the job. Raises TurbofanError."""
    hyperparameters = Hyperparameters.parse(paths.hyperparameters())
    family = models.family(hyperparameters.family)
    description = metadata.read(paths.channel("features"))
    max_rul = float(description["max_rul"])
    length = hyperparameters.sequence_length or int(description["sequence_length"])
    hyperparameters = replace(hyperparameters, sequence_length=length)
    names = description["features"]["names"]
    training = WindowSet.cut(_part(paths, "train", names), length, max_rul, hyperparameters.window_stride)
    validation = WindowSet.cut(_part(paths, "validation", names), length, max_rul)
    print(
        f"{description['fleet']}: {len(training)} training and {len(validation)} validation windows of {length} "
        f"cycles, {len(names)} features; {compute_threads()} thread(s)\n{hyperparameters}",
        flush=True,
    )

    history: list[models.Epoch] = []
    clock = time.perf_counter()

    def report(epoch: models.Epoch) -> None:
        nonlocal clock
        now = time.perf_counter()
        history.append(epoch)
        print(
            f"Epoch {epoch.epoch}/{hyperparameters.epochs} ({now - clock:.1f} s, learning rate "
            f"{epoch.learning_rate:.2g})\n{metric_lines(epoch.train_loss, epoch.val_loss, epoch.val_rmse)}",
            flush=True,
        )
        clock = now

    model = family.build(length, len(names), max_rul, hyperparameters)
    family.fit(model, training, validation, hyperparameters, report)

    best = min(history, key=lambda epoch: epoch.val_loss)
    sample = np.linspace(0, len(validation) - 1, min(export.PARITY_WINDOWS, len(validation))).astype(np.int64)
    paths.model.mkdir(parents=True, exist_ok=True)
    parity = export.export(family, model, paths.model, validation.arrays(sample))
    # The figure that models are chosen by: of the restored best weights, through the model that is served.
    outputs = export.run_set(export.session(str(paths.model / export.FILE)), validation)
    val_rmse = rmse(validation.labels, to_rul(outputs, max_rul))
    metadata.write_json(
        paths.model / "history.json",
        {
            "epochs": [
                {
                    "epoch": epoch.epoch,
                    "train_loss": epoch.train_loss,
                    "val_loss": epoch.val_loss,
                    "val_rmse": epoch.val_rmse,
                    "learning_rate": epoch.learning_rate,
                }
                for epoch in history
            ]
        },
    )
    description |= {
        "sequence_length": length,
        "model": {
            "family": hyperparameters.family,
            "onnx": export.FILE,
            "native": family.native_file,
            "input_shape": [None, length, len(names)],
            "output": "RUL in cycles, to be held within 0 and max_rul",
        },
        "training": {
            "hyperparameters": hyperparameters.to_dict(),
            "epochs_run": len(history),
            "best_epoch": best.epoch,
            "windows": {"train": len(training), "validation": len(validation)},
            "parity": parity,
        },
        "metrics": {"val_rmse": val_rmse, "val_loss": best.val_loss, "train_loss": best.train_loss},
        "library_versions": metadata.library_versions(),
    }
    metadata.write_json(paths.model / metadata.FILE, description)
    print(f"Best weights: epoch {best.epoch} of {len(history)}; ONNX parity {parity['max_difference']:.2g} cycles")
    print(metric_lines(best.train_loss, best.val_loss, val_rmse), flush=True)


def metric_lines(train_loss: float, val_loss: float, val_rmse: float) -> str:
    """The lines that SageMaker's metric definitions find by regular expression: plain decimals, never exponents."""
    return f"Train Loss: {train_loss:.4f}\nVal Loss: {val_loss:.4f}\nVal RMSE: {val_rmse:.4f}"


def _part(paths: Paths, name: str, features: list[Any]) -> Rows:
    """One part of the data set. Raises InputError if its features are not those of the metadata."""
    folder = paths.channel(name)
    rows = Rows.load(folder)
    if rows.features.shape[1] != len(features):
        raise InputError(
            f"rows have {rows.features.shape[1]} features, the metadata names {len(features)}",
            str(folder),
            "Give the channels train, validation and features of one process job.",
        )
    return rows
