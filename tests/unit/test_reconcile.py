"""The reconciliation: what it finds, what it repairs by the code that the lost event would have reached, what not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from control_plane import clients, coverage, endpoint_alarms, ingestion, lost_events, overdue_windows, violations
from control_plane.coverage import Coverage
from control_plane.findings import Finding
from control_plane.package_events import PackageStateChange
from control_plane.reconcile import ReconcileRequest, Reconciliation, reconcile
from control_plane.settings import ReconcileSettings, ViolationSettings
from jsonata import Jsonata
from pydantic import ValidationError

from tests.conftest import make_trio
from tests.unit.conftest import ACCOUNT, Stack
from tests.unit.overdue_cases import CASES, PERIODS, monitor_item
from tests.unit.overdue_cases import NOW as AT
from tests.unit.sagemaker_fakes import LONG_AGO, FakeSageMaker

ROOT = Path(__file__).parents[2]
MONITORING = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:onwing-monitoring"
NOW = datetime.now(UTC).isoformat()
DEAD = f"arn:aws:states:us-east-1:{ACCOUNT}:execution:onwing-deployment:FD001-v2-1"


def baseline_of(fleet: str = "FD001") -> str:
    """The folder of the champion's baseline."""
    return f"monitoring/baseline/{fleet}/{'d' * 64}/"


def served(version: int, fleet: str = "FD001") -> dict[str, Any]:
    """A champion or challenger, as the control table has it."""
    name = f"onwing-{fleet}-v{version}-0123abcd"
    package = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package/onwing-{fleet}/{version}"
    return {
        "version": version,
        "variant": f"v{version}",
        "package_arn": package,
        "model": name,
        "config": name,
        "dataset_version": "d" * 64,
        "backup": f"backups/onwing-{fleet}/2026-11-22T10:00:00.000Z.json",
        "since": NOW,
    }


@dataclass
class World:
    """A project in which all is well until a test breaks something."""

    stack: Stack
    sagemaker: FakeSageMaker
    cloudwatch: Any
    scheduler: Any

    def run(self, **request: Any) -> Reconciliation:
        """Reconcile; nothing counts as young unless the test says so."""
        return reconcile(
            self.stack.settings,
            self.stack.deploying,
            ViolationSettings(),
            ReconcileSettings(),
            ReconcileRequest(**{"grace_seconds": 0, **request}),
        )

    def only(self, **request: Any) -> Finding:
        """Reconcile; the one thing that was found."""
        findings = self.run(**request).findings
        assert len(findings) == 1, [finding.message for finding in findings]
        return findings[0]

    def put(self, sort_key: str, fleet: str = "FD001", **attributes: Any) -> None:
        """Write one of a fleet's items: text, or JSON of anything else but flags and numbers."""
        item: dict[str, Any] = {"pk": {"S": f"FLEET#{fleet}"}, "sk": {"S": sort_key}}
        for name, value in attributes.items():
            if isinstance(value, bool):
                item[name] = {"BOOL": value}
            elif isinstance(value, int):
                item[name] = {"N": str(value)}
            else:
                item[name] = {"S": value if isinstance(value, str) else json.dumps(value)}
        self.stack.dynamodb.put_item(TableName=self.stack.settings.table_name, Item=item)

    def item(self, sort_key: str, fleet: str = "FD001") -> dict[str, Any]:
        """One of a fleet's items, attributes without their types."""
        key = {"pk": {"S": f"FLEET#{fleet}"}, "sk": {"S": sort_key}}
        found = self.stack.dynamodb.get_item(TableName=self.stack.settings.table_name, Key=key).get("Item", {})
        return {name: next(iter(value.values())) for name, value in found.items()}

    def serve(self, fleet: str = "FD001", version: int = 1) -> dict[str, Any]:
        """A champion in service that lacks nothing."""
        champion = served(version, fleet)
        self.sagemaker.serve(fleet, champion["config"], {champion["variant"]: 1})
        self.sagemaker.models.append(champion["model"])
        self.sagemaker.configs.append(champion["config"])
        self.put("DEPLOYMENT", fleet, champion=champion, monitored=True)
        endpoint = f"onwing-{fleet}"
        alarms = [self.alarm(name) for name in endpoint_alarms.of_variant(endpoint, champion["variant"])]
        drift = endpoint_alarms.drift_alarm("onwing", fleet)
        for alarm in [*alarms, drift]:
            self.cloudwatch.put_metric_alarm(**alarm)
        written = [{("OkActions" if k == "OKActions" else k): v for k, v in a.items()} for a in [*alarms, drift]]
        self.object(champion["backup"], {"schema": 1, "alarms": written})
        self.object(f"{baseline_of(fleet)}drift.json", {"calibrated": True, "why_not": "", "thresholds": [1.5]})
        self.object(f"{baseline_of(fleet)}constraints.json", {"features": []})
        return champion

    def alarm(self, name: str) -> dict[str, Any]:
        return {
            "AlarmName": name,
            "AlarmDescription": "of a test",
            "ActionsEnabled": True,
            "OKActions": [self.stack.settings.alerts_topic_arn],
            "AlarmActions": [self.stack.settings.alerts_topic_arn],
            "Namespace": "AWS/SageMaker",
            "MetricName": "ModelLatency",
            "Dimensions": [{"Name": "EndpointName", "Value": "onwing-FD001"}],
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 200_000,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        }

    def alarms(self) -> dict[str, dict[str, Any]]:
        return {each["AlarmName"]: each for each in self.cloudwatch.describe_alarms(MaxRecords=100)["MetricAlarms"]}

    def object(self, key: str, content: Any) -> str:
        body = json.dumps(content).encode()
        put = self.stack.s3.put_object(Bucket=self.stack.settings.bucket_name, Key=key, Body=body)
        return str(put["VersionId"])

    def start(self, machine: str, name: str) -> str:
        """An execution of one of the machines, which runs."""
        started = self.stack.stepfunctions.start_execution(stateMachineArn=machine, name=name, input="{}")
        return str(started["executionArn"])

    def executions(self, machine: str) -> list[dict[str, Any]]:
        """The executions of a machine, with their inputs parsed."""
        describe = self.stack.stepfunctions.describe_execution
        found = [describe(executionArn=e["executionArn"]) for e in self.stack.executions(machine)]
        return [{**each, "input": json.loads(each["input"])} for each in found]

    def everything(self) -> Any:
        """What a report must not change."""
        items = self.stack.dynamodb.scan(TableName=self.stack.settings.table_name)["Items"]
        machines = (
            self.stack.settings.training_state_machine_arn,
            self.stack.deploying.deployment_state_machine_arn,
            self.stack.deploying.rollback_state_machine_arn,
        )
        executions = {machine: sorted(e["name"] for e in self.stack.executions(machine)) for machine in machines}
        ordered = sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))
        return ordered, executions, sorted(self.alarms()), self.stack.keys("")


