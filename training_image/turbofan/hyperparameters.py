"""What a training job may be told: names, kinds, ranges and defaults of its hyperparameters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from turbofan.container import number
from turbofan.errors import SettingError

# (lowest, highest) of each number; the tuner's ranges lie within.
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 1000),
    "batch_size": (1, 65536),
    "learning_rate": (1e-7, 1.0),
    "lstm_units_1": (1, 1024),
    "lstm_units_2": (1, 1024),
    "dropout_rate": (0.0, 0.95),
    "sequence_length": (1, 1000),
    "window_stride": (1, 100),
    "patience": (1, 1000),
    "seed": (0, 2**31 - 1),
}
# SageMaker adds names of its own: `_tuning_objective_metric` in tuning jobs, `sagemaker_*` from its SDK.
FOREIGN_PREFIXES = ("_", "sagemaker_")


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of one training job; the defaults are the reference model's."""

    family: str = "lstm"
    epochs: int = 60
    batch_size: int = 256
    learning_rate: float = 1e-3
    lstm_units_1: int = 64
    lstm_units_2: int = 64
    dropout_rate: float = 0.2
    sequence_length: int | None = None  # None: the one in the metadata of the process job
    window_stride: int = 1  # every n-th cycle of a training engine ends a window
    patience: int = 10  # epochs without a better validation loss
    seed: int = 1

    @classmethod
    def parse(cls, given: dict[str, str]) -> Hyperparameters:
        """From SageMaker's strings. Raises SettingError for a name that is unknown or a value out of range."""
        known = {field.name: field for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, text in given.items():
            if name.startswith(FOREIGN_PREFIXES):
                continue
            where = f"hyperparameter {name}"
            if name not in known:
                raise SettingError("unknown hyperparameter", where, f"Known are {', '.join(sorted(known))}.")
            text = text.strip().strip('"')  # SageMaker's SDK encodes strings as JSON
            if name == "family":
                values[name] = text
                continue
            whole = name not in ("learning_rate", "dropout_rate")
            value = number(text, where, *RANGES[name], whole=whole)
            values[name] = int(value) if whole else value
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
