"""Approvals: which event starts a deployment, which stops one, and which does nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError
from control_plane import approvals, clients
from control_plane.approvals import ApprovalResult, act_on
from control_plane.errors import ApprovalError
from control_plane.package_events import PackageStateChange
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.conftest import Stack

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
EVENTS = Path(__file__).parents[2] / "events"

Event = dict[str, Any]


class Registry:
    """The Model Registry, as SageMaker keeps it and tells of it: each change has its time and its event."""

    def __init__(self, stack: Stack, *, resolution: timedelta = timedelta(milliseconds=1)) -> None:
        self.stack = stack
        self.resolution = resolution
        self.now = START
        self.packages: dict[str, dict[str, Any]] = {}

    def create(self, status: str = "PendingManualApproval", *, group: str = "onwing-FD001") -> Event:
        version = 1 + sum(package["ModelPackageGroupName"] == group for package in self.packages.values())
        arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group.lower()}/{version}"
        self.packages[arn] = {
            "ModelPackageArn": arn,
            "ModelPackageGroupName": group,
            "ModelPackageVersion": version,
            "CreationTime": self.now,
        }
        return self.update(arn, ModelApprovalStatus=status)

    def update(self, arn: str, *, after: float = 10, **members: Any) -> Event:
        """Change a package some seconds later; returns the event."""
        self.now += timedelta(seconds=after)
        self.packages[arn].update(members, LastModifiedTime=self.now)
        since = (self.now - START) // self.resolution
        told = {**self.packages[arn], "CreationTime": START, "LastModifiedTime": START + since * self.resolution}
        told = {k: v.isoformat().replace("+00:00", "Z") if isinstance(v, datetime) else v for k, v in told.items()}
        return {
            "id": "1",
            "time": self.now.isoformat(timespec="seconds"),
            "source": "aws.sagemaker",
            "resources": [arn],
            "detail": {**told, "UpdatedModelPackageFields": list(members), "ModelLifeCycle": {}},
        }

    def approve(self, arn: str, **more: Any) -> Event:
        return self.update(arn, ModelApprovalStatus="Approved", **more)

    def reject(self, arn: str, **more: Any) -> Event:
        return self.update(arn, ModelApprovalStatus="Rejected", **more)

    def pend(self, arn: str, **more: Any) -> Event:
        return self.update(arn, ModelApprovalStatus="PendingManualApproval", **more)

    def edit(self, arn: str, **more: Any) -> Event:
        return self.update(arn, CustomerMetadataProperties={"note": str(self.now)}, **more)

    # --- what the client of SageMaker answers ---

    def describe_model_package(self, ModelPackageName: str) -> dict[str, Any]:
        if ModelPackageName not in self.packages:
            message = f"ModelPackage {ModelPackageName} does not exist."
            raise ClientError({"Error": {"Code": "ValidationException", "Message": message}}, "DescribeModelPackage")
        return dict(self.packages[ModelPackageName])

    def update_model_package(self, ModelPackageArn: str, **members: Any) -> dict[str, Any]:
        self.update(ModelPackageArn, **members)
        return {"ModelPackageArn": ModelPackageArn}


@pytest.fixture
def registry(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """moto's registry knows neither times to set nor events, so this one stands in."""
    registry = Registry(stack)
    monkeypatch.setattr(clients, "sagemaker", lambda: registry)
    return registry


def deliver(stack: Stack, event: Event) -> ApprovalResult:
    return act_on(stack.settings, stack.deploying, PackageStateChange.model_validate(event))


def deployments(stack: Stack) -> list[str]:
    """The names of the deployment executions, oldest first."""
    listed = stack.executions(stack.deploying.deployment_state_machine_arn)
    return [execution["name"] for execution in sorted(listed, key=lambda e: e["startDate"])]


def rollbacks(stack: Stack) -> list[dict[str, Any]]:
    """The inputs of the rollback executions."""
    listed = stack.executions(stack.deploying.rollback_state_machine_arn)
    describe = stack.stepfunctions.describe_execution
    return [json.loads(describe(executionArn=e["executionArn"])["input"]) for e in listed]


