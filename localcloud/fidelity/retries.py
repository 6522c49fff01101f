"""Retry waits IntervalSeconds x BackoffRate^n, up to MaxDelaySeconds and with jitter, for as long as that takes.

docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html#error-handling-retrying-after-an-error;
MiniStack knows neither MaxDelaySeconds nor JitterStrategy, waits a minute at most, sleeps on when the execution is
stopped, and lets an error that is not named pass by Retry and Catch. Task, Parallel and Map share the one loop here,
in place of MiniStack's two: what they differ in is the attempt.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from localcloud import hooks
from localcloud.fidelity.state_walk import runtime_cause
from localcloud.states import workflow

logger = logging.getLogger("localcloud.fidelity")

# The largest IntervalSeconds there can be; a delay that has grown beyond it never ends anyway.
LONGEST = 99_999_999.0

Outcome = tuple[Any, str | None]


def install() -> None:
    """Retry and catch here."""
    hooks.replace("states.attempts", lambda _original: attempts)


def delay(retrier: Mapping[str, Any], retries: int, rand: Callable[[float, float], float] = random.uniform) -> float:
    """How long to wait, in seconds, before the retry that follows so many others.

    Args:
        retrier: an entry of a state's Retry.
        retries: how many retries this retrier has made.
        rand: draws between two numbers.
    """
    interval, rate = float(retrier.get("IntervalSeconds", 1)), float(retrier.get("BackoffRate", 2.0))
    try:
        seconds = interval * rate**retries
    except OverflowError:
        seconds = LONGEST
    seconds = min(seconds, float(retrier.get("MaxDelaySeconds", LONGEST)))
    return rand(0.0, seconds) if retrier.get("JitterStrategy") == "FULL" else seconds


def retrier_for(retriers: list[Mapping[str, Any]], error: str, retries: Mapping[int, int]) -> int | None:
    """Which entry of Retry applies, by its number: the first that matches, unless it has used its MaxAttempts."""
    for number, retrier in enumerate(retriers):
        if hooks.get("states.matches")(retrier.get("ErrorEquals", []), error):
            return number if retries.get(number, 0) < retrier.get("MaxAttempts", 3) else None
    return None


def attempts(state_def: workflow.Json, raw_input: Any, ctx: workflow.Json, attempt: Callable[[], Outcome]) -> Outcome:
    """Run a state until it succeeds or neither Retry nor Catch knows its error."""
    failed = hooks.get("states.error")
    state, variables = ctx["State"], ctx.get("variables", {})
    entered = walk.last_event if (walk := workflow.current()) else 0
    retriers = state_def.get("Retry", [])
    retries: dict[int, int] = {}
    while True:
        ctx["State"] = {**state, "RetryCount": sum(retries.values())}
        ctx["variables"] = dict(variables)
        try:
            return attempt()
        except failed as error:
            name, cause = error.error, error.cause
        except Exception as error:
            logger.warning("state %s failed inside localcloud", state["Name"], exc_info=True)
            name, cause = "States.Runtime", runtime_cause(state["Name"], entered, error)
        ctx["variables"] = dict(variables)
        number = retrier_for(retriers, name, retries)
        if number is not None:
            retries[number] = retries.get(number, 0) + 1
            workflow.pause(delay(retriers[number], retries[number] - 1))
            if walk is not None:
                walk.place["children"] = None  # every branch again
            continue
        for catcher in state_def.get("Catch", []):
            if hooks.get("states.matches")(catcher.get("ErrorEquals", []), name):
                language = hooks.get("states.language")(state_def, ctx)
                error_output = {"Error": name, "Cause": cause}
                return hooks.get("states.catch")(catcher, raw_input, ctx, language, error_output), catcher["Next"]
        raise workflow.error(name, cause)