@pytest.fixture
def world(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    sagemaker = FakeSageMaker()
    monkeypatch.setattr(clients, "sagemaker", lambda: sagemaker)
    for cached in (clients.cloudwatch, clients.scheduler):
        cached.cache_clear()
    scheduler = boto3.client("scheduler")
    target = {"Arn": MONITORING, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r"}
    for name, rate in (
        ("monitoring", "rate(1 hour)"),
        ("weekly-training", "rate(7 days)"),
        ("daily-backup", "rate(1 day)"),
        ("reconcile", "rate(1 day)"),
    ):
        scheduler.create_schedule(
            Name=f"onwing-{name}", ScheduleExpression=rate, FlexibleTimeWindow={"Mode": "OFF"}, Target=target
        )
    yield World(stack, sagemaker, boto3.client("cloudwatch"), scheduler)
    for cached in (clients.cloudwatch, clients.scheduler):
        cached.cache_clear()


def whole_of(result: Reconciliation) -> Coverage:
    assert result.coverage is not None
    return result.coverage


# --- all is well ---


def test_nothing_is_found_and_nobody_told_where_all_is_well(world: World) -> None:
    world.serve()

    result = world.run()

    assert result.findings == []
    assert whole_of(result).percent == 100
    assert world.stack.alerts() == []


def test_empty_project_is_covered(world: World) -> None:
    result = world.run()

    assert result.findings == []
    assert whole_of(result).model_dump() == {"percent": 100.0, "endpoints": []}


# --- approvals ---


def test_approval_whose_event_was_lost_is_acted_upon_as_its_event_would_have_been(world: World) -> None:
    arn = world.sagemaker.register("FD001", "Approved")

    finding = world.only()

    assert (finding.what, finding.where, finding.repaired) == ("approval", "FD001 v1", True)
    [execution] = world.executions(world.stack.deploying.deployment_state_machine_arn)
    assert execution["name"] == "FD001-v1-1"
    assert execution["input"]["package_arn"] == arn
    assert execution["input"]["trigger"] == "approval"
    assert world.item("APPROVAL#000001")["status"] == "Approved"
    assert world.run().findings == []  # and once only


def test_event_that_comes_after_all_starts_nothing_more(world: World) -> None:
    from control_plane.approvals import act_on

    arn = world.sagemaker.register("FD001", "Approved")
    world.run()
    package = world.sagemaker.packages[arn]

    event = PackageStateChange.model_validate({"resources": [arn], "detail": package})
    assert act_on(world.stack.settings, world.stack.deploying, event).outcome == "already"
    assert len(world.executions(world.stack.deploying.deployment_state_machine_arn)) == 1


def test_newest_of_several_lost_approvals_has_the_last_request(world: World) -> None:
    world.sagemaker.register("FD001", "Approved", modified=LONG_AGO + timedelta(days=2))
    world.sagemaker.register("FD001", "Approved", modified=LONG_AGO + timedelta(days=1))

    assert [finding.repaired for finding in world.run().findings] == [True, True]

    requests = {
        each["name"]: each["input"]["request"]
        for each in world.executions(world.stack.deploying.deployment_state_machine_arn)
    }
    assert requests == {"FD001-v2-1": 1, "FD001-v1-1": 2}


def test_approval_that_was_claimed_but_not_started_is_started(world: World) -> None:
    world.sagemaker.register("FD001", "Approved")
    world.run()
    [execution] = world.executions(world.stack.deploying.deployment_state_machine_arn)
    world.stack.dynamodb.update_item(
        TableName=world.stack.settings.table_name,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "APPROVAL#000001"}},
        UpdateExpression="SET #state = :starting REMOVE execution_arn",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":starting": {"S": "starting"}},
    )

    finding = world.only()

    assert finding.repaired
    assert "left starting" in finding.problem
    assert world.item("APPROVAL#000001")["execution_arn"] == execution["executionArn"]


