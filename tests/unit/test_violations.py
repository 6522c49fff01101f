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


def window(hour: int) -> str:
    """The id of the window that began at this hour."""
    return f"20261123T{hour:02d}0000Z"


class Fleet:
    """FD001: what is written about it, and what comes of that."""

    def __init__(self, stack: Stack) -> None:
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
        self, hour: int, *found: dict[str, Any], severity: str = "moderate", cause: str = "drift", variant: str = "v7"
    ) -> ViolationResult:
        """Our monitor's file of a window, delivered."""
        ours = {"severity": severity, "cause": cause, "drift": 1.6, "summary": "s11 reads high", "kind": "data"}
        content = json.dumps({"violations": found, "onwing": ours}).encode()
        return self.write(f"onwing-FD001/{variant}/{window(hour)}", content)

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
        "since 2026-11-23T10:00:00Z",
        "1.60 times its threshold",
        "anything drastic takes 2 windows",
        f"onwing drift report FD001 --window {window(10)}",
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
    fleet.serve(age=timedelta(hours=1))
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
    fleet.serve(age=timedelta(hours=3))
    for hour in (10, 11):
        fleet.report(hour, DRIFT, severity="severe")
    fleet.serve(age=timedelta(hours=1))
    fleet.report(12, DRIFT, severity="severe")

    assert len(fleet.rollbacks()) == 2


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
    fleet.serve(age=timedelta(hours=1))
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
    fleet.report(10)
    fleet.write(f"onwing-FD001/v7/quality-{window(11)}", content)

    assert fleet.episode("v7#quality")["consecutive"] == "2"
    assert {kind for kind, _, _ in fleet.alerts()} == {"model_quality"}


def test_model_monitors_files_are_held_against_the_champion(fleet: Fleet) -> None:
    fleet.serve(age=timedelta(hours=1))
    fleet.upload()
    text = "Baseline drift distance: 0.31 exceeds threshold: 0.1"
    content = json.dumps({"violations": [{**DRIFT, "description": text}]}).encode()
    outcomes = [fleet.write(f"onwing-FD001/hourly/2026/11/23/{hour}", content).outcome for hour in (10, 11)]

    assert outcomes == ["alert", "retrain"]  # its distance says nothing about severity: no rollback
    record = fleet.records()[0]
    assert (record["source"], record["monitor"], record["variant"]) == ("model-monitor", "hourly", "v7")
    assert record["drift"] == pytest.approx(3.1)
    assert record["report_uri"].endswith("/hourly/2026/11/23/10/constraint_violations.json")
    assert fleet.episode("v7#hourly")["since"] == "2026-11-23T10:00:00Z"


def test_model_monitors_windows_are_in_a_row_for_a_day_at_most(fleet: Fleet) -> None:
    fleet.serve()
    content = json.dumps({"violations": [DRIFT]}).encode()
    for day, hour in ((20, 10), (21, 11), (22, 13)):
        fleet.write(f"onwing-FD001/daily/2026/11/{day}/{hour}", content)

    assert [record["consecutive"] for record in fleet.records()] == [1, 2, 1]
    assert fleet.episode("v7#daily")["since"] == "2026-11-22T13:00:00Z"


def test_other_variants_violations_are_told_only(fleet: Fleet) -> None:
    fleet.serve(age=timedelta(hours=1))
    for hour in (10, 11):
        fleet.report(hour, DRIFT, severity="severe", variant="v8")

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

    assert (fleet.episode()["consecutive"], fleet.episode()["since"]) == ("3", "2026-11-23T10:00:00Z")


@pytest.mark.parametrize("late", [False, True])
def test_window_without_violations_ends_the_row_whenever_it_comes(fleet: Fleet, late: bool) -> None:
    fleet.serve()
    fleet.report(10, DRIFT)
    if not late:
        fleet.report(11)
    fleet.report(12, DRIFT)
    if late:
        fleet.report(11)

    assert (fleet.episode()["consecutive"], fleet.episode()["since"]) == ("1", "2026-11-23T12:00:00Z")


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


def test_long_episode_keeps_its_beginning_though_windows_are_forgotten(fleet: Fleet) -> None:
    fleet.serve(predecessor=False)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for hour in range(2 * violation_records.WINDOWS_KEPT + 5):
        at = begin + timedelta(hours=hour)
        episode = violation_records.add_window(
            fleet.stack.settings.table_name, "FD001", "v7", at.strftime("%Y%m%dT%H%M%SZ"), ok=False
        )
        if hour % 50 == 0 or len(episode.windows) < 3:
            violation_records.describe_episode(episode, "warning")
    violation_records.describe_episode(episode, "critical")

    assert fleet.episode()["since"] == "2026-01-01T00:00:00Z"
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
    fleet.serve(age=timedelta(hours=1))
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
        at = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=hour)
        key = f"monitoring/reports/onwing-FD001/v7/{at:%Y%m%dT%H%M%SZ}/constraint_violations.json"
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
    fleet.serve(age=timedelta(hours=1))
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
