"""localcloud.fidelity.metric_operations."""

import json
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .measures import listed, minutes_ago, value


def put(cloud: Cloud, namespace: str, name: str = "m", dimensions: dict[str, str] | None = None, **datum: Any) -> None:
    data = {"MetricName": name, "Dimensions": listed(dimensions or {}), **datum}
    cloud.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[data])


def window() -> dict[str, datetime]:
    now = datetime.now(UTC)
    return {"StartTime": now - timedelta(minutes=10), "EndTime": now + timedelta(minutes=5)}


def stat(namespace: str, statistic: str, dimensions: dict[str, str] | None = None) -> dict[str, Any]:
    metric = {"Namespace": namespace, "MetricName": "m", "Dimensions": listed(dimensions or {})}
    return {"Metric": metric, "Period": 60, "Stat": statistic}


def test_metrics_that_differ_by_a_dimension_are_two(localcloud: Cloud) -> None:
    namespace = unique("N")
    put(localcloud, namespace, dimensions={"a": "1"}, Value=1)
    put(localcloud, namespace, dimensions={"a": "2"}, Value=10)
    put(localcloud, namespace, Value=100)

    assert [value(localcloud, namespace, "m", given) for given in ({"a": "1"}, {"a": "2"}, {})] == [1, 10, 100]
    found = localcloud.client("cloudwatch").list_metrics(Namespace=namespace, Dimensions=[{"Name": "a"}])["Metrics"]
    assert sorted(metric["Dimensions"][0]["Value"] for metric in found) == ["1", "2"]


def test_percentiles_are_of_the_values_not_of_the_datapoints(localcloud: Cloud) -> None:
    namespace = unique("N")
    put(localcloud, namespace, Values=[float(n) for n in range(1, 101)], Unit="Milliseconds")

    assert value(localcloud, namespace, "m", {}, "p50") == pytest.approx(50.5)
    assert value(localcloud, namespace, "m", {}, "p99") == pytest.approx(99.01)
    assert value(localcloud, namespace, "m", {}, "SampleCount") == 100


def test_statistic_set_has_no_percentiles(localcloud: Cloud) -> None:
    namespace = unique("N")
    put(localcloud, namespace, StatisticValues={"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 4})
    answer = localcloud.client("cloudwatch").get_metric_statistics(
        Namespace=namespace, MetricName="m", Period=60, Statistics=["Average"], ExtendedStatistics=["p90"], **window()
    )
    assert [point["Average"] for point in answer["Datapoints"]] == [2.5]
    assert "ExtendedStatistics" not in answer["Datapoints"][0]


def test_expressions_join_metrics_minute_by_minute(localcloud: Cloud) -> None:
    namespace = unique("N")
    for moment, errors, calls in ((minutes_ago(3), 1, 4), (minutes_ago(2), None, 5)):
        put(localcloud, namespace, dimensions={"kind": "calls"}, Value=calls, Timestamp=moment)
        if errors is not None:
            put(localcloud, namespace, dimensions={"kind": "errors"}, Value=errors, Timestamp=moment)

    answer = localcloud.client("cloudwatch").get_metric_data(
        MetricDataQueries=[
            {"Id": "errors", "MetricStat": stat(namespace, "Sum", {"kind": "errors"}), "ReturnData": False},
            {"Id": "calls", "MetricStat": stat(namespace, "Sum", {"kind": "calls"}), "ReturnData": False},
            {"Id": "rate", "Expression": "100 * errors / calls"},
            {"Id": "filled", "Expression": "IF(calls > 0, 100 * FILL(errors, 0) / calls)"},
        ],
        ScanBy="TimestampAscending",
        **window(),
    )
    results = {result["Id"]: result["Values"] for result in answer["MetricDataResults"]}
    assert results == {"rate": [25.0], "filled": [25.0, 0.0]}


def test_wrong_datum_is_refused_and_leaves_nothing_behind(localcloud: Cloud) -> None:
    namespace = unique("N")
    with pytest.raises(ClientError, match="Values"):
        localcloud.client("cloudwatch").put_metric_data(
            Namespace=namespace,
            MetricData=[{"MetricName": "m", "Value": 1}, {"MetricName": "m", "Value": 1, "Values": [1]}],
        )
    assert value(localcloud, namespace, "m", {}) is None


def test_older_clients_speak_the_query_protocol(localcloud: Cloud) -> None:
    namespace = unique("N")
    request = {
        "Action": "PutMetricData",
        "Version": "2010-08-01",
        "Namespace": namespace,
        "MetricData.member.1.MetricName": "m",
        "MetricData.member.1.Value": "7",
        "MetricData.member.1.Dimensions.member.1.Name": "a",
        "MetricData.member.1.Dimensions.member.1.Value": "b",
    }
    body = urllib.parse.urlencode(request).encode()
    answer = _sent(localcloud, body, "application/x-www-form-urlencoded")
    assert "<PutMetricDataResponse" in answer
    assert value(localcloud, namespace, "m", {"a": "b"}) == 7
    listing = urllib.parse.urlencode(
        {"Action": "ListMetrics", "Version": "2010-08-01", "Namespace": namespace}
    ).encode()
    assert "<MetricName>m</MetricName>" in _sent(localcloud, listing, "application/x-www-form-urlencoded")


def test_other_sdks_speak_json(localcloud: Cloud) -> None:
    namespace = unique("N")
    put(localcloud, namespace, Value=3)
    target = "GraniteServiceVersion20100801.ListMetrics"
    body = json.dumps({"Namespace": namespace}).encode()
    answer = json.loads(_sent(localcloud, body, "application/x-amz-json-1.0", target))
    assert answer == {"Metrics": [{"Namespace": namespace, "MetricName": "m", "Dimensions": []}]}


def _sent(cloud: Cloud, body: bytes, kind: str, target: str = "") -> str:
    """The answer to a signed request that botocore would not make."""
    headers = {"Content-Type": kind, **({"X-Amz-Target": target} if target else {})}
    request = AWSRequest("POST", f"{cloud.endpoint}/", headers=headers, data=body)
    SigV4Auth(Credentials("test", "test"), "monitoring", "us-east-1").add_auth(request)
    sent = urllib.request.Request(request.url, data=body, headers=dict(request.headers), method="POST")
    with urllib.request.urlopen(sent, timeout=60) as response:
        return str(response.read().decode())