def test_lost_rejection_stops_the_deployment(world: World) -> None:
    arn = world.sagemaker.register("FD001", "Approved")
    world.run()
    world.sagemaker.packages[arn] |= {"ModelApprovalStatus": "Rejected", "LastModifiedTime": datetime.now(UTC)}

    finding = world.only()

    assert finding.repaired
    [rollback] = world.executions(world.stack.deploying.rollback_state_machine_arn)
    assert rollback["input"]["trigger"] == "rejected"


def test_package_that_the_control_plane_rejected_is_not_deployed_again(world: World) -> None:
    """It sets its record first; if the registry then refuses, the package still says Approved."""
    world.sagemaker.register("FD001", "Approved")
    world.run()
    item = world.item("APPROVAL#000001")
    world.put("APPROVAL#000001", **{k: v for k, v in item.items() if k in ("state", "input")}, status="Rejected")
    world.stack.dynamodb.update_item(
        TableName=world.stack.settings.table_name,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "APPROVAL#000001"}},
        UpdateExpression="SET modified = :modified, approvals = :one",
        ExpressionAttributeValues={":modified": {"N": item["modified"]}, ":one": {"N": "1"}},
    )

    finding = world.only()

    assert not finding.repaired
    assert finding.action == "onwing reject FD001/1"
    assert len(world.executions(world.stack.deploying.deployment_state_machine_arn)) == 1


def test_deployment_that_is_just_rejecting_its_package_is_not_disturbed(world: World) -> None:
    """The record says Rejected first, the registry a moment later."""
    world.sagemaker.register("FD001", "Approved")
    world.run()
    [execution] = world.executions(world.stack.deploying.deployment_state_machine_arn)
    world.put("LOCK", owner=execution["executionArn"], since=NOW)
    world.put("APPROVAL#000001", status="Rejected")

    assert world.run().findings == []


def test_approval_that_was_lost_while_another_package_is_deployed_waits_for_its_turn(world: World) -> None:
    world.sagemaker.register("FD001", "Approved")
    world.run()
    [execution] = world.executions(world.stack.deploying.deployment_state_machine_arn)
    world.put("LOCK", owner=execution["executionArn"], since=NOW)
    world.sagemaker.register("FD001", "Approved")

    assert world.only().where == "FD001 v2"
    assert len(world.executions(world.stack.deploying.deployment_state_machine_arn)) == 2


def test_packages_that_wait_or_were_rejected_before_anything_are_no_loss(world: World) -> None:
    world.sagemaker.register("FD001", "PendingManualApproval")
    world.sagemaker.register("FD001", "Rejected")

    assert world.run().findings == []


def test_approval_is_not_acted_upon_where_nobody_knows_what_serves(world: World) -> None:
    world.sagemaker.register("FD001", "Approved")
    world.sagemaker.serve("FD001", "onwing-FD001-v1-0123abcd", {"v1": 1})

    findings = {finding.what: finding for finding in world.run().findings}

    assert not findings["approval"].repaired
    assert "onwing restore FD001" in findings["approval"].action
    assert world.executions(world.stack.deploying.deployment_state_machine_arn) == []


def test_young_change_is_under_way_and_not_lost(world: World) -> None:
    world.sagemaker.register("FD001", "Approved", modified=datetime.now(UTC))

    assert world.run(grace_seconds=900).findings == []


# --- uploads and data sets ---


def test_upload_whose_event_was_lost_is_taken_in_and_trained_on(world: World) -> None:
    for name, body in make_trio().files.items():
        world.stack.upload(name, body)

    findings = world.run().findings

    assert [(finding.what, finding.repaired) for finding in findings] == [("upload", True)] * 3
    assert len(world.stack.executions()) == 1
    assert world.run().findings == []


def test_bad_upload_whose_event_was_lost_goes_to_quarantine(world: World) -> None:
    world.stack.upload("train_FD001.txt", b"not a table")
    world.stack.upload("notes.doc", b"nor a name")

    assert all(finding.repaired for finding in world.run().findings)

    assert world.stack.keys("data/raw/") == []
    assert len([key for key in world.stack.keys("data/quarantine/") if key.endswith(".report.json")]) == 2


def take_in(world: World, name: str, body: bytes, sequencer: str) -> str:
    """An upload and its event; its version."""
    version = world.stack.upload(name, body)
    ingestion.ingest(
        world.stack.settings,
        bucket=world.stack.settings.bucket_name,
        key=f"data/raw/{name}",
        version_id=version,
        sequencer=sequencer,
    )
    return version


