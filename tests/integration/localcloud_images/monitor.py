"""A container for Model Monitor, of nothing but the standard library: is every sum of a row below its limit?

It keeps to the container contract: captured data below dataset_source, the baseline's files, reports to output_path,
metrics to a file, and an exit message.
"""

import json
import os
from datetime import datetime
from pathlib import Path

given = dict(os.environ)
ROOT = Path(given.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def place(path: str) -> Path:
    return ROOT / Path(path).relative_to("/opt/ml")


limit = json.loads(place(given["baseline_constraints"]).read_text())["most"]
known = json.loads(place(given["baseline_statistics"]).read_text())
start, end = (datetime.fromisoformat(given[name]) for name in ("start_time", "end_time"))
sums, variants = [], set()
source = place(given["dataset_source"])
for path in sorted(source.rglob("*.jsonl")):
    endpoint, variant, *_hour, _name = path.relative_to(source).parts
    assert endpoint == given["sagemaker_endpoint_name"]
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if start <= datetime.fromisoformat(record["eventMetadata"]["inferenceTime"]) < end:
            variants.add(variant)
            sums += [float(row) for row in record["captureData"]["endpointOutput"]["data"].split()]
violations = [
    {
        "feature_name": "sum",
        "constraint_check_type": "baseline_drift_check",
        "description": f"{value} is above {limit}; the mean was {known['mean']}",
    }
    for value in sums
    if value > limit
]
output = place(given["output_path"])
(output / "constraint_violations.json").write_text(json.dumps({"violations": violations}))
(output / "statistics.json").write_text(json.dumps({"records": len(sums), "variants": sorted(variants)}))
if given["publish_cloudwatch_metrics"] == "Enabled":
    metrics = ROOT / "output/metrics/cloudwatch"
    metrics.mkdir(parents=True)
    metric = {
        "MetricName": "feature_baseline_drift_sum",
        "Timestamp": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "Dimensions": [
            {"Name": "Endpoint", "Value": given["sagemaker_endpoint_name"]},
            {"Name": "MonitoringSchedule", "Value": given["sagemaker_monitoring_schedule_name"]},
        ],
        "Value": max(sums) / limit,
    }
    (metrics / "cloudwatch_metrics.jsonl").write_text(json.dumps(metric) + "\n")
outcome = f"CompletedWithViolations: Job completed successfully with {len(violations)} violations."
(ROOT / "output").mkdir(exist_ok=True)
(ROOT / "output/message").write_text(outcome if violations else "Completed: Job completed successfully.")
