"""The monitoring job as the container of a Model Monitor schedule: its variables, folders, metrics and messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from turbofan.__main__ import main

from tests import captured
from tests.unit.turbofan_data import Job

# As "Container Contract Inputs" of the developer guide has them, blanks within the times included.
ENVIRONMENT = {
    "dataset_format": '{"sagemakerCaptureJson":{"captureIndexNames":["endpointInput","endpointOutput"]}}',
    "dataset_source": "/opt/ml/processing/endpointdata",
    "start_time": "2026-11-23T11: 00: 00Z",
    "end_time": "2026-11-23T12: 00: 00Z",
    "output_path": "/opt/ml/processing/resultdata",
    "publish_cloudwatch_metrics": "Enabled",
    "sagemaker_endpoint_name": "onwing-FD001",
    "sagemaker_monitoring_schedule_name": "hourly",
    "baseline_statistics": "/opt/ml/processing/baseline/stats/drift.json",
    "baseline_constraints": "/opt/ml/processing/baseline/constraints/constraints.json",
}
INSIDE = datetime(2026, 11, 23, 11, 30, tzinfo=UTC)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    for name, folder in (("drift.json", "stats"), ("constraints.json", "constraints")):
        path = tmp_path / "processing/baseline" / folder / name
        path.parent.mkdir(parents=True)
        path.write_text(captured.baseline_files()[name])
    return Job(tmp_path, monkeypatch)


def capture(job: Job, given: Any, variant: str = "v7", hour: int = 11) -> None:
    folder = job.base / f"processing/endpointdata/onwing-FD001/{variant}/2026/11/23/{hour}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"00-00-000-{len(list(folder.iterdir()))}.jsonl").write_bytes(captured.as_file(given))


def results(job: Job) -> dict[str, Any]:
    report: dict[str, Any] = job.json("processing/resultdata/report.json")
    return report


def test_drift_is_found_as_in_the_control_planes_own_job(job: Job) -> None:
    capture(job, captured.records(captured.biased(captured.histories(20)), when=INSIDE))
    assert job.run("monitor", **ENVIRONMENT) == 0
    report = results(job)
    assert (report["outcome"], report["endpoint"], report["variant"]) == ("violations", "onwing-FD001", "v7")
    assert report["window"] == {"start": "2026-11-23T11:00:00Z", "end": "2026-11-23T12:00:00Z"}
    assert {path.name for path in (job.base / "processing/resultdata").iterdir()} == {
        "report.json",
        "report.html",
        "statistics.json",
        "constraints.json",
        "constraint_violations.json",
        "predictions.csv",
    }
    assert job.message.startswith("CompletedWithViolations: Job completed successfully with ")


def test_only_requests_within_the_window_count(job: Job) -> None:
    capture(job, captured.records(captured.histories(10), when=INSIDE))
    capture(job, captured.records(captured.biased(captured.histories(20)), when=INSIDE.replace(hour=12)), hour=12)
    assert job.run("monitor", **ENVIRONMENT) == 0
    assert (results(job)["outcome"], results(job)["records"]["delivered"]) == ("ok", 10)


def test_metrics_are_written_for_model_monitor_to_publish(job: Job) -> None:
    capture(job, captured.records(captured.biased(captured.histories(20)), when=INSIDE))
    job.run("monitor", **ENVIRONMENT)
    path = job.base / "output/metrics/cloudwatch/cloudwatch_metrics.jsonl"
    metrics = {metric["MetricName"]: metric for metric in map(json.loads, path.read_text().splitlines())}
    assert metrics["DataDrift"] == {
        "MetricName": "DataDrift",
        "Timestamp": "2026-11-23T12:00:00Z",
        "Dimensions": [
            {"Name": "Endpoint", "Value": "onwing-FD001"},
            {"Name": "MonitoringSchedule", "Value": "hourly"},
        ],
        "Value": results(job)["drift"],
    }
    assert metrics["EnginesMonitored"]["Value"] == 20
    assert metrics["feature_non_null_s4"]["Value"] == 1.0
    assert metrics["feature_baseline_drift_s4"]["Value"] > metrics["feature_baseline_drift_s15"]["Value"]


def test_no_metrics_when_they_are_disabled_and_no_drift_metric_without_a_verdict(job: Job) -> None:
    capture(job, captured.records(captured.histories(2), when=INSIDE))
    job.run("monitor", **{**ENVIRONMENT, "publish_cloudwatch_metrics": "Disabled"})
    path = job.base / "output/metrics/cloudwatch/cloudwatch_metrics.jsonl"
    assert not path.exists()
    job.run("monitor", **ENVIRONMENT)
    names = [json.loads(text)["MetricName"] for text in path.read_text().splitlines()]
    assert "DataDrift" not in names
    assert "WindowsInsufficient" in names


def test_all_variants_are_judged_as_one_unless_one_is_named(job: Job) -> None:
    capture(job, captured.records(captured.histories(10), when=INSIDE))
    capture(job, captured.records(captured.histories(10, first=10), when=INSIDE), variant="v8")
    job.run("monitor", **ENVIRONMENT)
    assert (results(job)["variant"], results(job)["engines"]) == ("v7, v8", 20)
    job.run("monitor", VARIANT="v8", **ENVIRONMENT)
    assert (results(job)["variant"], results(job)["engines"]) == ("v8", 10)


def test_schedule_need_not_name_the_job(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    capture(job, captured.records(captured.histories(10), when=INSIDE))
    environment = {**os.environ, **ENVIRONMENT, "SAGEMAKER_BASE_DIR": str(job.base)}
    subprocess.run([sys.executable, "-m", "turbofan"], env=environment, check=True, timeout=120)
    assert results(job)["outcome"] == "ok"
    monkeypatch.setattr(sys, "argv", ["turbofan"])
    with pytest.raises(SystemExit):  # without a schedule, no argument is wrong usage
        main()


def test_missing_baseline_fails_the_job_with_a_message(job: Job) -> None:
    without = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("baseline_")}
    assert job.run("monitor", **without) == 1
    assert "there is no drift.json" in job.message
    assert "baseline_statistics" in job.message


def test_baseline_may_stand_in_either_place(job: Job) -> None:
    swapped = {
        **ENVIRONMENT,
        "baseline_statistics": "/opt/ml/processing/baseline/constraints",
        "baseline_constraints": "/opt/ml/processing/baseline/stats",
    }
    capture(job, captured.records(captured.histories(10), when=INSIDE))
    assert job.run("monitor", **swapped) == 0
    assert results(job)["outcome"] == "ok"
