"""Violations on the embedded cloud: the real template, real events, what a file leads to and what people are told."""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import make_trio
from tests.deployed import ROOT, Deployed, until
from tests.integration.deployments import moment, weights
from tests.integration.rollouts import Rollout, end_of, now
from tests.packages import fleet_items, rows

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)

DRIFT = {"feature_name": "s11", "constraint_check_type": "baseline_drift_check", "description": "bias +1.1 σ"}
STORM = 200
ALERTS = 7
ALERT_SECONDS = 5.0
START = (datetime.now(UTC) - timedelta(days=20)).replace(minute=0, second=0, microsecond=0)
FEEBLE = "the training data cannot be read"


def folder(fleet: str, hour: int, variant: str = "v1") -> str:
    """A report's folder: the window that began so many hours after START."""
    return f"monitoring/reports/onwing-{fleet}/{variant}/{START + timedelta(hours=hour):%Y%m%dT%H%M%SZ}"


def report(severity: str = "moderate", *found: dict[str, str]) -> bytes:
    """The violations file of our monitor."""
    ours = {"kind": "data", "severity": severity, "cause": "drift", "drift": 1.6, "summary": "s11 reads high"}
    return json.dumps({"version": 0.0, "violations": found or [DRIFT], "onwing": ours}).encode()


def put(deployed: Deployed, where: str, content: bytes) -> str:
    """Write a violations file, as a monitoring job does; its version id."""
    response = deployed.client("s3").put_object(
        Bucket=deployed.outputs["BucketName"], Key=f"{where}/constraint_violations.json", Body=content
    )
    return str(response["VersionId"])


def records(deployed: Deployed, fleet: str) -> list[dict[str, Any]]:
    """The records of files that were handled to their end, by window."""
    items = fleet_items(deployed, fleet, "VIOLATION#")
    return [items[name]["record"] for name in sorted(items) if items[name]["state"] == "done"]


def handled(deployed: Deployed, fleet: str, count: int, *, seconds: float = 240) -> list[dict[str, Any]]:
    """Wait until so many files were handled."""

    def probe() -> list[dict[str, Any]] | None:
        found = records(deployed, fleet)
        return found if len(found) >= count else None

    return until(f"{count} files of {fleet} handled", probe, seconds=seconds)


def champion(deployed: Deployed, fleet: str, *, since: str = "") -> None:
    """Write down a champion that has no endpoint: nothing here asks for one. It serves since before START."""
    since = since or f"{START - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    document = {"version": 1, "variant": "v1", "since": since, "dataset_version": "d" * 64}
    Rollout(deployed, fleet).record(champion=document)


def kept_alerts(deployed: Deployed, fleet: str) -> list[dict[str, Any]]:
    """The log of alerts, those of a fleet."""
    pages = deployed.client("dynamodb").get_paginator("query")
    found = pages.paginate(
        TableName=deployed.outputs["TableName"],
        KeyConditionExpression="pk = :alerts",
        ExpressionAttributeValues={":alerts": {"S": "ALERTS"}},
    )
    items = [item for page in found for item in page["Items"]]
    plain = [{name: next(iter(value.values())) for name, value in item.items()} for item in items]
    return [item for item in plain if item["fleet"] == fleet]


def lost_events(deployed: Deployed) -> int:
    """Messages in the dead-letter queue of violations."""
    sqs = deployed.client("sqs")
    [url] = [each for each in sqs.list_queues()["QueueUrls"] if "ViolationDeadLetter" in each]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"])


