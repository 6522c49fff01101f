"""The monitoring job: one window of captured traffic, held against the baseline of the data and of the model.

It judges and names what it sees: broken input (turbofan.schema), then drift of inputs and predictions (turbofan.drift).
What follows from a violation is decided elsewhere, so a violation is a success of this job. It fails only if it cannot
do its work: no baseline, or none that can be read.

It runs as a processing job of the control plane, and as it is as the container of a Model Monitor schedule. Source:
"Container Contract Outputs" and "CloudWatch Metrics for Bring Your Own Containers" in SageMaker's documentation.
"""

from __future__ import annotations

import csv
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cmapss import COLUMNS, MEASUREMENTS

from turbofan import baseline, drift_report, metadata, outcome
from turbofan.capture import Capture, Prediction, Record
from turbofan.container import Paths, is_scheduled
from turbofan.features import Floats
from turbofan.monitor_settings import Settings
from turbofan.schema import SchemaCheck
from turbofan.standard import Standard
from turbofan.traffic import Traffic, histories
from turbofan.truth import PREDICTIONS_HEADER
from turbofan.verdict import judge

DISTRIBUTIONS_SHOWN = 6


def monitor(paths: Paths) -> None:
    """Run the job. Raises TurbofanError."""
    started = time.perf_counter()
    settings = Settings.from_environment(paths)
    standard = Standard.load(settings.baseline, needs_constraints=not is_scheduled())
    capture = Capture(settings.capture, *(settings.interval or ()))
    traffic = Traffic(SchemaCheck(standard.constraints), seed=zlib.crc32(settings.start.encode()))
    with settings.predictions.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(PREDICTIONS_HEADER)

        def keep(record: Record, answered: list[Prediction]) -> None:
            writer.writerows((each.unit, each.cycle, each.rul, record.time, record.event_id) for each in answered)

        traffic.take(capture, keep)
    read = time.perf_counter()

    report = judge(settings, standard, capture, traffic)
    raw, _ = histories(traffic.engines())
    write_window(settings.report, raw, traffic.schema)
    drift_report.write_html(
        report,
        settings.report / "report.html",
        distributions=distributions(report, standard, raw),
        identity=standard.model,
    )
    if settings.metrics is not None:
        write_metrics(settings.metrics, settings, report)
    outcome.write(settings.report, report, paths.message)
    print(
        f"{report['outcome']}: {report['summary']}\n"
        f"{capture.delivered} records in {capture.files} files read in {read - started:.2f} s, judged and written in "
        f"{time.perf_counter() - read:.2f} s",
        flush=True,
    )


def write_window(folder: Path, raw: Floats, schema: SchemaCheck) -> None:
    """statistics.json and constraints.json of the judged rows (n, 26), and of what was wrong with the requests."""
    statistics: dict[str, Any] = {"version": 0.0, "dataset": {"item_count": 0}, "features": []}
    constraints: dict[str, Any] = {"version": 0.0, "features": []}
    if len(raw):
        statistics, constraints = baseline.statistics(raw), baseline.constraints(raw)
    for feature in statistics["features"]:
        feature["numerical_statistics"]["common"]["num_missing"] = schema.missing[feature["name"]]
    for feature in constraints["features"]:
        feature["completeness"] = schema.completeness[feature["name"]]
    statistics[baseline.OURS] = {"requests": schema.requests, "refused": schema.malformed}
    metadata.write_json(folder / "statistics.json", statistics)
    metadata.write_json(folder / "constraints.json", constraints)


def distributions(report: dict[str, Any], standard: Standard, raw: Floats) -> list[drift_report.Distribution]:
    """How the columns that drifted most are distributed, in the baseline's buckets and beyond them."""
    units = {column.name: column.unit for column in MEASUREMENTS}
    worst = dict.fromkeys([*report["affected"]["sensors"], *(feature["name"] for feature in report["features"])])
    buckets = {
        feature["name"]: feature["numerical_statistics"]["distribution"]["kll"]["buckets"]
        for feature in standard.statistics.get("features", [])
    }
    shown = [name for name in worst if name in units and buckets.get(name)][:DISTRIBUTIONS_SHOWN] if len(raw) else []
    return [_distribution(name, units[name], buckets[name], raw[:, COLUMNS.index(name)]) for name in shown]


def _distribution(name: str, unit: str, buckets: list[dict[str, float]], values: Floats) -> drift_report.Distribution:
    edges = [buckets[0]["lower_bound"], *(bucket["upper_bound"] for bucket in buckets)]
    counts = [bucket["count"] for bucket in buckets]
    return drift_report.Distribution.of(name, edges, counts, values.tolist(), f"{name}, {unit}" if unit else name)


def write_metrics(path: Path, settings: Settings, report: dict[str, Any]) -> None:
    """cloudwatch_metrics.jsonl, which Model Monitor publishes in its namespace for endpoints' data metrics."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dimensions = [
        {"Name": "Endpoint", "Value": settings.endpoint},
        {"Name": "MonitoringSchedule", "Value": settings.schedule},
    ]
    with path.open("w", encoding="utf-8") as stream:
        for name, value in _metrics(report):
            metric = {"MetricName": name, "Timestamp": settings.end, "Dimensions": dimensions, "Value": float(value)}
            stream.write(json.dumps(metric) + "\n")


def _metrics(report: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The control plane's metrics, and for each column Model Monitor's own two, by its names."""
    yield "EnginesMonitored", report["engines"]
    yield "RecordsMonitored", report["records"]["used"]
    yield "Violations", len(report["violations"])
    yield "WindowsInsufficient", report["outcome"] == outcome.INSUFFICIENT
    yield "WindowsUnreadable", report["outcome"] == outcome.UNREADABLE
    if report["drift"] is not None:
        yield "DataDrift", report["drift"]
    for name, share in report["input"]["completeness"].items():
        yield f"feature_non_null_{name}", share
    for feature in report["features"]:
        if feature["ks"] is not None:  # a distance between distributions, as Model Monitor's is
            yield f"feature_baseline_drift_{feature['name']}", feature["ks"]
