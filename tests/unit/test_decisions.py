"""Decisions: which guards a rollback or a retraining needs, and what is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from control_plane.decisions import (
    Decision,
    Evidence,
    Serving,
    Training,
    conclude,
    ground_guards,
    retrain_guards,
    rollback_guards,
)
from control_plane.settings import ViolationSettings

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POLICY = ViolationSettings()
SEVERE = Evidence("v7", "severe", "drift", 2)
YOUNG = Serving(7, "v7", NOW - timedelta(hours=2), "", "old", predecessor=6)
NEW_DATA = Training(newest="new", new_engines=20)


def decide(
    evidence: Evidence = SEVERE, serving: Serving = YOUNG, training: Training = NEW_DATA, **policy: Any
) -> Decision:
    """As control_plane.violations goes through the guards."""
    rules = ViolationSettings(**{**POLICY.model_dump(), **policy})
    ground = ground_guards(evidence, rules)
    if not all(guard.passed for guard in ground):
        return conclude(evidence, rules, ground)
    rollback = rollback_guards(evidence, rules, serving, NOW)
    if all(guard.passed for guard in rollback):
        return conclude(evidence, rules, ground, rollback)
    return conclude(evidence, rules, ground, rollback, retrain_guards(evidence, rules, serving, training, NOW))


def test_severe_violations_of_a_young_champion_roll_it_back() -> None:
    decision = decide()

    assert (decision.action, decision.level) == ("rollback", "critical")
    assert any("served for 2 h" in reason for reason in decision.reasons)
    assert all(guard.passed for guard in decision.guards)


@pytest.mark.parametrize(
    ("changed", "guard", "says"),
    [
        ({"evidence": replace(SEVERE, severity="moderate")}, "severity", "are moderate"),
        ({"serving": replace(YOUNG, since=NOW - timedelta(days=1))}, "age", "served for 1 d"),
        ({"serving": replace(YOUNG, since=None)}, "age", "not known"),
        ({"serving": replace(YOUNG, predecessor=None)}, "predecessor", "no version before"),
        ({"serving": replace(YOUNG, under_way=8)}, "free", "v8 is being deployed"),
        ({"serving": replace(YOUNG, rolled_back_by="arn:x")}, "first_rollback", "arn:x"),
        ({"violation_actions": "retrain"}, "rollback_allowed", "not allowed"),
    ],
)
def test_each_guard_of_a_rollback_keeps_it_back_and_training_is_next(
    changed: dict[str, Any], guard: str, says: str
) -> None:
    decision = decide(**changed)

    [missed] = [each for each in decision.guards if not each.passed]
    assert (missed.guard, decision.action) == (guard, "retrain")
    assert says in missed.message


def test_champion_that_is_in_its_soak_is_rolled_back() -> None:
    assert decide(serving=replace(YOUNG, under_way=7)).action == "rollback"


def test_moderate_violations_retrain_on_new_data() -> None:
    decision = decide(replace(SEVERE, severity="moderate"))

    assert (decision.action, decision.level) == ("retrain", "critical")
    assert any("20 training engine(s)" in reason for reason in decision.reasons)


OLD = replace(YOUNG, since=NOW - timedelta(days=30))
WAITS = replace(NEW_DATA, outcome="registered", package="FD001/8", package_status="PendingManualApproval")


@pytest.mark.parametrize(
    ("changed", "guard", "says"),
    [
        ({"training": Training()}, "new_data", "no complete data set"),
        ({"training": replace(NEW_DATA, newest="old")}, "new_data", "is the one that the champion was trained on"),
        ({"training": replace(NEW_DATA, new_engines=0)}, "new_data", "has 0 training engine(s)"),
        ({"retrain_min_new_engines": 21}, "new_data", "it takes 21"),
        ({"training": WAITS}, "untrained", "package FD001/8 was trained on it and waits for approval"),
        ({"training": replace(WAITS, package_status="Rejected")}, "untrained", "was rejected"),
        ({"training": replace(WAITS, outcome="failed")}, "untrained", "FD001/8"),
        ({"training": replace(NEW_DATA, outcome="gate_missed")}, "untrained", "missed the gate"),
        ({"training": replace(NEW_DATA, outcome="inconsistent")}, "untrained", "do not fit"),
        ({"training": replace(NEW_DATA, running="FD001-abc-1")}, "idle", "FD001-abc-1"),
        ({"training": replace(NEW_DATA, last_started=NOW - timedelta(hours=23))}, "cooldown", "23 h ago"),
        ({"violation_actions": "rollback"}, "retrain_allowed", "not allowed"),
    ],
)
def test_each_guard_of_a_retraining_leaves_an_alert_that_says_why(
    changed: dict[str, Any], guard: str, says: str
) -> None:
    decision = decide(serving=OLD, **changed)

    assert decision.action == "alert"
    assert decision.missed(guard)
    assert says in " ".join(decision.reasons)


@pytest.mark.parametrize(
    "training",
    [
        replace(NEW_DATA, outcome="failed"),
        replace(NEW_DATA, outcome="superseded"),
        replace(NEW_DATA, new_engines=None),
        replace(NEW_DATA, last_started=NOW - timedelta(days=1)),
    ],
)
def test_what_does_not_speak_against_a_retraining(training: Training) -> None:
    assert decide(serving=OLD, training=training).action == "retrain"


@pytest.mark.parametrize("variant", ["v6", "v8"])
def test_only_the_champions_violations_lead_to_more_than_an_alert(variant: str) -> None:
    decision = decide(replace(SEVERE, variant=variant))
    assert (decision.action, decision.level) == ("alert", "critical")
    assert "the champion is v7" in " ".join(decision.reasons)


def test_fleet_without_a_champion_gets_an_alert() -> None:
    assert decide(serving=Serving()).action == "alert"


@pytest.mark.parametrize(
    ("evidence", "guard", "level"),
    [
        (replace(SEVERE, consecutive=1), "persistence", "critical"),
        (replace(SEVERE, consecutive=1, severity="moderate"), "persistence", "warning"),
        (replace(SEVERE, cause="data"), "cause", "critical"),
        (replace(SEVERE, cause=None), "cause", "critical"),
        (replace(SEVERE, newer_ok="20261123T110000Z"), "newest", "warning"),
        (replace(SEVERE, variant="v3", is_retired=True), "serves", "warning"),
    ],
)
def test_without_grounds_nothing_else_is_looked_at(evidence: Evidence, guard: str, level: str) -> None:
    decision = decide(evidence)

    assert (decision.action, decision.level) == ("alert", level)
    assert decision.missed(guard)
    assert {each.guard for each in decision.guards} == {"newest", "serves", "cause", "persistence"}


def test_retired_is_what_neither_serves_nor_served_last_nor_comes_next() -> None:
    serving = replace(YOUNG, under_way=8)
    assert [variant for variant in ("v3", "v6", "v7", "v8", "v77") if serving.has_retired(variant)] == ["v3", "v77"]
    assert not Serving().has_retired("v3"), "without a champion nobody knows"


def test_one_window_is_enough_where_the_stack_says_so() -> None:
    assert decide(replace(SEVERE, consecutive=1), violation_windows=1).action == "rollback"


def test_guards_that_both_actions_have_are_said_once() -> None:
    names = [each.guard for each in decide(serving=OLD, training=Training()).guards]
    assert len(names) == len(set(names))
