"""Monitoring and alerts as an operator sees them: states told apart, reports, runs and their exit codes."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from rich.text import Text
from turbofan import quality
from turbofan.quality_tables import Sample
from turbofan.truth import Joined

from onwing import (
    alerts,
    alerts_view,
    monitor_run,
    monitoring,
    monitoring_view,
    operations,
    operations_view,
    overdue_windows,
)
from onwing.errors import Exit, NotFound, OnwingError, UsageError
from onwing.monitor_run import Judged
from onwing.monitoring import Monitored
from onwing.project import Project
from onwing.stack import Stack

from .onwing_fakes import (
    STACK,
    FakeClient,
    at,
    client_error,
    context_with,
    control_table,
    description,
    execution_of,
    served,
    target_with,
    text,
)
from .overdue_cases import CASES, PERIODS, monitor_item
from .overdue_cases import NOW as AT
from .test_turbofan_quality import production, registered

WINDOW = {
    "id": "20261123T080000Z",
    "start": "2026-11-23T08:00:00Z",
    "end": "2026-11-23T09:00:00Z",
    "outcome": "violations",
    "severity": "moderate",
    "drift": 2.31,
    "engines": 40,
    "records": 120,
    "violations": 2,
    "report": "monitoring/reports/onwing-FD001/v7/20261123T080000Z/",
    "closed_at": "2026-11-23T09:01:00Z",
    "summary": "s4 reads 1.4 σ higher",
}
DECISION = {
    "at": "2026-11-23T09:01:10Z",
    "report": WINDOW["report"] + "constraint_violations.json",
    "source": "onwing",
    "window": {"id": WINDOW["id"]},
    "severity": "moderate",
    "cause": "drift",
    "count": 2,
    "decision": "alert",
    "reasons": ["there is no data newer than v7's"],
    "guards": [{"guard": "newer_data", "passed": False, "message": "the newest data set is v7's own"}],
    "execution": None,
    "level": "critical",
    "consecutive": 2,
    "since": "2026-11-23T07:00:00Z",
    "what_to_do": "Upload data that was taken since: onwing ingest PATH",
}
NOW = datetime.now(UTC).isoformat()


def monitored_by(*items: tuple[str, Any], champion: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Clients of a fleet whose champion is v7 and whose control table has these items besides."""
    deployment = {"champion": champion or served(7, since=NOW), "monitored": True, **more}
    return {
        "sagemaker": FakeClient(
            list_endpoints={"Endpoints": [{"EndpointName": "onwing-FD001"}]},
            describe_endpoint={"EndpointStatus": "InService", "ProductionVariants": []},
        ),
        "dynamodb": control_table(("DEPLOYMENT", deployment), *items),
        "scheduler": FakeClient(get_schedule=HOURLY),
    }


HOURLY = {"State": "ENABLED", "ScheduleExpression": "rate(1 hour)"}


def episode(windows: dict[str, str], **more: Any) -> dict[str, Any]:
    """An EPISODE item: how each window ended, and what that amounts to. (A proxy stays a map in the table.)"""
    return {"windows": MappingProxyType(windows), **more}


def read(*items: tuple[str, Any], stack: Stack = STACK, **more: Any) -> list[Monitored]:
    stepfunctions = more.pop("stepfunctions", FakeClient())
    return monitoring.read(target_with(stepfunctions=stepfunctions, **monitored_by(*items, **more)), stack)


def looked(**more: Any) -> tuple[str, dict[str, Any]]:
    """What monitoring knows of v7."""
    return "MONITOR#v7", {"start": "2026-11-23T09:00:00Z", "updated_at": NOW, "last": WINDOW, **more}


TRUTH = {
    "id": "quality-20261123T083000Z",
    "kind": "quality",
    "outcome": "violations",
    "summary": "Worse than registered: RMSE 30.1",
    "report": "monitoring/reports/onwing-FD001/v7/quality-20261123T083000Z/",
}
ON_TRUTH = {
    **DECISION,
    "at": "2026-11-23T08:32:00Z",
    "decision": "rollback",
    "reasons": ["the figures are severe"],
    "what_to_do": "See how it went: onwing deployments",
    "window": {"id": TRUTH["id"]},
}
OF_MODEL_MONITOR = {
    **DECISION,
    "at": "2026-11-23T09:20:00Z",
    "decision": "alert",
    "reasons": ["it is not known what this check means"],
    "source": "model-monitor",
    "report": "monitoring/reports/onwing-FD001/nightly/2026/11/23/09/constraint_violations.json",
    "count": 3,
    "features": ["s4", "s7"],
    "what_to_do": "look at the report and decide.",
}
EPISODES = (
    (
        "EPISODE#v7",
        episode({WINDOW["id"]: "violations"}, consecutive=2, since="2026-11-23T07:00:00Z", level="critical"),
    ),
    (
        "EPISODE#v7#quality",
        episode({TRUTH["id"]: "violations 2026-11-23T08:30:00Z 12"}, consecutive=1, since="2026-11-23T08:30:00Z"),
    ),
    (
        "EPISODE#v7#nightly",
        episode({"20261123T090000Z": "violations - -", "20261122T090000Z": "ok - -"}, consecutive=1),
    ),
    ("EPISODE#v7#weekly", episode({"20261122T000000Z": "ok"}, consecutive=0)),
    ("EPISODE#v70", episode({"20261123T100000Z": "violations"}, consecutive=9)),
)
DECIDED = (
    (f"VIOLATION#{WINDOW['id']}#v7#00000000", {"record": DECISION, "state": "done"}),
    (f"VIOLATION#{WINDOW['id']}#v70#00000000", {"record": {**DECISION, "at": "2027", "decision": "rollback"}}),
    (f"VIOLATION#{TRUTH['id']}#v7#00000000", {"record": ON_TRUTH}),
    ("VIOLATION#20261123T090000Z#nightly#00000000", {"record": OF_MODEL_MONITOR}),
)


