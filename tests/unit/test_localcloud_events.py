"""Event paths, filter patterns, schedules' times and deliveries, without a server."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest

from localcloud import hooks
from localcloud.cloudwatch import log_patterns
from localcloud.delivery import deliveries, schedule_times
from localcloud.delivery.deliveries import Deliverer, Delivery, Failed
from localcloud.delivery.event_paths import MISSING, find
from localcloud.errors import ApiError
from localcloud.fidelity.schedule_delivery import Clock
from localcloud.store import Scope

EVENT = {"detail": {"items": [{"n": 1}, {"n": 2}], "a-b": {"c d": 3}, "x": None}, "resources": ["one", "two"]}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("$", EVENT),
        ("$.detail.items[1].n", 2),
        ("$.detail.items[*].n", [1, 2]),
        ("$.detail.a-b['c d']", 3),
        ("$.resources[0]", "one"),
        ("$.detail.x", None),
        ("$.detail.y", MISSING),
        ("$.resources[2]", MISSING),
        ("detail", MISSING),
    ],
)
def test_event_paths(path: str, wanted: Any) -> None:
    assert find(path, EVENT) is wanted or find(path, EVENT) == wanted


@pytest.mark.parametrize(
    ("pattern", "line", "wanted"),
    [
        ("", "anything", True),
        ("ERROR", "an ERROR here", True),
        ("ERROR", "an error here", False),
        ("ERROR disk", "disk ERROR", True),
        ("ERROR -disk", "disk ERROR", False),
        ("?ERROR ?WARN", "WARN: low", True),
        ("?ERROR ?WARN", "INFO", False),
        ('"out of memory"', "went out of memory", True),
        ('"out of memory"', "out, of memory", False),
        ("%4[0-9]{2}%", "status 404", True),
        ('{ $.a = "x*" }', '{"a": "xyz"}', True),
        ("{ $.a != 1 }", '{"a": 2}', True),
        ("{ $.a > 1 || $.b = 1 }", '{"a": 0, "b": 1}', True),
        ("{ ($.a > 1) && ($.b = 1) }", '{"a": 0, "b": 1}', False),
        ("{ $.a IS TRUE }", '{"a": true}', True),
        ("{ $.a IS NULL }", '{"a": null}', True),
        ("{ $.a NOT EXISTS }", '{"b": 1}', True),
        ("{ $.a = 1 }", "no JSON", False),
        ("{ $.a[0].b = %^z% }", '{"a": [{"b": "zoo"}]}', True),
        ("[ip, user, status = 4*, size]", "1.2.3.4 joe 404 17", True),
        ("[ip, user, status = 4*, size > 20]", "1.2.3.4 joe 404 17", False),
        ("[first, ..., last = end]", "a b c end", True),
    ],
)
def test_log_patterns(pattern: str, line: str, wanted: bool) -> None:
    assert log_patterns.matches(pattern, line) is wanted


@pytest.mark.parametrize("pattern", ["{ $.a = }", "{ = 1 }", "%[%"])
def test_unreadable_log_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ApiError, match="Invalid filter pattern"):
        log_patterns.compiled(pattern)


# --- schedules ---


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def schedule(expression: str, **more: Any) -> dict[str, Any]:
    return {"ScheduleExpression": expression, "CreationDate": seconds("2026-01-01T00:00:00"), **more}


@pytest.mark.parametrize(
    ("given", "after", "wanted"),
    [
        (schedule("at(2026-03-01T12:00:00)"), "2026-01-01T00:00:00", "2026-03-01T12:00:00"),
        (schedule("at(2026-03-01T12:00:00)"), "2026-03-01T12:00:00", None),
        (
            schedule("at(2026-07-01T12:00:00)", ScheduleExpressionTimezone="Europe/Paris"),
            "2026-01-01T00:00:00",
            "2026-07-01T10:00:00",
        ),
        (schedule("rate(5 minutes)"), "2026-01-01T00:00:00", "2026-01-01T00:05:00"),
        (schedule("rate(5 minutes)"), "2026-01-01T00:07:00", "2026-01-01T00:10:00"),
        (
            schedule("rate(1 day)", StartDate=seconds("2026-02-01T06:00:00")),
            "2026-01-05T00:00:00",
            "2026-02-01T06:00:00",
        ),
        (
            schedule("rate(1 hour)", EndDate=seconds("2026-01-01T01:30:00")),
            "2026-01-01T01:10:00",
            None,
        ),
        (schedule("cron(0 6 ? * MON *)"), "2026-01-01T00:00:00", "2026-01-05T06:00:00"),
        (
            schedule("cron(0 6 ? * MON *)", ScheduleExpressionTimezone="America/New_York"),
            "2026-01-01T00:00:00",
            "2026-01-05T11:00:00",
        ),
        # The clocks of Paris go from 2 to 3 on 29 March, and repeat the hour from 2 on 25 October.
        (
            schedule("cron(30 2 * * ? *)", ScheduleExpressionTimezone="Europe/Paris"),
            "2026-03-28T12:00:00",
            "2026-03-29T01:30:00",
        ),
        (
            schedule("cron(30 2 * * ? *)", ScheduleExpressionTimezone="Europe/Paris"),
            "2026-10-25T00:30:00",
            "2026-10-26T01:30:00",
        ),
    ],
)
def test_schedules_are_due(given: dict[str, Any], after: str, wanted: str | None) -> None:
    found = schedule_times.next_time(given, seconds(after))
    assert found == (None if wanted is None else seconds(wanted))


# --- deliveries ---


class Target:
    """A handler that fails as often as it is told to."""

    def __init__(self, *failures: Failed) -> None:
        self.failures = list(failures)
        self.attempts: list[tuple[Any, float]] = []
        self.ended: list[tuple[Any, str, str | None]] = []
        self.over = threading.Event()

    def attempt(self, given: Delivery) -> None:
        self.attempts.append((given.content["n"], time.monotonic()))
        if self.failures:
            raise self.failures.pop(0)

    def succeeded(self, given: Delivery) -> None:
        self._end(given, "succeeded", None)

    def retrying(self, given: Delivery, failure: Failed) -> None:
        """Nothing to note."""

    def dead(self, given: Delivery, failure: Failed, condition: str | None) -> None:
        self._end(given, failure.code, condition)

    def _end(self, given: Delivery, how: str, condition: str | None) -> None:
        self.ended.append((given.content["n"], how, condition))
        self.over.set()


@pytest.fixture(autouse=True)
def _nobodys_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def acting_in(_scope: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(hooks, "acting_in", acting_in)
    monkeypatch.setattr(deliveries, "FIRST_PAUSE_SECONDS", 0.02)


def submitted(target: Target, n: int = 1, **policy: int) -> Deliverer:
    deliverer = Deliverer()
    deliverer.handle("test", target)
    deliverer.submit(make(n, **policy))
    return deliverer


def make(n: int, **policy: int) -> Delivery:
    return Delivery(
        "test", "000000000000", "us-east-1", "arn:rule", {"Arn": "arn:target", "RetryPolicy": policy}, {"n": n}
    )


def passing() -> Failed:
    return Failed("THROTTLING", "later", final=False)


def test_delivery_is_tried_again_after_growing_pauses() -> None:
    target = Target(*(passing() for _ in range(4)))
    deliverer = submitted(target)
    assert target.over.wait(60)
    assert target.ended == [(1, "succeeded", None)]
    times = [when for _n, when in target.attempts]
    assert len(times) == 5
    assert times[4] - times[3] >= 0.08  # half of the fourth pause at least
    assert deliverer.get_state() == {"waiting": []}


def test_delivery_ends_when_its_attempts_are_used_up() -> None:
    target = Target(*(passing() for _ in range(9)))
    submitted(target, MaximumRetryAttempts=2)
    assert target.over.wait(60)
    assert target.ended == [(1, "THROTTLING", "MaximumRetryAttempts")]
    assert len(target.attempts) == 3


def test_delivery_ends_when_it_is_too_old() -> None:
    target = Target(*(passing() for _ in range(99)))
    deliverer = Deliverer()
    deliverer.handle("test", target)
    old = make(1, MaximumEventAgeInSeconds=60)
    old.since -= 61
    deliverer.submit(old)
    assert target.over.wait(60)
    assert target.ended == [(1, "THROTTLING", "MaximumEventAgeInSeconds")]


def test_final_failure_is_not_tried_again() -> None:
    target = Target(Failed("NO_RESOURCE", "not there", final=True))
    submitted(target)
    assert target.over.wait(60)
    assert (len(target.attempts), target.ended) == (1, [(1, "NO_RESOURCE", None)])


def test_mistake_in_a_handler_is_a_failure_like_any_other() -> None:
    class Broken(Target):
        def attempt(self, given: Delivery) -> None:
            raise KeyError("x")

    target = Broken()
    submitted(target, MaximumRetryAttempts=0)
    assert target.over.wait(60)
    assert target.ended == [(1, "INTERNAL_ERROR", "MaximumRetryAttempts")]


def test_what_is_saved_while_it_goes_on_again_has_it_all() -> None:
    saved: list[list[int]] = []

    class Saving(Deliverer):
        def submit(self, delivery: Delivery) -> None:
            saved.append([each["content"]["n"] for each in self.get_state()["waiting"]])
            super().submit(delivery)

    deliverer = Saving()
    deliverer.handle("test", Target())
    deliverer.load_persisted_state({"waiting": [asdict(make(number)) for number in range(3)]})
    deliverer.resume()
    assert saved == [[0, 1, 2]] * 3


def test_schedule_is_done_when_its_delivery_waits() -> None:
    """What is saved in between fires again after a restart, rather than never."""
    saved: list[dict[str, Any]] = []

    class Saving(Deliverer):
        def submit(self, delivery: Delivery) -> None:
            saved.append(clock.get_state()["done"])

    clock = Clock(Saving())
    given = {"Arn": "arn:schedule", "CreationDate": 1.0, "LastModificationDate": 1.0, "Target": {"Arn": "arn:target"}}
    due = {**given, "ScheduleExpression": "at(2026-01-01T00:00:00)"}
    for _ in range(2):
        clock._look(Scope("000000000000", "us-east-1"), "default/once", due, time.time())
    assert [list(done.values()) for done in saved] == [[0.0]]
    assert list(clock.get_state()["done"].values()) == [seconds("2026-01-01T00:00:00")]


def test_what_waits_survives_a_restart() -> None:
    first = submitted(Target(*(passing() for _ in range(9999))), n=7)
    kept = json.loads(json.dumps(first.get_state()))
    first.reset()
    target = Target()
    second = Deliverer()
    second.handle("test", target)
    second.load_persisted_state(kept)
    assert second.get_state() == kept
    second.resume()
    assert target.over.wait(60)
    assert target.ended == [(7, "succeeded", None)]
