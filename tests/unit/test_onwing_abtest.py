"""An A/B or shadow test: both models side by side, and the decision that ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onwing import abtest, abtest_view, approve_view
from onwing.errors import Exit, NotFound, UsageError

from .onwing_fakes import STACK, FakeClient, context_with, control_table, served, target_with, text, under_way
from .test_onwing_endpoints import VARIANTS, clients

HELD = under_way(phase="hold", share=20)


def table(going: dict[str, Any] | None) -> FakeClient:
    return control_table(("DEPLOYMENT", {"champion": served(7), **({"under_way": going} if going else {})}))


def history(*outputs: Any) -> FakeClient:
    events = [{"type": "TaskSucceeded", "taskSucceededEventDetails": {"output": json.dumps(o)}} for o in outputs]
    return FakeClient(get_execution_history={"events": [{"type": "WaitStateEntered"}, *events]})


FIGURES = {"v7": {"probe_rmse": 12.5, "probe_difference": None}, "v8": {"probe_rmse": 11.25, "probe_difference": 1.5}}


def test_status_puts_both_models_side_by_side() -> None:
    states = history({"SdkHttpMetadata": {}}, {"StatusCode": 200, "Payload": {"verdict": "pass", "figures": FIGURES}})
    context = context_with(**{**clients(), "dynamodb": table(HELD), "stepfunctions": states})
    assert abtest_view.status(context, "FD001") is Exit.OK
    said = text(context)
    rows = {line.split("  ")[0].strip(): line.split() for line in said.splitlines()}
    assert rows["traffic, %"][-3:] == ["10.0", "90.0", "-80.0"]
    assert rows["requests"][-3:] == ["120", "120", "+0"]
    assert rows["RMSE on probes, cycles"][-3:] == ["11.25", "12.50", "-1.25"]
    assert rows["mean difference on probes, cycles"][-2:] == ["1.50", "–"]
    assert "onwing ab stop FD001 --promote" in said
    asked = states.called("get_execution_history")[0]
    assert asked["reverseOrder"] is True, "the last assessment counts"


def test_a_shadow_is_compared_as_well() -> None:
    described = {
        "EndpointStatus": "InService",
        "ProductionVariants": VARIANTS[:1],
        "ShadowProductionVariants": VARIANTS[1:],
    }
    more = {"dynamodb": table(under_way(phase="shadow", share=0)), "stepfunctions": history()}
    context = context_with(**{**clients(describe_endpoint=described), **more})
    assert abtest_view.status(context, "FD001") is Exit.OK
    assert "Shadow test of v8" in text(context)


def test_what_does_not_wait_is_shown_but_not_decided() -> None:
    context = context_with(**{**clients(), "dynamodb": table(under_way()), "stepfunctions": history()})
    abtest_view.status(context, "FD001")
    assert "phase canary: it does not wait for a decision" in text(context)
    with pytest.raises(UsageError, match="does not wait for a decision") as caught:
        abtest.stop(context.target, STACK, "FD001", abtest.PROMOTE, "")
    assert "onwing rollback FD001" in caught.value.todo
    assert context.target.client("dynamodb").called("put_item") == []


def test_status_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    context = context_with(as_json=True, **{**clients(), "dynamodb": table(HELD), "stepfunctions": history()})
    abtest_view.status(context, "FD001")
    document = json.loads(capsys.readouterr().out)
    assert [side["role"] for side in document["sides"]] == ["challenger", "champion"]


@pytest.mark.parametrize("decision", [abtest.PROMOTE, abtest.ROLLBACK])
def test_the_decision_names_the_request_that_it_is_for(decision: str) -> None:
    client = table(HELD)
    context = context_with(dynamodb=client)
    assert abtest_view.stop(context, "FD001", decision, reason="why", wait=False, timeout=None) is Exit.OK
    [put] = client.called("put_item")
    at = put["Item"].pop("at")["S"]
    assert at.endswith("Z")
    assert put["Item"] == {
        "pk": {"S": "FLEET#FD001"},
        "sk": {"S": "DECISION"},
        "request": {"N": "12"},
        "decision": {"S": decision},
        "reason": {"S": "why"},
    }
    assert "onwing deployments watch FD001" in text(context)


def test_without_a_test_there_is_nothing_to_decide() -> None:
    with pytest.raises(NotFound, match="there is no test") as caught:
        abtest.stop(target_with(dynamodb=table(None)), STACK, "FD001", abtest.PROMOTE, "")
    assert "onwing ab start FD001" in caught.value.todo


@pytest.mark.parametrize(
    ("decision", "ended", "code"),
    [
        (abtest.ROLLBACK, Exit.GATE_MISSED, Exit.OK),
        (abtest.ROLLBACK, Exit.FAILED, Exit.FAILED),
        (abtest.PROMOTE, Exit.OK, Exit.OK),
        (abtest.PROMOTE, Exit.GATE_MISSED, Exit.GATE_MISSED),
    ],
)
def test_going_back_as_asked_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, decision: str, ended: Exit, code: Exit
) -> None:
    monkeypatch.setattr(approve_view, "follow", lambda *_, **__: ended)
    context = context_with(dynamodb=table(HELD))
    assert abtest_view.stop(context, "FD001", decision, reason="", wait=True, timeout=None) is code
