"""The family of errors that handlers raise: each says what was wrong, where, and what to do."""


class ControlPlaneError(Exception):
    """Base of every error that the control plane raises on purpose."""


class SettingsError(ControlPlaneError):
    """The function's environment lacks a setting or holds one that cannot be read."""


class DatasetNotFoundError(ControlPlaneError):
    """A fleet or data set version that nobody has uploaded."""


class TrainingRequestError(ControlPlaneError):
    """A request to train that cannot be carried out as it stands."""


class ApprovalError(ControlPlaneError):
    """A model package's change that cannot be acted upon now; its event's redelivery may succeed."""


class ViolationError(ControlPlaneError):
    """A report of violations that could not be acted upon now; its event's redelivery may succeed."""
