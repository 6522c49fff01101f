"""The commands as they are typed: options, output, exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from onwing import command, endpoints, executions, models, operations, train, watch
from onwing import stack as stacks
from onwing import target as targets
from onwing.approve import Wish
from onwing.cli import app
from onwing.command import parse_settings
from onwing.console import duration, figure, plain, size
from onwing.errors import Exit, NotFound, OnwingError, UsageError
from onwing.models import Package
from onwing.progress import read
from onwing.target import Options, Target
from onwing.watch import Snapshot

from .onwing_fakes import (
    EXECUTION,
    GROUP,
    STACK,
    VERSION,
    FakeClient,
    at,
    client_error,
    description,
    execution_of,
    target_with,
    training_history,
)

COMMANDS = ["up", "deploy", "down", "doctor", "demo", "ingest", "train", "watch", "models", "status", "alerts"]
COMMANDS += ["reconcile"]


def onwing(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """The options that the target was asked for with; the target is a fixed one."""
    asked: list[Options] = []

    def resolve(options: Options, project: Any) -> Target:
        asked.append(options)
        return target_with()

    monkeypatch.setattr(targets, "resolve", resolve)
    monkeypatch.setattr(stacks, "get", lambda target: STACK)
    return asked


SERVING = ["approve", "reject", "predict", "endpoints", "deployments", "rollback", "backup", "restore", "traffic"]
NESTED = [["models", "show"], ["deployments", "watch"], ["ab", "start"], ["ab", "status"], ["ab", "stop"]]
NESTED += [["drift", name] for name in ("status", "report", "run", "inject", "truth")]


@pytest.mark.parametrize("name", [[name] for name in COMMANDS + SERVING] + NESTED)
def test_every_command_explains_itself_with_examples(name: list[str]) -> None:
    result = onwing(*name, "--help")
    assert result.exit_code == 0
    assert "Examples" in result.output
    assert f"onwing {' '.join(name)}" in result.output
    assert "--json" in result.output


def test_exit_codes_are_in_the_help() -> None:
    assert "missed the gate" in onwing("--help").output


def test_the_first_line_names_the_target(chosen: list[Options], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "packages", lambda *_, **__: [])
    result = onwing("models", "--env", "dev", "--stack", "mine", "--profile", "me", "--region", "eu-west-1")
    assert result.output.startswith("Target: AWS, us-east-1, stack onwing\n")
    assert chosen == [Options("dev", "mine", "me", "eu-west-1")]


def test_with_json_there_is_json_and_nothing_else(chosen: list[Options], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "packages", lambda *_, **__: [])
    assert json.loads(onwing("models", "--json").output) == []


def test_an_error_says_what_where_and_what_to_do(chosen: list[Options], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise NotFound("no package", where="the registry", todo="look elsewhere")

    monkeypatch.setattr(models, "packages", fail)
    result = onwing("models")
    assert result.exit_code == Exit.NOT_FOUND
    assert "Error: no package\nWhere: the registry\nTo do: look elsewhere" in result.stderr
    error = json.loads(onwing("models", "--json").output)["error"]
    assert error == {
        "what": "no package",
        "where": "the registry",
        "what_to_do": "look elsewhere",
        "exit_code": 3,
    }


def test_an_error_of_aws_is_translated_and_has_no_traceback(
    chosen: list[Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise client_error("AccessDeniedException", "not you", "ListModelPackages")

    monkeypatch.setattr(models, "packages", fail)
    result = onwing("models")
    assert result.exit_code == Exit.FAILED
    assert "AccessDeniedException: not you" in result.stderr
    assert "ListModelPackages on AWS, us-east-1, stack onwing" in result.stderr
    assert "Traceback" not in result.output
    assert "Traceback" in onwing("models", "--debug").output


def test_a_mistake_of_ours_is_not_hidden(chosen: list[Options], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "packages", lambda *_, **__: 1 / 0)
    assert isinstance(onwing("models").exception, ZeroDivisionError)


def test_ctrl_c_is_130(chosen: list[Options], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "packages", interrupt)
    assert onwing("models").exit_code == Exit.INTERRUPTED


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["watch", "--interval", "0"],
        ["ingest"],
        ["train"],
        ["approve"],
        ["reject", "FD001"],
        ["rollback"],
        ["traffic", "--rate", "0"],
        ["ab", "stop", "FD001"],
        ["ab", "stop", "FD001", "--promote", "--rollback"],
        ["ab", "start", "FD001", "--shadow", "--share", "10"],
    ],
)
def test_wrong_usage_is_2(chosen: list[Options], arguments: list[str]) -> None:
    assert onwing(*arguments).exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("outcome", "code"), [("registered", 0), ("gate_missed", 4), ("superseded", 5), ("inconsistent", 1)]
)
def test_watch_ends_with_the_outcome(
    chosen: list[Options], monkeypatch: pytest.MonkeyPatch, outcome: str, code: int
) -> None:
    ended = Snapshot(
        read(description("SUCCEEDED", 50, output=json.dumps({"outcome": outcome})), training_history().events)
    )
    monkeypatch.setattr(executions, "find", lambda *_: EXECUTION)
    monkeypatch.setattr("onwing.cli.follow", lambda *_, **__: iter([ended]))
    monkeypatch.setattr("onwing.cli.Watcher", lambda *_, **__: None)
    assert onwing("watch").exit_code == code
    lines = onwing("watch", "--json").output.splitlines()
    assert json.loads(lines[-1])["event"] == "result"
    assert json.loads(lines[-1])["outcome"] == outcome


def test_ctrl_c_while_watching_says_that_the_run_goes_on(
    chosen: list[Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    def follow(*_: Any, **__: Any) -> Any:
        yield Snapshot(read(description(), training_history().events))
        raise KeyboardInterrupt

    monkeypatch.setattr(executions, "find", lambda *_: EXECUTION)
    monkeypatch.setattr("onwing.cli.follow", follow)
    monkeypatch.setattr("onwing.cli.Watcher", lambda *_, **__: None)
    result = onwing("watch")
    assert result.exit_code == Exit.INTERRUPTED
    assert "the run goes on" in result.output
    assert "onwing watch FD001-0123456789ab-1" in result.output


# --- train -----------------------------------------------------------------------------------------------------------


def function(answer: dict[str, Any], **more: Any) -> FakeClient:
    return FakeClient(invoke=lambda **_: {"Payload": io.BytesIO(json.dumps(answer).encode()), **more})


def test_train_asks_the_function_and_prints_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    client = function(
        {"status": "started", "fleet": "FD001", "dataset_version": VERSION, "attempt": 2, "execution_arn": EXECUTION}
        | {"message": "training started"}
    )
    monkeypatch.setattr(targets, "resolve", lambda *_: target_with(**{"lambda": client}))
    monkeypatch.setattr(stacks, "get", lambda target: STACK)
    result = onwing("train", "0123", "--again", "--set", "max_jobs=8", "--set", "rmse_threshold=14.5")
    assert result.exit_code == 0
    assert "training started" in result.output
    assert "onwing watch FD001-0123456789ab-1" in result.output
    sent = client.called("invoke")[0]
    assert sent["FunctionName"] == "onwing-start"
    assert json.loads(sent["Payload"]) == {
        "fleet": None,
        "dataset_version": "0123",
        "again": True,
        "trigger": "manual",
        "overrides": {"max_jobs": 8, "rmse_threshold": 14.5},
    }


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("DatasetNotFoundError", NotFound),
        ("TrainingRequestError", UsageError),
        ("InvalidModelTypeError", UsageError),
        ("KeyError", OnwingError),
    ],
)
def test_what_the_function_refuses_is_said_in_its_words(kind: str, raised: type[OnwingError]) -> None:
    client = function({"errorType": kind, "errorMessage": "no such version"}, FunctionError="Unhandled")
    with pytest.raises(raised, match="no such version") as caught:
        train.start(target_with(**{"lambda": client}), STACK, fleet="FD001", version=None)
    assert type(caught.value) is raised


# --- small things ----------------------------------------------------------------------------------------------------


def test_settings_are_numbers_where_they_look_like_it() -> None:
    assert parse_settings(["a=1", "b=0.5", "c=x=y", "d="]) == {"a": 1, "b": 0.5, "c": "x=y", "d": ""}
    assert parse_settings(None) == {}
    for wrong in ("a", "=1"):
        with pytest.raises(UsageError):
            parse_settings([wrong])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_and_figures() -> None:
    assert [size(512), size(3_400_000), size(5e12)] == ["512 B", "3.4 MB", "5000.0 GB"]
    assert [figure(None), figure(1.005, 1)] == ["–", "1.0"]


def test_json_knows_what_we_use() -> None:
    document = plain({"code": Exit.GATE_MISSED, "seen": {1}, "jobs": (Options(env="dev"),)})
    assert json.loads(json.dumps(document))["jobs"][0]["env"] == "dev"
    assert document["code"] == 4


def test_the_frame_is_the_only_place_that_knows_the_shared_options() -> None:
    assert set(command._SHARED) == {"env", "stack", "profile", "region", "as_json", "debug"}
    assert watch.Snapshot.__dataclass_params__.frozen  # type: ignore[attr-defined]


# --- what serves: options as they are typed ---------------------------------------------------------------------------


def taken(monkeypatch: pytest.MonkeyPatch, where: str) -> list[dict[str, Any]]:
    """Put a function in the place of another; returns what it is called with."""
    calls: list[dict[str, Any]] = []

    def call(context: Any, *arguments: Any, **options: Any) -> Exit:
        calls.append({"arguments": arguments, **options})
        return Exit.OK

    monkeypatch.setattr(where, call)
    return calls


@pytest.mark.parametrize(
    ("typed", "wish"),
    [
        ("approve FD001", Wish()),
        ("approve FD001 --strategy linear --stages 5,50 --bake 60 --soak 0", Wish("linear", "5,50", 60, 0)),
        ("approve FD001 --share 30", Wish(share=30)),
        ("ab start FD001", Wish("ab", share=20)),
        ("ab start FD001 --share 35", Wish("ab", share=35)),
        ("ab start FD001 --shadow", Wish("shadow")),
    ],
)
def test_how_to_deploy_is_as_typed(
    chosen: list[Options], monkeypatch: pytest.MonkeyPatch, typed: str, wish: Wish
) -> None:
    calls = taken(monkeypatch, "onwing.approve_view.run")
    assert onwing(*typed.split()).exit_code == 0
    assert calls == [{"arguments": ("FD001",), "comment": "", "wish": wish, "wait": False, "timeout": None}]


@pytest.mark.parametrize(
    ("typed", "where", "expected"),
    [
        ("predict x.txt --variant v8 --top 3", "onwing.predict_view.run", {"variant": "v8", "top": 3, "fleet": None}),
        ("rollback FD001 -y --no-wait --reason R", "onwing.rollback.run", {"yes": True, "wait": False, "reason": "R"}),
        ("restore FD001 --backup 2026 --yes", "onwing.backups_view.restore", {"named": "2026", "yes": True}),
        ("restore FD001 --list --limit 3", "onwing.backups_view.listed", {"limit": 3}),
        ("backup", "onwing.backups_view.backup", {"fleet": None}),
        (
            "ab stop FD001 --promote --wait",
            "onwing.abtest_view.stop",
            {"arguments": ("FD001", "promote"), "wait": True},
        ),
        ("ab stop FD001 --rollback", "onwing.abtest_view.stop", {"arguments": ("FD001", "rollback"), "wait": False}),
        ("traffic --rate 5 --duration 0", "onwing.traffic_view.run", {"rate": 5.0, "seconds": 0.0, "fleet": None}),
        ("deployments --limit 3", "onwing.deployments_view.run", {"limit": 3, "fleet": None}),
        ("drift status", "onwing.monitoring_view.status", {"arguments": (None,)}),
        (
            "drift report FD001 --window 2026 --quality --open",
            "onwing.monitoring_view.report",
            {"arguments": ("FD001",), "named": "2026", "quality": True, "opened": True, "folder": None},
        ),
        ("drift run FD001 --no-wait", "onwing.monitor_run.run", {"arguments": ("FD001",), "wait": False}),
        (
            "drift inject FD001 --scenario bias --sensor s2 --sensor s3 --size 1.5 --engines 7 --no-wait",
            "onwing.inject.run",
            {"scenario": "bias", "sensors": ["s2", "s3"], "size": 1.5, "engines": 7, "seed": 1, "wait": False},
        ),
        ("drift truth FD001 x.csv", "onwing.truth.run", {"arguments": ("FD001", Path("x.csv"))}),
        (
            "alerts --fleet FD001 --since 2w --severity critical --follow --full",
            "onwing.alerts_view.run",
            {"fleet": "FD001", "since": "2w", "severity": "critical", "follow": True, "full": True},
        ),
        ("reconcile", "onwing.reconcile.run", {"report_only": False}),
        ("reconcile --report-only", "onwing.reconcile.run", {"report_only": True}),
    ],
)
def test_options_reach_what_does_the_work(
    chosen: list[Options], monkeypatch: pytest.MonkeyPatch, typed: str, where: str, expected: dict[str, Any]
) -> None:
    calls = taken(monkeypatch, where)
    assert onwing(*typed.split()).exit_code == 0
    assert calls[0].items() >= expected.items()


def test_endpoints_of_a_fleet_that_has_none_are_not_found(
    chosen: list[Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "all_of", lambda *_, **__: [])
    assert onwing("endpoints").exit_code == 0
    result = onwing("endpoints", "--fleet", "FD009")
    assert result.exit_code == Exit.NOT_FOUND
    assert "onwing approve FD009" in result.stderr


def test_a_deployment_is_watched_by_its_name(chosen: list[Options], monkeypatch: pytest.MonkeyPatch) -> None:
    arn = execution_of("deployment", "FD001-v8-1")
    monkeypatch.setattr(operations, "find", lambda *_: arn)
    calls = taken(monkeypatch, "onwing.rollout_view.watch")
    assert onwing("watch", "FD001-v8-1", "--interval", "3").exit_code == 0
    assert calls == [{"arguments": (arn,), "interval": 3.0, "timeout": None}]


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("PendingManualApproval", "onwing approve FD001/8"),
        ("Approved", "onwing endpoints --fleet FD001"),
        ("Rejected", "onwing models"),
    ],
)
def test_a_package_says_what_may_be_done_with_it(
    chosen: list[Options], monkeypatch: pytest.MonkeyPatch, status: str, hint: str
) -> None:
    package = Package(f"{GROUP}/8", "FD001", 8, status, at(0), comment="as it was decided")
    monkeypatch.setattr(models, "find", lambda *_: package)
    monkeypatch.setattr(models, "report", lambda *_: None)
    said = onwing("models", "show", "FD001/8").output
    assert hint in said
    assert "as it was decided" in said
    assert "aws sagemaker" not in said