def input_of(stack: Stack, name: str) -> dict[str, Any]:
    arn = stack.deploying.deployment_state_machine_arn.replace(":stateMachine:", ":execution:")
    return dict(json.loads(stack.stepfunctions.describe_execution(executionArn=f"{arn}:{name}")["input"]))


def item(stack: Stack, sort_key: str, fleet: str = "FD001") -> dict[str, str]:
    key = {"pk": {"S": f"FLEET#{fleet}"}, "sk": {"S": sort_key}}
    found = stack.dynamodb.get_item(TableName=stack.settings.table_name, Key=key).get("Item", {})
    return {name: next(iter(value.values())) for name, value in found.items()}


def put(stack: Stack, sort_key: str, **attributes: str) -> None:
    stack.dynamodb.update_item(
        TableName=stack.settings.table_name,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": sort_key}},
        UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
        ExpressionAttributeNames={f"#{name}": name for name in attributes},
        ExpressionAttributeValues={f":{name}": {"S": value} for name, value in attributes.items()},
    )


def reject_ourselves(stack: Stack, registry: Registry, arn: str) -> Event:
    """As the state machines do: first the record, then the package."""
    put(stack, f"APPROVAL#{registry.packages[arn]['ModelPackageVersion']:06d}", status="Rejected")
    return registry.reject(arn, ApprovalDescription="errors-5xx")


def stop(stack: Stack, name: str) -> None:
    arn = stack.deploying.deployment_state_machine_arn.replace(":stateMachine:", ":execution:")
    stack.stepfunctions.stop_execution(executionArn=f"{arn}:{name}")


# --- Approved ---


def test_approval_starts_a_deployment_with_all_it_needs(stack: Stack, registry: Registry) -> None:
    created = registry.create()
    arn = created["detail"]["ModelPackageArn"]

    assert deliver(stack, created).outcome == "noted"
    result = deliver(stack, registry.approve(arn))

    assert (result.outcome, result.fleet, result.version) == ("started", "FD001", 1)
    assert deployments(stack) == ["FD001-v1-1"]
    assert result.execution_arn.endswith(":onwing-deployment:FD001-v1-1")
    assert input_of(stack, "FD001-v1-1") == {
        "fleet": "FD001",
        "version": 1,
        "package_arn": arn,
        "request": 1,
        "approved_at": "2026-11-23T10:00:20.000Z",
        "trigger": "approval",
        "strategy": {
            "name": "canary",
            "stages": [10, 50],
            "bake_seconds": 300,
            "soak_seconds": 3600,
            "hold": False,
            "shadow": False,
        },
    }
    record = item(stack, "APPROVAL#000001")
    assert (record["status"], record["state"], record["approvals"], record["request"]) == (
        "Approved",
        "started",
        "1",
        "1",
    )
    assert record["execution_arn"] == result.execution_arn


def test_package_registered_as_approved_is_deployed(stack: Stack, registry: Registry) -> None:
    assert deliver(stack, registry.create("Approved")).outcome == "started"
    assert deployments(stack) == ["FD001-v1-1"]


def test_repeated_event_and_edits_start_nothing(stack: Stack, registry: Registry) -> None:
    created = registry.create()
    arn = created["detail"]["ModelPackageArn"]
    approved = registry.approve(arn)
    deliver(stack, approved)

    again = [deliver(stack, event) for event in (approved, registry.edit(arn), registry.approve(arn), approved)]

    assert [result.outcome for result in again] == ["already", "already", "already", "stale"]
    assert deployments(stack) == ["FD001-v1-1"]


def test_older_event_that_comes_late_does_nothing(stack: Stack, registry: Registry) -> None:
    created = registry.create()
    arn = created["detail"]["ModelPackageArn"]
    approved, rejected = registry.approve(arn), registry.reject(arn)

    assert deliver(stack, rejected).outcome == "noted"
    assert [deliver(stack, event).outcome for event in (approved, created)] == ["stale", "stale"]
    assert deployments(stack) == []