def test_people_are_told_within_seconds_and_the_alert_is_kept(deployed: Deployed, fleet: str) -> None:
    champion(deployed, fleet)
    seconds, alert = [], {}
    for hour in range(ALERTS):  # the first with the function's start
        sensor = f"s{hour}"
        began = time.monotonic()
        put(deployed, folder(fleet, hour), report("moderate", {**DRIFT, "feature_name": sensor}))
        alert = deployed.alert(f"{fleet} v1: drift ({sensor})")
        seconds.append(time.monotonic() - began)
        handled(deployed, fleet, hour + 1)

    print(f"\nviolation to alert: {', '.join(f'{each:.2f}' for each in seconds)} s")
    assert statistics.median(seconds) < ALERT_SECONDS
    assert alert["TopicArn"] == deployed.outputs["CriticalAlertsTopicArn"]
    assert alert["Subject"].endswith(f"window {ALERTS} in a row")
    for part in (
        f"s{ALERTS - 1}: bias +1.1 σ",
        f"since {START:%Y-%m-%dT%H:%M:%SZ}",
        "no complete data set",
        "onwing drift report",
        "s3://",
    ):
        assert part in alert["Message"]
    kept = until("all alerts kept", lambda: found if len(found := kept_alerts(deployed, fleet)) == ALERTS else None)
    assert [(item["kind"], item["severity"]) for item in kept] == [
        ("drift", "warning"),
        *[("drift", "critical")] * (ALERTS - 1),
    ]
    assert alert["Subject"] == kept[-1]["subject"]
    assert int(kept[-1]["expires_at"]) > time.time() + 89 * 86400


def test_repeated_events_change_nothing(deployed: Deployed, fleet: str) -> None:
    champion(deployed, fleet)
    version_id = put(deployed, folder(fleet, 0), report())
    handled(deployed, fleet, 1)
    before = fleet_items(deployed, fleet)
    event = json.loads((ROOT / "events/handle_violation.json").read_text())
    event["detail"]["bucket"]["name"] = deployed.outputs["BucketName"]
    event["detail"]["object"] |= {"key": f"{folder(fleet, 0)}/constraint_violations.json", "version-id": version_id}

    def deliver(_: int) -> dict[str, Any]:
        response = deployed.client("lambda").invoke(
            FunctionName=deployed.outputs["ViolationFunctionName"], Payload=json.dumps(event)
        )
        return dict(json.loads(response["Payload"].read()))

    with ThreadPoolExecutor(4) as pool:
        assert {answer["outcome"] for answer in pool.map(deliver, range(8))} == {"already"}
    assert fleet_items(deployed, fleet) == before
    assert len(deployed.alerts(f"{fleet} v1: drift")) == 1


def test_severe_drift_right_after_a_promotion_gives_the_endpoint_back(deployed: Deployed, fleet: str) -> None:
    rollout = Rollout(deployed, fleet)
    rollout.serve()
    rollout.challenge(100, phase="soak")
    assert weights(deployed, fleet) == {"v1": 0, "v2": 100}
    hour = (datetime.fromisoformat(rollout.challenger["since"]) - START) // timedelta(hours=1)
    for count, earlier in ((1, hour - 2), (2, hour - 1), (3, hour)):  # two that are of another reign, and one
        put(deployed, folder(fleet, earlier, "v2"), report("severe"))
        handled(deployed, fleet, count)
    assert weights(deployed, fleet) == {"v1": 0, "v2": 100}  # one window is not enough
    put(deployed, folder(fleet, hour + 1, "v2"), report("severe"))
    record = handled(deployed, fleet, 4)[-1]

    assert (record["decision"], record["level"], record["consecutive"]) == ("rollback", "critical", 4)
    output = end_of(deployed, record["execution"])["output"]
    assert (output["outcome"], output["version"], output["champion"]) == ("rolled_back", 2, 1)
    assert moment(output["decided_at"]) >= moment(record["at"])
    assert weights(deployed, fleet) == {"v1": 1}
    assert fleet_items(deployed, fleet)["DEPLOYMENT"]["champion"]["version"] == 1
    assert "v1 is being put back" in deployed.alert(f"{fleet} v2: drift", "rollback started")["Message"]
    deployed.alert(f"{fleet}: v2 rolled back to v1", "window 4 in a row with violations, 2 before v2 became champion")
    answer = deployed.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=rollout.endpoint, ContentType="text/csv", Body=rows(1001, 60).encode()
    )
    assert answer["InvokedProductionVariant"] == "v1"