def test_second_version_of_a_file_is_found_and_a_later_event_still_wins(world: World) -> None:
    trio, other, third = make_trio(), make_trio(altitude="10.0"), make_trio(altitude="20.0")
    take_in(world, "train_FD001.txt", trio.train, "0055AED6DCD90281E5")
    lost = world.stack.upload("train_FD001.txt", other.train)

    assert world.only().repaired
    assert json.loads(world.item("DATASET")["train_file"])["version_id"] == lost

    last = take_in(world, "train_FD001.txt", third.train, "0055AED6DCD90281E6")
    assert json.loads(world.item("DATASET")["train_file"])["version_id"] == last
    assert world.run().findings == []


def test_older_file_of_another_name_is_no_loss(world: World) -> None:
    import gzip

    world.stack.upload("train_FD001.txt", make_trio().train)
    take_in(world, "train_FD001.txt.gz", gzip.compress(make_trio().train), "01")
    world.stack.dynamodb.update_item(
        TableName=world.stack.settings.table_name,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "DATASET"}},
        UpdateExpression="SET train_modified = :later",
        ExpressionAttributeValues={":later": {"N": str(datetime.now(UTC).timestamp() + 60)}},
    )

    assert world.run().findings == []


def test_version_that_was_removed_on_purpose_does_not_bring_the_older_one_back(world: World) -> None:
    take_in(world, "train_FD001.txt", make_trio().train, "01")
    newer = take_in(world, "train_FD001.txt", make_trio(altitude="10.0").train, "02")
    world.stack.dynamodb.update_item(
        TableName=world.stack.settings.table_name,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "DATASET"}},
        UpdateExpression="SET train_modified = :later",
        ExpressionAttributeValues={":later": {"N": str(datetime.now(UTC).timestamp() + 60)}},
    )
    world.stack.s3.delete_object(Bucket="onwing-bucket", Key="data/raw/train_FD001.txt", VersionId=newer)

    assert world.run().findings == []


def test_rest_of_many_uploads_is_left_for_the_next_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_events, "REPAIRS_AT_MOST", 1)
    for name in ("train_FD001.txt", "test_FD001.txt"):
        world.stack.upload(name, make_trio().files[name])

    assert sorted(finding.repaired for finding in world.run().findings) == [False, True]
    assert [finding.repaired for finding in world.run().findings] == [True]


def test_complete_data_set_that_was_never_started_is_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            ingestion, "start_when_complete", lambda *_: ingestion.IngestResult(outcome="kept", key="", message="")
        )
        for k, (name, body) in enumerate(make_trio().files.items()):
            take_in(world, name, body, f"0{k}")
    assert world.stack.executions() == []

    finding = world.only()

    assert (finding.what, finding.repaired) == ("dataset", True)
    assert len(world.stack.executions()) == 1
    assert len(world.stack.keys("data/versions/")) == 4
    assert world.run().findings == []


def test_data_set_that_waits_on_purpose_is_no_loss(world: World) -> None:
    world.put(f"VERSION#{trained(world)}", attempt=1, status="registered")
    world.stack.settings = world.stack.settings.model_copy(update={"train_on_upload": "DISABLED"})
    for k, (name, body) in enumerate(make_trio(altitude="10.0").files.items()):
        take_in(world, name, body, f"1{k}")
    assert len(world.stack.executions()) == 1

    assert world.run().findings == []
    assert len(world.stack.executions()) == 1


# --- executions that died ---


def trained(world: World) -> str:
    """A data set in training; its version."""
    for k, (name, body) in enumerate(make_trio().files.items()):
        take_in(world, name, body, f"0{k}")
    return str(world.item("DATASET")["dataset_version"])


def test_attempt_that_was_claimed_but_never_started_is_started(world: World) -> None:
    version = trained(world)
    world.put(f"VERSION#{version}", attempt=2, status="starting")

    finding = world.only()

    assert (finding.what, finding.repaired) == ("training", True)
    assert f"FD001-{version[:12]}-2" in {each["name"] for each in world.stack.executions()}
    assert world.run().findings == []


def test_run_that_ended_without_a_word_is_recorded_as_failed(world: World) -> None:
    version = trained(world)
    arn = world.item(f"VERSION#{version}")["execution_arn"]
    world.stack.stepfunctions.stop_execution(executionArn=arn)

    finding = world.only()

    assert (finding.what, finding.repaired) == ("training", True)
    assert f"onwing train {version[:12]} --again" in finding.action
    item = world.item(f"VERSION#{version}")
    assert item["status"] == "failed"
    assert "ABORTED" in item["reason"]
    assert world.run().findings == []


def test_run_that_runs_is_left_alone(world: World) -> None:
    trained(world)

    assert world.run().findings == []


def test_lock_of_a_dead_execution_is_freed(world: World) -> None:
    world.serve()
    arn = world.start(world.stack.deploying.deployment_state_machine_arn, "FD001-v2-1")
    world.put("LOCK", owner=arn, since=NOW)
    assert world.run().findings == []
    world.stack.stepfunctions.stop_execution(executionArn=arn)

    finding = world.only()

    assert (finding.what, finding.repaired) == ("lock", True)
    assert world.item("LOCK") == {}


