"""What an assessment says: reasons with their figures, ordered so that the cause stands before its consequences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from pydantic import BaseModel

# In the order in which people should read them: a model that answers 500 also lacks answers to compare, one that is
# slow also sets off its alarm.
Check = Literal[
    "artifact",
    "gate",
    "endpoint",
    "probe-error",
    "errors-5xx",
    "probe-shape",
    "probe-not-finite",
    "latency",
    "probe-constant",
    "probe-parity",
    "probe-rmse",
    "probe-difference",
    "alarm",
    "errors-4xx",
]
ORDER: tuple[Check, ...] = get_args(Check)
REASONS_IN_SUMMARY = 3


class Reason(BaseModel):
    """One thing that speaks against a model: `value` is what was found, `limit` what would have been accepted."""

    check: Check
    message: str
    value: float | str | None = None
    limit: float | str | None = None


def ordered(reasons: Iterable[Reason]) -> list[Reason]:
    """The reasons, causes first."""
    return sorted(reasons, key=lambda reason: ORDER.index(reason.check))


def summarise(reasons: Iterable[Reason]) -> str:
    """One line for people: the first reasons, and how many more there are."""
    found = ordered(reasons)
    line = "; ".join(reason.message for reason in found[:REASONS_IN_SUMMARY])
    more = len(found) - REASONS_IN_SUMMARY
    return f"{line}; and {more} more" if more > 0 else line
