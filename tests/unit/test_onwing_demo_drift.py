"""The demo's drift part: what it sends, waits for and tells, and the data of the changed world."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cmapss
import pytest

from onwing import data, demo_drift, monitoring
from onwing.data import DataSet
from onwing.demo_drift import World
from onwing.deployments import Deployment, Served
from onwing.errors import OnwingError, UsageError
from onwing.monitor_run import Judged
from onwing.monitoring import Decision, Window
from onwing.simulator import simulate

from .onwing_fakes import STACK, FakeClient, at, context_with, control_table, target_with, text


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("fleet")
    simulate("FD001", folder, engines=8, seed=3)
    return data.resolve("FD001", folder, url=None)


def test_the_changed_world_is_the_same_engines_with_other_sensors_and_says_so(files: DataSet, tmp_path: Path) -> None:
    changed = demo_drift.changed_world(files, tmp_path / "changed")
    column = cmapss.COLUMNS.index("s4")
    for role in ("train", "test"):
        before, after = (cmapss.read_table(found.paths[role]) for found in (files, changed))
        assert after.cycles_per_engine == before.cycles_per_engine
        moved = [b - a for a, b in zip(before.values[column::26], after.values[column::26], strict=True)]
        assert min(moved) == pytest.approx(max(moved), abs=0.011), "written with two decimals"
        assert min(moved) > 2, "0.4 σ of T50 in °R"
        assert before.values[column + 1 :: 26] == after.values[column + 1 :: 26]
    assert cmapss.sha256(changed.paths["RUL"]) == files.sums["RUL"]
    assert changed.simulated
    assert data.is_simulated(tmp_path / "changed")
    assert "reads higher by 0.4 σ" in changed.source


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, files: DataSet) -> SimpleNamespace:
    """A fleet whose champion is v2; `outcomes` are those of the windows to come."""
    made = SimpleNamespace(
        outcomes=["ok", "violations", "violations"],
        sent=[],
        awaited=[],
        alerts=[],
        level="warning",
        windows=0,
        other="",
        silent=0,  # the number of the window of which nobody is told
    )
    s3 = FakeClient(
        head_object=lambda **_: {"LastModified": at(100)},
    )
    made.context = context_with()
    target = target_with(s3=s3, dynamodb=control_table())

    class Sender:
        def __init__(self, *arguments: Any, **_: Any) -> None:
            made.sent.append(arguments[2])

        def run(self) -> Any:
            return SimpleNamespace(failed=0, requests=80, number=len(made.sent))

    def judge(*_: Any) -> Any:
        assert [report.number for report in made.awaited] == list(range(1, made.windows + 2)), "all is captured first"
        outcome = made.outcomes[made.windows]
        made.windows += 1
        window = Window(
            f"w{made.windows}", outcome=outcome, drift=2.0, engines=40, report=f"r/{made.windows}/", severity="moderate"
        )
        last = made.windows == len(made.outcomes)
        if made.windows == made.silent:
            made.alerts.clear()
        elif outcome == "violations" and made.level:
            level = "critical" if last else "warning"
            sent = at(100 + 2 * made.windows).isoformat()
            made.alerts.append(demo_drift.Alert(sent, "id", f"drift {made.windows}", "", "drift", level, "FD001"))
        old = Judged("FD001", "v1", False, "open")
        return None, [Judged("FD001", "v2", True, outcome, window=window), old]

    def decision_on(*arguments: Any) -> Decision | None:
        window: Window = arguments[3]
        return Decision(decision="alert", reasons=["no newer data"], level=made.level, report=window.report)

    monkeypatch.setattr(demo_drift, "Replay", Sender)
    monkeypatch.setattr("onwing.captured.wait", lambda *arguments: made.awaited.append(arguments[3]))
    monkeypatch.setattr(demo_drift, "ENGINES", 5)
    monkeypatch.setattr(demo_drift, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr("onwing.monitor_run.judge", judge)
    monkeypatch.setattr(monitoring, "decision_on", decision_on)
    monkeypatch.setattr("onwing.inject.other_world", lambda *_: made.other)
    monkeypatch.setattr("onwing.alerts.read", lambda *_, **__: made.alerts[-1:])
    monkeypatch.setattr(
        "onwing.deployments.read", lambda *_: Deployment("FD001", champion=Served(2, "v2", package_arn="arn:package/2"))
    )
    stack = STACK.__class__("onwing", "", STACK.outputs, {"DeliveryDelaySeconds": "0", "ViolationWindows": "2"})
    made.world = World(made.context.out, target, stack, files)
    return made


def test_clean_traffic_then_as_many_changed_windows_as_it_takes(world: SimpleNamespace) -> None:
    found = demo_drift.watch(world.world)
    assert found["clean"]["outcome"] == "ok"
    assert [window["outcome"] for window in found["injected"]] == ["violations", "violations"]
    assert [alert["severity"] for alert in found["alerts"]] == ["warning", "critical"]
    assert [window["alert_seconds"] for window in found["injected"]] == [4.0, 6.0]
    assert found["alert_seconds"] == 6.0
    assert found["decision"]["reasons"] == ["no newer data"]
    clean, first, second = world.sent
    assert len(clean) == len(first) == 5
    assert clean != first != second
    said = text(world.context)
    assert "The world changes: since an overhaul of the fleet, s4: reads higher by 0.4 σ" in said
    assert "alert, critical: drift 3" in said


def test_a_decision_that_calls_nobody_is_no_reason_to_wait(world: SimpleNamespace) -> None:
    world.level = None
    found = demo_drift.watch(world.world)
    assert (found["alerts"], found["alert_seconds"]) == ([], 0.0)


def test_a_level_that_people_know_is_no_reason_to_wait(world: SimpleNamespace) -> None:
    world.outcomes, world.silent = ["ok", *["violations"] * 3], 3
    world.world.stack.parameters["ViolationWindows"] = "3"
    found = demo_drift.watch(world.world)
    assert [window["alert_seconds"] for window in found["injected"]] == [4.0, None, 8.0]


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "under 1 s"), (0.7, "under 1 s"), (1.2, "under 2 s")])
def test_report_to_alert_is_told_as_a_bound(world: SimpleNamespace, seconds: float, said: str) -> None:
    found = demo_drift.watch(world.world)
    found["injected"][0]["alert_seconds"] = seconds
    demo_drift.summary(world.context.out, found)
    assert said in text(world.context)


def test_a_change_that_is_not_found_ends_it(world: SimpleNamespace) -> None:
    world.outcomes = ["ok", "ok"]
    with pytest.raises(OnwingError, match="was not found: ok"):
        demo_drift.watch(world.world)


def test_engines_of_another_kind_than_the_champions_are_not_sent(world: SimpleNamespace) -> None:
    world.other = "trained on real engines, and these are simulated"
    with pytest.raises(UsageError, match="these are simulated"):
        demo_drift.watch(world.world)
    assert world.sent == []


def test_without_a_champion_there_is_nothing_to_watch(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onwing.deployments.read", lambda *_: Deployment("FD001"))
    with pytest.raises(UsageError, match="no champion"):
        demo_drift.watch(world.world)
