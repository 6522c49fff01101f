"""Violations: what each file leads to, however its events come."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError
from control_plane import alerts, clients, violation_files, violation_records, violations
from control_plane.ingestion import ingest
from control_plane.settings import ViolationSettings
from control_plane.violations import ViolationResult, handle, is_handled

from tests.conftest import Trio, make_trio, table
from tests.unit.conftest import Stack

DRIFT = {"feature_name": "s11", "constraint_check_type": "baseline_drift_check", "description": "bias +1.1 σ"}
OTHER = {**DRIFT, "feature_name": "s4"}
NOW = datetime.now(UTC)
SEQUENCE = itertools.count(1)
PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/onwing-fd001/8"


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def begin() -> datetime:
    """The hour that was 22 hours ago."""
    return (NOW - timedelta(hours=22)).replace(minute=0, second=0, microsecond=0)


BEGIN = begin()
# Of a champion that serves since before BEGIN, and whose predecessor is still the better guess.
YOUNG = timedelta(hours=23, minutes=30)


def at(hour: float) -> datetime:
    """So many hours after BEGIN; those of 0 to 21 are over."""
    return BEGIN + timedelta(hours=hour)


def window(hour: float) -> str:
    """The id of the window that began then."""
    return f"{at(hour):%Y%m%dT%H%M%SZ}"


def start(hour: float) -> str:
    """When it began, as people are told."""
    return f"{at(hour):%Y-%m-%dT%H:%M:%SZ}"


def theirs(schedule: str, hour: float) -> str:
    """The folder of a Model Monitor schedule's execution."""
    return f"onwing-FD001/{schedule}/{at(hour):%Y/%m/%d/%H}"


