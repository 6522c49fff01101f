"""localcloud.fidelity.metric_filters."""

import json
import time

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import value


def test_matching_lines_are_measured(localcloud: Cloud) -> None:
    logs, group, namespace = localcloud.client("logs"), unique("/group/"), unique("N")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="stream")
    for name, pattern, worth in (
        ("errors", '{ $.level = "ERROR" }', "1"),
        ("took", "{ $.took > 0 }", "$.took"),
        ("words", "?timeout ?refused -expected", "1"),
    ):
        transformation = {"metricNamespace": namespace, "metricName": name, "metricValue": worth}
        logs.put_metric_filter(
            logGroupName=group, filterName=name, filterPattern=pattern, metricTransformations=[transformation]
        )
    now = int(time.time() * 1000)
    lines = [
        json.dumps({"level": "ERROR", "took": 2.5}),
        json.dumps({"level": "INFO", "took": 4}),
        "connection refused",
        "connection refused, as expected",
        "timeout",
    ]
    events = [{"timestamp": now, "message": text} for text in lines]
    logs.put_log_events(logGroupName=group, logStreamName="stream", logEvents=events)

    assert [value(localcloud, namespace, name, {}) for name in ("errors", "took", "words")] == [1, 6.5, 2]
