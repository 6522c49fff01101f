"""The demo: its report, its second run, and that it leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from onwing import demo, embedded, ingest, interrupts, report
from onwing.command import Context
from onwing.console import Output
from onwing.demo import Wish
from onwing.deployments import Deployment, Served
from onwing.errors import Exit, OnwingError, UsageError
from onwing.ingest import FileOutcome, FleetOutcome, Outcome
from onwing.jobs import JobFacts, Trial
from onwing.models import Package
from onwing.progress import read
from onwing.project import Project
from onwing.report import Data, Stage
from onwing.target import Options, Target
from onwing.train import Started
from onwing.watch import Snapshot

from .onwing_fakes import EXECUTION, STACK, VERSION, at, description, training_history

PACKAGE = Package("arn:package/1", "FD001", 1, "PendingManualApproval", at(60), 14.2, 321.0, 15.5, 400.0, VERSION)


def ended(outcome: str = "registered", **more: Any) -> Snapshot:
    output = json.dumps({"outcome": outcome, "package_arn": "arn:package/1", **more})
    history = training_history().exited(50, "Tune").entered(50, "Registered", "Succeed")
    return Snapshot(
        read(description("SUCCEEDED", 50, output=output), history.events),
        (
            JobFacts("processing", "p", "Completed", at(4), at(9)),
            JobFacts("tuning", "t", "Completed", at(10), at(50)),
        ),
        (
            Trial("t-1", "Completed", 15.0, {"epochs": "3"}, at(12), at(30)),
            Trial("t-2", "Completed", 14.0, {"epochs": "4"}, at(20), at(45)),
        ),
    )


def test_time_of_jobs_that_run_side_by_side_counts_once() -> None:
    assert report.union_seconds([(at(0), at(10)), (at(5), at(12)), (at(20), at(21)), (at(1), at(2))]) == 13
    assert report.union_seconds([]) == 0


def test_computing_is_containers_and_settling_but_not_the_tuner_itself() -> None:
    assert report.computing_seconds(ended()) == (9 - 4) + (45 - 12) + 3


def test_the_report_has_exactly_the_agreed_shape() -> None:
    snapshot = ended()
    document = report.make(
        data=Data("NASA", "FD001", VERSION, False),
        stages=[Stage("up", 1.0), *report.stages_of(snapshot)],
        package=PACKAGE,
        trials=snapshot.trials,
        outcome="registered",
        wall_seconds=50.0,
        computing=41.0,
    )
    assert document["data"] == {"source": "NASA", "fleet": "FD001", "version": VERSION, "simulated": False}
    assert document["stages"] == [
        {"name": "up", "seconds": 1.0, "status": "ok"},
        {"name": "Settle", "seconds": 3.0, "status": "ok"},
        {"name": "Process", "seconds": 7.0, "status": "ok"},
        {"name": "Tune", "seconds": 40.0, "status": "ok"},
    ]
    assert document["model"] == {
        "package_arn": "arn:package/1",
        "status": "PendingManualApproval",
        "rmse": 14.2,
        "phm08": 321.0,
        "rmse_unclipped": 15.5,
        "phm08_unclipped": 400.0,
    }
    assert (document["wall_seconds"], document["overhead_seconds"]) == (50.0, 9.0)
    assert [trial["seconds"] for trial in document["trials"]] == [18.0, 25.0]
    json.dumps(document)


def test_a_run_that_failed_marks_its_last_stage() -> None:
    snapshot = Snapshot(read(description("FAILED", 50, error="x", cause="y"), training_history().events))
    assert report.stages_of(snapshot)[-1] == Stage("Tune", 40.0, "failed")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Everything around the demo, so that only its own course is run."""
    target = Target("us-east-1", "onwing", "http://127.0.0.1:1", None, "local", "0")
    made = SimpleNamespace(
        context=Context(
            Output(console=Console(file=io.StringIO(), width=160, record=True)), Options(), Project(tmp_path)
        ),
        running=None,
        stopped=0,
        again=[],
        last=ended(),
        outcome=Outcome(
            [FileOutcome("train_FD001.txt", "accepted")], [FleetOutcome("FD001", "started", VERSION, EXECUTION)]
        ),
        parameters=None,
    )
    files = made.files = SimpleNamespace(
        fleet="FD001",
        source="test",
        simulated=True,
        paths={"train": Path("train_FD001.txt"), "test": Path("test_FD001.txt")},
        tried=("none here",),
        warnings=("odd",),
    )

    def start(*_: Any, **__: Any) -> tuple[Target, bool]:
        return target, made.running is None

    def deploy(*_: Any, parameters: dict[str, str], **__: Any) -> Any:
        made.parameters = parameters
        return STACK, False, False

    def stop(_: Project) -> bool:
        made.stopped += 1
        return True

    def again(*_: Any, **arguments: Any) -> Started:
        made.again.append(arguments)
        return Started("started", "FD001", VERSION, 2, EXECUTION)

    monkeypatch.setattr("onwing.demo.data.resolve", lambda *_, **__: files)
    monkeypatch.setattr(embedded, "running", lambda _: made.running)
    monkeypatch.setattr(embedded, "stop", stop)
    monkeypatch.setattr("onwing.up.start", start)
    monkeypatch.setattr("onwing.up.deploy", deploy)
    monkeypatch.setattr(ingest, "records", lambda *_: {})
    monkeypatch.setattr(ingest, "upload", lambda *_, **__: [])
    monkeypatch.setattr(ingest, "wait", lambda *_, **__: made.outcome)
    monkeypatch.setattr("onwing.demo.watch.follow", lambda *_, **__: iter([made.last]))
    monkeypatch.setattr("onwing.demo.Watcher", lambda *_: None)
    monkeypatch.setattr("onwing.demo.models.describe", lambda *_: PACKAGE)
    monkeypatch.setattr("onwing.train.start", again)
    return made


