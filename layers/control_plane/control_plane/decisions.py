"""What violations lead to: an alert, a rollback or a retraining. Rules only; nothing here reads or writes anything.

Each rule is a guard that passes or not and says why. A rollback or a retraining needs all of its guards; the reasons of
a decision are the guards that made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from control_plane.settings import ViolationSettings
from control_plane.violation_files import Cause, Severity

Action = Literal["alert", "rollback", "retrain", "none"]
Level = Literal["warning", "critical"]

SELF_EVIDENT = ("newest", "serves", "rollback_allowed", "retrain_allowed")  # once they have passed


class Guard(BaseModel):
    """One condition of an action."""

    guard: str
    passed: bool
    message: str


class Decision(BaseModel):
    """What is done, why, and how loudly it is told. Action none: there is nothing to tell."""

    action: Action
    level: Level | None
    reasons: list[str]
    guards: list[Guard]

    def missed(self, guard: str) -> bool:
        """Whether this guard was looked at and did not pass."""
        return any(each.guard == guard and not each.passed for each in self.guards)


@dataclass(frozen=True)
class Evidence:
    """What was found, in how many windows in a row."""

    variant: str
    severity: Severity
    cause: Cause | None
    consecutive: int
    earlier: int = 0  # of those, the ones that had ended when the variant became champion
    is_known: bool = False  # the window judges what the last one in a row did, and next to nothing new
    newer_ok: str = ""  # a later window without violations: the file came late
    is_retired: bool = False  # the variant serves nothing any more


@dataclass(frozen=True)
class Serving:
    """What the control table says of the fleet's endpoint; no version: it has no champion."""

    version: int | None = None
    variant: str = ""
    since: datetime | None = None
    promoted_at: str = ""  # the same, as it is written there
    dataset_version: str = ""
    predecessor: int | None = None
    under_way: int | None = None  # version that is being deployed
    rolled_back_by: str = ""  # execution that violations started against this champion

    def has_retired(self, variant: str) -> bool:
        """Whether a variant of the fleet serves nothing any more; where there is no champion, nobody knows."""
        serving = (self.version, self.predecessor, self.under_way)
        return self.version is not None and variant not in {f"v{each}" for each in serving if each is not None}


@dataclass(frozen=True)
class Training:
    """What there is to train on, and what has been done with it."""

    newest: str | None = None  # version of the complete data set
    new_engines: int | None = None  # training engines that the champion's data set has not; None: not counted
    outcome: str = ""  # status of the newest version's last attempt
    package: str = ""  # FD001/8, trained on it
    package_status: str = ""
    running: str = ""  # execution of the fleet's training that runs
    last_started: datetime | None = None  # by violations


def ground_guards(evidence: Evidence, policy: ViolationSettings) -> list[Guard]:
    """Whether anything but an alert comes into question."""
    causes = {
        "data": "the input is broken, so that neither another model nor new training helps",
        "drift": "what is measured has changed",
        "model": "the model's answers have changed",
    }
    windows = "window" if policy.violation_windows == 1 else "windows"
    return [
        Guard(
            guard="newest",
            passed=not evidence.newer_ok,
            message=f"a later window ({evidence.newer_ok}) is without violations"
            if evidence.newer_ok
            else "no later window is without violations",
        ),
        Guard(
            guard="serves",
            passed=not evidence.is_retired,
            message=f"{evidence.variant} serves {'nothing any more' if evidence.is_retired else 'the fleet'}",
        ),
        Guard(
            guard="cause",
            passed=evidence.cause in ("drift", "model"),
            message=causes[evidence.cause] if evidence.cause else "the kind of check is not known here",
        ),
        Guard(
            guard="persistence",
            passed=evidence.consecutive - evidence.earlier >= policy.violation_windows,
            message=f"{_in_a_row(evidence)}; anything drastic takes {policy.violation_windows} {windows}",
        ),
    ]


def rollback_guards(evidence: Evidence, policy: ViolationSettings, serving: Serving, now: datetime) -> list[Guard]:
    """Whether the predecessor is the better guess."""
    age = None if serving.since is None else now - serving.since
    limit = timedelta(seconds=policy.rollback_window_seconds)
    return [
        Guard(
            guard="severity", passed=evidence.severity == "severe", message=f"the violations are {evidence.severity}"
        ),
        _champion(evidence, serving),
        Guard(
            guard="age",
            passed=age is not None and age < limit,
            message="it is not known since when the champion serves"
            if age is None
            else f"the champion has served for {_span(age)}; its predecessor is the better guess for {_span(limit)}",
        ),
        Guard(
            guard="predecessor",
            passed=serving.predecessor is not None,
            message="there is no version before it"
            if serving.predecessor is None
            else f"v{serving.predecessor} served before it",
        ),
        Guard(
            guard="free",
            passed=serving.under_way in (None, serving.version),
            message="no other version is being deployed"
            if serving.under_way in (None, serving.version)
            else f"v{serving.under_way} is being deployed, which decides about the endpoint",
        ),
        Guard(
            guard="first_rollback",
            passed=not serving.rolled_back_by,
            message=f"violations have started its rollback before: {serving.rolled_back_by}"
            if serving.rolled_back_by
            else "violations have not started its rollback before",
        ),
        _allowed("rollback", policy),
    ]


