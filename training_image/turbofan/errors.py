"""The errors of a job: each says what was wrong, where, and what to do."""

from __future__ import annotations


class TurbofanError(Exception):
    """Base of every error that a job reports as its own message, without a traceback."""

    def __init__(self, what: str, where: str, do: str) -> None:
        super().__init__(f"{what} [{where}]. {do}")
        self.what = what
        self.where = where
        self.do = do


class InputError(TurbofanError):
    """An input file is missing, unreadable or breaks the data format."""


class SettingError(TurbofanError):
    """An environment variable or a hyperparameter is unknown, malformed or out of range."""


class TrainingError(TurbofanError):
    """Training gave no usable model (the loss diverged, or there is too little data)."""


class ParityError(TurbofanError):
    """The exported ONNX model does not answer as the framework's own model does."""