def half_done(world: World, execution: str) -> None:
    champion = world.serve()
    challenger = served(2)
    world.put(
        "DEPLOYMENT",
        champion=champion,
        monitored=True,
        under_way={
            "execution": execution,
            "version": 2,
            "phase": "canary",
            "challenger": challenger,
            "fallback": champion,
            "config": f"{challenger['model']}-canary",
            "started_at": "2026-11-01T00:00:00Z",
        },
    )
    world.put("LOCK", owner=execution, since="2026-11-01T00:00:00Z")


def test_half_done_deployment_gets_the_rollback_that_the_rule_would_have_started(world: World) -> None:
    arn = world.start(world.stack.deploying.deployment_state_machine_arn, "FD001-v2-1")
    world.stack.stepfunctions.stop_execution(executionArn=arn)
    half_done(world, arn)

    finding = world.only()

    assert (finding.what, finding.where, finding.repaired) == ("deployment", "FD001 v2", True)
    [rollback] = world.executions(world.stack.deploying.rollback_state_machine_arn)
    assert rollback["input"] == {
        "trigger": "deployment_ended",
        "name": "FD001-v2-1",
        "status": "ABORTED",
        "execution": arn,
    }
    assert world.only().repaired  # the same rollback, while it runs
    assert len(world.executions(world.stack.deploying.rollback_state_machine_arn)) == 1


def test_rollback_that_did_not_help_is_not_started_twice_a_day(world: World) -> None:
    half_done(world, DEAD)
    world.run()
    [rollback] = world.executions(world.stack.deploying.rollback_state_machine_arn)
    world.stack.stepfunctions.stop_execution(executionArn=rollback["executionArn"])

    finding = world.only()

    assert not finding.repaired
    assert "ended without putting it in order" in finding.problem
    assert finding.action == "onwing rollback FD001"


def test_deployment_that_runs_is_left_alone(world: World) -> None:
    arn = world.start(world.stack.deploying.deployment_state_machine_arn, "FD001-v2-1")
    half_done(world, arn)
    world.sagemaker.endpoints["onwing-FD001"]["EndpointConfigName"] = "onwing-FD001-v2-0123abcd-canary"
    world.sagemaker.models.append("onwing-FD001-v2-0123abcd")

    assert world.run().findings == []


# --- endpoints ---


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"EndpointStatus": "Failed", "FailureReason": "no capacity"}, "onwing-FD001 is Failed: no capacity"),
        ({"EndpointConfigName": "other"}, "serves configuration other"),
        ({"ProductionVariants": []}, "has no variant v1"),
    ],
)
def test_endpoint_that_is_not_as_recorded_is_reported(world: World, change: dict[str, Any], problem: str) -> None:
    world.serve()
    world.sagemaker.endpoints["onwing-FD001"] |= change

    [finding] = [each for each in world.run().findings if each.what == "endpoint"]

    assert problem in finding.problem
    assert finding.action == "onwing restore FD001"
    assert not finding.repaired


def test_champion_without_endpoint_is_reported(world: World) -> None:
    world.put("DEPLOYMENT", champion=served(1), monitored=True)
    world.sagemaker.register("FD001", "PendingManualApproval")

    finding = world.only()

    assert (finding.what, finding.problem) == ("endpoint", "endpoint onwing-FD001 does not exist")


def test_endpoint_that_nobody_recorded_is_reported(world: World) -> None:
    world.sagemaker.serve("FD009", "onwing-FD009-v1-0123abcd", {"v1": 1})

    findings = world.run().findings

    assert "control table does not know what it serves" in findings[0].problem
    assert findings[0].where == "onwing-FD009"


def test_endpoints_of_other_projects_are_nobodys_business(world: World) -> None:
    world.sagemaker.serve("FD001-else", "c", {"v1": 1})
    world.sagemaker.models.append("onwing-else")

    assert world.run().findings == []


def test_endpoint_without_data_capture_is_reported(world: World) -> None:
    world.serve()
    world.sagemaker.endpoints["onwing-FD001"]["DataCaptureConfig"] = {}

    assert world.only().what == "capture"


def test_endpoint_of_a_deployment_that_runs_lacks_what_comes_later(world: World) -> None:
    world.sagemaker.serve("FD001", "onwing-FD001-v1-0123abcd", {"v1": 1}, DataCaptureConfig={})
    arn = world.start(world.stack.deploying.deployment_state_machine_arn, "FD001-v1-1")
    world.put("LOCK", owner=arn, since=NOW)

    result = world.run()

    assert result.findings == []
    assert whole_of(result).percent == 0


# --- alarms ---


def test_alarms_that_are_gone_are_made_again_as_they_were(world: World) -> None:
    world.serve()
    before = world.alarms()
    names = ["onwing-FD001-v1-model-latency", "onwing-FD001-data-drift"]
    world.cloudwatch.delete_alarms(AlarmNames=names)

    result = world.run()

    [finding] = result.findings
    assert (finding.what, finding.repaired) == ("alarm", True)
    assert all(name in finding.problem for name in names)
    after = world.alarms()
    for name, alarm in before.items():
        for member in ("AlarmDescription", "OKActions", "AlarmActions", "MetricName", "Threshold", "Dimensions"):
            assert after[name].get(member) == alarm.get(member), (name, member)
    assert whole_of(result).percent == 100  # it was measured after the repair
    assert world.run().findings == []