class Fleet:
    """FD001: what is written about it, and what comes of that."""

    def __init__(self, stack: Stack) -> None:
        global NOW, BEGIN  # this module was read when tests were collected, perhaps half an hour ago
        NOW = datetime.now(UTC)
        BEGIN = begin()
        self.stack = stack
        self.policy = ViolationSettings()
        self.events: list[tuple[str, str]] = []

    # --- what there is ---

    def serve(self, *, age: timedelta = timedelta(days=30), predecessor: bool = True, under_way: int = 0) -> None:
        """v7 is champion."""
        champion = {
            "version": 7,
            "variant": "v7",
            "since": iso(NOW - age),
            "dataset_version": "d" * 64,
        }
        item: dict[str, Any] = {"champion": {"S": json.dumps(champion)}}
        if predecessor:
            item["predecessor"] = {"S": json.dumps({"version": 6, "variant": "v6"})}
        if under_way:
            item["under_way"] = {"S": json.dumps({"version": under_way, "phase": "soak"})}
        self.put("DEPLOYMENT", item)

    def put(self, sort_key: str, item: dict[str, Any]) -> None:
        key = {"pk": {"S": "FLEET#FD001"}, "sk": {"S": sort_key}}
        self.stack.dynamodb.put_item(TableName=self.stack.settings.table_name, Item={**key, **item})

    def upload(self, trio: Trio | None = None) -> str:
        """A data set that nobody was trained on; its version."""
        version = ""
        for name, body in (trio or make_trio()).files.items():
            settings = self.stack.settings.model_copy(update={"train_on_upload": "DISABLED"})
            result = ingest(
                settings,
                bucket=settings.bucket_name,
                key=f"data/raw/{name}",
                version_id=self.stack.upload(name, body),
                sequencer=f"{next(SEQUENCE):016X}",
            )
            version = result.dataset_version or version
        for execution in self.stack.executions():  # the first data set is trained in any case
            self.stack.stepfunctions.stop_execution(executionArn=execution["executionArn"])
        self.put(f"VERSION#{version}", {"attempt": {"N": "1"}, "status": {"S": "failed"}})
        return version

    # --- files ---

    def report(
        self,
        hour: float,
        *found: dict[str, Any],
        severity: str = "moderate",
        cause: str = "drift",
        variant: str = "v7",
        end: float | None = None,
    ) -> ViolationResult:
        """Our monitor's file of a window, delivered; the window has an hour, unless another end is given."""
        ours: dict[str, Any] = {"severity": severity, "cause": cause, "drift": 1.6, "summary": "s11 reads high"}
        ours["window"] = {"start": start(hour), "end": start(hour + 1 if end is None else end)}
        content = json.dumps({"violations": found, "onwing": ours}).encode()
        return self.write(f"onwing-FD001/{variant}/{window(hour)}", content)

    def quality(self, hour: float, engines: int | None) -> ViolationResult:
        """Our file on the truth about so many engines, severe."""
        metric = {"constraint_check_type": "GreaterThanThreshold", "metric_name": "rmse", "description": "22.1 > 16.0"}
        ours = {"severity": "severe", "cause": "model", "kind": "quality", "engines": engines}
        content = json.dumps({"violations": [metric], "onwing": ours}).encode()
        return self.write(f"onwing-FD001/v7/quality-{window(hour)}", content)

    def write(self, folder: str, content: bytes) -> ViolationResult:
        key = f"monitoring/reports/{folder}/constraint_violations.json"
        put = self.stack.s3.put_object(Bucket=self.stack.settings.bucket_name, Key=key, Body=content)
        self.events.append((key, put["VersionId"]))
        return self.deliver(-1)

    def deliver(self, number: int) -> ViolationResult:
        """Deliver the event of the n-th file, once more or for the first time."""
        key, version_id = self.events[number]
        return handle(self.stack.settings, self.stack.deploying, self.policy, key=key, version_id=version_id)

    # --- what came of it ---

    def items(self, prefix: str) -> dict[str, dict[str, Any]]:
        found = self.stack.dynamodb.query(
            TableName=self.stack.settings.table_name,
            KeyConditionExpression="pk = :fleet",
            ExpressionAttributeValues={":fleet": {"S": "FLEET#FD001"}},
        )["Items"]
        found = [item for item in found if item["sk"]["S"].startswith(prefix)]
        return {item["sk"]["S"]: {k: next(iter(v.values())) for k, v in item.items()} for item in found}

    def records(self) -> list[dict[str, Any]]:
        """The records, by window."""
        found = list(self.items("VIOLATION#").values())
        assert all(item["state"] == "done" for item in found)
        return [json.loads(item["record"]) for item in found]

    def episode(self, stream: str = "v7") -> dict[str, Any]:
        return self.items(f"EPISODE#{stream}")[f"EPISODE#{stream}"]

    def rollbacks(self) -> list[dict[str, Any]]:
        listed = self.stack.executions(self.stack.deploying.rollback_state_machine_arn)
        described = [self.stack.stepfunctions.describe_execution(executionArn=e["executionArn"]) for e in listed]
        return [{"name": e["name"], **json.loads(e["input"])} for e in described]

    def trainings(self) -> list[dict[str, Any]]:
        listed = [e for e in self.stack.executions() if e["status"] == "RUNNING"]
        described = [self.stack.stepfunctions.describe_execution(executionArn=e["executionArn"]) for e in listed]
        return [json.loads(e["input"]) for e in described]

    def alerts(self) -> list[tuple[str, str, str]]:
        """Kind, topic and subject of the alerts since the last call."""
        return [
            (alert["MessageAttributes"]["kind"]["Value"], alert["TopicArn"].rsplit("-", 1)[1], alert["Subject"])
            for alert in self.stack.alerts()
        ]


@pytest.fixture
def fleet(stack: Stack) -> Fleet:
    return Fleet(stack)


# --- alert, rollback, retrain ---


def test_first_window_warns_and_says_what_since_when_why_and_what_to_do(fleet: Fleet) -> None:
    fleet.serve()

    result = fleet.report(10, DRIFT, OTHER)

    assert (result.outcome, result.fleet, result.variant, result.window) == ("alert", "FD001", "v7", window(10))
    [alert] = fleet.stack.alerts()
    assert alert["TopicArn"] == fleet.stack.settings.alerts_topic_arn
    assert alert["Subject"] == "[onwing] FD001 v7: drift (s11, s4)"
    for part in (
        "s11: bias +1.1 σ",
        "s11 reads high",
        f"since {start(10)}",
        "1.60 times its threshold",
        "anything drastic takes 2 windows",
        f"onwing drift report FD001 --window {window(10)} --variant v7\n",
        f"s3://onwing-bucket/monitoring/reports/onwing-FD001/v7/{window(10)}/report.html",
    ):
        assert part in alert["Message"]
    [record] = fleet.records()
    assert (record["decision"], record["level"], record["consecutive"]) == ("alert", "warning", 1)
    assert (record["violations"], record["count"], record["features"]) == ([DRIFT, OTHER], 2, ["s11", "s4"])
    assert record["message"] == alert["Message"]
    assert fleet.episode()["consecutive"] == "1"
    assert (fleet.rollbacks(), fleet.trainings()) == ([], [])