TRAIN = ("train",)
WISH = Wish("FD001", None, False, 0, False, "demo", only=TRAIN)


def test_the_demo_ends_with_a_report_and_nothing_running(world: SimpleNamespace) -> None:
    assert demo.run(world.context, WISH) is Exit.OK
    written = json.loads((world.context.project.state / "demo-report.json").read_text())
    assert [stage["name"] for stage in written["stages"]] == ["up", "upload", "ingest", "Settle", "Process", "Tune"]
    assert written["outcome"] == "registered"
    assert world.stopped == 1
    text = world.context.out.console.export_text()
    assert "SIMULATED" in text
    assert "14.20" in text


def test_a_cloud_that_ran_before_or_is_to_be_kept_goes_on(world: SimpleNamespace) -> None:
    demo.run(world.context, Wish("FD001", None, False, 0, True, "demo", only=TRAIN))
    world.running = object()
    demo.run(world.context, WISH)
    assert world.stopped == 0


def test_data_that_was_trained_before_gets_another_attempt(world: SimpleNamespace) -> None:
    world.outcome = Outcome([], [FleetOutcome("FD001", "already", VERSION, EXECUTION)])
    assert demo.run(world.context, WISH) is Exit.OK
    assert world.again == [{"fleet": "FD001", "version": VERSION, "again": True}]
    assert "trained before" in world.context.out.console.export_text()


def test_a_missed_gate_is_the_exit_code_and_still_reported(world: SimpleNamespace) -> None:
    world.last = ended("gate_missed", package_arn=None)
    assert demo.run(world.context, WISH) is Exit.GATE_MISSED
    written = json.loads((world.context.project.state / "demo-report.json").read_text())
    assert (written["outcome"], written["model"]) == ("gate_missed", None)