def test_a_variant_is_told_with_its_window_its_episodes_and_the_last_decision_of_each() -> None:
    (found,) = read(looked(), *EPISODES, *DECIDED, ("QUALITY#v7", {"last": TRUTH}))
    assert (found.fleet, found.variant, found.champion, found.state) == ("FD001", "v7", True, "violations")
    assert found.last is not None
    assert (found.last.drift, found.last.engines, found.last.records) == (2.31, 40, 120)
    assert found.episode is not None
    assert (found.episode.consecutive, found.episode.level) == (2, "critical")
    assert found.decision is not None
    assert found.decision.decision == "alert"
    assert found.what_to_do == DECISION["what_to_do"]
    assert found.quality is not None
    assert found.quality.outcome == "violations"
    assert found.quality_episode is not None
    assert found.quality_episode.consecutive == 1
    assert found.quality_decision is not None
    assert found.quality_decision.decision == "rollback"
    (watched,) = found.schedules
    assert (watched.schedule, watched.episode.consecutive) == ("nightly", 1)
    assert watched.decision is not None
    assert watched.decision.features == ["s4", "s7"]


def test_what_others_find_is_told_while_the_window_itself_is_ok() -> None:
    """An alert on it says: onwing drift status."""
    clients = monitored_by(
        looked(last={**WINDOW, "outcome": "ok"}),
        *EPISODES[1:],
        *DECIDED[2:],
        ("QUALITY#v7", {"last": TRUTH}),
    )
    context = context_with(stepfunctions=FakeClient(), **clients)
    assert monitoring_view.status(context, None) is Exit.OK
    said = text(context)
    for expected in (
        "v7 ★     ok",
        "model quality: violations  Worse than registered: RMSE 30.1",
        "model quality: violations in one window, since ",
        "rollback (critical): the figures are severe",
        "model quality: → See how it went: onwing deployments",
        "Model Monitor, nightly: violations in one window",
        f"Model Monitor, nightly: 3 violations (s4, s7) in {OF_MODEL_MONITOR['report']}",
        "alert (critical): it is not known what this check means",
        "onwing drift report FD001 --quality",
    ):
        assert expected in said
    assert "weekly" not in said


def test_the_newest_decision_is_found_by_key_however_many_windows_were_without_violations() -> None:
    """`drift status` is to take as long after a year as after a day."""
    hours = [f"202611{day:02}T{hour:02}0000Z" for day in range(1, 21) for hour in range(24)]
    fine = [
        (f"VIOLATION#{hour}#v7#0000000{copy}", {"record": {**DECISION, "at": hour, "decision": "none"}})
        for hour in hours
        for copy in range(2)
    ]
    older = {**DECISION, "at": "2026-11-01", "decision": "retrain"}
    outcomes = dict.fromkeys(hours, "ok") | {"20261031T000000Z": "violations", "20261030T000000Z": "violations"}
    clients = monitored_by(
        looked(last={**WINDOW, "outcome": "ok"}),
        ("EPISODE#v7", episode(outcomes, consecutive=0)),
        *fine,
        ("VIOLATION#20261031T000000Z#v7#00000000", {"record": older, "state": "open"}),  # not decided on yet
        ("VIOLATION#20261030T000000Z#v7#00000000", {"record": {**older, "decision": "alert"}}),
        ("VIOLATION#20261030T000000Z#v7#00000001", {"record": {**older, "at": "2026-11-02"}}),
    )
    (found,) = monitoring.read(target_with(stepfunctions=FakeClient(), **clients), STACK)
    assert found.decision is not None
    assert (found.decision.decision, found.decision.at) == ("retrain", "2026-11-02")
    asked = [
        query["ExpressionAttributeValues"].get(":prefix", {}).get("S", "") for _, query in clients["dynamodb"].calls
    ]
    violations = [prefix for prefix in asked if prefix.startswith("VIOLATION#")]
    assert len(violations) == 2
    assert all(prefix.endswith("#v7#") for prefix in violations)


UNDATED = ("VIOLATION#unknown#v7#00000000", {"record": {**DECISION, "at": "2027", "decision": "retrain"}})


