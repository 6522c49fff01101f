"""Reconciliation on the embedded cloud: events are really lost, things really deleted, and put in order again.

The stack is this module's own, for the reconciliation looks at all of it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config

from onwing.errors import Exit
from tests.conftest import make_trio
from tests.deployed import Deployed, deploy, new_fleet, until
from tests.integration.deployments import QUICK, deploy_first, ended, history
from tests.integration.rollouts import Rollout
from tests.packages import DATASET_VERSION, approve, fleet_items, register

from .test_onwing_operations import Operator

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)

ALARM_MEMBERS = (
    "AlarmDescription ActionsEnabled OKActions AlarmActions MetricName Namespace Statistic Dimensions Period "
    "EvaluationPeriods Threshold ComparisonOperator TreatMissingData"
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The stack, with monitoring's schedule on and the others off."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "sam"
    with deploy(tmp_path_factory.mktemp("reconcile"), shared, MonitoringSchedule="ENABLED") as deployed:
        yield deployed


@functools.cache
def patient_client(endpoint: str, region: str) -> Any:
    """A client that waits for an answer as long as it takes: to ask twice would be a second run."""
    session: Any = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=region)
    return session.client(
        "lambda", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}, read_timeout=600)
    )


def reconcile(stack: Deployed, **request: Any) -> dict[str, Any]:
    """Invoke the function; nothing counts as young, for tests do not wait a quarter of an hour."""
    response = patient_client(stack.cloud.endpoint, stack.cloud.running.region).invoke(
        FunctionName=stack.outputs["ReconcileFunctionName"], Payload=json.dumps({"grace_seconds": 0, **request})
    )
    answer = json.loads(response["Payload"].read())
    assert "FunctionError" not in response, answer
    return dict(answer)


def findings(stack: Deployed, text: str, **request: Any) -> list[dict[str, Any]]:
    """What is found about a fleet."""
    found = reconcile(stack, **request)["findings"]
    assert [each for each in found if each["what"] == "check"] == []
    return [each for each in found if text in each["message"]]


@contextlib.contextmanager
def lost_events(stack: Deployed, function: str, *marks: str) -> Iterator[None]:
    """Events that would have invoked a function are lost: at the end all that hold one of these texts have gone by.

    Events are sent in the background, and nothing tells when one that nobody wants has gone by. So a second rule wants
    the same: it is the newest, whose turn comes after the disabled one's.
    """
    events = stack.client("events")
    [rule] = [each for each in events.list_rules()["Rules"] if function in each["Name"]]
    name = f"witness-{uuid.uuid4().hex[:8]}"
    seen = witness(stack, name, rule["EventPattern"])
    events.disable_rule(Name=rule["Name"])
    try:
        yield
        bodies: list[str] = []

        def gone_by() -> bool | None:
            bodies.extend(
                each["Body"] for each in stack.client("sqs").receive_message(QueueUrl=seen).get("Messages", [])
            )
            return all(any(mark in body for body in bodies) for mark in marks) or None

        until(f"events with {marks} have gone by", gone_by, seconds=180)
    finally:
        events.remove_targets(Rule=name, Ids=["queue"])
        events.delete_rule(Name=name)
        events.enable_rule(Name=rule["Name"])


def witness(stack: Deployed, name: str, pattern: str) -> str:
    """A rule that gives events to a queue; the queue's address."""
    sqs, events = stack.client("sqs"), stack.client("events")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    may_send = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    events.put_rule(Name=name, EventPattern=pattern)
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return str(url)


def put_baseline(stack: Deployed, fleet: str) -> str:
    """As much as is looked at of the baseline of the data set that the packages of tests are of; drift.json's key."""
    folder = f"monitoring/baseline/{fleet}/{DATASET_VERSION}/"
    for name, body in (("drift.json", b'{"calibrated": true}'), ("constraints.json", b"{}")):
        stack.client("s3").put_object(Bucket=stack.outputs["BucketName"], Key=folder + name, Body=body)
    return f"{folder}drift.json"