def test_severe_violations_of_a_young_champion_roll_it_back_once(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    fleet.report(10, DRIFT, severity="severe")
    second = fleet.report(11, DRIFT, severity="severe")
    third = fleet.report(12, DRIFT, severity="severe")

    assert [second.outcome, third.outcome] == ["rollback", "alert"]
    [rollback] = fleet.rollbacks()
    assert rollback["name"].startswith(f"FD001-violation-{window(11)}-")
    assert second.execution_arn.endswith(rollback["name"])
    assert (rollback["fleet"], rollback["trigger"], rollback["version"]) == ("FD001", "violation", 7)
    assert "window 2 in a row" in rollback["reason"]
    assert datetime.fromisoformat(rollback["decided_at"])
    kinds = fleet.alerts()
    assert [(kind, topic) for kind, topic, _ in kinds] == [("drift", "critical"), ("drift", "critical")]
    assert "rollback started" in kinds[1][2]
    assert "before" in fleet.records()[-1]["reasons"][0]


def test_champion_that_was_promoted_again_may_be_rolled_back_again(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    for hour in (10, 11):
        fleet.report(hour, DRIFT, severity="severe")
    assert len(fleet.rollbacks()) == 1
    fleet.serve(age=NOW - at(12))

    assert [fleet.report(hour, DRIFT, severity="severe").outcome for hour in (12, 13)] == ["alert", "rollback"]
    assert len(fleet.rollbacks()) == 2


def test_windows_before_the_variant_became_champion_roll_nothing_back(fleet: Fleet) -> None:
    fleet.serve(age=NOW - at(11.5))
    for hour in (9, 10):
        fleet.report(hour, DRIFT, severity="severe")
    first = fleet.report(11, DRIFT, severity="severe")  # the first to end while it is champion

    assert (first.outcome, fleet.rollbacks()) == ("alert", [])
    record = fleet.records()[-1]
    assert record["consecutive"] == 3
    assert record["reasons"] == [
        "window 3 in a row with violations, 2 before v7 became champion; anything drastic takes 2 windows"
    ]
    assert fleet.report(12, DRIFT, severity="severe").outcome == "rollback"


def test_predecessors_windows_do_not_depend_on_when_the_champion_came(fleet: Fleet) -> None:
    fleet.serve(age=NOW - at(11.5))
    for hour in (9, 10):
        fleet.report(hour, DRIFT, variant="v6")

    assert "before v6" not in " ".join(fleet.records()[-1]["reasons"])


def test_persistent_drift_trains_on_new_data(fleet: Fleet) -> None:
    fleet.serve()
    version = fleet.upload()
    fleet.report(10, DRIFT)
    fleet.stack.alerts()

    result = fleet.report(11, DRIFT)

    assert result.outcome == "retrain"
    [training] = fleet.trainings()
    assert (training["dataset_version"], training["trigger"]) == (version, "violation")
    assert fleet.records()[-1]["execution"] == result.execution_arn
    claim = fleet.items("RETRAIN")["RETRAIN"]
    assert claim["execution"] == result.execution_arn
    [(kind, topic, subject)] = fleet.alerts()
    assert (kind, topic) == ("drift", "critical")
    assert subject.endswith("window 2 in a row; training started")


def test_data_that_the_champion_has_seen_is_not_trained_again(fleet: Fleet) -> None:
    first = make_trio(engines=3)
    known = fleet.upload(first)
    newest = fleet.upload(replace(first, rul=b"5 \n7 \n9 \n"))  # another test set, the same engines to train on
    assert newest != known
    champion = {"version": 7, "variant": "v7", "since": iso(NOW - timedelta(days=9)), "dataset_version": known}
    fleet.put("DEPLOYMENT", {"champion": {"S": json.dumps(champion)}})
    for hour in (10, 11):
        fleet.report(hour, DRIFT)

    assert fleet.trainings() == []
    assert "has 0 training engine(s)" in " ".join(fleet.records()[-1]["reasons"])
    assert "onwing ingest" in fleet.records()[-1]["what_to_do"]

    fleet.upload(replace(first, train=table(4, 6)))
    assert fleet.report(12, DRIFT).outcome == "retrain"
    assert "has 1 training engine(s)" in " ".join(fleet.records()[-1]["reasons"])


def test_package_that_waits_for_approval_is_named_instead(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.serve()
    version = fleet.upload()
    registered = {"attempt": {"N": "1"}, "status": {"S": "registered"}, "package_arn": {"S": PACKAGE}}
    fleet.put(f"VERSION#{version}", registered)
    described = {PACKAGE: {"ModelApprovalStatus": "PendingManualApproval"}}

    def describe(ModelPackageName: str) -> dict[str, str]:
        if ModelPackageName in described:
            return described[ModelPackageName]
        message = f"ModelPackage {ModelPackageName} does not exist."
        raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, "DescribeModelPackage")

    monkeypatch.setattr(clients.sagemaker(), "describe_model_package", describe)
    for hour in (10, 11):
        fleet.report(hour, DRIFT)
    assert fleet.trainings() == []
    assert "onwing approve FD001/8" in fleet.records()[-1]["what_to_do"]
    assert "FD001/8" in fleet.stack.alerts()[-1]["Message"]

    described.clear()  # it was deleted: nothing has been trained on the data
    assert fleet.report(12, DRIFT).outcome == "retrain"


def test_broken_input_leads_to_nothing_but_alerts(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    fleet.upload()
    for hour in (10, 11, 12):
        fleet.report(hour, DRIFT, severity="severe", cause="data")

    assert (fleet.rollbacks(), fleet.trainings()) == ([], [])
    assert [topic for _, topic, _ in fleet.alerts()] == ["critical"]
    assert "correct what sends the data" in fleet.records()[-1]["what_to_do"]


def test_quality_has_alerts_and_episodes_of_its_own(fleet: Fleet) -> None:
    fleet.serve()
    metric = {"constraint_check_type": "GreaterThanThreshold", "metric_name": "rmse", "description": "22.1 > 16.0"}
    ours = {"severity": "severe", "cause": "model", "kind": "quality"}
    content = json.dumps({"violations": [metric], "onwing": ours}).encode()
    fleet.write(f"onwing-FD001/v7/quality-{window(10)}", content)
    fleet.report(11)
    assert fleet.episode("v7#quality")["consecutive"] == "1"

    [alert] = fleet.stack.alerts()
    assert alert["MessageAttributes"]["kind"]["Value"] == "model_quality"
    assert f"onwing drift report FD001 --window quality-{window(10)} --variant v7 --quality\n" in alert["Message"]


def test_what_serves_nothing_any_more_is_told_of_quietly(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    metric = {"constraint_check_type": "GreaterThanThreshold", "metric_name": "rmse", "description": "22.1 > 16.0"}
    ours = {"severity": "severe", "cause": "model", "kind": "quality"}
    for hour, engines in enumerate((20, 40)):
        content = json.dumps({"violations": [metric], "onwing": {**ours, "engines": engines}}).encode()
        fleet.write(f"onwing-FD001/v3/quality-{window(hour)}", content)

    assert [record["level"] for record in fleet.records()] == ["warning", "warning"]
    assert fleet.rollbacks() == []
    [alert] = fleet.stack.alerts()
    assert "To do: nothing, v3 serves nothing any more" in alert["Message"]


@pytest.mark.parametrize(
    ("engines", "consecutive"),
    [
        ((20, 20), 1),  # the same truth, uploaded twice
        ((20, 24), 1),
        ((20, 25), 2),
        ((20, 23, 26), 2),
        ((20, 25, 25, 30), 3),
        ((20, 12, 20), 1),  # files of truth were deleted, and came back
        ((None, None), 1),
        ((None, 20, 24, 25), 2),
    ],
)
def test_quality_windows_count_by_the_engines_that_they_add(
    fleet: Fleet, engines: tuple[int | None, ...], consecutive: int
) -> None:
    fleet.serve(age=YOUNG)
    for hour, count in enumerate(engines):
        last = fleet.quality(hour, count)

    assert fleet.episode("v7#quality")["consecutive"] == str(consecutive)
    assert len(fleet.rollbacks()) == (consecutive > 1)
    if consecutive == 1:
        assert last.outcome == "alert"
        assert "next to no engines that the last one had not" in fleet.records()[-1]["reasons"][0]


def test_quality_windows_count_in_their_own_order(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    for hour, count in ((12, 30), (10, 20), (11, 22)):
        fleet.quality(hour, count)

    assert fleet.episode("v7#quality")["consecutive"] == "2"


def test_weeks_between_two_uploads_of_truth_do_not_end_a_row(fleet: Fleet) -> None:
    fleet.serve(age=timedelta(days=60))
    fleet.quality(-40 * 24, 20)
    fleet.quality(10, 25)

    assert fleet.episode("v7#quality")["consecutive"] == "2"


def test_model_monitors_files_are_held_against_the_champion(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    fleet.upload()
    text = "Baseline drift distance: 0.31 exceeds threshold: 0.1"
    content = json.dumps({"violations": [{**DRIFT, "description": text}]}).encode()
    outcomes = [fleet.write(theirs("hourly", hour), content).outcome for hour in (10, 11)]

    assert outcomes == ["alert", "retrain"]  # its distance says nothing about severity: no rollback
    record = fleet.records()[0]
    assert (record["source"], record["monitor"], record["variant"]) == ("model-monitor", "hourly", "v7")
    assert record["drift"] == pytest.approx(3.1)
    assert record["report_uri"].endswith(f"/{theirs('hourly', 10)}/constraint_violations.json")
    assert fleet.episode("v7#hourly")["since"] == start(10)


def test_model_monitors_windows_are_in_a_row_for_a_day_at_most(fleet: Fleet) -> None:
    fleet.serve()
    content = json.dumps({"violations": [DRIFT]}).encode()
    for hour in (-60, -35, -9):
        fleet.write(theirs("daily", hour), content)

    assert [record["consecutive"] for record in fleet.records()] == [1, 2, 1]
    assert fleet.episode("v7#daily")["since"] == start(-9)


def test_row_of_windows_ends_where_a_day_was_not_judged(fleet: Fleet) -> None:
    fleet.serve()
    fleet.upload()
    for hour, end in ((-90, -80), (-56, -30)):  # a day between them, and one of a day and two hours
        fleet.report(hour, DRIFT, end=end)
    assert fleet.episode()["consecutive"] == "2"
    assert len(fleet.trainings()) == 1
    fleet.report(-5.9, DRIFT, end=-5)  # a little more

    assert (fleet.episode()["consecutive"], fleet.episode()["since"]) == ("1", start(-5.9))
    assert fleet.records()[-1]["reasons"] == ["window 1 in a row with violations; anything drastic takes 2 windows"]


def test_long_ago_is_not_in_a_row(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    for hour in (-53 * 24, 10):
        fleet.report(hour, DRIFT, severity="severe")

    assert fleet.rollbacks() == []


@pytest.mark.parametrize("folder", ["by-hand", "by-hand/2026/13/99/10", "by-hand/9999/12/31/23"])
def test_window_without_a_date_has_its_place_where_its_file_came(fleet: Fleet, folder: str) -> None:
    fleet.serve()
    fleet.upload()
    fleet.write(f"onwing-FD001/{folder}", b'{"violations": []}')
    found = json.dumps({"violations": [DRIFT]}).encode()
    outcomes = [fleet.write(theirs("by-hand", hour), found).outcome for hour in (24, 25)]

    assert outcomes == ["alert", "retrain"]
    assert not any(record["late"] for record in fleet.records())
    assert fleet.write(f"onwing-FD001/{folder}", found).outcome == "alert"  # it came before both
    assert fleet.episode("v7#by-hand")["consecutive"] == "3"


def test_undated_window_of_quality_has_its_place_too(fleet: Fleet) -> None:
    fleet.serve()
    fleet.write("onwing-FD001/v7/quality-20261399T100000Z", b'{"violations": []}')
    for hour in (10, 24):
        fleet.quality(hour, 20)

    assert {record["window"]["id"]: record["late"] for record in fleet.records()} == {
        "quality-20261399T100000Z": False,
        f"quality-{window(10)}": True,
        f"quality-{window(24)}": False,
    }


def test_other_variants_violations_are_told_only(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    for hour in (10, 11):
        fleet.report(hour, DRIFT, severity="severe", variant="v6")

    assert fleet.rollbacks() == []
    assert "the champion is v7" in " ".join(fleet.records()[-1]["reasons"])


@pytest.mark.parametrize("predecessor", [False, True])
def test_rollback_is_advised_only_where_there_is_a_version_before(fleet: Fleet, predecessor: bool) -> None:
    fleet.serve(predecessor=predecessor)
    for hour in (10, 11):
        fleet.report(hour, DRIFT)

    advice = fleet.records()[-1]["what_to_do"]
    assert "onwing ingest" in advice
    assert ("To go back to v6: onwing rollback FD001" in advice) is predecessor


def test_fleet_that_nobody_deployed_or_uploaded_gets_alerts(fleet: Fleet) -> None:
    for hour in (10, 11):
        assert fleet.report(hour, DRIFT).outcome == "alert"


# --- the order of events ---


def test_repeated_delivery_changes_nothing(fleet: Fleet) -> None:
    fleet.serve()
    fleet.upload()
    for hour in (10, 11):
        fleet.report(hour, DRIFT)
    before = fleet.items("")
    fleet.alerts()

    assert [fleet.deliver(number).outcome for number in (0, 1, 0)] == ["already"] * 3
    assert fleet.items("") == before
    assert (len(fleet.trainings()), fleet.alerts()) == (1, [])
    key, version_id = fleet.events[0]
    assert is_handled(fleet.stack.settings, key, version_id)
    assert not is_handled(fleet.stack.settings, key, "another")


@pytest.mark.parametrize("order", [(10, 11, 12), (12, 11, 10), (11, 10, 12), (11, 12, 10)])
def test_windows_are_counted_in_their_own_order(fleet: Fleet, order: tuple[int, ...]) -> None:
    fleet.serve()
    for hour in order:
        fleet.report(hour, DRIFT)

    assert (fleet.episode()["consecutive"], fleet.episode()["since"]) == ("3", start(10))


@pytest.mark.parametrize("late", [False, True])
def test_window_without_violations_ends_the_row_whenever_it_comes(fleet: Fleet, late: bool) -> None:
    fleet.serve()
    fleet.report(10, DRIFT)
    if not late:
        fleet.report(11)
    fleet.report(12, DRIFT)
    if late:
        fleet.report(11)

    assert (fleet.episode()["consecutive"], fleet.episode()["since"]) == ("1", start(12))


def test_end_of_an_episode_is_told_and_a_late_window_does_not_open_it_again(fleet: Fleet) -> None:
    fleet.serve()
    fleet.upload()
    fleet.report(9, DRIFT)
    fleet.alerts()
    assert fleet.report(12).outcome == "none"
    [(kind, topic, subject)] = fleet.alerts()
    assert (kind, topic) == ("drift", "alerts")
    assert subject.endswith("no violations any more")
    assert "since" not in fleet.episode()

    late = fleet.report(10, DRIFT)

    assert late.outcome == "alert"
    assert fleet.trainings() == []
    assert [topic for _, topic, _ in fleet.alerts()] == ["alerts"]
    assert fleet.episode()["consecutive"] == "0"
    assert fleet.report(13).outcome == "none"
    assert fleet.alerts() == []


def test_records_of_windows_without_violations_expire_but_for_the_end_of_an_episode(fleet: Fleet) -> None:
    fleet.serve()
    fleet.report(8)
    fleet.report(9, DRIFT)
    for hour in (10, 11):
        fleet.report(hour)

    items = {name.split("#")[1]: item for name, item in fleet.items("VIOLATION#").items()}
    expiring = {name: int(item["expires_at"]) for name, item in items.items() if "expires_at" in item}
    assert expiring.keys() == {window(8), window(11)}
    in_30_days = int((NOW + timedelta(days=30)).timestamp())
    assert all(in_30_days <= each <= in_30_days + 600 for each in expiring.values())
    before = fleet.items("")
    assert [fleet.deliver(number).outcome for number in range(4)] == ["already"] * 4
    assert fleet.items("") == before
    key, version_id = fleet.events[-1]
    assert is_handled(fleet.stack.settings, key, version_id)


def test_record_of_the_end_of_an_episode_stays_though_its_delivery_died(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.serve()
    fleet.report(9, DRIFT)
    save = violation_records.Held.save

    def dies(self: violation_records.Held, state: str, **named: Any) -> None:
        assert state != violation_records.DONE
        save(self, state, **named)

    with monkeypatch.context() as patch:
        patch.setattr(violation_records.Held, "save", dies)
        with pytest.raises(AssertionError):
            fleet.report(10)

    assert fleet.deliver(-1).outcome == "none"
    assert not any("expires_at" in item for item in fleet.items("VIOLATION#").values())


def test_people_are_told_again_only_of_what_is_new_and_once_a_day(fleet: Fleet) -> None:
    fleet.serve()
    told = []
    for hour, found in ((1, [DRIFT]), (2, [DRIFT]), (3, [DRIFT]), (4, [DRIFT, OTHER]), (5, [OTHER]), (6, [DRIFT])):
        fleet.report(hour, *found)
        told.append([topic for _, topic, _ in fleet.alerts()])
    assert told == [["alerts"], ["critical"], [], ["critical"], [], []]
    assert [record["alerted"] for record in fleet.records()] == [True, True, False, True, False, False]

    alerted = json.loads(fleet.episode()["alerted"]) | {"at": iso(NOW - timedelta(hours=25))}
    fleet.stack.dynamodb.update_item(
        TableName=fleet.stack.settings.table_name,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "EPISODE#v7"}},
        UpdateExpression="SET alerted = :alerted",
        ExpressionAttributeValues={":alerted": {"S": json.dumps(alerted)}},
    )
    fleet.report(7, DRIFT)
    assert [topic for _, topic, _ in fleet.alerts()] == ["critical"]


def test_long_episode_keeps_its_beginning_though_windows_are_forgotten(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(violation_records, "WINDOWS_KEPT", 20)
    fleet.serve(predecessor=False)
    for hour in range(2 * violation_records.WINDOWS_KEPT + 5):
        episode = violation_records.add_window(
            fleet.stack.settings.table_name, "FD001", "v7", window(hour - 1000), violation_records.Ended(ok=False)
        )
        if hour % 5 == 0 or len(episode.windows) < 3:
            violation_records.describe_episode(episode, "warning")
    violation_records.describe_episode(episode, "critical")

    assert fleet.episode()["since"] == start(-1000)
    assert len(episode.windows) <= 2 * violation_records.WINDOWS_KEPT
    assert int(fleet.episode()["consecutive"]) >= violation_records.WINDOWS_KEPT


# --- files that say nothing ---


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is empty"), (b'{"viol', "is not JSON"), (b"[1]", "violations"), (b"{}" * (5 << 20), "more than")],
)
def test_file_that_says_nothing_ends_in_an_alert_and_a_record(fleet: Fleet, content: bytes, says: str) -> None:
    fleet.serve()
    fleet.report(9, DRIFT)
    fleet.alerts()

    result = fleet.write(f"onwing-FD001/v7/{window(10)}", content)

    assert result.outcome == "unreadable"
    [(kind, topic, subject)] = fleet.alerts()
    assert (kind, topic) == ("violations_unreadable", "alerts")
    assert "cannot be used" in subject
    assert says in fleet.records()[-1]["reasons"][0]
    assert fleet.deliver(-1).outcome == "already"
    assert fleet.alerts() == []
    assert fleet.episode()["consecutive"] == "1"  # neither a window with nor one without violations


def test_file_that_was_deleted_ends_so_too(fleet: Fleet) -> None:
    key = f"monitoring/reports/onwing-FD001/v7/{window(10)}/constraint_violations.json"
    put = fleet.stack.s3.put_object(Bucket="onwing-bucket", Key=key, Body=b"{}")
    fleet.stack.s3.delete_object(Bucket="onwing-bucket", Key=key, VersionId=put["VersionId"])
    fleet.events.append((key, put["VersionId"]))

    assert fleet.deliver(-1).outcome == "unreadable"
    assert "deleted" in fleet.stack.alerts()[-1]["Message"]


def test_endpoint_that_is_no_fleets_ends_so_too(fleet: Fleet) -> None:
    assert fleet.write("somebody-elses/m/2026/11/23/10", b'{"violations": []}').outcome == "unreadable"
    [alert] = fleet.stack.alerts()
    assert "somebody-elses" in alert["Message"]
    assert fleet.deliver(-1).outcome == "already"


# --- what dies half-way ---


STEPS = [
    (violation_files, "read"),
    (violation_records, "add_window"),
    (violation_records, "claim_retrain"),
    (violations.training, "start"),
    (violation_records, "note_execution"),
    (violation_records, "describe_episode"),
    (violation_records, "replace_alerted"),
    (alerts, "publish"),
]


@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_delivery_that_died_is_carried_on_by_the_next(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, after: bool
) -> None:
    fleet.serve()
    fleet.upload()
    fleet.report(10, DRIFT)
    fleet.alerts()
    original: Callable[..., Any] = getattr(module, name)

    def dies(*arguments: Any, **named: Any) -> Any:
        if after:
            original(*arguments, **named)
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(module, name, dies)
        with pytest.raises(ZeroDivisionError):
            fleet.report(11, DRIFT)

    assert fleet.deliver(-1).outcome == "retrain"
    assert [training["attempt"] for training in fleet.trainings()] == [2]
    assert fleet.records()[-1]["decision"] == "retrain"
    assert len(fleet.alerts()) == (2 if (name, after) == ("publish", True) else 1)


def test_rollback_that_died_is_carried_on_under_the_same_name(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.serve(age=YOUNG)
    fleet.report(10, DRIFT, severity="severe")
    with monkeypatch.context() as patch:
        patch.setattr(violation_records, "note_execution", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fleet.report(11, DRIFT, severity="severe")

    result = fleet.deliver(-1)

    [rollback] = fleet.rollbacks()
    assert (result.outcome, result.execution_arn.rsplit(":", 1)[1]) == ("rollback", rollback["name"])


def test_delivery_that_was_killed_is_taken_over_when_its_lease_is_over(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(violation_records, "LEASE_SECONDS", 0.5)
    with monkeypatch.context() as patch:
        patch.setattr(violation_records.Held, "release", lambda self: None)  # nothing runs after a kill
        patch.setattr(alerts, "publish", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fleet.report(10, DRIFT)

    assert fleet.deliver(-1).outcome == "alert"
    assert len(fleet.alerts()) == 1


# --- many at once ---


@pytest.fixture
def atomic_requests(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto checks and writes in steps; AWS carries out each request as a whole."""
    lock = threading.Lock()
    original: Callable[..., Any] = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def one_at_a_time(self: Any, *arguments: Any) -> Any:
        with lock:
            return original(self, *arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", one_at_a_time)
    for client in (clients.dynamodb, clients.stepfunctions, clients.sns, clients.s3):
        client()


@pytest.mark.usefixtures("atomic_requests")
def test_storm_of_violations_trains_once_and_records_each(fleet: Fleet) -> None:
    fleet.serve()
    fleet.upload()
    content = json.dumps({"violations": [DRIFT]}).encode()
    for hour in range(48):
        key = f"monitoring/reports/onwing-FD001/v7/{window(hour - 48)}/constraint_violations.json"
        put = fleet.stack.s3.put_object(Bucket="onwing-bucket", Key=key, Body=content)
        fleet.events.append((key, put["VersionId"]))
    with ThreadPoolExecutor(8) as pool:
        outcomes = [result.outcome for result in pool.map(fleet.deliver, [*range(48), *range(48)])]

    assert len(fleet.trainings()) == 1
    assert outcomes.count("retrain") == 1
    assert len(fleet.records()) == 48
    assert fleet.episode()["consecutive"] == "48"
    assert 1 <= len(fleet.alerts()) <= 4


@pytest.mark.usefixtures("atomic_requests")
def test_storm_of_severe_violations_rolls_back_once(fleet: Fleet) -> None:
    fleet.serve(age=YOUNG)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda hour: fleet.report(hour, DRIFT, severity="severe"), range(16)))

    assert len(fleet.rollbacks()) == 1
    assert len(fleet.records()) == 16


@pytest.mark.usefixtures("atomic_requests")
def test_deliveries_of_one_event_at_the_same_moment_act_once(fleet: Fleet) -> None:
    fleet.serve()
    fleet.upload()
    fleet.report(10, DRIFT)
    key = f"monitoring/reports/onwing-FD001/v7/{window(11)}/constraint_violations.json"
    body = json.dumps({"violations": [DRIFT]}).encode()
    put = fleet.stack.s3.put_object(Bucket="onwing-bucket", Key=key, Body=body)
    fleet.events.append((key, put["VersionId"]))
    fleet.alerts()
    with ThreadPoolExecutor(8) as pool:
        outcomes = [result.outcome for result in pool.map(fleet.deliver, [-1] * 8)]

    assert sorted(set(outcomes)) == ["already", "retrain"]
    assert outcomes.count("retrain") == 1
    assert len(fleet.trainings()) == 1
    assert len(fleet.alerts()) == 1