@pytest.mark.parametrize(
    ("windows", "records", "decision"),
    [
        ({"unknown": "violations", WINDOW["id"]: "violations"}, [UNDATED, DECIDED[0]], "alert"),
        ({"20261123T093000Z": "violations - -", WINDOW["id"]: "ok - 40"}, [UNDATED], "retrain"),
        ({WINDOW["id"]: "ok - 40"}, [UNDATED, DECIDED[0]], None),
    ],
)
def test_an_undated_window_is_found_and_does_not_hide_what_has_a_time(
    windows: dict[str, str], records: Any, decision: str | None
) -> None:
    (found,) = read(looked(last={**WINDOW, "outcome": "ok"}), ("EPISODE#v7", episode(windows)), *records)
    assert (found.decision.decision if found.decision else None) == decision


def test_a_report_that_could_not_be_used_has_no_episode_and_is_told() -> None:
    (found,) = read(looked(), (f"VIOLATION#{WINDOW['id']}#v7#00000000", {"record": DECISION}))
    assert found.decision is not None


def test_an_episode_that_has_ended_is_none() -> None:
    (found,) = read(looked(), ("EPISODE#v7", {"consecutive": 0}))
    assert found.episode is None


@pytest.mark.parametrize(
    ("items", "more", "state"),
    [
        ([looked(last={**WINDOW, "outcome": "ok"})], {}, "ok"),
        ([looked(last={**WINDOW, "outcome": "insufficient"})], {}, "insufficient"),
        ([looked(last={**WINDOW, "outcome": "unreadable"})], {}, "unreadable"),
        ([looked()], {}, "violations"),
        ([], {}, "never"),
        ([looked(last="")], {}, "never"),
        ([looked(last="", open={"outcome": "insufficient", "engines": 3, "summary": "3 of 5"})], {}, "insufficient"),
        (
            [looked(updated_at="2026-01-01T00:00:00Z", last={**WINDOW, "closed_at": "2026-01-01T00:00:00Z"})],
            {"champion": served(7, since="2026-01-01T00:00:00Z")},
            "overdue",
        ),
        ([], {"champion": served(7, since="2026-01-01T00:00:00Z")}, "overdue"),
        ([looked()], {"monitored": False}, "off"),
    ],
)
def test_states_are_told_apart_each_with_what_to_do(items: Any, more: Any, state: str) -> None:
    (found,) = read(*items, **more)
    assert found.state == state
    assert bool(found.what_to_do) == (state != "ok")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (HOURLY, "overdue"),
        ({**HOURLY, "ScheduleExpression": "rate(365 days)"}, "violations"),
        ({**HOURLY, "State": "DISABLED"}, "violations"),
        (client_error("ResourceNotFoundException"), "violations"),
    ],
)
def test_what_is_overdue_depends_on_the_schedule(answer: Any, state: str) -> None:
    clients = monitored_by(looked(updated_at="2026-01-01T00:00:00Z", last={**WINDOW, "closed_at": "2026-01-01"}))
    clients["scheduler"] = FakeClient(get_schedule=answer)
    clients["dynamodb"] = control_table(
        ("DEPLOYMENT", {"champion": served(7, since="2026-01-01T00:00:00Z"), "monitored": True}),
        looked(updated_at="2026-01-01T00:00:00Z", last={**WINDOW, "closed_at": "2026-01-01T00:00:00Z"}),
    )
    (found,) = monitoring.read(target_with(stepfunctions=FakeClient(), **clients), STACK)
    assert found.state == state
    assert clients["scheduler"].called("get_schedule") == [{"Name": "onwing-monitoring"}]


@pytest.mark.parametrize(("expression", "period"), PERIODS)
def test_the_period_of_a_schedule_is_the_time_between_two_runs(expression: str, period: timedelta) -> None:
    assert overdue_windows.period_of(expression) == period


@pytest.mark.parametrize(("updated_at", "closed_at", "since", "expression", "overdue"), CASES)
def test_a_window_is_overdue_after_three_periods_without_a_look(
    updated_at: str | None, closed_at: str | None, since: str | None, expression: str, overdue: bool
) -> None:
    seen = overdue_windows.last_looked(monitor_item(updated_at, closed_at), since)
    assert overdue_windows.is_overdue(seen, expression, AT) is overdue


def test_a_champion_by_rollback_is_not_overdue_while_nobody_had_time_to_look() -> None:
    (found,) = read(looked(updated_at="2026-01-01T00:00:00Z"))  # served(7, since=now)
    assert found.state == "violations"


CLAIM = {"id": "20261123T090000Z", "execution": execution_of("monitoring", "FD001-20261123T100000-00000000")}


@pytest.mark.parametrize(
    ("answer", "state", "running"),
    [
        (description("RUNNING"), "violations", True),
        (description("FAILED", 5), "failed", False),
        (client_error("ExecutionDoesNotExist"), "failed", False),
    ],
)
def test_a_claim_is_a_run_that_goes_on_or_one_that_failed(answer: Any, state: str, running: bool) -> None:
    (found,) = read(looked(claim=CLAIM), stepfunctions=FakeClient(describe_execution=answer))
    assert (found.state, bool(found.running)) == (state, running)