def test_alarm_on_drift_is_made_again_though_no_backup_has_it(world: World) -> None:
    champion = world.serve()
    world.object(champion["backup"], {"schema": 1, "alarms": []})
    world.cloudwatch.delete_alarms(AlarmNames=["onwing-FD001-data-drift"])

    assert world.only().repaired
    assert world.alarms()["onwing-FD001-data-drift"]["Threshold"] == 1


def test_alarm_that_no_backup_has_is_reported(world: World) -> None:
    champion = world.serve()
    world.object(champion["backup"], {"schema": 1, "alarms": []})
    world.cloudwatch.delete_alarms(AlarmNames=["onwing-FD001-v1-silent"])

    result = world.run()

    [finding] = result.findings
    assert not finding.repaired
    assert "no backup has onwing-FD001-v1-silent" in finding.problem
    assert whole_of(result).percent == 0


def test_alarm_on_drift_is_the_one_that_the_deployment_makes() -> None:
    machine = json.loads((ROOT / "statemachines/deployment.asl.json").read_text())
    put = machine["States"]["PutDriftAlarm"]["Arguments"]

    def evaluated(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("{%"):
            expression = Jsonata(value.removeprefix("{%").removesuffix("%}").strip())
            frame = expression.create_frame()
            frame.bind("endpoint", "onwing-FD001")
            frame.bind("fleet", "FD001")
            return expression.evaluate({}, frame)
        if isinstance(value, list):
            return [evaluated(each) for each in value]
        return {k: evaluated(v) for k, v in value.items()} if isinstance(value, dict) else value

    made = {name: evaluated(value) for name, value in put.items() if name != "Tags"}
    assert endpoint_alarms.drift_alarm("onwing", "FD001") == made


# --- orphans, schedules, windows ---


def test_what_belongs_to_nothing_is_reported(world: World) -> None:
    world.serve()
    world.sagemaker.models.append("onwing-FD001-v7-aaaaaaaa")
    world.sagemaker.configs += ["onwing-FD001-v7-aaaaaaaa", "onwing-FD001-v7-aaaaaaaa-canary"]
    world.cloudwatch.put_metric_alarm(**world.alarm("onwing-FD002-v1-silent"))
    world.cloudwatch.put_metric_alarm(**world.alarm("onwing-FD002-data-drift"))

    findings = world.run().findings

    assert {finding.what for finding in findings} == {"orphans"}
    problems = " ".join(finding.problem for finding in findings)
    for name in ("v7-aaaaaaaa-canary", "1 model that", "2 endpoint configurations", "FD002-v1-silent", "data-drift"):
        assert name in problems
    assert "v1-0123abcd" not in problems


def test_young_model_is_somebodys_that_is_at_work(world: World) -> None:
    world.sagemaker.models.append("onwing-FD001-v7-aaaaaaaa")
    world.sagemaker.created = datetime.now(UTC)

    assert world.run(grace_seconds=900).findings == []


def test_models_under_somebody_elses_configuration_are_not_called_orphans(world: World) -> None:
    world.serve()
    world.sagemaker.models.append("onwing-FD001-v7-aaaaaaaa")
    world.sagemaker.endpoints["onwing-FD001"]["EndpointConfigName"] = "elses"

    assert {finding.what for finding in world.run().findings} == {"endpoint"}


def test_schedules_against_the_stacks_parameters_are_reported(world: World) -> None:
    described = world.scheduler.get_schedule(Name="onwing-monitoring")
    members = ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")
    world.scheduler.update_schedule(**{name: described[name] for name in members}, State="DISABLED")
    world.scheduler.delete_schedule(Name="onwing-daily-backup")

    findings = {finding.where: finding for finding in world.run().findings}

    assert "is DISABLED, but the stack's parameter says ENABLED" in findings["onwing-monitoring"].problem
    assert findings["onwing-daily-backup"].problem == "the schedule is missing"
    assert len(findings) == 2


def test_endpoint_that_monitoring_forgot_is_reported(world: World) -> None:
    champion = world.serve()
    old = (datetime.now(UTC) - timedelta(hours=4)).isoformat()
    world.put("DEPLOYMENT", champion=champion | {"since": old}, monitored=True)
    world.put("MONITOR#v1", start=old, updated_at=old, last={"closed_at": old})

    finding = world.only()

    assert (finding.what, finding.where) == ("monitoring", "onwing-FD001 v1")
    assert "onwing drift run FD001" in finding.action
    # Its open window was looked at.
    world.put("MONITOR#v1", start=old, updated_at=datetime.now(UTC).isoformat(), last={"closed_at": old})
    assert world.run().findings == []


@pytest.mark.parametrize(("expression", "period"), PERIODS)
def test_period_of_a_schedule_is_the_time_between_two_runs(expression: str, period: timedelta) -> None:
    assert overdue_windows.period_of(expression) == period


@pytest.mark.parametrize(("updated_at", "closed_at", "since", "expression", "overdue"), CASES)
def test_window_is_overdue_after_three_periods_without_a_look(
    updated_at: str | None, closed_at: str | None, since: str | None, expression: str, overdue: bool
) -> None:
    looked = overdue_windows.last_looked(monitor_item(updated_at, closed_at), since)
    assert overdue_windows.is_overdue(looked, expression, AT) is overdue


@pytest.mark.parametrize(("kind", "window"), [("MONITOR", "20261123T100000Z"), ("QUALITY", "quality-20261123T100000Z")])
def test_claim_of_a_dead_execution_is_reported_once_a_run_should_have_taken_it_over(
    world: World, kind: str, window: str
) -> None:
    world.serve()
    old = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    claim = {"id": window, "execution": DEAD.replace("deployment", "monitoring")}
    world.put(f"{kind}#v1", start=old, updated_at=datetime.now(UTC).isoformat(), claim=claim)
    assert world.run().findings == []
    world.put(f"{kind}#v1", start=old, updated_at=old, claim=claim)

    finding = world.only()

    assert finding.where == f"FD001 v1, window {window}"
    assert not finding.repaired


# --- reports of violations ---


def test_reports_that_nobody_decided_on_are_handed_to_the_handler(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    recent, old = now - timedelta(hours=3), now - timedelta(days=400)
    keys = [
        f"monitoring/reports/onwing-FD001/v1/{recent:%Y%m%dT%H%M%SZ}/constraint_violations.json",
        f"monitoring/reports/onwing-FD001/v1/quality-{recent:%Y%m%dT%H%M%SZ}/constraint_violations.json",
        f"monitoring/reports/onwing-FD001/daily/{recent:%Y/%m/%d/%H}/constraint_violations.json",
        f"monitoring/reports/onwing-FD001/v1/{recent:%Y%m%dT%H%M%SZ}/report.json",
        f"monitoring/reports/onwing-FD001/v1/{old:%Y%m%dT%H%M%SZ}/constraint_violations.json",
    ]
    versions = {key: world.object(key, {"violations": []}) for key in keys}
    handled: list[tuple[str, str]] = []

    class Result:
        message = "decided"

    def handle(*_: Any, key: str, version_id: str) -> Result:
        handled.append((key, version_id))
        return Result()

    monkeypatch.setattr(violations, "handle", handle)
    monkeypatch.setattr(violations, "is_handled", lambda _, key, version_id: (key, version_id) in handled)

    assert {finding.what for finding in world.run(report_only=True).findings} == {"violations"}
    assert handled == []
    findings = world.run().findings

    assert all(finding.repaired for finding in findings)
    assert sorted(handled) == sorted((key, versions[key]) for key in keys[:3])
    assert world.run().findings == []


# --- the run as a whole ---


def test_one_alert_names_everything(world: World) -> None:
    world.serve()
    world.sagemaker.register("FD002", "Approved")
    world.sagemaker.models.append("onwing-FD001-v7-aaaaaaaa")

    world.run()

    [alert] = world.stack.alerts()
    assert alert["Subject"] == "[onwing] reconciliation: 1 to do, 1 repaired"
    assert "FD002 v1" in alert["Message"]
    assert "onwing-FD001-v7-aaaaaaaa" in alert["Message"]
    assert alert["MessageAttributes"]["kind"]["Value"] == "reconciled"
    assert alert["MessageAttributes"]["severity"]["Value"] == "warning"


def test_report_changes_nothing_and_alerts_nobody(world: World) -> None:
    world.sagemaker.register("FD001", "Approved")
    world.stack.upload("train_FD002.txt", make_trio("FD002").train)
    half_done(world, DEAD)
    world.cloudwatch.delete_alarms(AlarmNames=["onwing-FD001-v1-silent"])
    before = world.everything()

    findings = world.run(report_only=True).findings

    assert {finding.what for finding in findings} == {"approval", "upload", "deployment", "alarm"}
    assert not any(finding.repaired for finding in findings)
    assert all(finding.action.startswith("The daily run repairs it.") for finding in findings)
    assert world.everything() == before
    assert world.stack.alerts() == []


def test_comparison_that_fails_is_a_finding_and_the_others_go_on(world: World) -> None:
    world.serve()
    world.sagemaker.register("FD002", "Approved")
    world.sagemaker.broken |= {"list_models", "DescribeEndpoint"}

    result = world.run()

    failed = [finding for finding in result.findings if finding.what == "check"]
    assert {"orphans", "coverage", "endpoint of FD001"} <= {finding.where for finding in failed}
    assert all("ThrottlingException" in finding.problem for finding in failed)
    assert [finding.where for finding in result.findings if finding.repaired] == ["FD002 v1"]
    assert result.coverage is None


def test_list_that_fails_does_not_hide_what_the_others_name(world: World) -> None:
    world.serve()
    world.sagemaker.endpoints["onwing-FD001"]["EndpointStatus"] = "Failed"
    world.sagemaker.broken |= {"list_model_package_groups"}

    found = {finding.what: finding for finding in world.run().findings}

    assert set(found) == {"check", "endpoint"}


def test_repair_that_fails_says_why_and_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sagemaker.register("FD001", "Approved")

    def refuse(*_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("control_plane.approvals.act_on", refuse)

    finding = world.only()

    assert not finding.repaired
    assert "the repair failed (RuntimeError: no)" in finding.problem
    assert finding.action == "onwing approve FD001/1, once more"


def test_coverage_only_measures_and_looks_at_nothing_else(world: World) -> None:
    world.serve()
    world.sagemaker.register("FD002", "Approved")
    world.sagemaker.broken |= {"list_models", "list_model_packages", "list_model_package_groups"}

    result = world.run(coverage_only=True)

    assert whole_of(result).percent == 100
    assert result.findings == []
    assert world.executions(world.stack.deploying.deployment_state_machine_arn) == []


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"DataCaptureConfig": {"EnableCapture": False, "CurrentSamplingPercentage": 100}}, "capture"),
        ({"DataCaptureConfig": {"EnableCapture": True, "CurrentSamplingPercentage": 0}}, "capture"),
        (
            {
                "DataCaptureConfig": {
                    "EnableCapture": True,
                    "CaptureStatus": "Stopped",
                    "CurrentSamplingPercentage": 100,
                }
            },
            "capture",
        ),
        (
            {
                "ProductionVariants": [
                    {"VariantName": "v1", "CurrentWeight": 90, "CurrentInstanceCount": 1},
                    {"VariantName": "v2", "CurrentWeight": 10, "CurrentInstanceCount": 1},  # without alarms
                    {"VariantName": "v3", "CurrentWeight": 0, "CurrentInstanceCount": 1},  # without traffic
                ]
            },
            "alarms",
        ),
    ],
)
def test_endpoint_that_lacks_one_thing_is_not_covered(world: World, change: dict[str, Any], failing: str) -> None:
    world.serve()
    world.serve("FD002")
    world.sagemaker.endpoints["onwing-FD001"] |= change

    measured = whole_of(world.run(coverage_only=True))

    assert measured.percent == 50
    found = {each.fleet: {check.check for check in each.checks if not check.passed} for each in measured.endpoints}
    assert found == {"FD001": {failing}, "FD002": set()}


