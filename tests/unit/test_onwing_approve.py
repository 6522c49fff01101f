"""Approving and rejecting: what is written, in which order, and what a person is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onwing import approve, approve_view, rollout
from onwing.approve import Wish
from onwing.errors import Exit, NotFound, OnwingError, UsageError, WaitedTooLong
from onwing.stack import Stack

from .onwing_fakes import (
    GROUP,
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
from .test_onwing_models import package as described

ARN = execution_of("deployment", "FD001-v8-1")


def registry(status: str = "PendingManualApproval", comment: str = "") -> FakeClient:
    more = {"ModelApprovalStatus": status} | ({"ApprovalDescription": comment} if comment else {})
    return FakeClient(
        list_model_packages={"ModelPackageSummaryList": [{"ModelPackageArn": f"{GROUP}/8"}]},
        describe_model_package=lambda ModelPackageName: described(8) | more,
        update_model_package={"ModelPackageArn": f"{GROUP}/8"},
    )


STACKS_OWN = Wish()


def run(context: Any, wish: Wish = STACKS_OWN, **more: Any) -> Exit:
    settings = {"comment": "", "wait": False, "timeout": None, **more}
    return approve_view.run(context, "FD001/8", wish=wish, **settings)


def test_approving_says_what_will_happen_and_what_to_do() -> None:
    sagemaker, table = registry(), control_table(("DEPLOYMENT", {"champion": served(7)}))
    context = context_with(sagemaker=sagemaker, dynamodb=table)
    assert run(context, comment="better") is Exit.OK
    assert sagemaker.called("update_model_package") == [
        {"ModelPackageArn": f"{GROUP}/8", "ModelApprovalStatus": "Approved", "ApprovalDescription": "better"}
    ]
    said = text(context)
    assert "FD001/8 is approved (RMSE 14.25, PHM08 321.0)" in said
    assert "canary: v8 gets 10 %, 50 % of the traffic beside v7, at least 5 min 00 s each; then all" in said
    assert "onwing deployments watch FD001" in said


def test_without_options_the_stack_decides_whatever_was_chosen_before() -> None:
    table = control_table()
    table.answers["update_item"] = client_error("ConditionalCheckFailedException")
    assert run(context_with(sagemaker=registry(), dynamodb=table)) is Exit.OK
    [update] = table.called("update_item")
    assert update["UpdateExpression"] == "REMOVE strategy"
    assert update["Key"] == {"pk": {"S": "FLEET#FD001"}, "sk": {"S": "APPROVAL#000008"}}


def test_the_strategy_is_written_before_the_approval() -> None:
    order: list[str] = []
    table, sagemaker = control_table(), registry()
    table.answers["update_item"] = lambda **_: order.append("strategy")
    sagemaker.answers["update_model_package"] = lambda **_: order.append("approval")
    run(context_with(sagemaker=sagemaker, dynamodb=table), Wish(stages="5,25", bake_seconds=60))
    assert order == ["strategy", "approval"]
    [update] = table.called("update_item")
    assert update["UpdateExpression"] == "SET strategy = :strategy", "nothing else of the item is touched"
    assert json.loads(update["ExpressionAttributeValues"][":strategy"]["S"]) == {
        "name": "canary",
        "stages": [5, 25],
        "bake_seconds": 60,
        "soak_seconds": 3600,
        "hold": False,
        "shadow": False,
    }


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish("linear"), {"stages": [20, 40, 60, 80], "hold": False}),
        (Wish("ab", share=30), {"stages": [30], "hold": True, "shadow": False}),
        (Wish(share=30), {"name": "ab"}),
        (Wish("shadow"), {"stages": [10, 50], "hold": True, "shadow": True}),
        (Wish(soak_seconds=0), {"name": "canary", "soak_seconds": 0}),
    ],
)
def test_strategies(wish: Wish, expected: dict[str, Any]) -> None:
    assert approve.strategy(STACK, wish).items() >= expected.items()


def test_a_strategy_is_one_that_the_control_plane_takes() -> None:
    from control_plane.strategies import Strategy

    for wish in (Wish("canary"), Wish("linear"), Wish("ab"), Wish("shadow"), Wish(stages="1,2,99")):
        Strategy.model_validate(approve.strategy(STACK, wish))


def test_a_linear_stack_has_its_own_stages() -> None:
    stack = Stack("x", "", {}, {"DeploymentStrategy": "linear", "CanaryStages": "25,50,75"})
    assert approve.strategy(stack, Wish(bake_seconds=1))["stages"] == [25, 50, 75]


@pytest.mark.parametrize(
    "wish",
    [
        Wish("blue"),
        Wish("canary", share=10),
        Wish("ab", stages="10,50"),
        Wish(stages="50,10"),
        Wish(stages="10,10"),
        Wish(stages="10,100"),
        Wish(stages="ten"),
        Wish("ab", share=0),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(wish: Wish) -> None:
    sagemaker, table = registry(), control_table()
    with pytest.raises(UsageError) as caught:
        run(context_with(sagemaker=sagemaker, dynamodb=table), wish)
    assert caught.value.todo
    assert sagemaker.calls == []
    assert table.calls == []


def test_a_package_that_was_rejected_may_be_approved_and_says_why_it_was() -> None:
    context = context_with(sagemaker=registry("Rejected", "errors-5xx"), dynamodb=control_table())
    assert run(context) is Exit.OK
    assert "It was rejected before: errors-5xx" in text(context)


def test_a_champion_that_was_rejected_stays_what_it_is() -> None:
    table = control_table(("DEPLOYMENT", {"champion": served(8)}))
    context = context_with(sagemaker=registry("Rejected", "by mistake"), dynamodb=table)
    assert run(context) is Exit.OK
    assert "v8 is the champion of FD001 already" in text(context)


def test_the_champion_is_not_approved_again() -> None:
    sagemaker = registry("Approved")
    table = control_table(("DEPLOYMENT", {"champion": served(8, since="2026-11-23T08:00:00Z")}))
    context = context_with(sagemaker=sagemaker, dynamodb=table)
    assert run(context, Wish(bake_seconds=1)) is Exit.OK
    assert sagemaker.called("update_model_package") == []
    said = text(context)
    assert "is approved already, and is the champion of FD001 since 2026-11-23T08:00:00Z" in said
    assert "the options change nothing now" in said
    assert "onwing reject FD001/8" in said


def test_one_that_is_being_deployed_is_not_approved_again() -> None:
    table = control_table(("DEPLOYMENT", {"champion": served(7), "under_way": under_way()}))
    context = context_with(sagemaker=registry("Approved"), dynamodb=table)
    assert run(context) is Exit.OK
    assert "is being deployed: phase canary" in text(context)


def test_one_that_waits_for_the_endpoint_is_not_approved_again() -> None:
    table = control_table(("APPROVAL#000008", {"approvals": 1, "execution_arn": ARN}))
    running = FakeClient(describe_execution={"executionArn": ARN, "status": "RUNNING", "startDate": at(0)})
    context = context_with(sagemaker=registry("Approved"), dynamodb=table, stepfunctions=running)
    assert run(context) is Exit.OK
    assert "waits to be deployed (FD001-v8-1)" in text(context)


def test_one_that_is_approved_but_not_in_service_says_how_to_deploy_it_again() -> None:
    record = {"version": 8, "kind": "deployment", "outcome": "rolled_back", "reason": "slow"}
    table = control_table(
        ("APPROVAL#000008", {"approvals": 1, "execution_arn": ARN}), ("HISTORY#2026#FD001-v8-1", {"record": record})
    )
    gone = FakeClient(describe_execution=client_error("ExecutionDoesNotExist"))
    with pytest.raises(OnwingError, match="last: deployment rolled_back: slow") as caught:
        run(context_with(sagemaker=registry("Approved"), dynamodb=table, stepfunctions=gone))
    assert caught.value.exit_code is Exit.FAILED
    assert "onwing reject FD001/8" in caught.value.todo


def test_a_package_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        approve_view.run(
            context_with(sagemaker=registry(), dynamodb=control_table()),
            "FD001/9",
            comment="",
            wish=Wish(),
            wait=False,
            timeout=None,
        )


def test_a_comment_that_the_registry_would_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="1025"):
        run(context_with(sagemaker=registry(), dynamodb=control_table()), comment="x" * 1025)


def test_with_json_there_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    run(context_with(as_json=True, sagemaker=registry(), dynamodb=control_table()), Wish("ab"))
    document = json.loads(capsys.readouterr().out)
    assert document["package"] == f"{GROUP}/8"
    assert document["strategy"]["stages"] == [20]


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_waiting_follows_to_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = {
        "executionArn": ARN,
        "status": "SUCCEEDED",
        "startDate": at(0),
        "input": json.dumps({"fleet": "FD001", "version": 8}),
        "output": json.dumps({"outcome": "rolled_back", "reason": "too slow", "mode": "first"}),
    }
    monkeypatch.setattr(approve, "wait_for_start", lambda *_: ARN)
    context = context_with(
        sagemaker=registry(), dynamodb=control_table(), stepfunctions=FakeClient(describe_execution=ended)
    )
    assert run(context, wait=True) is Exit.GATE_MISSED
    assert "it was the first, so FD001 is served by no model" in text(context)


def test_the_deployment_that_counts_is_the_next_one() -> None:
    items = iter(
        [
            {"approvals": 1, "execution_arn": "arn:old", "state": "started"},
            {"approvals": 2, "execution_arn": "arn:new", "state": "starting"},
            {"approvals": 2, "execution_arn": "arn:new", "state": "started"},
        ]
    )
    table = FakeClient(
        query=lambda **_: {
            "Items": [{k: {"N": str(v)} if k == "approvals" else {"S": v} for k, v in next(items).items()}]
        }
    )
    context = context_with(sagemaker=registry(), dynamodb=table)
    package = approve_view.models.find(context.target, STACK, "FD001/8")
    assert approve.wait_for_start(context.target, STACK, package, 1, sleep=lambda _: None) == "arn:new"


def test_an_approval_that_starts_nothing_is_said_after_a_while() -> None:
    context = context_with(sagemaker=registry(), dynamodb=control_table())
    package = approve_view.models.find(context.target, STACK, "FD001/8")
    with pytest.raises(WaitedTooLong, match="no deployment has started"):
        approve.wait_for_start(context.target, STACK, package, 0, timeout=0)


def test_ctrl_c_leaves_the_deployment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(rollout, "follow", interrupt)
    context = context_with()
    assert approve_view.follow(context, ARN, {}, None) is Exit.INTERRUPTED
    assert "the deployment goes on" in text(context)


# --- rejecting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deployment", "said", "hint"),
    [
        ({"champion": served(7)}, "It is not in service", "onwing models"),
        ({"champion": served(8)}, "rejecting takes nothing out of service", "onwing rollback FD001"),
        (
            {"champion": served(7), "under_way": under_way()},
            "is under way (phase canary) and will be stopped: all traffic goes back to v7",
            "onwing deployments watch FD001-v8-1",
        ),
        (
            {"champion": served(8), "under_way": under_way(phase="soak", share=100)},
            "phase soak) and will be stopped: all traffic goes back to v7",
            "onwing deployments watch FD001-v8-1",
        ),
    ],
)
def test_rejecting_says_what_follows(deployment: dict[str, Any], said: str, hint: str) -> None:
    sagemaker = registry("Approved")
    context = context_with(sagemaker=sagemaker, dynamodb=control_table(("DEPLOYMENT", deployment)))
    assert approve_view.reject(context, "FD001/8", comment="biased") is Exit.OK
    assert sagemaker.called("update_model_package")[0]["ModelApprovalStatus"] == "Rejected"
    assert sagemaker.called("update_model_package")[0]["ApprovalDescription"] == "biased"
    shown = text(context)
    assert said in shown
    assert hint in shown


@pytest.mark.parametrize("comment", [None, "", "  "])
def test_a_rejection_needs_a_reason(comment: str | None) -> None:
    sagemaker = registry()
    with pytest.raises(UsageError, match="needs a reason"):
        approve_view.reject(context_with(sagemaker=sagemaker, dynamodb=control_table()), "FD001/8", comment=comment)
    assert sagemaker.called("update_model_package") == []


def test_one_that_waits_is_not_deployed_once_rejected() -> None:
    table = control_table(("APPROVAL#000008", {"approvals": 1, "execution_arn": ARN}))
    running = FakeClient(describe_execution={"executionArn": ARN, "status": "RUNNING", "startDate": at(0)})
    context = context_with(sagemaker=registry("Approved"), dynamodb=table, stepfunctions=running)
    approve_view.reject(context, "FD001/8", comment="no")
    assert "It waits to be deployed, and will not be." in text(context)


def test_no_comment_leaves_the_registrys_as_it_is() -> None:
    target = target_with(sagemaker=registry())
    package = approve_view.models.find(target, STACK, "FD001/8")
    approve.set_status(target, package, "Approved", "")
    assert target.client("sagemaker").called("update_model_package") == [
        {"ModelPackageArn": f"{GROUP}/8", "ModelApprovalStatus": "Approved"}
    ]