def served(stack: Deployed) -> str:
    """A fleet whose champion serves, and lacks nothing."""
    fleet = new_fleet()
    deploy_first(stack, fleet)
    put_baseline(stack, fleet)
    return fleet


def alarms(stack: Deployed, fleet: str) -> dict[str, dict[str, Any]]:
    """The alarms of a fleet's endpoint: what makes them what they are."""
    found = stack.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"onwing-{fleet}-")["MetricAlarms"]
    return {each["AlarmName"]: {name: each.get(name) for name in ALARM_MEMBERS.split()} for each in found}


# --- coverage: what the issue of monitoring promises ---


def checks(coverage: dict[str, Any], fleet: str) -> dict[str, bool]:
    [found] = [each for each in coverage["endpoints"] if each["fleet"] == fleet]
    assert found["covered"] == all(check["passed"] for check in found["checks"])
    return {check["check"]: check["passed"] for check in found["checks"]}


def failing(stack: Deployed, fleet: str) -> set[str]:
    """What a fleet's endpoint lacks."""
    coverage = reconcile(stack, coverage_only=True)["coverage"]
    return {name for name, passed in checks(coverage, fleet).items() if not passed}


def test_every_endpoint_that_serves_has_capture_schedule_alarms_and_baseline(stack: Deployed) -> None:
    fleets = [served(stack), served(stack)]

    coverage = reconcile(stack, coverage_only=True)["coverage"]

    assert coverage["percent"] == 100
    assert {each["endpoint"] for each in coverage["endpoints"]} >= {f"onwing-{fleet}" for fleet in fleets}
    for fleet in fleets:
        assert set(checks(coverage, fleet)) == {"capture", "schedule", "alarms", "baseline", "monitored"}
    sagemaker = stack.client("sagemaker")
    serving = {
        each["EndpointName"]
        for each in sagemaker.list_endpoints(MaxResults=100)["Endpoints"]
        if each["EndpointStatus"] == "InService"
    }
    assert {each["endpoint"] for each in coverage["endpoints"]} == serving

    broken, whole = fleets
    s3, bucket = stack.client("s3"), stack.outputs["BucketName"]
    baseline = f"monitoring/baseline/{broken}/{DATASET_VERSION}/drift.json"
    s3.delete_object(Bucket=bucket, Key=baseline)
    assert failing(stack, broken) == {"baseline"}
    percent = reconcile(stack, coverage_only=True)["coverage"]["percent"]
    assert percent == round(100 * (len(serving) - 1) / len(serving), 1)
    put_baseline(stack, broken)

    stack.client("cloudwatch").delete_alarms(AlarmNames=[f"onwing-{broken}-v1-errors-5xx"])
    assert failing(stack, broken) == {"alarms"}
    stack.client("cloudwatch").delete_alarms(AlarmNames=[f"onwing-{whole}-data-drift"])
    assert failing(stack, whole) == {"alarms"}
    assert all(each["repaired"] for each in findings(stack, "-data-drift"))

    record = {"pk": {"S": f"FLEET#{broken}"}, "sk": {"S": "DEPLOYMENT"}}
    for flag, expected in ((False, {"monitored"}), (True, set())):
        stack.client("dynamodb").update_item(
            TableName=stack.outputs["TableName"],
            Key=record,
            UpdateExpression="SET monitored = :flag",
            ExpressionAttributeValues={":flag": {"BOOL": flag}},
        )
        assert failing(stack, broken) == expected

    scheduler = stack.client("scheduler")
    schedule = scheduler.get_schedule(Name="onwing-monitoring")
    members = {name: schedule[name] for name in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
    scheduler.update_schedule(**members, State="DISABLED")
    assert failing(stack, whole) == {"schedule"}
    assert reconcile(stack, coverage_only=True)["coverage"]["percent"] == 0
    [finding] = findings(stack, "onwing-monitoring", report_only=True)
    assert (finding["what"], finding["repaired"]) == ("schedule", False)
    scheduler.update_schedule(**members, State="ENABLED")

    serving_config = sagemaker.describe_endpoint(EndpointName=f"onwing-{broken}")["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=serving_config)["ProductionVariants"]
    name = f"uncaptured-{uuid.uuid4().hex[:8]}"
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    rollout = Rollout(stack, broken)
    rollout.update(name)
    assert failing(stack, broken) == {"capture"}
    problems = {each["what"]: each for each in findings(stack, f"onwing-{broken}", report_only=True)}
    assert name in problems["endpoint"]["problem"]  # another configuration than recorded
    assert "Data Capture" in problems["capture"]["problem"]
    rollout.update(serving_config)
    assert reconcile(stack, coverage_only=True)["coverage"]["percent"] == 100


def test_coverage_is_quick(stack: Deployed) -> None:
    reconcile(stack, coverage_only=True)  # the function is warm

    begun = time.monotonic()
    reconcile(stack, coverage_only=True)

    assert time.monotonic() - begun < 5


# --- by hand ---


def test_operator_runs_it_and_is_told_what_was_repaired_and_what_is_left(
    stack: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = served(stack)
    operator = Operator(stack, fleet, monkeypatch)
    assert operator.read("reconcile") == {"exit_code": 0, "findings": []}
    assert "Nothing was found" in operator.type("reconcile").output
    before = alarms(stack, fleet)

    stack.client("cloudwatch").delete_alarms(AlarmNames=list(before))
    [found] = operator.read("reconcile")["findings"]

    assert (found["what"], found["where"], found["repaired"]) == ("alarm", f"onwing-{fleet}", True)
    assert alarms(stack, fleet) == before

    key = put_baseline(stack, fleet)
    stack.client("s3").delete_object(Bucket=stack.outputs["BucketName"], Key=key)
    said = operator.type("reconcile", code=Exit.FAILED).output

    assert f"onwing train --fleet {fleet} --again" in said
    assert "1 left to do, 0 repaired." in said
    put_baseline(stack, fleet)


# --- losses ---


def test_approval_whose_event_was_lost_is_deployed(stack: Deployed, fleet: str) -> None:
    with lost_events(stack, "HandleApproval", '"Approved"'):
        package = register(stack, fleet)
        approve(stack, package, QUICK)
    assert "REQUESTS" not in fleet_items(stack, fleet)
    [reported] = findings(stack, fleet, report_only=True)
    assert (reported["what"], reported["repaired"]) == ("approval", False)

    found = findings(stack, fleet)

    assert [(each["what"], each["where"], each["repaired"]) for each in found] == [("approval", f"{fleet} v1", True)]
    assert stack.alert("reconciliation:", f"{fleet} v1")["Subject"].startswith("[onwing] reconciliation:")
    assert ended(stack, package)["output"]["outcome"] == "promoted"
    assert [each for each in findings(stack, fleet, report_only=True) if each["what"] == "approval"] == []


def test_uploads_whose_events_were_lost_are_trained_on(stack: Deployed, fleet: str) -> None:
    trio = make_trio(fleet)
    with lost_events(stack, "IngestDataset", *trio.files):
        stack.put_trio(trio)
    assert stack.executions(fleet) == []

    found = findings(stack, f"_{fleet}.txt")

    assert [(each["what"], each["repaired"]) for each in found] == [("upload", True)] * 3, found
    described = stack.ended(fleet)
    assert described["status"] == "SUCCEEDED", (described.get("error"), described.get("cause"))
    assert described["output"]["outcome"] == "registered"
    assert findings(stack, fleet, report_only=True) == []


def test_bad_upload_whose_event_was_lost_is_quarantined(stack: Deployed, fleet: str) -> None:
    with lost_events(stack, "IngestDataset", f"train_{fleet}.txt"):
        stack.put(f"train_{fleet}.txt", b"not a table")

    [found] = findings(stack, f"_{fleet}.txt")

    assert found["repaired"]
    assert stack.keys(f"data/raw/train_{fleet}") == []
    assert stack.keys(f"data/quarantine/train_{fleet}.txt") != []


def test_deployment_that_nobody_rolled_back_is_rolled_back(stack: Deployed, fleet: str) -> None:
    rollout = Rollout(stack, fleet)
    champion = rollout.serve()
    rollout.challenge(50)  # its execution does not exist

    [found] = [each for each in findings(stack, f"{fleet} v2") if each["what"] == "deployment"]

    assert found["repaired"], found
    until("the rollback has ended", lambda: True if "LOCK" not in fleet_items(stack, fleet) else None, seconds=400)
    record = fleet_items(stack, fleet)["DEPLOYMENT"]
    assert "under_way" not in record
    assert record["champion"]["version"] == champion["version"]
    assert rollout.settled("InService")["EndpointConfigName"] == champion["config"]
    assert history(stack, fleet)[-1]["kind"] == "rollback"


def test_dead_lock_is_freed_and_the_next_deployment_goes_on(stack: Deployed, fleet: str) -> None:
    rollout = Rollout(stack, fleet)
    rollout.serve()
    rollout.lock(f"{stack.outputs['DeploymentStateMachineArn'].replace(':stateMachine:', ':execution:')}:{fleet}-v9-1")

    [found] = [each for each in findings(stack, fleet) if each["what"] == "lock"]

    assert found["repaired"]
    assert "LOCK" not in fleet_items(stack, fleet)


def test_run_that_was_stopped_is_recorded_as_failed(stack: Deployed, fleet: str) -> None:
    stack.plan(fleet, hold=True)
    stack.put_trio(make_trio(fleet))
    [execution] = until("training runs", lambda: stack.executions(fleet) or None)
    until("it is recorded", lambda: True if stack.version(fleet).get("execution_arn") else None)
    stack.client("stepfunctions").stop_execution(executionArn=execution["executionArn"])

    [found] = findings(stack, fleet)

    assert (found["what"], found["repaired"]) == ("training", True)
    assert stack.version(fleet)["status"] == "failed"
    assert "ABORTED" in stack.version(fleet)["reason"]


def test_alarms_that_were_deleted_are_made_again_as_they_were(stack: Deployed) -> None:
    fleet = served(stack)
    before = alarms(stack, fleet)
    assert len(before) == 6
    stack.client("cloudwatch").delete_alarms(AlarmNames=list(before))

    [found] = findings(stack, f"onwing-{fleet}")

    assert (found["what"], found["repaired"]) == ("alarm", True)
    assert alarms(stack, fleet) == before


def test_report_that_nobody_decided_on_is_decided_on(stack: Deployed) -> None:
    fleet = served(stack)
    start = datetime.now(UTC) - timedelta(hours=1)
    key = f"monitoring/reports/onwing-{fleet}/v1/{start:%Y%m%dT%H%M%SZ}/constraint_violations.json"
    violation = {"feature_name": "s11", "constraint_check_type": "baseline_drift_check", "description": "bias +1.1 σ"}
    with lost_events(stack, "HandleViolation", key):
        stack.client("s3").put_object(
            Bucket=stack.outputs["BucketName"], Key=key, Body=json.dumps({"violations": [violation]}).encode()
        )
    assert fleet_items(stack, fleet, "VIOLATION#") == {}

    [found] = findings(stack, fleet)

    assert (found["what"], found["repaired"]) == ("violations", True), found
    [item] = fleet_items(stack, fleet, "VIOLATION#").values()
    assert item["record"]["report"] == key
    assert findings(stack, fleet) == []


def test_endpoint_that_was_deleted_is_reported(stack: Deployed) -> None:
    fleet = served(stack)
    stack.client("sagemaker").delete_endpoint(EndpointName=f"onwing-{fleet}")
    until("it is gone", lambda: None if Rollout(stack, fleet).exists() else True)

    found = {each["what"]: each for each in findings(stack, f"onwing-{fleet}", report_only=True)}

    assert found["endpoint"]["action"] == f"onwing restore {fleet}"


def test_young_losses_are_left_alone(stack: Deployed, fleet: str) -> None:
    with lost_events(stack, "IngestDataset", f"train_{fleet}.txt"):
        stack.put(f"train_{fleet}.txt", make_trio(fleet).train)

    assert findings(stack, fleet, grace_seconds=900) == []
    stack.client("s3").delete_object(Bucket=stack.outputs["BucketName"], Key=f"data/raw/train_{fleet}.txt")