def test_what_an_open_window_holds_so_far_is_said_beside_what_was_closed() -> None:
    so_far = {"outcome": "insufficient", "engines": 3, "summary": "3 engines of 5 that it takes"}
    clients = monitored_by(looked(last={**WINDOW, "outcome": "ok"}, open=so_far))
    context = context_with(stepfunctions=FakeClient(), **clients)
    monitoring_view.status(context, "FD001")
    said = text(context)
    assert "v7 ★     ok" in said
    assert "so far 3 engines in the open window: 3 engines of 5 that it takes" in said


def test_variants_that_are_no_champions_come_after_it() -> None:
    found = read(looked(), ("MONITOR#v6", {"start": NOW, "updated_at": "2026-01-01", "last": WINDOW}))
    assert [(item.variant, item.champion, item.state) for item in found] == [
        ("v7", True, "violations"),
        ("v6", False, "violations"),
    ]


def test_status_says_all_of_it() -> None:
    context = context_with(
        stepfunctions=FakeClient(),
        **monitored_by(
            looked(),
            EPISODES[0],
            DECIDED[0],
        ),
    )
    assert monitoring_view.status(context, None) is Exit.OK
    said = text(context)
    for expected in (
        "onwing-FD001",
        "v7 ★",
        "violations",
        "2.31",
        "s4 reads 1.4 σ higher",
        "violations in 2 windows in a row",
        "alert (critical): there is no data newer than v7's",
        "→ Upload data that was taken since",
        "onwing drift report FD001",
    ):
        assert expected in said


@pytest.mark.parametrize(
    ("window", "least", "said"),
    [
        ({"engines": 3, "files": 4}, "5", "wait for more traffic, or lower MonitoringMinEngines"),
        ({"engines": 0, "files": 0}, "5", "see whether anybody asks it"),
        ({"engines": 30, "files": 4}, "5", "It is not for want of engines"),  # a baseline without thresholds
    ],
)
def test_waiting_is_advised_only_where_it_helps(window: dict[str, Any], least: str, said: str) -> None:
    stack = Stack("onwing", "", STACK.outputs, {"MonitoringMinEngines": least})
    (found,) = read(looked(last={**WINDOW, "outcome": "insufficient", **window}), stack=stack)
    assert said in found.what_to_do


def test_commands_on_a_variant_that_is_not_the_champion_name_it() -> None:
    items = (looked(last={**WINDOW, "outcome": "ok"}), ("MONITOR#v6", {"start": NOW, "last": WINDOW}))
    context = context_with(stepfunctions=FakeClient(), **monitored_by(*items))
    monitoring_view.status(context, None)
    assert text(context).count("onwing drift report FD001 --variant v6") == 2


def test_status_of_nothing_and_of_a_fleet_that_nothing_serves() -> None:
    none = FakeClient(list_endpoints={"Endpoints": []})
    context = context_with(sagemaker=none)
    assert monitoring_view.status(context, None) is Exit.OK
    assert "No endpoints yet" in text(context)
    with pytest.raises(NotFound, match="FD009"):
        monitoring_view.status(context, "FD009")


# --- reports ---------------------------------------------------------------------------------------------------------

REPORT = {
    "schema": 1,
    "kind": "data",
    "outcome": "violations",
    "endpoint": "onwing-FD001",
    "variant": "v7",
    "window": {"start": WINDOW["start"], "end": WINDOW["end"]},
    "records": {"delivered": 130, "probes": 8, "failed": 2, "unreadable": 0, "used": 120},
    "engines": 40,
    "severity": "moderate",
    "cause": "drift",
    "drift": 2.31,
    "features": [
        {"name": "s2", "ratio": 0.4, "violated": False, "what": "as before"},
        {"name": "s4", "ratio": 2.31, "violated": True, "what": "bias +1.4 σ", "ks": 0.5, "wasserstein": 1.4, "psi": 2},
        {"name": "s9", "ratio": None, "violated": False},
    ],
    "predictions": {"psi": 0.31, "band": "severe", "ratio": 1.6, "violated": True, "mean": 61.2, "baseline_mean": 75.0},
    "affected": {
        "sensors": ["s4"],
        "engines": [{"unit": 17, "score": 3.2}],
        "regimes": [
            {"regime": 0, "share": 0.75, "baseline_share": 0.5, "score": 1},
            {"regime": 1, "share": 0.25, "baseline_share": 0.5, "score": 1},
        ],
    },
    "violations": [
        {"feature_name": "s4", "constraint_check_type": "baseline_drift_check", "description": "said above"},
        {"feature_name": "s7", "constraint_check_type": "completeness_check", "description": "missing in 20 %"},
    ],
    "summary": "s4 reads 1.4 σ higher",
    "what_to_do": "from the report",
}


def stored(report: dict[str, Any] = REPORT) -> FakeClient:
    files = {"report.json": json.dumps(report).encode(), "report.html": b"<html>"}

    def get_object(Key: str, **_: Any) -> Any:
        prefix, _, name = Key.rpartition("/")
        if prefix + "/" != WINDOW["report"]:
            return client_error("NoSuchKey")
        return {"Body": io.BytesIO(files[name])}

    return FakeClient(get_object=get_object)


