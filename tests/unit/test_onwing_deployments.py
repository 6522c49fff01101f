"""What the control table says of deployments, how one is followed, and how the history reads."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from onwing import deployments, deployments_view, operations, rollout, rollout_view
from onwing.command import Context
from onwing.console import Output
from onwing.errors import Exit, NotFound, WaitedTooLong
from onwing.rollout import Look
from onwing.target import Target

from .onwing_fakes import (
    EXECUTION,
    STACK,
    FakeClient,
    at,
    client_error,
    context_with,
    control_table,
    execution_of,
    served,
    target_with,
    text,
    under_way,
)

ARN = execution_of("deployment", "FD001-v8-1")
RECORD = {
    "kind": "deployment",
    "fleet": "FD001",
    "version": 8,
    "outcome": "rolled_back",
    "reason": "errors-5xx: 3.0 % of 100 requests",
    "mode": "canary",
    "started_at": "2026-11-23T08:00:01.000Z",
    "approved_at": "2026-11-23T08:00:00.000Z",
    "first_traffic_at": "2026-11-23T08:00:12.500Z",
    "decided_at": "2026-11-23T08:01:00.000Z",
    "restored_at": "2026-11-23T08:01:02.250Z",
    "stages": [{"share": 10}],
}


def described(status: str = "RUNNING", arn: str = ARN, **output: Any) -> dict[str, Any]:
    """DescribeExecution's answer."""
    document = {"fleet": "FD001", "version": 8, "package_arn": "arn:package/8", "request": 12}
    found = {"executionArn": arn, "status": status, "startDate": at(0), "input": json.dumps(document)}
    return found | ({"output": json.dumps(output), "stopDate": at(90)} if output else {})


def context(target: Target) -> Context:
    made = context_with()
    made.__dict__["target"] = target
    return made


def test_the_control_table_is_read_as_the_machines_write_it() -> None:
    table = control_table(
        (
            "DEPLOYMENT",
            {
                "champion": served(7, since="2026-11-20T08:00:00Z"),
                "predecessor": served(5),
                "under_way": under_way(),
                "monitored": True,
                "updated_at": "now",
            },
        ),
        ("LOCK", {"owner": ARN}),
        ("APPROVAL#000008", {"status": "Approved", "approvals": 2, "execution_arn": ARN, "state": "started"}),
    )
    target = target_with(dynamodb=table)
    found = deployments.read(target, STACK, "FD001")
    assert found.champion is not None
    assert (found.champion.version, found.champion.variant, found.monitored) == (7, "v7", True)
    assert found.under_way is not None
    assert (found.under_way.name, found.under_way.held) == ("FD001-v8-1", False)
    assert found.under_way.fallback is not None
    assert found.under_way.fallback.variant == "v7"
    assert deployments.lock_owner(target, STACK, "FD001") == ARN
    assert deployments.approval(target, STACK, "FD001", 8).approvals == 2
    assert deployments.approval(target, STACK, "FD001", 9) == deployments.Approval(9)


def test_a_fleet_that_was_never_deployed_has_nothing() -> None:
    assert deployments.read(target_with(dynamodb=control_table()), STACK, "FD001") == deployments.Deployment("FD001")


def test_a_first_deployment_has_no_fallback() -> None:
    table = control_table(("DEPLOYMENT", {"under_way": under_way(1, "creating", 0, fallback=None)}))
    found = deployments.read(target_with(dynamodb=table), STACK, "FD001")
    assert found.champion is None
    assert found.under_way is not None
    assert found.under_way.fallback is None


def test_history_comes_newest_first_with_its_seconds() -> None:
    older = {**RECORD, "outcome": "promoted", "decided_at": None, "restored_at": None}
    table = control_table(
        ("HISTORY#2026-11-22T08:00:00Z#FD001-v7-1", {"record": older}),
        ("HISTORY#2026-11-23T08:00:00Z#FD001-v8-1", {"record": RECORD}),
    )
    newest, before = deployments.history(target_with(dynamodb=table), STACK, "FD001")
    assert (newest.outcome, newest.deployment_seconds, newest.rollback_seconds) == ("rolled_back", 12.5, 2.25)
    assert (before.outcome, before.rollback_seconds) == ("promoted", None)
    assert len(deployments.history(target_with(dynamodb=table), STACK, "FD001", limit=1)) == 1