@pytest.mark.parametrize(
    ("files", "said", "action"),
    [
        ({"constraints.json": {"features": []}}, "drift.json missing below", "onwing train --fleet FD001 --again"),
        ({"drift.json": {"calibrated": True}}, "constraints.json missing below", "onwing train --fleet FD001 --again"),
        ({}, "drift.json and constraints.json missing below", "onwing train --fleet FD001 --again"),
        (
            {
                "drift.json": {"calibrated": False, "why_not": "12 engines, at least 20 are needed"},
                "constraints.json": {"features": []},
            },
            "has no thresholds (12 engines, at least 20 are needed): no window can be judged",
            "train FD001 on more engines",
        ),
        (
            {"drift.json": [], "constraints.json": {"features": []}},
            "cannot be read: it is no JSON object",
            "onwing train --fleet FD001 --again",
        ),
    ],
)
def test_baseline_that_every_job_would_fail_with_or_that_judges_nothing_is_not_covered(
    world: World, files: dict[str, Any], said: str, action: str
) -> None:
    world.serve()
    for name in ("drift.json", "constraints.json"):
        world.stack.s3.delete_object(Bucket=world.stack.settings.bucket_name, Key=baseline_of() + name)
    for name, content in files.items():
        world.object(baseline_of() + name, content)

    result = world.run()

    [endpoint] = whole_of(result).endpoints
    assert [check.check for check in endpoint.checks if not check.passed] == ["baseline"]
    [finding] = result.findings
    assert (finding.what, finding.where) == ("monitoring", "onwing-FD001")
    assert said in finding.problem
    assert action in finding.action