def reported(context: Any, tmp_path: Path, **more: Any) -> Exit:
    context.project = Project(tmp_path)
    wish = {"named": None, "variant": None, "quality": False, "folder": None, "opened": False, **more}
    return monitoring_view.report(context, "FD001", **wish)


# As the machine leaves it where nothing was captured: with a report's prefix, but without a report.
QUIET = {
    **WINDOW,
    "id": "20261123T090000Z",
    "start": "2026-11-23T09:00:00Z",
    "end": "2026-11-23T10:00:00Z",
    "outcome": "insufficient",
    "engines": 0,
    "files": 0,
    "report": "monitoring/reports/onwing-FD001/v7/20261123T090000Z/",
    "summary": "No request of onwing-FD001 was captured.",
}
ITEMS = (
    looked(),
    (f"WINDOW#v7#{WINDOW['id']}", {"record": WINDOW}),
    ("WINDOW#v7#20261123T090000Z", {"record": QUIET}),
    ("WINDOW#v7#quality-20261123T080000Z", {"record": {**WINDOW, "id": "quality-20261123T080000Z", "kind": "quality"}}),
    (f"VIOLATION#{WINDOW['id']}#v7#00000000", {"record": DECISION}),
)


def test_a_report_is_shown_in_short_and_its_page_kept(tmp_path: Path) -> None:
    context = context_with(s3=stored(), **monitored_by(*ITEMS))
    assert reported(context, tmp_path) is Exit.OK
    said = text(context)
    for expected in (
        "moderate, cause: the world has changed",
        "120 used, 8 probes left out, 2 failed requests; DataDrift 2.31",
        "T50, total temperature at the LPT outlet",
        "bias +1.4 σ",
        "s7: missing in 20 %",
        "17 (3.20)",
        "regime 0: 75% of the flights, 50% before",
        "mean RUL 61.2, 75.0 before; PSI 0.31 (severe)",
        "decided at",
        "✗ the newest data set is v7's own",
        "→ Upload data that was taken since",
    ):
        assert expected in said
    assert "said above" not in said
    assert "as before" not in said
    (page,) = (tmp_path / ".onwing" / "drift").rglob("report.html")
    assert page.read_bytes() == b"<html>"


def test_a_report_goes_where_it_is_wanted_and_is_one_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    context = context_with(as_json=True, s3=stored(), **monitored_by(*ITEMS))
    folder = tmp_path / "out"
    assert reported(context, tmp_path, folder=folder, named="20261123T08", opened=True) is Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert found["window"]["id"] == WINDOW["id"]
    assert found["decision"]["decision"] == "alert"
    assert found["page"] == str(folder / "report.html")
    assert opened == [(folder / "report.html").as_uri()]


def test_reports_that_are_not_there_say_what_there_is(tmp_path: Path) -> None:
    context = context_with(s3=stored(), **monitored_by(*ITEMS))
    with pytest.raises(NotFound, match="no window 2020") as caught:
        reported(context, tmp_path, named="2020")
    assert WINDOW["id"] in caught.value.todo
    with pytest.raises(NotFound, match=r"has no report.json: insufficient. No request of onwing-FD001 was captured."):
        reported(context, tmp_path, named="20261123T09")
    assert reported(context, tmp_path, named="quality-2026", quality=True) is Exit.OK
    with pytest.raises(NotFound, match="v8 of FD001 was not compared with any ground truth"):
        reported(context, tmp_path, quality=True, variant="v8")
    with pytest.raises(NotFound, match="v9 of FD001 has no window with a report"):
        reported(context, tmp_path, variant="v9")
    with pytest.raises(NotFound, match="no model in service"):
        reported(context_with(dynamodb=control_table()), tmp_path)


def test_after_a_quiet_day_the_last_report_is_shown_and_why_it_is_not_the_newest_windows(tmp_path: Path) -> None:
    earlier = {**QUIET, "id": "20261123T083000Z"}
    lost = {**WINDOW, "id": "20261123T084500Z", "files": 4, "report": "monitoring/reports/gone/"}
    items = (
        *ITEMS,
        ("WINDOW#v7#20261123T083000Z", {"record": earlier}),
        ("WINDOW#v7#20261123T084500Z", {"record": lost}),
    )
    s3 = stored()
    context = context_with(s3=s3, **monitored_by(*items))
    assert reported(context, tmp_path) is Exit.OK
    said = text(context)
    assert "has no report, nor have 2 more before it: insufficient. No request of onwing-FD001 was captured." in said
    assert "bias +1.4 σ" in said
    assert len(s3.called("get_object")) == 3, "one each that was lost, report.json, report.html: none of quiet windows"
    context = context_with(s3=stored(), **monitored_by(*ITEMS[:2]))
    assert reported(context, tmp_path) is Exit.OK
    assert "has no report" not in text(context)


