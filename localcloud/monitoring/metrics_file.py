"""The metrics that a monitoring job's container leaves in a file go to CloudWatch.

docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-cloudwatch.html: JSON lines close to PutMetricData's, without
a namespace.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud.cloudwatch import metrics
from localcloud.cloudwatch.metrics import Aggregate
from localcloud.store import Scope

logger = logging.getLogger("localcloud.monitoring")

FILE = "output/metrics/cloudwatch/cloudwatch_metrics.jsonl"  # below /opt/ml
# As SageMaker publishes them; the pages of its documentation spell it in three ways.
NAMESPACE = "aws/sagemaker/Endpoints/data-metrics"


def publish(scope: Scope, base: Path, job: str) -> int:
    """Publish the metrics of a job; lines that are none are left out, with a warning in localcloud's log.

    Args:
        base: the container's /opt/ml.
        job: its name, for the log.

    Returns:
        How many were published.
    """
    try:
        lines = (base / FILE).read_text("utf-8").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return 0
    except UnicodeDecodeError:
        logger.warning("%s: %s is not UTF-8; none of its metrics is published", job, FILE)
        return 0
    count = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            _put(scope, json.loads(line))
            count += 1
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("%s: line %d of %s is no metric (%s): %.200s", job, number, FILE, error, line)
    return count


def _put(scope: Scope, metric: Mapping[str, Any]) -> None:
    name, unit = metric["MetricName"], metric.get("Unit", "None")
    dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}
    moment = datetime.fromisoformat(metric["Timestamp"])
    when = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if ("Value" in metric) == ("StatisticValues" in metric):
        raise ValueError("it needs either Value or StatisticValues")
    if "Value" in metric:
        metrics.put(scope, NAMESPACE, name, float(metric["Value"]), unit, dimensions, when)
        return
    given = metric["StatisticValues"]
    aggregate = Aggregate(
        float(given["SampleCount"]), float(given["Sum"]), float(given["Minimum"]), float(given["Maximum"]), None
    )
    metrics.STORE.put_aggregate(scope, NAMESPACE, name, aggregate, unit, dimensions, when)