def test_storm_of_violations_trains_once_and_the_next_waits_for_the_cool_down(deployed: Deployed, fleet: str) -> None:
    deployed.plan(fleet, process=FEEBLE)
    deployed.put_trio(make_trio(fleet))
    assert deployed.ended(fleet)["status"] == "FAILED"  # so that there is data nobody was trained on
    champion(deployed, fleet)

    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda hour: put(deployed, folder(fleet, hour), report()), range(STORM)))
    found = handled(deployed, fleet, STORM, seconds=1200)
    print(f"\n{STORM} violations handled in {time.monotonic() - began:.1f} s")

    assert len({record["window"]["id"] for record in found}) == STORM
    [trained] = [record for record in found if record["decision"] == "retrain"]
    assert {record["decision"] for record in found} == {"retrain", "alert"}
    newest = deployed.ended(fleet, count=2)
    assert newest["executionArn"] == trained["execution"]
    assert json.loads(newest["input"])["trigger"] == "violation"
    items = fleet_items(deployed, fleet)
    assert items["EPISODE#v1"]["consecutive"] == STORM
    assert items["RETRAIN"]["execution"] == trained["execution"]
    assert deployed.alert(f"{fleet} v1: drift", "training started")
    assert len(deployed.alerts(f"{fleet} v1: drift")) <= 5

    put(deployed, folder(fleet, STORM), report())
    after = handled(deployed, fleet, STORM + 1)[-1]
    assert after["decision"] == "alert"
    assert "the cool-down is 1 h" in " ".join(after["reasons"])
    assert len(deployed.executions(fleet)) == 2
    assert lost_events(deployed) == 0


def test_model_monitors_layout_is_handled_as_ours(deployed: Deployed, fleet: str) -> None:
    champion(deployed, fleet, since=now())
    entry = {**DRIFT, "description": "Baseline drift distance: 0.41 exceeds threshold: 0.1"}
    for hour in (9, 10):
        where = f"monitoring/reports/onwing-{fleet}/hourly-data/{START + timedelta(hours=hour):%Y/%m/%d/%H}"
        put(deployed, where, json.dumps({"version": 0.0, "violations": [entry]}).encode())
    first, second = handled(deployed, fleet, 2)

    assert {record["source"] for record in (first, second)} == {"model-monitor"}
    assert {record["variant"] for record in (first, second)} == {"v1"}
    assert fleet_items(deployed, fleet)["EPISODE#v1#hourly-data"]["consecutive"] == 2
    deployed.alert(f"{fleet} v1: drift (s11)", "4.10 times its threshold")


@pytest.mark.parametrize("content", [b"", b'{"violations": [', b"[]", b" " * (9 << 20)])
def test_file_that_says_nothing_ends_in_an_alert_and_a_record(deployed: Deployed, fleet: str, content: bytes) -> None:
    put(deployed, folder(fleet, 0), content)
    [record] = handled(deployed, fleet, 1)

    assert record["kind"] == "violations_unreadable"
    alert = deployed.alert(f"{fleet}: a report of violations cannot be used", folder(fleet, 0))
    assert record["reasons"][0].removeprefix("the file ") in alert["Message"]
    assert lost_events(deployed) == 0


def test_package_that_waits_for_approval_is_named_and_nothing_trains_again(deployed: Deployed, fleet: str) -> None:
    deployed.put_trio(make_trio(fleet))
    trained = deployed.ended(fleet)
    assert trained["status"] == "SUCCEEDED", trained.get("cause")
    champion(deployed, fleet)
    for hour in (0, 1):
        put(deployed, folder(fleet, hour), report())

    alert = deployed.alert(f"{fleet} v1: drift (s11), window 2 in a row")
    assert f"onwing approve {fleet}/1" in alert["Message"]
    assert "waits for approval" in alert["Message"]
    assert len(deployed.executions(fleet)) == 1