def test_without_any_report_at_all_it_says_so(tmp_path: Path) -> None:
    context = context_with(s3=stored(), **monitored_by(looked(), ("WINDOW#v7#20261123T090000Z", {"record": QUIET})))
    with pytest.raises(NotFound, match="v7 of FD001 has no window with a report"):
        reported(context, tmp_path)


def quality_report(shift: float) -> dict[str, Any]:
    """report.json as the model quality job makes it, of engines whose predictions are so many cycles late."""
    predictions = production(10, shift)
    sample = Sample(predictions, np.full(len(predictions.true), 50.0), [at(0)] * len(predictions.true), range(10))
    joined = Joined(truth_files=1, prediction_files=1, predictions=300, repeated=3)
    settings = quality.Settings("onwing-FD001", "v7", "FD001", WINDOW["start"], WINDOW["end"], 5)
    return quality.judge(settings, registered(), {}, joined, sample, sample)


def test_a_report_on_quality_has_each_figure_beside_the_registered_one_and_its_limit(tmp_path: Path) -> None:
    report = quality_report(20.0)
    rmse, bias, _ = report["features"]
    context = context_with(s3=stored(report), **monitored_by(*ITEMS))
    assert reported(context, tmp_path, quality=True) is Exit.OK
    said = text(context)
    lines = {line.split("  ")[0].strip(): line for line in said.splitlines()}
    for number in (rmse["value"], rmse["registered"], rmse["threshold"], rmse["ratio"]):
        assert f"{number:.2f}" in lines["✗ RMSE"]
    middle, reach = bias["registered"], bias["threshold"]
    assert f"{bias['value']:+.2f}" in lines["✗ mean error"]
    assert f"{middle - reach:+.2f} to {middle + reach:+.2f}" in lines["✗ mean error"]
    assert f"predictions: {report['records']['used']} used, 3 of the same engine and cycle before them" in said
    assert f"engines, largest RMSE first: {report['affected']['engines'][0]['unit']} (" in said
    assert "inputs are as ever" not in said, "nobody has looked at them"
    assert "Sensor" not in said
    assert "DataDrift" not in said
    assert "GreaterThanThreshold" not in said, "the table has said it"


def test_an_insufficient_report_has_no_figures_and_is_still_one(tmp_path: Path) -> None:
    bare = {**REPORT, "outcome": "insufficient", "cause": None, "drift": None, "features": [], "predictions": None}
    context = context_with(s3=stored({**bare, "affected": {}, "violations": []}), **monitored_by(*ITEMS[:4]))
    assert reported(context, tmp_path) is Exit.OK
    said = text(context)
    assert "insufficient" in said
    assert "DataDrift" not in said
    assert "→ from the report" in said


# --- runs ------------------------------------------------------------------------------------------------------------


def told(outcome: str, variant: str = "v7", **more: Any) -> dict[str, Any]:
    """The machine's words on one window."""
    return {"variant": variant, "kind": "data", "id": WINDOW["id"], "outcome": outcome, "summary": "as it is", **more}


def judged(*windows: dict[str, Any], items: Any = ()) -> list[Judged]:
    clients = monitored_by((f"WINDOW#v7#{WINDOW['id']}", {"record": WINDOW}), *items)
    # The machine names those endpoints only that it has windows of.
    output = {"monitored": [{"endpoint": "onwing-FD001", "windows": list(windows)}] if windows else []}
    arn = execution_of("monitoring", "all-x")
    run = operations.Run(arn, "monitoring", "SUCCEEDED", at(0), input={"reason": "test"}, output=output)
    return monitor_run.judged(target_with(**clients), STACK, run)


QUALITY = {"kind": "quality", "id": "quality-20261123T080000Z"}


@pytest.mark.parametrize(
    ("windows", "code"),
    [
        ([told("ok")], Exit.OK),
        ([told("violations")], Exit.DRIFT),
        ([told("insufficient")], Exit.UNJUDGED),
        ([told("unreadable")], Exit.UNJUDGED),
        ([told("open")], Exit.UNJUDGED),
        ([], Exit.UNJUDGED),
        ([told("unreadable"), told("violations", "v6")], Exit.DRIFT),
        ([told("ok"), told("insufficient", "v6"), told("open", "v5")], Exit.OK),
        ([told("ok"), told("unreadable", "v6")], Exit.UNJUDGED),
        ([told("ok"), told("insufficient", **QUALITY)], Exit.OK),
        ([told("ok"), told("violations", **QUALITY)], Exit.DRIFT),
        ([told("violations", **QUALITY)], Exit.DRIFT),
        ([told("ok", **QUALITY)], Exit.UNJUDGED),
        ([told("ok"), {"outcome": "switched off"}], Exit.OK),
        ([told("ok"), told("failed", "v6"), told("failed", "v5", **QUALITY)], Exit.OK),
        ([told("failed")], Exit.UNJUDGED),
    ],
)
def test_exit_codes_tell_drift_from_what_could_not_be_judged(windows: Any, code: Exit) -> None:
    assert monitor_run.exit_code(judged(*windows)) is code


