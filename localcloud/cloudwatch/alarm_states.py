"""Which state an alarm is in, given its datapoints: M out of N, and what counts where a datapoint is missing.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html and …/alarms-and-missing-data.html.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"

# AWS looks at more datapoints than are evaluated, so that a late one does not change the state; it does not say how
# many more: its examples have two.
EXTRA_PERIODS = 2

_OPERATORS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
COMPARISONS = tuple(_OPERATORS)
_TREATED = {"breaching": "Breaching", "notBreaching": "NonBreaching"}


@dataclass(frozen=True)
class Rule:
    """When an alarm goes off.

    Args:
        needed: datapoints to alarm, the M.
        periods: evaluation periods, the N.
        missing: breaching, notBreaching, ignore or missing.
    """

    comparison: str
    threshold: float
    needed: int
    periods: int
    missing: str

    def breaches(self, value: float) -> bool:
        """Whether a datapoint is outside the threshold."""
        return _OPERATORS[self.comparison][0](value, self.threshold)


@dataclass(frozen=True)
class Datapoint:
    """One period's value; None where it is missing."""

    start: int
    value: float | None


@dataclass(frozen=True)
class Verdict:
    """The state, AWS's sentence about it, and the datapoints that it rests on, newest first."""

    state: str
    reason: str
    evaluated: tuple[Datapoint, ...]


def judge(rule: Rule, datapoints: Sequence[Datapoint], current: str) -> Verdict | None:
    """The state that the datapoints of the evaluation range, oldest first, call for; None to keep the current one."""
    newest_first = list(reversed(datapoints))
    real = [point for point in newest_first if point.value is not None]
    if len(real) >= rule.periods:
        return _by_values(rule, real[: rule.periods], current, 0)
    missing = rule.periods - len(real)
    if rule.missing in _TREATED:
        return _by_values(rule, real, current, missing)
    if not real:
        if rule.missing == "ignore":
            return None
        what = "datapoint was" if rule.periods == 1 else "datapoints were"
        return Verdict(INSUFFICIENT, f"Insufficient Data: {rule.periods} {what} unknown.", ())
    breaching = [point for point in real if _breaches(rule, point)]
    if len(breaching) >= rule.needed:
        return _by_values(rule, real, current, 0)
    if breaching and len(breaching) == len(real):
        # All that is known breaches. It is enough if the oldest of it is at least M periods old.
        age = newest_first.index(breaching[-1]) + 1
        if rule.missing == "missing" and age >= rule.needed:
            return Verdict(ALARM, _crossed(rule, breaching, real, ALARM, current, 0), tuple(real))
        return None
    return _by_values(rule, real, current, 0)


def _breaches(rule: Rule, point: Datapoint) -> bool:
    return point.value is not None and rule.breaches(point.value)


def _by_values(rule: Rule, real: Sequence[Datapoint], current: str, filled: int) -> Verdict:
    breaching = [point for point in real if _breaches(rule, point)]
    count = len(breaching) + (filled if rule.missing == "breaching" else 0)
    state = ALARM if count >= rule.needed else OK
    concerned = breaching if state == ALARM else [point for point in real if point not in breaching]
    return Verdict(state, _crossed(rule, concerned, real, state, current, filled), tuple(real))


def _crossed(
    rule: Rule, concerned: Sequence[Datapoint], real: Sequence[Datapoint], state: str, current: str, filled: int
) -> str:
    """AWS's sentence, such as: Threshold Crossed: 1 out of the last 1 datapoints [5.0 (…)] was greater than …"""
    if not real:
        periods = "1 period" if rule.periods == 1 else f"{rule.periods} periods"
        points = "1 missing datapoint was" if filled == 1 else f"{filled} missing datapoints were"
        return (
            f"Threshold Crossed: no datapoints were received for {periods} and {points} treated as "
            f"[{_TREATED[rule.missing]}]."
        )
    shown = ", ".join(f"{point.value} ({_day(point.start)})" for point in concerned[:5])
    verb = "was" if len(concerned) == 1 else "were"
    negation = "" if state == ALARM else "not "
    least = rule.needed if state == ALARM else rule.periods - rule.needed + 1
    noun = "datapoint" if least == 1 else "datapoints"
    missing = f" {filled} missing datapoints were treated as [{_TREATED[rule.missing]}]." if filled else ""
    return (
        f"Threshold Crossed: {len(concerned)} out of the last {rule.periods} datapoints [{shown}] {verb} {negation}"
        f"{_OPERATORS[rule.comparison][1]} the threshold ({rule.threshold}) (minimum {least} {noun} for "
        f"{current if current != INSUFFICIENT else (OK if state == ALARM else ALARM)} -> {state} transition).{missing}"
    )


def _day(when: int) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%d/%m/%y %H:%M:%S")
