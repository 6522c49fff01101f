"""Engines fail, their true RUL is uploaded: the next run of monitoring says how good the model was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests import captured
from tests.deployed import Deployed, until
from tests.integration.rollouts import Rollout, now
from tests.integration.test_monitoring import Monitored
from tests.packages import fleet_items

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)

ENGINES = 12
SPREAD = 8.0  # cycles: the registered model's errors


@pytest.fixture
def asked(deployed: Deployed, fleet: str) -> Monitored:
    """An endpoint that has answered for engines, whose predictions a first run of monitoring has kept."""
    rollout = Rollout(deployed, fleet)
    rollout.serve()
    captured.put_baseline(deployed, fleet)
    put_registered(deployed, rollout.champion)
    monitored = Monitored(deployed, fleet)
    monitored.deliver(engines())
    assert [window["kind"] for window in monitored.run()] == ["data"]
    assert predictions(monitored)
    return monitored


def engines(older: int = 0) -> list[Any]:
    """Engines at different ages, from 40 to 95 cycles, or so many cycles `older`."""
    old = [rows for rows in captured.histories() if len(rows) >= 100]
    return [rows[: 40 + older + 5 * place] for place, rows in enumerate(old[:ENGINES])]


def put_registered(deployed: Deployed, champion: dict[str, Any]) -> None:
    """predictions.csv in the folder of the model's evaluation, as the evaluation job leaves it."""
    package = deployed.client("sagemaker").describe_model_package(ModelPackageName=champion["package_arn"])
    uri = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    random = np.random.default_rng(1)
    true = random.uniform(5, 120, 100).round()
    lines = ["unit,cycles,true_rul,predicted_rul"]
    lines += [
        f"{unit},{20 + unit},{rul:.0f},{rul + error:.3f}"
        for unit, (rul, error) in enumerate(zip(true, random.normal(0, SPREAD, 100), strict=True), 1)
    ]
    body = "\n".join(lines).encode()
    deployed.client("s3").put_object(Bucket=bucket, Key=key.replace("report.json", "predictions.csv"), Body=body)


def predictions(monitored: Monitored) -> list[list[str]]:
    """The captured predictions of the champion: unit, cycle, rul, …"""
    prefix = f"monitoring/predictions/{monitored.endpoint}/v1/"
    texts = [monitored.deployed.read(key).decode() for key in monitored.deployed.keys(prefix)]
    return [line.split(",") for text in texts for line in text.splitlines()[1:]]


def upload(monitored: Monitored, name: str, text: str) -> None:
    """Ground truth, as a person uploads it."""
    monitored.deployed.client("s3").put_object(
        Bucket=monitored.deployed.outputs["BucketName"],
        Key=f"monitoring/ground-truth/{monitored.fleet}/{name}",
        Body=text.encode(),
    )
    captured.wait_for_window()


def truth(monitored: Monitored, late: float) -> str:
    """Engines that fail so many cycles earlier than was predicted, give or take the registered errors."""
    errors = np.random.default_rng(2).normal(0, SPREAD / 2, ENGINES)
    rows = [
        f"{unit},{cycle},{max(0.0, float(rul) - late + error):.1f}"
        for (unit, cycle, rul, *_), error in zip(predictions(monitored), errors, strict=True)
    ]
    return "\n".join(["unit,cycle,rul", *rows]) + "\n"


def quality(monitored: Monitored) -> dict[str, Any]:
    """The report of the one window of quality that a run judges."""
    [window] = [window for window in monitored.run() if window["kind"] == "quality"]
    record = monitored.item("QUALITY#v1")["last"]
    assert record["outcome"] == window["outcome"]
    report: dict[str, Any] = json.loads(monitored.deployed.read(f"{record['report']}report.json"))
    assert report["outcome"] == record["outcome"]
    return report | {"folder": record["report"]}


def test_model_that_predicts_what_happened_is_as_good_as_registered(asked: Monitored) -> None:
    upload(asked, "september.csv", truth(asked, late=0))
    report = quality(asked)
    assert (report["outcome"], report["engines"], report["records"]["used"]) == ("ok", ENGINES, ENGINES)
    violations = json.loads(asked.deployed.read(f"{report['folder']}constraint_violations.json"))
    assert violations["violations"] == []
    assert "As good as registered" in asked.deployed.read(f"{report['folder']}report.html").decode()
    assert [window for window in asked.run() if window["kind"] == "quality"] == []  # the same truth is not judged again