def test_what_was_closed_is_told_with_its_record() -> None:
    closed, still = judged(told("violations"), told("open", "v6"))
    assert closed.window is not None
    assert (closed.champion, closed.window.drift) == (True, 2.31)
    assert (still.champion, still.window) == (False, None)
    assert "FD001 v7: violations, DataDrift 2.31. s4 reads 1.4 σ higher" in plain(monitor_run.line(closed))
    assert "v6: the window stays open: as it is" in plain(monitor_run.line(still))
    assert "nothing new was captured" in monitor_run.line(judged()[0])
    gone = next(item for item in judged({"outcome": "switched off"}) if item.outcome == "switched off")
    assert "FD001: its endpoint is gone; it is no longer monitored" in monitor_run.line(gone)


@pytest.mark.parametrize(
    ("windows", "command"),
    [
        ([told("violations")], "onwing drift report FD001\n"),
        ([told("ok"), told("violations", "v6")], "onwing drift report FD001 --variant v6\n"),
        ([told("ok"), told("violations", **QUALITY)], "onwing drift report FD001 --quality\n"),
    ],
)
def test_the_command_that_is_named_shows_the_window_that_is_odd(windows: Any, command: str) -> None:
    context = context_with()
    records = [(f"WINDOW#{each['variant']}#{each['id']}", {"record": WINDOW | {"id": each["id"]}}) for each in windows]
    monitor_run.tell(context, judged(*windows, items=records))
    assert command in text(context)


def ended_with(arn: str, output: Any) -> dict[str, Any]:
    asked = json.dumps({"fleets": ["FD001"]})
    return description("SUCCEEDED", 5, executionArn=arn, input=asked, output=json.dumps(output))


def test_of_a_fleet_that_was_not_asked_for_nothing_is_told() -> None:
    run = operations.Run(
        execution_of("monitoring", "x"), "monitoring", "SUCCEEDED", at(0), input={"fleets": ["FD002"]}, output={}
    )
    assert monitor_run.judged(target_with(**monitored_by()), STACK, run) == []
    unmonitored = monitored_by(monitored=False)
    assert monitor_run.judged(target_with(**unmonitored), STACK, replace(run, input={})) == []


def plain(markup: str) -> str:
    return Text.from_markup(markup).plain


def test_the_run_is_started_for_its_fleet_followed_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    arn = execution_of("monitoring", "FD001-x")
    output = {"monitored": [{"endpoint": "onwing-FD001", "windows": [told("violations")]}]}
    stepfunctions = FakeClient(
        start_execution={"executionArn": arn},
        describe_execution=ended_with(arn, output),
    )
    context = context_with(
        stepfunctions=stepfunctions, **monitored_by((f"WINDOW#v7#{WINDOW['id']}", {"record": WINDOW}))
    )
    assert monitor_run.run(context, "FD001", wait=True, timeout=None) is Exit.DRIFT
    started = stepfunctions.called("start_execution")[0]
    assert started["stateMachineArn"].endswith("onwing-monitoring")
    assert started["name"].startswith("FD001-")
    assert json.loads(started["input"])["fleets"] == ["FD001"]
    said = text(context)
    assert "FD001 v7: violations, DataDrift 2.31" in said
    assert "onwing drift report FD001" in said


def test_a_run_that_is_watched_by_its_name_ends_with_what_it_found() -> None:
    arn = execution_of("monitoring", "FD001-20261123T080000-0a1b2c3d")
    output = {"monitored": [{"endpoint": "onwing-FD001", "windows": [told("violations")]}]}
    stepfunctions = FakeClient(
        list_executions={"executions": [{"name": arn.rpartition(":")[2], "executionArn": arn, "startDate": at(0)}]},
        describe_execution=ended_with(arn, output),
        get_execution_history={"events": []},
    )
    context = context_with(
        stepfunctions=stepfunctions, **monitored_by((f"WINDOW#v7#{WINDOW['id']}", {"record": WINDOW}))
    )
    named = operations_view.find(context, "FD001-20261123T080000-0a1b2c3d")
    assert named == arn
    assert operations_view.watch_run(context, named, interval=1, timeout=None) is Exit.DRIFT
    assert "FD001 v7: violations" in text(context)
    assert operations.look(context.target, arn).exit_code is Exit.OK, "the run itself did what it was to do"


def test_a_run_for_all_names_no_fleet_and_need_not_be_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    stepfunctions = FakeClient(start_execution={"executionArn": execution_of("monitoring", "all-x")})
    context = context_with(as_json=True, stepfunctions=stepfunctions)
    assert monitor_run.run(context, None, wait=False, timeout=None) is Exit.OK
    assert "fleets" not in json.loads(stepfunctions.called("start_execution")[0]["input"])
    assert json.loads(capsys.readouterr().out)["execution"].endswith(":all-x")


def test_a_run_that_failed_says_why() -> None:
    stepfunctions = FakeClient(
        start_execution={"executionArn": execution_of("monitoring", "all-x")},
        describe_execution=description("FAILED", 5, error="MonitoringFailed", cause="the job ended with 1"),
    )
    with pytest.raises(OnwingError, match="the job ended with 1"):
        monitor_run.run(context_with(stepfunctions=stepfunctions), None, wait=True, timeout=None)


