"""A variant's figures from CloudWatch: requests, errors, latency and alarms, and what they say about it.

docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html: namespace AWS/SageMaker, dimensions EndpointName and
VariantName; latencies in microseconds; one datapoint a minute.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from control_plane import clients
from control_plane.settings import AssessmentSettings
from control_plane.verdict import Check, Reason

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

NAMESPACE = "AWS/SageMaker"
PERIOD = 60  # seconds: SageMaker's metrics come by the minute
# Fewer say nothing yet: one request that failed among the first is no rate.
FEWEST_REQUESTS = 10
FEWEST_ERRORS = 3
# 4xx are the clients' errors, and both variants have the same clients: a challenger that refuses what the champion
# takes shows as a difference of the rates, of at least this size and beyond chance (standard deviations).
CLIENT_ERROR_MARGIN = 0.05
SIGNIFICANT = 3.0

_QUERIES = {
    "invocations": ("Invocations", "Sum"),
    "errors_4xx": ("Invocation4XXErrors", "Sum"),
    "errors_5xx": ("Invocation5XXErrors", "Sum"),
    "microseconds": ("ModelLatency", "Sum"),
    "measured": ("ModelLatency", "SampleCount"),
}


class Figures(BaseModel):
    """What is known of one variant; None: not looked at, or nothing to see."""

    invocations: int | None = None
    errors_4xx: int | None = None
    errors_5xx: int | None = None
    model_latency_ms: float | None = None  # mean
    probe_latency_ms: float | None = None  # median
    probe_rmse: float | None = None  # cycles
    probe_difference: float | None = None  # cycles, mean absolute, from the champion


class Rate(NamedTuple):
    """A count of errors, the requests it is among, and what share of them it is."""

    errors: int
    requests: int

    @property
    def rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0


def read(endpoint: str, variants: list[str], since: datetime, now: datetime | None = None) -> dict[str, Figures]:
    """The variants' figures from `since` on, probes included: to SageMaker they are requests like any other.

    CloudWatch has one datapoint a minute, under the minute's beginning, so the minute of `since` counts as a whole:
    left out, a bake shorter than a minute would see nothing. What the variant did in it before, the same model did.
    """
    end = (now or datetime.now(UTC)) + timedelta(seconds=1)
    begin = datetime.fromtimestamp(since.timestamp() // PERIOD * PERIOD, UTC)
    queries: list[MetricDataQueryTypeDef] = [
        {
            "Id": f"v{number}_{name}",
            "MetricStat": {
                "Metric": {
                    "Namespace": NAMESPACE,
                    "MetricName": metric,
                    "Dimensions": [
                        {"Name": "EndpointName", "Value": endpoint},
                        {"Name": "VariantName", "Value": variant},
                    ],
                },
                "Period": PERIOD,
                "Stat": statistic,
            },
        }
        for number, variant in enumerate(variants)
        for name, (metric, statistic) in _QUERIES.items()
    ]
    totals = {query["Id"]: 0.0 for query in queries}
    pages = clients.cloudwatch().get_paginator("get_metric_data")
    for page in pages.paginate(MetricDataQueries=queries, StartTime=begin, EndTime=end):
        for result in page["MetricDataResults"]:
            totals[result["Id"]] += sum(result["Values"])
    found = {}
    for number, variant in enumerate(variants):
        its = {name: totals[f"v{number}_{name}"] for name in _QUERIES}
        found[variant] = Figures(
            invocations=round(its["invocations"]),
            errors_4xx=round(its["errors_4xx"]),
            errors_5xx=round(its["errors_5xx"]),
            model_latency_ms=its["microseconds"] / its["measured"] / 1000 if its["measured"] else None,
        )
    return found


def judge(variant: str, own: Figures, champion: Figures | None, limits: AssessmentSettings) -> list[Reason]:
    """What a variant's requests say against it: 5xx and latency by themselves, 4xx beside the champion's."""
    reasons = []
    server = Rate(own.errors_5xx or 0, own.invocations or 0)
    if server.requests >= FEWEST_REQUESTS and server.errors >= FEWEST_ERRORS and server.rate > limits.error_rate_limit:
        message = (
            f"{variant} answered {server.errors} of {server.requests} requests with 5xx ({server.rate:.1%}; at most "
            f"{limits.error_rate_limit:.1%})"
        )
        reasons.append(_reason("errors-5xx", message, server.rate, limits.error_rate_limit))
    latency = own.model_latency_ms
    if latency is not None and latency > limits.latency_limit_ms and server.requests >= FEWEST_REQUESTS:
        message = (
            f"{variant} takes {latency:.0f} ms for a request on average (at most {limits.latency_limit_ms:.0f} ms)"
        )
        reasons.append(_reason("latency", message, latency, limits.latency_limit_ms))
    if champion is not None:
        refused, its = (
            Rate(own.errors_4xx or 0, own.invocations or 0),
            Rate(champion.errors_4xx or 0, champion.invocations or 0),
        )
        enough = min(refused.requests, its.requests) >= FEWEST_REQUESTS and refused.errors >= FEWEST_ERRORS
        if enough and refused.rate > its.rate + CLIENT_ERROR_MARGIN and _z(refused, its) > SIGNIFICANT:
            message = f"{variant} refuses {refused.rate:.1%} of its requests with 4xx, the champion {its.rate:.1%}"
            reasons.append(_reason("errors-4xx", message, refused.rate, its.rate + CLIENT_ERROR_MARGIN))
    return reasons


def ringing(prefix: str) -> list[Reason]:
    """The metric alarms in state ALARM whose names begin so, and that act on it.

    The one on silent instances does not until a deployment has ended well: before the first metrics it is in ALARM.
    """
    return [
        Reason(
            check="alarm",
            message=f"alarm {alarm['AlarmName']}: {alarm.get('StateReason', 'no reason given')}",
            value=alarm["AlarmName"],
            limit="OK",
        )
        for page in clients.cloudwatch().get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix)
        for alarm in page["MetricAlarms"]
        if alarm["StateValue"] == "ALARM" and alarm.get("ActionsEnabled", True)
    ]


def _z(one: Rate, other: Rate) -> float:
    """Standard score of the difference of two shares (two-proportion z-test with the pooled share)."""
    pooled = (one.errors + other.errors) / (one.requests + other.requests)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / one.requests + 1 / other.requests))
    return (one.rate - other.rate) / deviation if deviation else 0.0


def _reason(check: Check, message: str, value: float, limit: float) -> Reason:
    return Reason(check=check, message=message, value=round(value, 4), limit=round(limit, 4))