@pytest.mark.parametrize(
    ("kind", "outcome", "code"),
    [
        ("deployment", "promoted", Exit.OK),
        ("deployment", "rolled_back", Exit.GATE_MISSED),
        ("deployment", "refused", Exit.GATE_MISSED),
        ("deployment", "superseded", Exit.NO_MODEL),
        ("deployment", "withdrawn", Exit.NO_MODEL),
        ("deployment", "gave_up", Exit.FAILED),
        ("rollback", "rolled_back", Exit.OK),
        ("rollback", "nothing_to_do", Exit.NO_MODEL),
        ("recovery", "recovered", Exit.OK),
    ],
)
def test_an_outcome_has_an_exit_code(kind: str, outcome: str, code: Exit) -> None:
    arn = execution_of(kind, "FD001-x")
    answer = FakeClient(describe_execution=described("SUCCEEDED", arn, outcome=outcome))
    run = operations.look(target_with(stepfunctions=answer), arn)
    assert (run.kind, run.outcome, run.exit_code) == (kind, outcome, code)


def test_an_execution_that_is_not_there_is_not_found() -> None:
    target = target_with(stepfunctions=FakeClient(describe_execution=client_error("ExecutionDoesNotExist")))
    with pytest.raises(NotFound, match="FD001-v8-1"):
        operations.look(target, ARN)


def test_names_are_found_in_the_machine_that_has_them() -> None:
    names = {
        "deployment": ["FD001-v1-1", "FD001-v10-1"],
        "rollback": ["FD001-20261123T080000-0a1b2c3d"],
        "backup": [],
        "recovery": [],
    }

    def listed(stateMachineArn: str, **_: Any) -> dict[str, Any]:
        kind = stateMachineArn.rpartition("-")[2]
        return {
            "executions": [
                {"name": name, "executionArn": execution_of(kind, name), "startDate": at(n)}
                for n, name in enumerate(names.get(kind, []))
            ]
        }

    target = target_with(stepfunctions=FakeClient(list_executions=listed))
    assert operations.find(target, STACK, "FD001-v1") == execution_of("deployment", "FD001-v1-1")
    assert operations.find(target, STACK, "FD001-20261123T080000") == execution_of("rollback", names["rollback"][0])
    assert operations.find(target, STACK, "FD001-20261123T080000", ("deployment",)) is None
    assert operations.find(target, STACK, EXECUTION) is None, "training's"
    assert operations.find(target, STACK, ARN) == ARN


# --- following -------------------------------------------------------------------------------------------------------


def story(*looks: tuple[dict[str, Any] | None, dict[str, Any]], owner: str = ARN) -> Target:
    """A deployment as it stands at one look after the other: what the table says, what the execution says."""
    left = list(looks)

    def describe(**_: Any) -> dict[str, Any]:
        return left[0][1]

    def query(**request: Any) -> dict[str, Any]:
        prefix = request["ExpressionAttributeValues"][":prefix"]["S"]
        if prefix == "LOCK":
            found = {"owner": {"S": owner}}
        else:
            found = {"under_way": {"S": json.dumps(left[0][0])}} if left[0][0] else {}
        return {"Items": [{"sk": {"S": prefix}, **found}]}

    target = target_with(stepfunctions=FakeClient(describe_execution=describe), dynamodb=FakeClient(query=query))
    target.__dict__["turn"] = lambda _: left.pop(0) if len(left) > 1 else None
    return target


def followed(target: Target, **more: Any) -> list[Look]:
    return list(rollout.follow(target, STACK, ARN, sleep=target.__dict__["turn"], **more))


def test_following_tells_each_phase_once_and_ends_with_the_outcome() -> None:
    target = story(
        (None, described()),
        (under_way(phase="creating", share=0), described()),
        (under_way(phase="canary"), described()),
        (under_way(phase="canary"), described()),
        (under_way(phase="canary", share=50), described()),
        (None, described()),
        (
            None,
            described("SUCCEEDED", outcome="promoted", **{k: RECORD[k] for k in ("approved_at", "first_traffic_at")}),
        ),
    )
    seen = followed(target)
    assert [(look.phase, look.share) for look in seen] == [
        ("checking", 0),
        ("creating", 0),
        ("canary", 10),
        ("canary", 50),
        ("promoted", 0),
    ]
    out = Output(console=Console(file=io.StringIO(), width=160, record=True))
    assert rollout_view.conclude(out, rollout_view.show(out, seen)) is Exit.OK
    said = out.console.export_text()
    assert "v8 has 10 % of the traffic beside v7" in said
    assert "v8 is the champion of FD001" in said
    assert "approval to first traffic: 12 s" in said
    assert "onwing predict FILE --fleet FD001" in said


def test_one_that_waits_names_what_it_waits_for() -> None:
    target = story(
        (None, described()),
        (None, described("SUCCEEDED", outcome="superseded")),
        owner=execution_of("deployment", "FD001-v7-1"),
    )
    seen = followed(target)
    assert [look.phase for look in seen] == ["waiting", "superseded"]
    assert "FD001-v7-1 has the endpoint" in rollout_view.phase(seen[0])


def test_following_may_end_when_it_holds() -> None:
    target = story((under_way(phase="hold", share=20), described()))
    assert [look.phase for look in followed(target, until_held=True)] == ["hold"]


