"""States.ALL catches neither States.DataLimitExceeded nor States.Runtime; States.Timeout catches missed heartbeats.

docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html#error-handling-error-representation:
States.Runtime "isn't retriable, and will always cause the execution to fail"; States.TaskFailed is any error "except
for States.Timeout". In MiniStack States.ALL is every error, and States.HeartbeatTimeout does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence

from localcloud import hooks

_TIMEOUTS = ("States.Timeout", "States.HeartbeatTimeout")


def install() -> None:
    """Match errors here."""
    hooks.replace("states.matches", lambda _original: matches)


def matches(error_equals: Sequence[str], error: str) -> bool:
    """Whether an entry of Retry or Catch is for an error."""
    if error == "States.Runtime":
        return False
    if error in error_equals or (error in _TIMEOUTS and "States.Timeout" in error_equals):
        return True
    if error == "States.DataLimitExceeded":
        return False
    return "States.ALL" in error_equals or ("States.TaskFailed" in error_equals and error not in _TIMEOUTS)
