"""Endpoints: whose they are, what serves, what CloudWatch measured of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onwing import deployments_view, endpoints, endpoints_view, metrics, models, status_view
from onwing.deployments import Deployment, Served, UnderWay
from onwing.errors import Exit, NotFound
from onwing.metrics import Figures

from .onwing_fakes import (
    STACK,
    FakeClient,
    at,
    client_error,
    context_with,
    control_table,
    served,
    target_with,
    text,
    under_way,
)
from .test_onwing_models import package

VARIANTS = [
    {"VariantName": "v7", "CurrentWeight": 90, "CurrentInstanceCount": 1},
    {
        "VariantName": "v8",
        "CurrentWeight": 10,
        "CurrentInstanceCount": 2,
        "VariantStatus": [{"Status": "Updating"}],
    },
]


def clients(**more: Any) -> dict[str, FakeClient]:
    def measured(MetricDataQueries: list[Any], **_: Any) -> dict[str, Any]:
        results = []
        for query in MetricDataQueries:
            stat = query["MetricStat"]
            name, kind = stat["Metric"]["MetricName"], stat["Stat"]
            found = {"Invocations": [60, 60], "Invocation4XXErrors": [], "Invocation5XXErrors": [3]}.get(
                name, {"Sum": [6e5], "SampleCount": [120], "Maximum": [9e3, 7e3]}.get(kind)
            )
            results.append({"Id": query["Id"], "Values": found})
        return {"MetricDataResults": results}

    answers: dict[str, Any] = {
        "list_endpoints": {
            "Endpoints": [{"EndpointName": name} for name in ("onwing-FD001", "onwing-dev-FD001", "my-onwing-x")]
        },
        "describe_endpoint": {
            "EndpointStatus": "InService",
            "EndpointConfigName": "onwing-FD001-v8-ab-canary",
            "LastModifiedTime": at(0),
            "ProductionVariants": VARIANTS,
        },
        **more,
    }
    alarm = {"AlarmName": "onwing-FD001-v8-errors-5xx", "StateReason": "too many", "StateUpdatedTimestamp": at(5)}
    return {
        "sagemaker": FakeClient(**answers),
        "cloudwatch": FakeClient(describe_alarms={"MetricAlarms": [alarm]}, get_metric_data=measured),
        "cloudformation": FakeClient(list_stack_resources={"StackResourceSummaries": []}),
        "dynamodb": control_table(
            ("DEPLOYMENT", {"champion": served(7, since="2026-11-20T08:00:00Z"), "under_way": under_way()})
        ),
    }


def test_the_projects_endpoints_come_with_what_they_do() -> None:
    [found] = endpoints.all_of(target_with(**clients()), STACK)
    assert (found.name, found.fleet, found.status) == ("onwing-FD001", "FD001", "InService")
    assert [(v.name, v.share, v.instances) for v in found.variants] == [("v7", 90, 1), ("v8", 10, 2)]
    assert found.deployment.under_way is not None
    assert [alarm.name for alarm in found.alarms] == ["onwing-FD001-v8-errors-5xx"]
    assert found.figures["v8"] == Figures(120, 0, 3, 5.0, 9.0), "latencies in milliseconds"


def test_a_shadow_has_no_share() -> None:
    described = {
        "EndpointStatus": "InService",
        "ProductionVariants": VARIANTS[:1],
        "ShadowProductionVariants": VARIANTS[1:],
    }
    [found] = endpoints.all_of(target_with(**clients(describe_endpoint=described)), STACK)
    assert [(v.name, v.share, v.shadow) for v in found.variants] == [("v7", 100, False), ("v8", 0, True)]


def test_one_that_is_being_created_has_no_weights_yet() -> None:
    described = {"EndpointStatus": "Creating", "ProductionVariants": [{"VariantName": "v1"}]}
    [found] = endpoints.all_of(target_with(**clients(describe_endpoint=described)), STACK)
    assert found.variants[0].share == 0


def test_one_that_goes_while_it_is_looked_at_is_left_out() -> None:
    gone = clients(describe_endpoint=client_error("ValidationException", "Could not find endpoint"))
    assert endpoints.all_of(target_with(**gone), STACK) == []
    with pytest.raises(NotFound) as caught:
        endpoints.get(target_with(**gone), STACK, "FD001")
    assert "onwing restore FD001" in caught.value.todo


def test_the_table_shows_champion_challenger_and_figures() -> None:
    context = context_with(**clients())
    assert endpoints_view.show(context.out, endpoints.all_of(context.target, STACK)) is Exit.OK
    said = text(context)
    champion, challenger = (next(line for line in said.splitlines() if f"{name} " in line) for name in ("v7", "v8"))
    assert "★" in champion
    assert "90 %" in champion
    assert "2026-11-20" in champion
    assert "▶" in challenger
    assert challenger.split()[-5:] == ["120", "0", "3", "5.0", "9.0"]
    assert "v8 is being deployed (canary), phase canary, 10 % of the traffic" in said
    assert "alarm onwing-FD001-v8-errors-5xx" in said
    assert "onwing deployments watch" in said


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, True),
        ({"ActionsEnabled": False}, False),
        ({"TreatMissingData": "breaching", "seconds": 100}, False),
        ({"TreatMissingData": "breaching", "seconds": 400}, True),
        ({"TreatMissingData": "notBreaching", "seconds": 100}, True),
    ],
)
def test_an_alarm_that_cannot_know_yet_is_not_shown(more: dict[str, Any], shown: bool) -> None:
    alarm = {
        "AlarmName": "onwing-FD001-v8-silent",
        "StateUpdatedTimestamp": at(5),
        "Period": 60,
        "EvaluationPeriods": 5,
        "AlarmConfigurationUpdatedTimestamp": datetime.now(UTC) - timedelta(seconds=more.get("seconds", 0)),
        **more,
    }
    fakes = clients()
    fakes["cloudwatch"].answers["describe_alarms"] = {"MetricAlarms": [alarm]}
    assert bool(endpoints.alarms(target_with(**fakes), STACK)) is shown


def test_no_endpoints_say_how_to_get_one() -> None:
    context = context_with()
    endpoints_view.show(context.out, [])
    assert "onwing approve FLEET" in text(context)


def test_json_has_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    context = context_with(as_json=True, **clients())
    endpoints_view.show(context.out, endpoints.all_of(context.target, STACK))
    [found] = json.loads(capsys.readouterr().out)
    assert found["deployment"]["champion"]["version"] == 7
    assert found["figures"]["v7"]["invocations"] == 120


def test_metrics_are_asked_for_to_the_minute_and_two_weeks_at_most() -> None:
    client = FakeClient(get_metric_data={"MetricDataResults": []})
    found = metrics.figures(target_with(cloudwatch=client), [("e", "v1")], at(-90 * 86400), at(0))
    assert found == {("e", "v1"): Figures()}
    [asked] = client.called("get_metric_data")
    assert asked["EndTime"] - asked["StartTime"] <= timedelta(days=14, minutes=1)
    assert {query["MetricStat"]["Period"] for query in asked["MetricDataQueries"]} == {60}
    assert all(query["Id"][0].islower() for query in asked["MetricDataQueries"]), "CloudWatch's rule"


def test_many_variants_take_many_calls() -> None:
    client = FakeClient(get_metric_data={"MetricDataResults": []})
    metrics.figures(target_with(cloudwatch=client), [("e", f"v{n}") for n in range(100)], at(0), at(60))
    assert [len(call["MetricDataQueries"]) for call in client.called("get_metric_data")] == [500, 100]


def test_packages_are_marked_by_what_they_do() -> None:
    state = Deployment("FD001", champion=Served(7), under_way=UnderWay("arn:x", 8, "canary", "canary"))
    target = target_with(sagemaker=FakeClient(describe_model_package=lambda ModelPackageName: package(7)))
    context = context_with()
    found = models.describe(target, STACK, "arn:7")
    context.out.show(status_view.packages_table([found], roles=deployments_view.roles([state])))
    assert "FD001/7 ★" in text(context)