def test_following_no_longer_than_told() -> None:
    with pytest.raises(WaitedTooLong) as caught:
        followed(story((under_way(), described())), timeout=0)
    assert "onwing watch FD001-v8-1" in caught.value.todo


def test_a_rollback_says_why_and_how_fast() -> None:
    target = story((None, described("SUCCEEDED", **{k: v for k, v in RECORD.items() if k not in ("kind", "fleet")})))
    made = context(target)
    assert rollout_view.watch(made, ARN, interval=1, timeout=None) is Exit.GATE_MISSED
    said = text(made)
    assert "v8 was taken back; FD001 is served as before" in said
    assert "errors-5xx: 3.0 % of 100 requests" in said
    assert "decision to all traffic on the model before: 2.2 s" in said
    assert "onwing models show FD001/8" in said


def test_a_deployment_that_failed_sends_one_to_the_endpoint() -> None:
    failed = {**described("FAILED"), "error": "States.TaskFailed", "cause": "no capacity", "stopDate": at(9)}
    made = context(story((None, failed)))
    assert rollout_view.watch(made, ARN, interval=1, timeout=None) is Exit.FAILED
    said = text(made)
    assert "States.TaskFailed: no capacity" in said
    assert "onwing rollback FD001" in said


def test_a_deployment_that_the_rollback_machine_stopped_was_taken_back() -> None:
    stopped = {**described("ABORTED"), "error": "RolledBack", "cause": "Stopped by the rollback", "stopDate": at(9)}
    made = context(story((under_way(), described()), (None, stopped)))
    looks = followed(made.target)
    assert rollout_view.conclude(made.out, rollout_view.show(made.out, looks)) is Exit.GATE_MISSED
    said = text(made)
    assert "v8 was taken back" in said
    assert "Stopped by the rollback" in said


def test_a_followed_deployment_is_a_stream_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    made = context(story((under_way(), described()), (None, described("SUCCEEDED", outcome="promoted"))))
    made.out = Output(as_json=True)
    looks = followed(made.target)
    rollout_view.show(made.out, looks, stream=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["event"], line["phase"], line["share"]) for line in lines] == [
        ("phase", "canary", 10),
        ("result", "promoted", 0),
    ]


def test_a_fleet_means_what_is_under_way_and_no_name_the_latest() -> None:
    table = control_table(("DEPLOYMENT", {"under_way": under_way()}))
    target = target_with(dynamodb=table, stepfunctions=FakeClient(list_executions={"executions": []}))
    assert rollout.find(target, STACK, "FD001") == ARN
    with pytest.raises(NotFound, match="no deployment yet"):
        rollout.find(target, STACK, None)
    with pytest.raises(NotFound, match="FD002"):
        rollout.find(target, STACK, "FD002")
    newest = FakeClient(
        list_executions=lambda **request: {
            "executions": [] if "statusFilter" in request else [{"executionArn": "arn:latest"}]
        }
    )
    assert rollout.find(target_with(stepfunctions=newest), STACK, None) == "arn:latest"


# --- the list --------------------------------------------------------------------------------------------------------


def groups(*fleets: str) -> FakeClient:
    names = [{"ModelPackageGroupName": f"onwing-{fleet}"} for fleet in fleets]
    return FakeClient(list_model_package_groups={"ModelPackageGroupSummaryList": names})


def test_the_list_shows_what_goes_on_and_what_was() -> None:
    table = control_table(
        ("DEPLOYMENT", {"under_way": under_way()}),
        ("HISTORY#2026-11-23T08:00:00Z#FD001-v8-1", {"record": RECORD}),
    )
    made = context(target_with(dynamodb=table, sagemaker=groups("FD001", "FD002", "dev-FD001")))
    assert deployments_view.run(made, fleet=None, limit=20) is Exit.OK
    said = text(made)
    assert "FD001: v8 is being deployed (canary), phase canary, 10 % of the traffic" in said
    assert "rolled_back" in said
    assert "12 s" in said
    assert "2.2 s" in said
    assert "onwing deployments watch FD001" in said


def test_the_list_as_json_has_the_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    table = control_table(("HISTORY#2026-11-23T08:00:00Z#FD001-v8-1", {"record": RECORD}))
    made = context(target_with(dynamodb=table))
    made.out = Output(as_json=True)
    deployments_view.run(made, fleet="FD001", limit=20)
    document = json.loads(capsys.readouterr().out)
    assert document["under_way"] == {}
    assert document["history"][0]["rollback_seconds"] == 2.25


def test_an_empty_list_says_how_one_begins() -> None:
    made = context(target_with(dynamodb=control_table()))
    assert deployments_view.run(made, fleet="FD001", limit=20) is Exit.OK
    assert "onwing approve FLEET" in text(made)