def test_a_quarantined_file_ends_it_and_stops_the_cloud(world: SimpleNamespace) -> None:
    world.outcome = Outcome([FileOutcome("train_FD001.txt", "quarantined", "line 3: NaN", "s3://b/r")], [])
    with pytest.raises(OnwingError, match="line 3: NaN"):
        demo.run(world.context, WISH)
    assert world.stopped == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_being_ended_in_any_way_stops_the_cloud(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def interrupted(*_: Any, **__: Any) -> Iterator[Snapshot]:
        os.kill(os.getpid(), number)
        yield world.last

    monkeypatch.setattr("onwing.demo.watch.follow", interrupted)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        demo.run(world.context, WISH)
    assert world.stopped == 1
    assert signal.getsignal(number) == before


def test_the_budget_becomes_parameters_of_the_stack(world: SimpleNamespace) -> None:
    demo.run(world.context, Wish("FD001", None, False, 0, False, "quick", only=TRAIN))
    assert world.parameters == demo.BUDGETS["quick"]


def rolled_out(outcome: str, version: int, **more: Any) -> dict[str, Any]:
    return {
        "package_arn": f"arn:package/{version}",
        "version": version,
        "outcome": outcome,
        "reason": "answers are 37.5 cycles above what was registered",
        "seconds_to_first_traffic": 4.5,
        "seconds_to_restore": None,
        **more,
    }


def test_parts_follow_one_another_and_all_are_in_the_report(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = {"requests": 812, "failed": 0, "share_of_requests": 0.0}
    bad = rolled_out("rolled_back", 3, seconds_to_restore=1.9, traffic=traffic)
    monkeypatch.setattr("onwing.demo.models.find", lambda *_: PACKAGE)
    monkeypatch.setattr("onwing.demo.predict.read", lambda _: [])
    monkeypatch.setattr(
        "onwing.demo.deployments.read", lambda *_: Deployment("FD001", champion=Served(1, package_arn="arn:package/1"))
    )
    monkeypatch.setattr("onwing.demo.demo_rollout.deploy", lambda *_: rolled_out("promoted", 1))
    monkeypatch.setattr("onwing.demo.demo_rollout.canary", lambda *_: rolled_out("promoted", 2))
    monkeypatch.setattr("onwing.demo.demo_rollout.spoil_and_roll_back", lambda *_: bad)
    monkeypatch.setattr("onwing.demo.demo_drift.watch", lambda *_: WATCHED)
    monkeypatch.setattr("onwing.demo.demo_drift.changed_world", lambda *_: changed(world.files))
    assert demo.run(world.context, Wish("FD001", None, False, 0, False, "demo")) is Exit.OK
    assert world.again == [{"fleet": "FD001", "version": None, "again": True, "overrides": demo.SECOND["demo"]}]
    written = json.loads((world.context.project.state / "demo-report.json").read_text())
    assert (written["deployment"]["first"]["version"], written["deployment"]["canary"]["version"]) == (1, 2)
    assert (written["rollback"]["seconds_to_restore"], written["rollback"]["traffic"]) == (1.9, traffic)
    assert written["drift"] == {
        **WATCHED,
        "outcome": "registered",
        "dataset_version": VERSION,
        "package_arn": "arn:package/1",
    }
    text = world.context.out.console.export_text()
    assert "New data arrives" in text
    assert "s4 reads 1.5 σ higher" in text
    assert "package/1 waits for approval" in text
    assert "bad model, v3" in text
    assert "37.5 cycles above" in text


def changed(files: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(files), "source": "test; then s4 reads 1.5 σ higher"})


WINDOW = {"outcome": "ok", "severity": "none", "drift": 0.4, "engines": 40}
BAD = {"outcome": "violations", "severity": "moderate", "drift": 2.4, "engines": 40, "alert_seconds": 1.2}
WATCHED = {
    "change": "s4 reads 1.5 σ higher",
    "clean": WINDOW,
    "injected": [BAD, BAD],
    "alert_seconds": 1.2,
    "decision": {"decision": "alert", "reasons": ["no newer data"]},
}


def test_drift_after_which_no_model_is_good_enough_is_the_exit_code(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onwing.demo.demo_drift.watch", lambda *_: WATCHED)
    monkeypatch.setattr("onwing.demo.demo_drift.changed_world", lambda *_: changed(world.files))
    world.last = ended("gate_missed", package_arn=None)
    wish = Wish("FD001", None, False, 0, False, "demo", only=("drift",))
    assert demo.run(world.context, wish) is Exit.GATE_MISSED
    written = json.loads((world.context.project.state / "demo-report.json").read_text())
    assert (written["drift"]["package_arn"], written["drift"]["outcome"]) == (None, "gate_missed")


def test_second_model_that_misses_the_gate_leaves_out_the_canary(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "onwing.demo.deployments.read", lambda *_: Deployment("FD001", champion=Served(1, package_arn="arn:package/1"))
    )
    world.last = ended("gate_missed", package_arn=None)
    assert demo.run(world.context, Wish("FD001", None, False, 0, False, "demo", only=("canary",))) is Exit.OK
    written = json.loads((world.context.project.state / "demo-report.json").read_text())
    assert written["deployment"] == {"canary": None}
    assert "not registered (gate_missed)" in world.context.out.console.export_text()


@pytest.mark.parametrize("part", ["canary", "rollback", "drift"])
def test_part_that_needs_a_champion_says_so(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr("onwing.deployments.read", lambda *_: Deployment("FD001"))
    monkeypatch.setattr("onwing.demo.predict.read", lambda _: [])
    with pytest.raises(UsageError, match="no champion"):
        demo.run(world.context, Wish("FD001", None, False, 0, False, "demo", only=(part,)))
    assert world.stopped == 1


def test_an_interrupt_during_a_step_not_to_be_cut_comes_after_it() -> None:
    done: list[str] = []

    def step() -> None:
        with interrupts.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("to the end")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert done == ["to the end"]


def test_interrupts_while_cleaning_up_are_forgotten() -> None:
    with interrupts.ignored():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