def test_baseline_that_is_too_large_to_read_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.serve()
    monkeypatch.setattr(coverage, "MAX_BYTES", 10)

    [finding] = world.run().findings

    assert "bytes, more than 10" in finding.problem


def test_baseline_that_may_not_be_read_leaves_the_rest_of_coverage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.serve()
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")
    real = clients.s3()

    class Denied:
        def get_object(self, **_: Any) -> Any:
            raise denied

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    monkeypatch.setattr(clients, "s3", Denied)

    [endpoint] = whole_of(world.run(coverage_only=True)).endpoints

    [failing] = [check for check in endpoint.checks if not check.passed]
    assert (failing.check, "AccessDenied" in failing.message) == ("baseline", True)


def test_endpoint_that_does_not_serve_needs_no_watching(world: World) -> None:
    world.serve()
    world.sagemaker.endpoints["onwing-FD001"]["EndpointStatus"] = "Failed"

    assert whole_of(world.run(coverage_only=True)).endpoints == []


def test_request_with_unknown_members_is_refused() -> None:
    with pytest.raises(ValidationError):
        ReconcileRequest.model_validate({"repair": False})


def test_sample_event_is_a_request() -> None:
    event = json.loads((ROOT / "events/reconcile.json").read_text())
    assert ReconcileRequest.model_validate(event).report_only