def retrain_guards(
    evidence: Evidence, policy: ViolationSettings, serving: Serving, training: Training, now: datetime
) -> list[Guard]:
    """Whether training now gives a model that knows more than the champion."""
    guards = [_champion(evidence, serving), _new_data(policy, serving, training)]
    if guards[-1].passed:
        guards.append(_untrained(training))
    since = None if training.last_started is None else now - training.last_started
    cooldown = timedelta(seconds=policy.retrain_cooldown_seconds)
    return [
        *guards,
        Guard(
            guard="cooldown",
            passed=since is None or since >= cooldown,
            message="violations have not started a training before"
            if since is None
            else f"violations last started a training {_span(since)} ago; the cool-down is {_span(cooldown)}",
        ),
        Guard(
            guard="idle",
            passed=not training.running,
            message=f"training of the fleet is running: {training.running}"
            if training.running
            else "no training of the fleet is running",
        ),
        _allowed("retrain", policy),
    ]


def conclude(
    evidence: Evidence,
    policy: ViolationSettings,
    ground: Sequence[Guard],
    rollback: Sequence[Guard] = (),
    retrain: Sequence[Guard] = (),
) -> Decision:
    """Decide by guards that were looked at; an empty sequence means that they were not."""
    persists = evidence.consecutive >= policy.violation_windows or evidence.severity == "severe"
    is_urgent = persists and not evidence.newer_ok and not evidence.is_retired
    level: Level = "critical" if is_urgent else "warning"
    guards = [*ground, *rollback, *(each for each in retrain if each not in rollback)]
    if not all(each.passed for each in ground):
        return Decision(
            action="alert", level=level, reasons=[each.message for each in ground if not each.passed], guards=guards
        )
    candidates: tuple[tuple[Action, Sequence[Guard]], ...] = (("rollback", rollback), ("retrain", retrain))
    for action, its in candidates:
        if its and all(each.passed for each in its):
            return Decision(
                action=action,
                level=level,
                reasons=[each.message for each in (*ground, *its) if each.guard not in SELF_EVIDENT],
                guards=guards,
            )
    reasons = [
        f"{no}: {', '.join(each.message for each in its if not each.passed)}"
        for no, its in (("no rollback", rollback), ("no training", retrain))
        if its
    ]
    return Decision(action="alert", level=level, reasons=reasons, guards=guards)


def _in_a_row(evidence: Evidence) -> str:
    row = f"window {evidence.consecutive} in a row with violations"
    if evidence.is_known:
        row = f"still {row}: it compares next to no engines that the last one had not"
    return f"{row}, {evidence.earlier} before {evidence.variant} became champion" if evidence.earlier else row


def _champion(evidence: Evidence, serving: Serving) -> Guard:
    if serving.version is None:
        return Guard(guard="champion", passed=False, message="the fleet has no champion")
    passed = evidence.variant == serving.variant
    message = f"{evidence.variant} is the champion" if passed else f"the champion is {serving.variant}"
    return Guard(guard="champion", passed=passed, message=message)


def _new_data(policy: ViolationSettings, serving: Serving, training: Training) -> Guard:
    def guard(passed: bool, message: str) -> Guard:
        return Guard(guard="new_data", passed=passed, message=message)

    if training.newest is None:
        return guard(False, "the fleet has no complete data set")
    newest = f"data set {training.newest[:12]}"
    if training.newest == serving.dataset_version:
        return guard(False, f"the newest {newest} is the one that the champion was trained on")
    if training.new_engines is None:
        return guard(True, f"{newest} is newer than the champion's")
    count = f"{newest} has {training.new_engines} training engine(s) that the champion has not seen"
    if training.new_engines < policy.retrain_min_new_engines:
        return guard(False, f"{count}; it takes {policy.retrain_min_new_engines}")
    return guard(True, count)


def _untrained(training: Training) -> Guard:
    def guard(passed: bool, message: str) -> Guard:
        return Guard(guard="untrained", passed=passed, message=message)

    if training.package:
        waits = {
            "PendingManualApproval": "waits for approval",
            "Approved": "is approved and not the champion yet",
            "Rejected": "was rejected",
        }.get(training.package_status, training.package_status)
        return guard(False, f"package {training.package} was trained on it and {waits}")
    if training.outcome == "gate_missed":
        return guard(False, "a model was trained on it and missed the gate")
    if training.outcome == "inconsistent":
        return guard(False, "its files do not fit together")
    return guard(True, "no model has been trained on it")


def _allowed(action: Literal["rollback", "retrain"], policy: ViolationSettings) -> Guard:
    passed = action in policy.violation_actions
    message = f"{action} without a person is {'allowed' if passed else 'not allowed'} (ViolationActions)"
    return Guard(guard=f"{action}_allowed", passed=passed, message=message)


def _span(time: timedelta) -> str:
    """A time in words: 40 s, 12 min, 5 h, 3 d."""
    seconds = max(0, round(time.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
