"""What CloudWatch measured of an endpoint's variants: invocations, errors, latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from onwing.target import Target

NAMESPACE = "AWS/SageMaker"
PERIOD_SECONDS = 60
LONGEST = timedelta(days=14)  # one-minute values are kept for 15 days
QUERIES = 500  # in one GetMetricData
_SERIES = (
    ("Invocations", "Sum"),
    ("Invocation4XXErrors", "Sum"),
    ("Invocation5XXErrors", "Sum"),
    ("ModelLatency", "Sum"),
    ("ModelLatency", "SampleCount"),
    ("ModelLatency", "Maximum"),
)


@dataclass(frozen=True)
class Figures:
    """One variant over a stretch of time. Latencies are the model's, in milliseconds; None without a request."""

    invocations: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    latency_average_ms: float | None = None
    latency_maximum_ms: float | None = None


def figures(
    target: Target, variants: Sequence[tuple[str, str]], since: datetime, until: datetime
) -> dict[tuple[str, str], Figures]:
    """The figures of each (endpoint, variant) between two moments, to the minute; at most two weeks back."""
    begin = max(since, until - LONGEST).replace(second=0, microsecond=0)
    queries = [
        {
            "Id": f"q{number}_{position}",
            "MetricStat": {
                "Metric": {
                    "Namespace": NAMESPACE,
                    "MetricName": metric,
                    "Dimensions": [
                        {"Name": "EndpointName", "Value": endpoint},
                        {"Name": "VariantName", "Value": variant},
                    ],
                },
                "Period": PERIOD_SECONDS,
                "Stat": statistic,
            },
        }
        for number, (endpoint, variant) in enumerate(variants)
        for position, (metric, statistic) in enumerate(_SERIES)
    ]
    values: dict[str, list[float]] = {}
    client = target.client("cloudwatch")
    for start in range(0, len(queries), QUERIES):
        pages = client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries[start : start + QUERIES],
            StartTime=begin,
            EndTime=until + timedelta(seconds=PERIOD_SECONDS),  # the minute that has begun counts too
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                values.setdefault(result["Id"], []).extend(result["Values"])
    return {variant: _made(values, number) for number, variant in enumerate(variants)}


def _made(values: Mapping[str, Sequence[float]], number: int) -> Figures:
    series: list[Sequence[float]] = [values.get(f"q{number}_{position}", ()) for position in range(len(_SERIES))]
    invocations, client_errors, server_errors, latency, samples = (sum(part) for part in series[:5])
    return Figures(
        invocations=round(invocations),
        errors_4xx=round(client_errors),
        errors_5xx=round(server_errors),
        latency_average_ms=latency / samples / 1000 if samples else None,
        latency_maximum_ms=max(series[5]) / 1000 if series[5] else None,
    )
