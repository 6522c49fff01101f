"""The errors of localcloud: its own, and those that a SageMaker client is answered with."""

from __future__ import annotations


class LocalcloudError(Exception):
    """Base of what goes wrong in localcloud itself; the message says what, where, and what to do."""


class ApiError(LocalcloudError):
    """An error answered to the caller of an API, with AWS's code and wording.

    Args:
        code: the error's code as on the wire, such as ``ResourceInUse``.
        message: AWS's wording.
        status: the HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class ValidationException(ApiError):
    """The request is wrong, or, in most of SageMaker, the resource does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


class ResourceInUse(ApiError):
    """The name is taken, or the resource is busy."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceInUse", message)


class ResourceNotFound(ApiError):
    """The resource does not exist."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceNotFound", message)


class ResourceLimitExceeded(ApiError):
    """A quota is used up."""

    def __init__(self, message: str) -> None:
        super().__init__("ResourceLimitExceeded", message)


class ConflictException(ApiError):
    """The change does not fit the resource's present state."""

    def __init__(self, message: str) -> None:
        super().__init__("ConflictException", message)
