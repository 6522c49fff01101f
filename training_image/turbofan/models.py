"""Model families: plugs with one interface (build, fit, predict, export), chosen by the hyperparameter `family`.

A family takes windows float32 (m, length, k) and gives RUL in cycles, so that nothing outside knows how it scales.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from turbofan.container import compute_threads
from turbofan.dataset import WindowSet
from turbofan.errors import SettingError, TrainingError
from turbofan.features import Floats32
from turbofan.hyperparameters import Hyperparameters

Model = Any


@dataclass(frozen=True)
class Epoch:
    """One pass over the training windows: losses are mean squared errors in cycles²."""

    epoch: int
    train_loss: float
    val_loss: float
    learning_rate: float

    @property
    def val_rmse(self) -> float:
        """Root mean squared error on the validation windows, in cycles."""
        return math.sqrt(self.val_loss)


class Family(Protocol):
    """What train needs of a model family."""

    native_file: str  # name of the framework's own model file

    def build(self, length: int, width: int, max_rul: float, hyperparameters: Hyperparameters) -> Model:
        """A new model for windows of `length` rows, `width` features; binds the framework to its threads and seed."""

    def fit(
        self,
        model: Model,
        train: WindowSet,
        validation: WindowSet,
        hyperparameters: Hyperparameters,
        report: Callable[[Epoch], None],
    ) -> None:
        """Train, calling `report` after each epoch, and leave `model` with the weights that were best on validation.

        Raises TrainingError if the loss is not finite.
        """

    def predict(self, model: Model, windows: Floats32) -> Floats32:
        """Raw outputs in cycles, float32 (m,)."""

    def export(self, model: Model, folder: Path) -> None:
        """Write `folder`/model.onnx (input (m, length, k), output (m, 1) in cycles) and the framework's own file."""


class Lstm:
    """The reference: two LSTM layers, dropout after each, a dense layer of 32, one output."""

    native_file = "model.keras"

    def build(self, length: int, width: int, max_rul: float, hyperparameters: Hyperparameters) -> Model:
        """The network inside learns RUL / `max_rul`; its last layer scales to cycles."""
        prepare_tensorflow(compute_threads(), hyperparameters.seed)
        import keras

        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((length, width), name="windows"),
                layers.LSTM(hyperparameters.lstm_units_1, return_sequences=True),
                layers.Dropout(hyperparameters.dropout_rate),
                layers.LSTM(hyperparameters.lstm_units_2),
                layers.Dropout(hyperparameters.dropout_rate),
                layers.Dense(32, activation="relu"),
                layers.Dense(1, name="share_of_max_rul"),
                layers.Rescaling(max_rul, name="rul"),
            ]
        )
        model.compile(keras.optimizers.Adam(hyperparameters.learning_rate), "mse")
        return model

    def fit(
        self,
        model: Model,
        train: WindowSet,
        validation: WindowSet,
        hyperparameters: Hyperparameters,
        report: Callable[[Epoch], None],
    ) -> None:
        """Adam, learning rate halved on a plateau, early stopping on the validation engines."""
        import keras

        def on_epoch_end(epoch: int, logs: dict[str, float]) -> None:
            rate = float(model.optimizer.learning_rate)
            figures = Epoch(epoch + 1, float(logs["loss"]), float(logs["val_loss"]), rate)
            if not (math.isfinite(figures.train_loss) and math.isfinite(figures.val_loss)):
                raise TrainingError(
                    f"the loss is not finite (train {figures.train_loss}, validation {figures.val_loss})",
                    f"epoch {figures.epoch}",
                    f"Lower learning_rate (it was {hyperparameters.learning_rate:g}).",
                )
            report(figures)

        # The output starts at the mean label. From 0 the first epoch would learn little but that mean, and learn it by
        # leaning on the age; measured on FD001, the RMSE after one epoch falls from 14 to 11, and the curve is smooth.
        output = model.get_layer("share_of_max_rul")
        output.bias.assign([float(train.labels.mean()) / model.get_layer("rul").scale])

        patience = hyperparameters.patience
        model.fit(
            _batches(train, hyperparameters.batch_size, shuffle_seed=hyperparameters.seed),
            validation_data=_batches(validation, 1024),
            epochs=hyperparameters.epochs,
            verbose=0,
            shuffle=False,  # the batches are shuffled already
            callbacks=[
                # First, so that it sees the learning rate with which the epoch was run.
                keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end),
                keras.callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=True),
                keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=max(1, patience // 2)),
            ],
        )

    def predict(self, model: Model, windows: Floats32) -> Floats32:
        """In one thread of Python, without a data pipeline: used for some thousand windows at the end."""
        parts = [np.asarray(model(windows[i : i + 1024], training=False)) for i in range(0, len(windows), 1024)]
        return np.concatenate(parts).reshape(-1).astype(np.float32)

    def export(self, model: Model, folder: Path) -> None:
        """Keras's own exporter keeps LSTM nodes whole, so ONNX Runtime uses its LSTM kernel."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Keras looks for np.object, which is its own affair
            model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        model.save(folder / self.native_file, include_optimizer=False)


FAMILIES: dict[str, Family] = {"lstm": Lstm()}


def family(name: str) -> Family:
    """The family called `name`. Raises SettingError."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise SettingError(
            f"unknown model family {name!r}", "hyperparameter family", f"Known are {', '.join(sorted(FAMILIES))}."
        ) from None


def prepare_tensorflow(threads: int, seed: int) -> None:
    """Bind TensorFlow to `threads` and make it repeatable.

    To be called after any fork and before the first operation: the threads of a process that has computed are fixed
    (RuntimeError if they are others).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    threading = tf.config.threading
    if (threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads()) != (threads, 1):
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _batches(windows: WindowSet, batch_size: int, shuffle_seed: int | None = None) -> Any:
    """Windows cut batch by batch from the rows, in this thread."""
    import tensorflow as tf

    features, rows, labels = (tf.constant(array) for array in (windows.features, windows.rows, windows.labels))
    numbers = tf.data.Dataset.range(len(windows))
    if shuffle_seed is not None:
        numbers = numbers.shuffle(len(windows), seed=shuffle_seed, reshuffle_each_iteration=True)
    batches = numbers.batch(batch_size).map(lambda i: (tf.gather(features, tf.gather(rows, i)), tf.gather(labels, i)))
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.deterministic = True
    options.experimental_optimization.map_parallelization = False
    return batches.with_options(options)