def test_edit_that_overtakes_the_approval_starts_the_deployment_instead_of_it(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    approved, edited = registry.approve(arn), registry.edit(arn)

    assert [deliver(stack, event).outcome for event in (edited, approved)] == ["started", "stale"]
    assert deployments(stack) == ["FD001-v1-1"]


def test_approving_again_after_a_rollback_deploys_again(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    approved, edited = registry.approve(arn), registry.edit(arn)
    deliver(stack, approved)
    stop(stack, "FD001-v1-1")
    rejected = reject_ourselves(stack, registry, arn)

    assert deliver(stack, edited).outcome == "stale"  # it was late, and says Approved
    assert deliver(stack, approved).outcome == "stale"
    assert deliver(stack, rejected).outcome == "already"
    assert rollbacks(stack) == []
    assert deliver(stack, registry.approve(arn)).outcome == "started"
    assert deployments(stack) == ["FD001-v1-1", "FD001-v1-2"]
    assert input_of(stack, "FD001-v1-2")["request"] == 2


def test_approval_withdrawn_and_given_again_deploys_again(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    changes = (registry.approve, registry.pend, registry.approve, registry.pend)

    outcomes = [deliver(stack, change(arn)).outcome for change in changes]

    assert outcomes == ["started", "noted", "started", "noted"]
    assert deployments(stack) == ["FD001-v1-1", "FD001-v1-2"]
    assert rollbacks(stack) == []


def test_approval_that_was_taken_back_before_its_event_came_starts_nothing(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    approved = registry.approve(arn)
    registry.reject(arn)

    assert deliver(stack, approved).outcome == "stale"
    assert deployments(stack) == []


def test_changes_within_one_second_are_told_apart_by_the_registry(stack: Stack, registry: Registry) -> None:
    registry.resolution = timedelta(seconds=1)  # as in AWS's example of the event
    created = registry.create()
    arn = created["detail"]["ModelPackageArn"]
    approved = registry.approve(arn, after=0.2)
    assert approved["detail"]["LastModifiedTime"] == created["detail"]["LastModifiedTime"]

    assert [deliver(stack, event).outcome for event in (approved, created, approved)] == ["started", "stale", "already"]
    assert deployments(stack) == ["FD001-v1-1"]
    put(stack, "DEPLOYMENT", under_way=json.dumps({"version": 1}))
    rejected = registry.reject(arn, after=0.2)
    assert [deliver(stack, event).outcome for event in (rejected, approved)] == ["stopping", "stale"]
    assert deployments(stack) == ["FD001-v1-1"]


def test_registry_that_has_not_heard_of_the_event_is_asked_again(stack: Stack, registry: Registry) -> None:
    created = registry.create()
    arn = created["detail"]["ModelPackageArn"]
    before = dict(registry.packages[arn])
    approved = registry.approve(arn)
    registry.packages[arn], after = before, registry.packages[arn]

    with pytest.raises(ApprovalError, match="as of before the event"):
        deliver(stack, approved)
    registry.packages[arn] = after
    assert deliver(stack, approved).outcome == "started"


def test_deleted_package_starts_nothing(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    approved = registry.approve(arn)
    del registry.packages[arn]

    assert deliver(stack, approved).outcome == "stale"
    assert deployments(stack) == []


@pytest.mark.parametrize("lost", ["start_execution", "mark_started"])
def test_what_died_between_claim_and_start_is_carried_on_by_the_redelivery(
    stack: Stack, registry: Registry, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    put(stack, "APPROVAL#000001", strategy='{"name": "ab", "stages": [20]}')
    approved = registry.approve(arn)

    def die(*_: Any, **__: Any) -> None:
        raise TimeoutError("the function's time is up")

    with monkeypatch.context() as patch:
        if lost == "start_execution":
            patch.setattr(clients.stepfunctions(), "start_execution", die)
        else:
            patch.setattr(approvals.approval_records, "mark_started", die)
        with pytest.raises(TimeoutError):
            deliver(stack, approved)
    assert item(stack, "APPROVAL#000001")["state"] == "starting"
    edited = registry.edit(arn)

    assert deliver(stack, edited).outcome == "started"
    assert deliver(stack, approved).outcome == "stale"
    assert deployments(stack) == ["FD001-v1-1"]
    assert input_of(stack, "FD001-v1-1")["request"] == 1
    assert input_of(stack, "FD001-v1-1")["strategy"]["name"] == "ab"
    assert input_of(stack, "FD001-v1-1")["approved_at"] == "2026-11-23T10:00:20.000Z"
    assert item(stack, "APPROVAL#000001")["state"] == "started"


def test_execution_that_ended_before_the_redelivery_counts_as_started(
    stack: Stack, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    approved = registry.approve(arn)
    with monkeypatch.context() as patch:
        patch.setattr(approvals.approval_records, "mark_started", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deliver(stack, approved)
    stop(stack, "FD001-v1-1")

    assert deliver(stack, approved).outcome == "started"
    assert deployments(stack) == ["FD001-v1-1"]


def test_name_of_an_earlier_stacks_execution_is_passed_over(stack: Stack, registry: Registry) -> None:
    machine = stack.deploying.deployment_state_machine_arn
    stack.stepfunctions.start_execution(stateMachineArn=machine, name="FD001-v1-1", input='{"request": 7}')
    event = registry.create("Approved")

    result = deliver(stack, event)

    assert result.execution_arn.endswith(":FD001-v1-2")
    assert item(stack, "APPROVAL#000001")["approvals"] == "2"
    assert deliver(stack, event).outcome == "already"
    assert deployments(stack) == ["FD001-v1-1", "FD001-v1-2"]


def test_each_fleet_counts_its_own_requests(stack: Stack, registry: Registry) -> None:
    for group in ("onwing-FD001", "onwing-FD001", "onwing-FD002"):
        deliver(stack, registry.create("Approved", group=group))

    assert item(stack, "REQUESTS")["newest"] == "2"
    assert item(stack, "REQUESTS", "FD002")["newest"] == "1"
    assert deployments(stack) == ["FD001-v1-1", "FD001-v2-1", "FD002-v1-1"]


def test_approval_whose_event_comes_after_a_newer_ones_cannot_win_over_it(stack: Stack, registry: Registry) -> None:
    older, newer = registry.create("Approved"), registry.create("Approved")

    for event in (newer, older, newer):
        deliver(stack, event)

    assert input_of(stack, "FD001-v2-1")["request"] == 1
    assert input_of(stack, "FD001-v1-1")["request"] == 0
    assert item(stack, "REQUESTS")["newest"] == "1"


# --- strategies ---


def test_strategy_asked_for_is_completed_and_used_once(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    put(stack, "APPROVAL#000001", strategy='{"name": "shadow", "soak_seconds": 60}')

    deliver(stack, registry.approve(arn))
    reject_ourselves(stack, registry, arn)
    deliver(stack, registry.approve(arn))

    first, second = (input_of(stack, f"FD001-v1-{k}")["strategy"] for k in (1, 2))
    assert first == {
        "name": "shadow",
        "stages": [10, 50],
        "bake_seconds": 300,
        "soak_seconds": 60,
        "hold": True,
        "shadow": True,
    }
    assert second["name"] == "canary"
    assert "strategy" not in item(stack, "APPROVAL#000001")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Expecting property name"),
        ('"canary"', "not a JSON object"),
        ('{"name": "blue-green"}', "'shadow', not 'blue-green'"),
        ('{"name": "ab"}', "stages: Field required"),
        ('{"name": "ab", "stages": [10, 50]}', "one stage"),
        ('{"name": "canary", "stages": [50, 10]}', "larger than the one before"),
        ('{"name": "canary", "stages": [100]}', "less than 100"),
        ('{"name": "canary", "bake": 3}', "bake: Extra inputs"),
        ('{"name": "canary", "hold": true}', "do not belong"),
    ],
)
def test_strategy_that_cannot_be_read_refuses_the_approval_and_says_why(
    stack: Stack, registry: Registry, text: str, says: str
) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    put(stack, "APPROVAL#000001", strategy=text)
    approved = registry.approve(arn)

    result = deliver(stack, approved)

    assert result.outcome == "refused"
    assert says in result.message
    assert registry.packages[arn]["ModelApprovalStatus"] == "Rejected"
    assert says in registry.packages[arn]["ApprovalDescription"]
    [alert] = stack.alerts()
    assert says in alert["Message"]
    assert alert["MessageAttributes"]["kind"]["Value"] == "refused"
    # Its own rejection is no person's, and a repetition starts nothing.
    own = registry.edit(arn)
    assert [deliver(stack, event).outcome for event in (own, approved)] == ["already", "stale"]
    assert (deployments(stack), rollbacks(stack), stack.alerts()) == ([], [], [])
    assert deliver(stack, registry.approve(arn)).outcome == "started"


@pytest.mark.parametrize("lost", ["update_model_package", "publish"])
def test_refusal_that_died_half_way_is_carried_on(
    stack: Stack, registry: Registry, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    put(stack, "APPROVAL#000001", strategy="{}")
    approved = registry.approve(arn)
    with monkeypatch.context() as patch:
        patch.setattr(registry if lost == "update_model_package" else approvals.alerts, lost, lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deliver(stack, approved)

    assert deliver(stack, approved).outcome == "refused"
    assert registry.packages[arn]["ModelApprovalStatus"] == "Rejected"
    assert len(stack.alerts()) == 1
    assert deployments(stack) == []


# --- Rejected ---


def test_rejection_stops_the_deployment_that_is_under_way_once(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    deliver(stack, registry.approve(arn))
    put(stack, "DEPLOYMENT", under_way=json.dumps({"version": 1, "phase": "canary"}))
    rejected = registry.reject(arn, ApprovalDescription="looks  odd\nto me")

    result = deliver(stack, rejected)
    assert deliver(stack, rejected).outcome == "already"

    assert result.outcome == "stopping"
    [document] = rollbacks(stack)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(document.pop("decided_at"))) < timedelta(minutes=1)
    assert document == {
        "fleet": "FD001",
        "trigger": "rejected",
        "version": 1,
        "reason": "rejected in the Model Registry: looks odd to me",
    }
    assert stack.alerts() == []  # the rollback tells


def test_rejection_stops_a_deployment_that_waits_for_its_turn(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    deliver(stack, registry.approve(arn))
    put(stack, "DEPLOYMENT", under_way=json.dumps({"version": 7}))

    assert deliver(stack, registry.reject(arn)).outcome == "stopping"
    assert [document["version"] for document in rollbacks(stack)] == [1]


def test_rejection_that_died_before_its_record_is_carried_on(
    stack: Stack, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    deliver(stack, registry.approve(arn))
    rejected = registry.reject(arn)
    with monkeypatch.context() as patch:
        patch.setattr(approvals.approval_records, "record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deliver(stack, rejected)

    assert deliver(stack, rejected).outcome == "stopping"
    assert len(rollbacks(stack)) == 1


def test_rejection_reaches_a_deployment_whose_package_was_deleted(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    deliver(stack, registry.approve(arn))
    rejected = registry.reject(arn)
    del registry.packages[arn]

    assert deliver(stack, rejected).outcome == "stopping"
    assert rollbacks(stack)[0]["reason"].endswith("no reason given")


def test_reason_is_the_registrys_where_the_event_has_none(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    deliver(stack, registry.approve(arn))
    rejected = registry.reject(arn, ApprovalDescription="too slow")
    del rejected["detail"]["ApprovalDescription"]

    deliver(stack, rejected)

    assert rollbacks(stack)[0]["reason"] == "rejected in the Model Registry: too slow"


def test_champion_that_is_rejected_goes_on_serving_and_people_are_told_how_to_go_back(
    stack: Stack, registry: Registry
) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    deliver(stack, registry.approve(arn))
    stop(stack, "FD001-v1-1")
    put(stack, "DEPLOYMENT", champion=json.dumps({"version": 1}))
    rejected = registry.reject(arn, ApprovalDescription="drifts")

    assert [deliver(stack, rejected).outcome for _ in range(2)] == ["noted", "already"]

    assert rollbacks(stack) == []
    [alert] = stack.alerts()
    assert "onwing rollback FD001" in alert["Message"]
    assert "drifts" in alert["Message"]
    assert alert["MessageAttributes"]["severity"]["Value"] == "info"


def test_rejection_of_what_was_never_deployed_is_noted_only(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    put(stack, "DEPLOYMENT", champion=json.dumps({"version": 7}))

    assert deliver(stack, registry.reject(arn)).outcome == "noted"
    assert (rollbacks(stack), stack.alerts()) == ([], [])


# --- other events ---


@pytest.mark.parametrize(
    "group", ["onwing", "onwing-", "onwing2-FD001", "onwing-FD001-test", "other", "onwing-" + 11 * "F"]
)
def test_package_of_another_project_is_ignored(stack: Stack, registry: Registry, group: str) -> None:
    assert deliver(stack, registry.create("Approved", group=group)).outcome == "ignored"
    assert deployments(stack) == []


def test_package_without_a_group_is_ignored(stack: Stack, registry: Registry) -> None:
    event = registry.create("Approved")
    for described in (event["detail"], registry.packages[event["detail"]["ModelPackageArn"]]):
        del described["ModelPackageGroupName"], described["ModelPackageVersion"]

    assert deliver(stack, event).outcome == "ignored"


@pytest.mark.parametrize("status", [None, "InReview"])
def test_status_that_is_none_of_the_three_is_ignored(stack: Stack, registry: Registry, status: str | None) -> None:
    event = registry.create("Approved")
    event["detail"]["ModelApprovalStatus"] = status

    assert deliver(stack, event).outcome == "ignored"


def test_missing_group_version_and_arn_are_looked_up(stack: Stack, registry: Registry) -> None:
    event = registry.create("Approved")
    for name in ("ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn"):
        del event["detail"][name]

    assert deliver(stack, event).outcome == "started"
    assert deployments(stack) == ["FD001-v1-1"]


TIMES = ["2026-11-23T10:00:20.5Z", "2026-11-23T11:00:20.500+01:00", "2026-11-23T10:00:20.5", 1795428020.5]


@pytest.mark.parametrize("time", [*TIMES, 1795428020500, "1795428020500", "1795428020.5"])
def test_time_is_read_in_every_form(time: object) -> None:
    detail = {"ModelPackageArn": "arn:x", "LastModifiedTime": time}

    change = PackageStateChange.model_validate({"detail": detail})
    sent = PackageStateChange.model_validate({"time": time, "resources": ["arn:x"], "detail": {}})

    assert change.modified == sent.modified == START + timedelta(seconds=20.5)


@pytest.mark.parametrize("event", [{"detail": {"ModelPackageArn": "arn:x"}}, {"time": 1795428020, "detail": {}}, {}])
def test_event_that_does_not_say_what_or_when_is_an_error(event: Event) -> None:
    with pytest.raises(ValidationError):
        PackageStateChange.model_validate(event)


def test_sample_event_is_read() -> None:
    change = PackageStateChange.model_validate_json((EVENTS / "handle_approval.json").read_text())

    assert (change.detail.group, change.detail.version, change.detail.status) == ("onwing-FD001", 8, "Approved")
    assert change.modified == START


# --- many at once ---


@pytest.fixture
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto checks and writes in steps; AWS carries out each request as a whole."""
    lock = threading.Lock()
    original: Callable[..., Any] = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def one_at_a_time(self: Any, *arguments: Any) -> Any:
        with lock:
            return original(self, *arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", one_at_a_time)


def before_next(monkeypatch: pytest.MonkeyPatch, name: str, other: Callable[[], object]) -> None:
    """Have something else happen just before the next write of this name, once."""
    original = getattr(approvals.approval_records, name)

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(approvals.approval_records, name, original)
        other()
        return original(*arguments)

    monkeypatch.setattr(approvals.approval_records, name, overtaken)


def test_delivery_that_another_overtakes_before_it_claims_starts_nothing(
    stack: Stack, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = registry.create("Approved")
    before_next(monkeypatch, "claim", lambda: deliver(stack, event))

    assert deliver(stack, event).outcome == "already"
    assert deployments(stack) == ["FD001-v1-1"]
    assert item(stack, "REQUESTS")["newest"] == "1"


def test_rejection_that_an_older_approval_overtakes_before_it_is_recorded_stops_that(
    stack: Stack, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    approved = registry.approve(arn)
    before, rejected = dict(registry.packages[arn]), registry.reject(arn)
    after = registry.packages[arn]

    def claimed_while_the_registry_said_approved() -> None:
        registry.packages[arn] = before
        deliver(stack, approved)
        registry.packages[arn] = after

    before_next(monkeypatch, "record", claimed_while_the_registry_said_approved)

    assert deliver(stack, rejected).outcome == "stopping"
    assert item(stack, "APPROVAL#000001")["status"] == "Rejected"
    assert len(rollbacks(stack)) == 1


@pytest.mark.usefixtures("atomic_requests")
def test_deliveries_at_the_same_moment_start_one_deployment(stack: Stack, registry: Registry) -> None:
    arn = registry.create()["detail"]["ModelPackageArn"]
    approved, edited = registry.approve(arn), registry.edit(arn)
    for client in (clients.dynamodb, clients.stepfunctions, clients.sns):
        client()

    with ThreadPoolExecutor(8) as pool:
        outcomes = [r.outcome for r in pool.map(lambda event: deliver(stack, event), [approved, edited] * 8)]

    assert deployments(stack) == ["FD001-v1-1"]
    assert item(stack, "REQUESTS")["newest"] == "1"
    assert set(outcomes) <= {"started", "already", "stale"}


@pytest.mark.usefixtures("atomic_requests")
def test_approvals_of_many_packages_at_once_get_numbers_of_their_own(stack: Stack, registry: Registry) -> None:
    events = [registry.create("Approved") for _ in range(8)]
    moment = events[-1]["detail"]["LastModifiedTime"]
    for event in events:
        event["detail"]["LastModifiedTime"] = moment

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda event: deliver(stack, event), events * 2))

    names = deployments(stack)
    assert sorted(names) == [f"FD001-v{n}-1" for n in range(1, 9)]
    assert sorted(input_of(stack, name)["request"] for name in names) == list(range(1, 9))


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["approve", "reject", "pend", "edit", "reject_ourselves"]),
        st.integers(min_value=0, max_value=30),  # deliver the event of that number, once more or for the first time
    ),
    max_size=25,
)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS, prompt=st.booleans(), seconds=st.booleans())
def test_any_interleaving_deploys_each_transition_at_most_once(
    stack: Stack, registry: Registry, steps: list[str | int], prompt: bool, seconds: bool
) -> None:
    """Whatever happens to a package, in whatever order its events come.

    Deployments never outnumber the true transitions to Approved. With each event delivered at once, and any old one
    after it, they are as many. In the end, when every event has come, the record says what the registry says, and an
    approved package has a deployment that is younger than the control plane's last rejection.
    """
    registry.resolution = timedelta(seconds=1) if seconds else timedelta(milliseconds=1)
    fleet = f"F{len(registry.packages)}"  # hypothesis runs all examples on one stack
    created = registry.create(group=f"onwing-{fleet}")
    arn = created["detail"]["ModelPackageArn"]
    events, transitions, status, at_rejection = [created], 0, "PendingManualApproval", 0

    def started() -> int:
        return sum(name.startswith(f"{fleet}-") for name in deployments(stack))

    if prompt:
        deliver(stack, created)
    for step in steps:
        if isinstance(step, int):
            if step < len(events):
                deliver(stack, events[step])
            continue
        if step == "reject_ourselves":
            if status != "Approved" or not started():
                continue  # the machines reject only what they deploy
            stack.dynamodb.update_item(
                TableName=stack.settings.table_name,
                Key={"pk": {"S": f"FLEET#{fleet}"}, "sk": {"S": "APPROVAL#000001"}},
                UpdateExpression="SET #status = :rejected",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":rejected": {"S": "Rejected"}},
            )
            step, at_rejection = "reject", started()
        events.append(getattr(registry, step)(arn, after=0.3))
        after = registry.packages[arn]["ModelApprovalStatus"]
        transitions += after == "Approved" != status
        status = after
        if prompt:
            deliver(stack, events[-1])
            assert started() == transitions
    for event in events:
        deliver(stack, event)
    assert item(stack, "APPROVAL#000001", fleet)["status"] == status
    assert started() <= transitions
    if status == "Approved":
        assert started() > at_rejection
