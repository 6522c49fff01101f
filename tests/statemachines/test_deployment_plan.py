"""Strategies are data: what the deployment machine's Plan makes of each, without any cloud."""

from __future__ import annotations

import json
from typing import Any

import jsonata
import pytest

from tests.statemachines.definitions import MACHINES, SUBSTITUTION

VALUES = {"AlarmPeriodSeconds": "60", "MetricDelaySeconds": "120", "AssessSeconds": "30"}


@pytest.fixture(scope="module")
def machine() -> dict[str, Any]:

    [path] = [path for path in MACHINES if path.name == "deployment.asl.json"]
    document: dict[str, Any] = json.loads(SUBSTITUTION.sub(lambda found: VALUES.get(found[1], "1"), path.read_text()))
    return document


def evaluate(expression: str, **variables: Any) -> Any:
    compiled = jsonata.Jsonata(expression.removeprefix("{%").removesuffix("%}"))
    for name, value in variables.items():
        compiled.assign(name, value)
    return compiled.evaluate(None)


def plan(machine: dict[str, Any], *, has_endpoint: bool = True, **strategy: Any) -> list[tuple[Any, ...]]:
    """(phase, end of the configuration's name, share, seconds, hold) of each step."""
    full = {"stages": [], "bake_seconds": 300, "soak_seconds": 3600, "hold": False, "shadow": False, **strategy}
    steps = evaluate(
        machine["States"]["Plan"]["Assign"]["steps"], has_endpoint=has_endpoint, strategy=full, name="onwing-F-v8-0"
    )
    return [(s["phase"], s["config"].removeprefix("onwing-F-v8-0"), s["share"], s["seconds"], s["hold"]) for s in steps]


def test_first_deployment_has_no_canary(machine: dict[str, Any]) -> None:
    assert plan(machine, has_endpoint=False, stages=[10, 50]) == [
        ("preflight", "", 100, 0, False),
        ("soak", "", 100, 0, False),
    ]


def test_canary_bakes_each_stage_then_soaks(machine: dict[str, Any]) -> None:
    assert plan(machine, stages=[10, 50]) == [
        ("preflight", "-canary", 0, 0, False),
        ("canary", "-canary", 10, 300, False),
        ("canary", "-canary", 50, 300, False),
        ("soak", "-canary", 100, 3600, False),
        ("verify", "", 100, 0, False),
    ]


def test_bake_lasts_at_least_the_alarm_period_and_the_metrics_delay(machine: dict[str, Any]) -> None:
    [bake] = [step for step in plan(machine, stages=[10], bake_seconds=5) if step[0] == "canary"]
    assert bake[3] == 180


def test_without_stages_the_preflight_is_followed_by_the_promotion(machine: dict[str, Any]) -> None:
    assert [step[0] for step in plan(machine)] == ["preflight", "soak", "verify"]


def test_ab_test_holds_at_its_share(machine: dict[str, Any]) -> None:
    steps = plan(machine, stages=[30], hold=True)
    assert [step[:3] for step in steps] == [
        ("preflight", "-canary", 0),
        ("canary", "-canary", 30),
        ("hold", "-canary", 30),
        ("soak", "-canary", 100),
        ("verify", "", 100),
    ]
    assert [step[0] for step in steps if step[4]] == ["hold"]


def test_shadow_holds_first_and_goes_on_as_a_canary(machine: dict[str, Any]) -> None:
    steps = plan(machine, stages=[20], hold=True, shadow=True)
    assert [step[:3] for step in steps] == [
        ("shadow", "-shadow", 0),
        ("preflight", "-canary", 0),
        ("canary", "-canary", 20),
        ("soak", "-canary", 100),
        ("verify", "", 100),
    ]
    assert [step[0] for step in steps if step[4]] == ["shadow"]


def pauses(machine: dict[str, Any], lasts: float) -> int:
    """How often a step is assessed in `lasts` seconds."""
    expression = (
        machine["States"]["WaitToAssess"]["Seconds"].replace("$millis()", "$clock").replace("$toMillis($since)", "0")
    )
    clock, count = 0.0, 0
    while clock < lasts:
        clock += evaluate(expression, clock=clock * 1000, step={"hold": True, "seconds": 0})
        count += 1
    return count


def test_two_weeks_fit_into_the_events_of_an_execution(machine: dict[str, Any]) -> None:
    """25,000 events; an assessment is a Wait, a Task and a Choice: 9. A day's wait for the lock: 14 every 2 minutes."""
    assert machine["TimeoutSeconds"] == 14 * 86400
    hold, soak = pauses(machine, 13 * 86400), pauses(machine, 86400)
    assert 9 * (hold + soak) + 14 * 720 < 24_000
