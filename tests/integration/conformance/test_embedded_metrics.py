"""localcloud.fidelity.embedded_metrics."""

import json
import time
from typing import Any

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import becomes, value
from .steps import function

SOURCE = """
import json, time

def handler(event, context):
    print(json.dumps({
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [{
                "Namespace": event["namespace"],
                "Dimensions": [["service"], ["service", "fleet"]],
                "Metrics": [{"Name": "Cycles", "Unit": "Count"}, {"Name": "Took", "Unit": "Milliseconds"}],
            }],
        },
        "service": "ingest", "fleet": "one", "Cycles": 5, "Took": [10, 20, 30], "note": "not a metric",
    }))
"""


def write(cloud: Cloud, *messages: str) -> None:
    """Put lines into a log group of their own."""
    logs, group = cloud.client("logs"), unique("/group/")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="stream")
    now = int(time.time() * 1000)
    lines = [{"timestamp": now, "message": message} for message in messages]
    logs.put_log_events(logGroupName=group, logStreamName="stream", logEvents=lines)


def line(*directives: dict[str, Any], **values: Any) -> str:
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": list(directives)}
    return json.dumps({"_aws": metadata, **values})


def directive(namespace: str, dimensions: list[list[str]], *metrics: dict[str, Any]) -> dict[str, Any]:
    return {"Namespace": namespace, "Dimensions": dimensions, "Metrics": list(metrics)}


def test_functions_line_becomes_metrics_of_each_dimension_set(localcloud: Cloud) -> None:
    namespace = unique("N")
    made = function(localcloud, SOURCE)
    localcloud.client("lambda").invoke(FunctionName=made["FunctionName"], Payload=json.dumps({"namespace": namespace}))
    for dimensions in ({"service": "ingest"}, {"service": "ingest", "fleet": "one"}):
        becomes(localcloud, 5, namespace, "Cycles", dimensions)
        becomes(localcloud, 60, namespace, "Took", dimensions)
        assert value(localcloud, namespace, "Took", dimensions, "SampleCount") == 3
        assert value(localcloud, namespace, "Took", dimensions, "p50") == 20
    assert value(localcloud, namespace, "Cycles", {}) is None


def test_one_line_may_have_several_directives(localcloud: Cloud) -> None:
    first, second = unique("N"), unique("N")
    write(
        localcloud,
        line(
            directive(first, [["a"]], {"Name": "m"}),
            directive(second, [[]], {"Name": "m"}, {"Name": "absent"}),
            a="b",
            m=2,
        ),
    )
    assert value(localcloud, first, "m", {"a": "b"}) == 2
    assert value(localcloud, second, "m", {}) == 2
    assert value(localcloud, second, "absent", {}) is None


def test_high_resolution_keeps_the_second(localcloud: Cloud) -> None:
    namespace, began = unique("N"), int(time.time())
    written = line(directive(namespace, [[]], {"Name": "m", "StorageResolution": 1}), m=1)
    ended = time.time()
    write(localcloud, written)
    [point] = localcloud.client("cloudwatch").get_metric_statistics(
        Namespace=namespace, MetricName="m", StartTime=began - 60, EndTime=ended + 60, Period=1, Statistics=["Sum"]
    )["Datapoints"]
    assert began <= point["Timestamp"].timestamp() <= ended


def test_malformed_lines_stay_lines(localcloud: Cloud) -> None:
    namespace = unique("N")
    good = directive(namespace, [["a"]], {"Name": "m"})
    write(
        localcloud,
        '{"_aws": {"CloudWatchMetrics": [',
        line(good, a=5, m=1),  # a dimension must be text
        line(good, m=1),  # and there
        line(good, a="b", m="one"),  # a value must be a number
        line(good, a="b", m=[1, None]),
        line({"Namespace": namespace}, a="b", m=1),
        json.dumps({"_aws": {"CloudWatchMetrics": [good]}, "a": "b", "m": 1}),  # without Timestamp
        line(good, a="b", m=1),
    )
    assert value(localcloud, namespace, "m", {"a": "b"}) == 1
    assert value(localcloud, namespace, "m", {}) is None
