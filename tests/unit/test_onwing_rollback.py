"""Going back, backing up, restoring: what is said first, what is started, what is said at the end."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from rich.console import Console

from onwing import backups, backups_view, operations_view, rollback
from onwing.command import Context
from onwing.console import Output
from onwing.errors import Exit, NotFound, OnwingError, UsageError, WaitedTooLong

from .onwing_fakes import (
    STACK,
    FakeClient,
    at,
    context_with,
    control_table,
    execution_of,
    served,
    text,
    under_way,
)

TWO = {"champion": served(8), "predecessor": served(7)}


def machine(kind: str, *outputs: dict[str, Any] | None, **ended: Any) -> FakeClient:
    """A state machine whose executions end with these outputs, one after the other; None runs on."""
    left = list(outputs)
    started: list[str] = []

    def start(stateMachineArn: str, name: str, **_: Any) -> dict[str, Any]:
        assert stateMachineArn.endswith(f"onwing-{kind}")
        started.append(execution_of(kind, name))
        return {"executionArn": started[-1]}

    def describe(executionArn: str) -> dict[str, Any]:
        output = left[0] if len(left) == 1 else left.pop(0)
        found = {"executionArn": executionArn, "status": "RUNNING", "startDate": at(0), "input": '{"fleet":"FD001"}'}
        if output is not None:
            found |= {"status": "SUCCEEDED", "stopDate": at(5), "output": json.dumps(output)}
        return found | ended

    return FakeClient(start_execution=start, describe_execution=describe)


def run(context: Context, **more: Any) -> Exit:
    return rollback.run(context, "FD001", **{"reason": "", "yes": True, "wait": True, "timeout": None, **more})


@pytest.mark.parametrize(
    ("deployment", "said", "slow"),
    [
        ({"champion": served(7), "under_way": under_way()}, "all traffic goes back to v7, which still runs", False),
        ({"champion": served(8), "under_way": under_way(phase="soak", share=100)}, "goes back to v7", False),
        ({"under_way": under_way(1, fallback=None)}, "The first deployment of FD001 is stopped", False),
        (TWO, "v7, which no longer runs, is deployed again from its backup", True),
    ],
)
def test_what_will_happen_is_said_first(deployment: dict[str, Any], said: str, slow: bool) -> None:
    context = context_with(dynamodb=control_table(("DEPLOYMENT", deployment)))
    with pytest.raises(UsageError, match="Nobody can be asked"):
        run(context, yes=False)
    assert said in text(context)
    state = rollback.deployments.read(context.target, STACK, "FD001")
    assert rollback.way(state).slow is slow


@pytest.mark.parametrize("deployment", [{}, {"champion": served(1)}])
def test_nothing_to_go_back_to_is_not_found(deployment: dict[str, Any]) -> None:
    with pytest.raises(NotFound) as caught:
        run(context_with(dynamodb=control_table(("DEPLOYMENT", deployment))))
    assert "onwing approve FD001" in caught.value.todo


def test_a_rollback_is_started_and_its_seconds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onwing.operations.time.sleep", lambda _: None)
    ended = {"outcome": "rolled_back", "fleet": "FD001", "version": 8, "champion": 7, "seconds": 1.234, "slow": True}
    machines = machine("rollback", ended)
    context = context_with(dynamodb=control_table(("DEPLOYMENT", TWO)), stepfunctions=machines)
    assert run(context, reason="complaints") is Exit.OK
    [started] = machines.called("start_execution")
    assert re.fullmatch(r"FD001-\d{8}T\d{6}-[0-9a-f]{8}", started["name"])
    request = json.loads(started["input"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", request.pop("decided_at"))
    assert request == {"fleet": "FD001", "trigger": "manual", "reason": "complaints"}
    said = text(context)
    assert "all traffic of FD001 is on v7, 1.2 s after the decision; v8 is rejected" in said


def test_without_waiting_the_execution_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    machines = machine("rollback", None)
    context = context_with(as_json=True, dynamodb=control_table(("DEPLOYMENT", TWO)), stepfunctions=machines)
    assert run(context, wait=False) is Exit.OK
    document = json.loads(capsys.readouterr().out)
    assert document["execution"].startswith(execution_of("rollback", "FD001-"))
    assert document["slow"] is True


def test_nothing_to_do_is_an_outcome_of_its_own() -> None:
    machines = machine("rollback", {"outcome": "nothing_to_do", "champion": 8})
    context = context_with(dynamodb=control_table(("DEPLOYMENT", TWO)), stepfunctions=machines)
    assert run(context) is Exit.NO_MODEL
    assert "There was nothing to do" in text(context)


def test_a_rollback_that_fails_says_why_and_what_is_left() -> None:
    machines = machine("rollback", None, status="FAILED", error="EndpointFailed", cause="no capacity")
    context = context_with(dynamodb=control_table(("DEPLOYMENT", TWO)), stepfunctions=machines)
    with pytest.raises(OnwingError, match="EndpointFailed: no capacity") as caught:
        run(context)
    assert "onwing restore FD001" in caught.value.todo


def test_waiting_has_an_end() -> None:
    context = context_with(dynamodb=control_table(("DEPLOYMENT", TWO)), stepfunctions=machine("rollback", None))
    with pytest.raises(WaitedTooLong, match="has not ended"):
        run(context, timeout=0)


# --- backup and restore ----------------------------------------------------------------------------------------------


def bucket(*names: str) -> FakeClient:
    document = {"reason": "before v8", "deployment": {"champion": served(7)}}
    return FakeClient(
        list_objects_v2=lambda Prefix, **_: {
            "Contents": [{"Key": f"{Prefix}{name}", "LastModified": at(n)} for n, name in enumerate(names)]
        },
        get_object=lambda **_: {"Body": io.BytesIO(json.dumps(document).encode())},
    )


NAMES = ("2026-11-21T08:00:00.000Z.json", "2026-11-23T08:00:00.000Z.json", "2026-11-22T08:00:00.000Z.json")
PREFIX = "backups/onwing-FD001/"


def test_a_backup_says_where_it_is() -> None:
    written = {"backups": [{"fleet": "FD001", "endpoint": "onwing-FD001", "key": f"{PREFIX}x.json"}]}
    machines = machine("backup", written)
    context = context_with(stepfunctions=machines)
    assert backups_view.backup(context, fleet="FD001", timeout=None) is Exit.OK
    assert json.loads(machines.called("start_execution")[0]["input"])["fleets"] == ["FD001"]
    assert f"s3://onwing-bucket/{PREFIX}x.json" in text(context)


def test_all_fleets_are_meant_when_none_is_named_and_none_there_is_said() -> None:
    machines = machine("backup", {"backups": []})
    context = context_with(stepfunctions=machines)
    assert backups_view.backup(context, fleet=None, timeout=None) is Exit.NOT_FOUND
    [started] = machines.called("start_execution")
    assert "fleets" not in json.loads(started["input"])
    assert started["name"].startswith("all-")


def test_backups_are_listed_newest_first_with_their_champion() -> None:
    context = context_with(s3=bucket(*NAMES))
    assert backups_view.listed(context, "FD001", limit=2) is Exit.OK
    said = text(context)
    assert said.index("2026-11-23T08:00:00.000Z") < said.index("2026-11-22T08:00:00.000Z")
    assert "2026-11-21" not in said
    assert "v7" in said
    assert "before v8" in said


@pytest.mark.parametrize(
    ("named", "key"),
    [(None, NAMES[1]), ("2026-11-22", NAMES[2]), (f"{PREFIX}{NAMES[0]}", NAMES[0])],
)
def test_a_backup_is_named_by_its_key_or_its_time_or_not_at_all(named: str | None, key: str) -> None:
    context = context_with(s3=bucket(*NAMES))
    assert backups.key_of(context.target, STACK, "FD001", named) == f"{PREFIX}{key}"


def test_a_backup_that_is_not_there_is_not_found() -> None:
    context = context_with(s3=bucket(*NAMES))
    with pytest.raises(NotFound, match="2025"):
        backups.key_of(context.target, STACK, "FD001", "2025")
    with pytest.raises(NotFound):
        backups.key_of(context_with(s3=bucket()).target, STACK, "FD001", None)


def restore(context: Context, **more: Any) -> Exit:
    return backups_view.restore(context, "FD001", **{"named": None, "yes": True, "timeout": None, **more})


def test_restoring_shows_the_plan_before_it_is_carried_out() -> None:
    plan = ["create model onwing-FD001-v7-ab", "create endpoint onwing-FD001"]
    machines = machine("recovery", {"outcome": "planned", "plan": plan}, {"outcome": "recovered", "champion": 7})
    context = context_with(stepfunctions=machines, s3=bucket(*NAMES))
    assert restore(context) is Exit.OK
    requests = [json.loads(call["input"]) for call in machines.called("start_execution")]
    assert [request["plan_only"] for request in requests] == [True, False]
    assert {request["backup"] for request in requests} == {f"{PREFIX}{NAMES[1]}"}
    said = text(context)
    assert said.index("create endpoint onwing-FD001") < said.index("is served again by v7")


def test_without_a_yes_only_the_plan_is_made() -> None:
    machines = machine("recovery", {"outcome": "planned", "plan": ["create endpoint"]})
    context = context_with(stepfunctions=machines, s3=bucket(*NAMES))
    with pytest.raises(UsageError, match="Nobody can be asked"):
        restore(context, yes=False)
    assert "create endpoint" in text(context)
    assert len(machines.called("start_execution")) == 1


def test_an_endpoint_that_is_intact_is_left_alone() -> None:
    machines = machine("recovery", {"outcome": "intact", "plan": []})
    context = context_with(stepfunctions=machines, s3=bucket(*NAMES))
    assert restore(context) is Exit.OK
    assert "Nothing is missing" in text(context)
    assert len(machines.called("start_execution")) == 1


def test_a_recovery_that_fails_says_why() -> None:
    machines = machine("recovery", None, status="FAILED", error="NoModel", cause="the artefact has gone")
    with pytest.raises(OnwingError, match="the artefact has gone"):
        restore(context_with(stepfunctions=machines, s3=bucket(*NAMES)))


# --- watch -----------------------------------------------------------------------------------------------------------


def test_a_rollback_is_watched_by_its_name() -> None:
    ended = {"outcome": "rolled_back", "version": 8, "champion": 7, "seconds": 2.0}
    arn = execution_of("rollback", "FD001-20261123T080000-0a1b2c3d")
    machines = machine("rollback", ended, name=arn.rpartition(":")[2])
    machines.answers["get_execution_history"] = {"events": []}
    context = context_with(stepfunctions=machines)
    assert operations_view.find(context, arn) == arn
    assert operations_view.find(context, "FD001") is None, "a fleet alone means its training"
    assert operations_view.watch_run(context, arn, interval=1, timeout=None) is Exit.OK
    assert "all traffic of FD001 is on v7, 2.0 s after the decision" in text(context)


@pytest.mark.parametrize(("answer", "code", "started"), [(True, Exit.OK, 1), (False, Exit.FAILED, 0)])
def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch, answer: bool, code: Exit, started: int) -> None:
    machines = machine("rollback", {"outcome": "rolled_back", "champion": 7})
    context = context_with(dynamodb=control_table(("DEPLOYMENT", TWO)), stepfunctions=machines)
    context.out = Output(console=Console(file=io.StringIO(), force_terminal=True, width=200))
    monkeypatch.setattr("onwing.console.Confirm.ask", lambda question, **_: answer)
    assert run(context, yes=False) is code
    assert len(machines.called("start_execution")) == started