# --- coverage --------------------------------------------------------------------------------------------------------


def reconciler(payload: Any, **more: Any) -> FakeClient:
    return FakeClient(invoke=lambda **_: {"Payload": io.BytesIO(json.dumps(payload).encode()), **more})


def test_coverage_is_what_the_reconciliation_says_without_touching_anything() -> None:
    checks = [
        {"check": "capture", "passed": True, "message": "captured"},
        {"check": "baseline", "passed": False, "message": "v7 has no baseline"},
    ]
    client = reconciler({"coverage": {"percent": 50.0, "endpoints": [{"endpoint": "onwing-FD001", "checks": checks}]}})
    found = monitoring.coverage(target_with(**{"lambda": client}), STACK)
    assert (found.percent, found.missing) == (50.0, ["onwing-FD001: v7 has no baseline"])
    assert json.loads(client.called("invoke")[0]["Payload"]) == {"coverage_only": True}


@pytest.mark.parametrize(("payload", "more"), [({"errorMessage": "boom"}, {"FunctionError": "Unhandled"}), ({}, {})])
def test_coverage_that_cannot_be_had_is_not_a_hundred_per_cent(payload: Any, more: Any) -> None:
    with pytest.raises(OnwingError, match="not known"):
        monitoring.coverage(target_with(**{"lambda": reconciler(payload, **more)}), STACK)


# --- alerts ----------------------------------------------------------------------------------------------------------


def alert(seconds: float, name: str, **more: Any) -> tuple[str, dict[str, Any]]:
    sent = at(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found = {"subject": f"[onwing] {name}", "message": f"{name} has happened\nmore", "kind": "drift", "fleet": "FD001"}
    return f"{sent}#{name}", {**found, "severity": "warning", "topic": "t", **more}


SENT = [
    alert(0, "first"),
    alert(60, "second", severity="critical"),
    alert(120, "third", fleet="FD002", severity="info"),
]


def table_of(sent: list[tuple[str, dict[str, Any]]]) -> FakeClient:
    return control_table(ALERTS=sent)


@pytest.mark.parametrize(
    ("since", "more", "expected"),
    [
        (-1, {}, ["first", "second", "third"]),
        (0, {}, ["first", "second", "third"]),
        (30, {}, ["second", "third"]),
        (0, {"fleet": "FD001"}, ["first", "second"]),
        (0, {"severity": "warning"}, ["first", "second"]),
        (0, {"severity": "critical"}, ["second"]),
        (500, {}, []),
    ],
)
def test_alerts_are_those_since_of_whom_and_how_grave(since: float, more: Any, expected: list[str]) -> None:
    found = alerts.read(target_with(dynamodb=table_of(SENT)), STACK, since=at(since), **more)
    assert [item.id for item in found] == expected
    assert all(item.at.endswith("Z") for item in found)


def test_followed_alerts_come_once_each_even_when_they_were_recorded_late() -> None:
    now = (datetime.now(UTC) - at(0)).total_seconds()
    sent = [alert(now - 3600, "old"), alert(now - 2, "new")]
    looks = 0

    def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            sent.append(alert(now - 5, "late"))
        if looks == 3:
            raise KeyboardInterrupt

    context = context_with(dynamodb=control_table(ALERTS=sent))
    following = alerts.follow(context.target, STACK, since=datetime.now(UTC) - timedelta(hours=2), sleep=sleep)
    assert [next(following).id for _ in range(3)] == ["old", "new", "late"]
    with pytest.raises(KeyboardInterrupt):
        next(following)


def test_alerts_on_the_screen_are_a_subject_and_a_line_or_the_whole_message() -> None:
    context = context_with(dynamodb=table_of(SENT))
    wish = {"fleet": None, "since": "2026-11-23T07:59:00Z", "severity": None, "follow": False}
    assert alerts_view.run(context, full=False, **wish) is Exit.OK
    said = text(context)
    assert "critical  [onwing] second" in said
    assert "first has happened" in said
    assert "more" not in said
    alerts_view.run(context, full=True, **wish)
    assert "more" in text(context)
    alerts_view.run(context, full=False, **{**wish, "since": "2026-12-23"})
    assert "No alerts since" in text(context)


def test_what_is_no_severity_and_no_time_is_refused() -> None:
    wish = {"fleet": None, "follow": False, "full": False}
    with pytest.raises(UsageError, match="no severity 'bad'"):
        alerts_view.run(context_with(), since="1d", severity="bad", **wish)
    with pytest.raises(UsageError, match="'yesterday' is no time"):
        alerts_view.run(context_with(), since="yesterday", severity=None, **wish)


@pytest.mark.parametrize(("said", "hours"), [("90m", 1.5), ("12h", 12), ("1d", 24), ("2w", 336), ("30s", 1 / 120)])
def test_how_long_ago(said: str, hours: float) -> None:
    assert alerts.moment_before(said, at(0)) == at(-3600 * hours)
