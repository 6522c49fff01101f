"""The errors an operator sees: what is wrong, where, what to do, and the exit code that goes with it."""

from __future__ import annotations

from enum import IntEnum

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    FAILED = 1  # it was tried and did not work
    USAGE = 2  # the command line makes no sense
    NOT_FOUND = 3  # no such stack, data set, execution or package
    GATE_MISSED = 4  # the run ended properly; the model was not good enough
    NO_MODEL = 5  # the run ended properly without a model: superseded, or nothing new to train on
    TIMED_OUT = 6  # waited as long as told; the run goes on
    DRIFT = 7  # monitoring found violations
    UNJUDGED = 8  # monitoring could not tell: too few engines, or a capture that cannot be read
    INTERRUPTED = 130


class OnwingError(Exception):
    """Base of all errors that are shown without a traceback."""

    exit_code = Exit.FAILED

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo


class UsageError(OnwingError):
    """The command line asks for something that makes no sense."""

    exit_code = Exit.USAGE


class NotFound(OnwingError):
    """What was named does not exist."""

    exit_code = Exit.NOT_FOUND


class NotDeployed(NotFound):
    """There is no stack, or no cloud, to talk to."""


class CommandFailed(OnwingError):
    """A program that was run (sam, docker, git, localcloud) ended with an error."""


class WaitedTooLong(OnwingError):
    """The time given to wait is over; what was waited for may still happen."""

    exit_code = Exit.TIMED_OUT


_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN_IDENTITY = {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure"}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403"}
_THROTTLED = {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}


def translate(error: BotoCoreError | ClientError, target: str) -> OnwingError:
    """Say what botocore's error means to an operator. `target` is the target in words, for "where"."""
    if isinstance(error, ClientError):
        return _translate_client_error(error, target)
    if isinstance(error, _CREDENTIALS):
        return OnwingError(
            f"No usable AWS credentials ({error}).",
            where=target,
            todo="Sign in (`aws sso login`, `aws configure`) or name a profile with --profile. "
            "Without an AWS account, start the embedded cloud: `onwing up`.",
        )
    if isinstance(error, ProfileNotFound):
        return UsageError(
            str(error) + ".", where="--profile / AWS_PROFILE", todo="List profiles: `aws configure list`."
        )
    if isinstance(error, NoRegionError):
        return UsageError("No AWS region is set.", where=target, todo="Give --region, or set AWS_REGION.")
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ReadTimeoutError):
        return OnwingError(
            f"Nothing answers: {error}",
            where=target,
            todo="On the embedded cloud: `onwing up`, then `onwing doctor`. On AWS: check the network and --region.",
        )
    return OnwingError(f"{type(error).__name__}: {error}", where=target, todo="Try again with --debug for the details.")


def _translate_client_error(error: ClientError, target: str) -> OnwingError:
    code = error.response.get("Error", {}).get("Code", "Unknown")
    message = error.response.get("Error", {}).get("Message", "") or "no message"
    where = f"{error.operation_name} on {target}"
    if code in _EXPIRED:
        todo = "Your session is over: sign in again (`aws sso login`)."
    elif code in _UNKNOWN_IDENTITY:
        todo = "AWS does not know these credentials: check --profile and AWS_ACCESS_KEY_ID."
    elif code in _DENIED:
        todo = f"You may not call {error.operation_name}: ask for that permission, or use another --profile."
    elif code in _THROTTLED:
        todo = "AWS is throttling: wait a little and try again."
    else:
        todo = "Try again with --debug for the details; `onwing doctor` checks the surroundings."
    return OnwingError(f"{code}: {message}", where=where, todo=todo)


def error_code(error: ClientError) -> str:
    """The code of an AWS error ("ResourceNotFound"), or "Unknown"."""
    return error.response.get("Error", {}).get("Code", "Unknown")
