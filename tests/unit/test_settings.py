"""The functions' settings: each function reads what is its own, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from control_plane.errors import SettingsError
from control_plane.settings import load_deployment_settings, load_settings, load_violation_settings

ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:onwing"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for load in (load_settings, load_deployment_settings, load_violation_settings):
        load.cache_clear()
    monkeypatch.setenv("DEPLOYMENT_STATE_MACHINE_ARN", f"{ARN}-deployment")
    monkeypatch.setenv("ROLLBACK_STATE_MACHINE_ARN", f"{ARN}-rollback")
    yield monkeypatch
    for load in (load_settings, load_deployment_settings, load_violation_settings):
        load.cache_clear()


def test_deployment_settings_are_read_from_the_environments_text(environment: pytest.MonkeyPatch) -> None:
    for name, value in {"STRATEGY": "linear", "CANARY_STAGES": "5, 20,60", "BAKE_SECONDS": "3"}.items():
        environment.setenv(name, value)

    strategy = load_deployment_settings().default_strategy

    assert (strategy.name, strategy.stages, strategy.bake_seconds, strategy.soak_seconds) == (
        "linear",
        [5, 20, 60],
        3,
        3600,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("CANARY_STAGES", "50,10"), ("CANARY_STAGES", "10,x"), ("STRATEGY", "ab"), ("BAKE_SECONDS", "-1")],
)
def test_setting_that_cannot_be_read_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        load_deployment_settings()


def test_all_missing_settings_are_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DEPLOYMENT_STATE_MACHINE_ARN")
    environment.delenv("ROLLBACK_STATE_MACHINE_ARN")

    with pytest.raises(SettingsError, match=r"DEPLOYMENT_STATE_MACHINE_ARN.*ROLLBACK_STATE_MACHINE_ARN"):
        load_deployment_settings()


def test_violation_settings_are_read_from_the_environments_text(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VIOLATION_WINDOWS", "3")
    environment.setenv("VIOLATION_ACTIONS", "retrain")

    found = load_violation_settings()

    assert (found.violation_windows, found.violation_actions) == (3, {"retrain"})


@pytest.mark.parametrize(
    ("text", "actions"), [("none", set()), ("", set()), ("rollback, retrain", {"rollback", "retrain"})]
)
def test_violation_actions_may_be_none_or_both(environment: pytest.MonkeyPatch, text: str, actions: set[str]) -> None:
    environment.setenv("VIOLATION_ACTIONS", text)
    assert load_violation_settings().violation_actions == actions


def test_violation_action_that_is_none_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("VIOLATION_ACTIONS", "rollback,page")
    with pytest.raises(SettingsError, match="VIOLATION_ACTIONS"):
        load_violation_settings()
