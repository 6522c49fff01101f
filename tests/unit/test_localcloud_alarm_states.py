"""Alarm states from datapoints, by the tables of AWS's own page about missing data."""

import threading
from contextlib import nullcontext
from typing import Any

import pytest

from localcloud import hooks
from localcloud.cloudwatch.alarm_states import ALARM, INSUFFICIENT, OK, Datapoint, Rule, judge
from localcloud.cloudwatch.alarms import Evaluator
from localcloud.cloudwatch.metrics import MetricKey, MetricStore
from localcloud.fidelity import alarm_evaluation
from localcloud.store import Scope

SCOPE = Scope("000000000000", "us-east-1")
COUNTING = {
    "AlarmName": "a",
    "AlarmArn": "arn",
    "StateValue": "OK",
    "Namespace": "N",
    "MetricName": "m",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "ignore",
}

# docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html: the datapoints from old to new
# (X breaches, 0 does not, - is missing), then the state for missing, ignore, breaching, notBreaching; None keeps it.
THREE_OF_THREE = [
    ("0 - X - X", OK, OK, OK, OK),
    ("- - - - 0", OK, OK, OK, OK),
    ("- - - - -", INSUFFICIENT, None, ALARM, OK),
    ("0 X X - X", ALARM, ALARM, ALARM, ALARM),
    ("- - X - -", ALARM, None, ALARM, OK),
]
TWO_OF_THREE = [
    ("0 - X - X", ALARM, ALARM, ALARM, ALARM),
    ("0 0 X 0 X", ALARM, ALARM, ALARM, ALARM),
    ("0 - X - -", OK, OK, ALARM, OK),
    ("- - - - 0", OK, OK, ALARM, OK),
    ("- - - X -", ALARM, None, ALARM, OK),
]
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def points(text: str) -> list[Datapoint]:
    values = {"X": 9.0, "0": 1.0, "-": None}
    return [Datapoint(60 * number, values[each]) for number, each in enumerate(text.split())]


@pytest.mark.parametrize(
    ("needed", "text", "treatment", "wanted"),
    [
        (needed, row[0], treatment, wanted)
        for needed, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
        for row in table
        for treatment, wanted in zip(TREATMENTS, row[1:], strict=True)
    ],
)
def test_state_is_that_of_awss_tables(needed: int, text: str, treatment: str, wanted: str | None) -> None:
    verdict = judge(Rule("GreaterThanThreshold", 5, needed, 3, treatment), points(text), OK)
    assert (verdict.state if verdict else None) == wanted


def test_one_new_breach_among_missing_data_changes_nothing_yet() -> None:
    assert judge(Rule("GreaterThanThreshold", 5, 3, 3, "missing"), points("- - - - X"), OK) is None


@pytest.mark.parametrize(
    ("comparison", "breaching"),
    [
        ("GreaterThanThreshold", [6.0]),
        ("GreaterThanOrEqualToThreshold", [5.0, 6.0]),
        ("LessThanThreshold", [4.0]),
        ("LessThanOrEqualToThreshold", [4.0, 5.0]),
    ],
)
def test_comparisons(comparison: str, breaching: list[float]) -> None:
    rule = Rule(comparison, 5, 1, 1, "missing")
    assert [value for value in (4.0, 5.0, 6.0) if rule.breaches(value)] == breaching


@pytest.mark.parametrize("present", [{}, {"a": {"AlarmName": "a", "StateValue": "OK"}}], ids=["deleted", "replaced"])
def test_alarm_that_is_there_no_more_does_not_go_off(
    monkeypatch: pytest.MonkeyPatch, present: dict[str, dict[str, Any]]
) -> None:
    """It may be deleted or replaced while it is looked at, in another thread."""
    known = {"cloudwatch.alarms": present}  # and no history, actions or composite alarms, which would be asked for
    monkeypatch.setattr(hooks, "get", known.__getitem__)
    monkeypatch.setattr(hooks, "acting_in", lambda _scope: nullcontext())
    looked_at = {"AlarmName": "a", "AlarmArn": "arn", "StateValue": "OK", "StateUpdatedTimestamp": 1.0}
    alarm_evaluation.change_state(Scope("000000000000", "us-east-1"), looked_at, "ALARM", "so", {})
    assert looked_at["StateValue"] == "OK"


def test_reason_is_awss_sentence() -> None:
    verdict = judge(Rule("GreaterThanThreshold", 5.0, 2, 3, "missing"), points("X 0 X"), OK)
    assert verdict is not None
    assert verdict.reason == (
        "Threshold Crossed: 2 out of the last 3 datapoints [9.0 (01/01/70 00:02:00), 9.0 (01/01/70 00:00:00)] were "
        "greater than the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition)."
    )


@pytest.mark.parametrize(("statistic", "wanted"), [("Sum", [ALARM]), ("Average", [])])
def test_minute_that_still_runs_is_judged_when_its_breach_can_only_grow(statistic: str, wanted: list[str]) -> None:
    store, moved = MetricStore(), list[str]()
    evaluator = Evaluator(store, list, lambda _scope, _alarm, state, *_rest: moved.append(state))
    store.put(SCOPE, "N", "m", 1.0, timestamp=6010.0)
    evaluator.evaluate(SCOPE, {**COUNTING, "Statistic": statistic}, 6020.0)
    assert moved == wanted


def test_datapoint_that_comes_while_a_round_begins_is_looked_at() -> None:
    store, moved = MetricStore(), list[str]()
    evaluator = Evaluator(
        store, lambda: [(SCOPE, dict(COUNTING))], lambda _scope, _alarm, state, *_rest: moved.append(state)
    )
    evaluator._round()  # from now on, only a datapoint or the next minute are reasons to look
    noting, go_on = threading.Event(), threading.Event()

    class Slow(set[Any]):
        def add(self, key: MetricKey) -> None:
            noting.set()
            go_on.wait(60)
            super().add(key)

    evaluator._touched = Slow()
    putting = threading.Thread(target=store.put, args=(SCOPE, "N", "m", 1.0), daemon=True)
    putting.start()
    noting.wait(1)
    beginning = threading.Thread(target=evaluator._round, daemon=True)
    beginning.start()
    beginning.join(0.5)
    go_on.set()
    for thread in (putting, beginning):
        thread.join(60)
    evaluator._round()
    assert ALARM in moved