def test_model_that_is_late_is_a_violation_and_alerts(asked: Monitored) -> None:
    upload(asked, "september.csv", truth(asked, late=45))
    report = quality(asked)
    assert (report["outcome"], report["cause"], report["severity"]) == ("violations", "model", "severe")
    violations = json.loads(asked.deployed.read(f"{report['folder']}constraint_violations.json"))["violations"]
    assert {"rmse", "bias"} <= {each["metric_name"] for each in violations}
    assert asked.metric("DataDrift") == [record["drift"] for record in asked.closed() if record["kind"] == "data"]
    alert = asked.deployed.alert(asked.fleet, "Worse than registered")
    assert alert["MessageAttributes"]["kind"]["Value"] == "model_quality"


def test_truth_of_few_engines_is_no_verdict_until_there_is_more(asked: Monitored) -> None:
    lines = truth(asked, late=45).splitlines()
    upload(asked, "first.csv", "\n".join(lines[:3]) + "\n")
    report = quality(asked)
    assert (report["outcome"], report["engines"]) == ("insufficient", 2)
    assert not asked.deployed.keys(f"{report['folder']}constraint_violations.json")
    upload(asked, "second.csv", "\n".join([lines[0], *lines[3:]]) + "\n")
    assert quality(asked)["outcome"] == "violations"


def test_predictions_of_a_window_that_failed_are_joined_with_the_truth_that_came_before_them(asked: Monitored) -> None:
    asked.deliver(engines(older=2))
    upload(asked, "september.csv", truth(asked, late=0))
    asked.deployed.plan(asked.fleet, monitor="no space left on device")
    asked.fails()
    first = asked.item("QUALITY#v1")["last"]
    assert (first["outcome"], first["records"]) == ("ok", ENGINES)

    asked.deployed.plan(asked.fleet)
    assert [(window["kind"], window["outcome"]) for window in asked.run()] == [("data", "ok")]
    report = quality(asked)
    assert (report["engines"], report["records"]["used"]) == (ENGINES, 2 * ENGINES)
    assert report["folder"] > first["report"]
    assert [window for window in asked.run() if window["kind"] == "quality"] == []


def test_broken_truth_is_told_and_stops_nothing(asked: Monitored) -> None:
    upload(asked, "good.csv", truth(asked, late=0))
    upload(asked, "broken.csv", "unit,cycle,rul\n17,two hundred,0\n")
    report = quality(asked)
    assert report["outcome"] == "ok"
    assert [problem["where"] for problem in report["problems"]] == ["broken.csv"]
    alert = asked.deployed.alert(asked.fleet, "broken.csv")
    assert "two hundred" in alert["Message"]
    window = report["folder"].rstrip("/").rpartition("/")[2]
    assert f"onwing drift report {asked.fleet} --window {window} --variant v1 --quality" in alert["Message"]


def test_truth_meets_a_model_that_serves_no_more_and_nothing_is_rolled_back(asked: Monitored) -> None:
    deployed, fleet = asked.deployed, asked.fleet
    rollout = Rollout(deployed, fleet)
    rollout.record(champion=rollout.make(config=False) | {"since": now()})  # two promotions later
    upload(asked, "september.csv", truth(asked, late=45))
    upload(asked, "broken.csv", "unit,cycle,rul\n17,two hundred,0\n")
    report = quality(asked)
    assert (report["outcome"], report["severity"], report["engines"]) == ("violations", "severe", ENGINES)
    alert = deployed.alert(fleet, "Worse than registered")
    assert alert["MessageAttributes"]["kind"]["Value"] == "model_quality"

    def decided() -> list[str] | None:
        """Each report comes as an event of its own, and is told before it is recorded."""
        items = fleet_items(deployed, fleet, "VIOLATION#").values()
        found = sorted(item["record"]["decision"] for item in items if item["state"] == "done")
        return found if len(found) >= 2 else None

    found = until("both reports are decided on", decided, seconds=180)
    assert found == ["alert", "none"]  # its traffic was in order
    assert deployed.alerts(f"{fleet}: v1, some of the ground truth") == []  # who serves tells that
