"""One number for a stretch of time: CloudWatch's statistics of an aggregate.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html.
"""

from __future__ import annotations

import re

from localcloud.cloudwatch.metrics import Aggregate
from localcloud.errors import ApiError

BASIC = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")
_TRIMMED = re.compile(r"(tm|wm|tc|ts)(\d{1,2}(?:\.\d{1,10})?|100)")
_RANGE = re.compile(r"PR\((-?[\d.]*):(-?[\d.]*)\)", re.IGNORECASE)


def check(statistic: str) -> None:
    """Refuse a statistic that there is not.

    Raises:
        ApiError: ValidationError.
    """
    known = statistic in BASIC or statistic == "IQM"
    if not known and not any(form.fullmatch(statistic) for form in (_PERCENTILE, _TRIMMED, _RANGE)):
        raise ApiError(
            "ValidationError",
            f"The value {statistic} for parameter Stat is not supported: give {', '.join(BASIC)}, IQM, p90, tm90, "
            "wm90, tc90, ts90 or PR(low:high).",
        )


def value(aggregate: Aggregate, statistic: str) -> float | None:
    """The statistic; None where there is none: no samples, or percentiles of what was published as statistics only."""
    if not aggregate.count:
        return None
    if statistic == "SampleCount":
        return aggregate.count
    if statistic == "Sum":
        return aggregate.total
    if statistic == "Average":
        return aggregate.total / aggregate.count
    if statistic == "Minimum":
        return aggregate.least
    if statistic == "Maximum":
        return aggregate.most
    samples = _samples(aggregate)
    if samples is None:
        return None
    if found := _PERCENTILE.fullmatch(statistic):
        return percentile(samples, float(found[1]))
    if statistic == "IQM":
        return _mean(_within(samples, percentile(samples, 25), percentile(samples, 75)))
    if found := _TRIMMED.fullmatch(statistic):
        return _up_to(samples, found[1], float(found[2]))
    if found := _RANGE.fullmatch(statistic):
        low = float(found[1]) if found[1] else float("-inf")
        high = float(found[2]) if found[2] else float("inf")
        return 100 * sum(count for each, count in samples if low < each <= high) / sum(count for _, count in samples)
    return None


def percentile(samples: list[tuple[float, float]], percent: float) -> float:
    """The percentile of sorted (value, weight) pairs, interpolated between the two nearest ranks."""
    total = sum(count for _, count in samples)
    rank = percent / 100 * (total - 1) if total > 1 else 0.0
    seen, previous = 0.0, samples[0][0]
    for each, count in samples:
        if rank <= seen:  # between the last of the previous value and the first of this
            return previous + (each - previous) * max(0.0, 1 - (seen - rank))
        seen += count
        if rank <= seen - 1:
            return each
        previous = each
    return samples[-1][0]


def _samples(aggregate: Aggregate) -> list[tuple[float, float]] | None:
    if aggregate.values is not None:
        return sorted(aggregate.values.items())
    if aggregate.least == aggregate.most:  # a statistic set of one value, often seen
        return [(aggregate.least, aggregate.count)]
    return None


def _up_to(samples: list[tuple[float, float]], kind: str, percent: float) -> float:
    """tm90, tc90, ts90: mean, count, sum of the lowest 90 %; wm90: the mean with the rest set to the ninetieth."""
    limit = percentile(samples, percent)
    kept = _within(samples, float("-inf"), limit)
    if kind == "tc":
        return sum(count for _, count in kept)
    if kind == "ts":
        return sum(each * count for each, count in kept)
    return _mean(kept) if kind == "tm" else _mean([(min(each, limit), count) for each, count in samples])


def _within(samples: list[tuple[float, float]], low: float, high: float) -> list[tuple[float, float]]:
    return [(each, count) for each, count in samples if low <= each <= high]


def _mean(samples: list[tuple[float, float]]) -> float:
    count = sum(count for _, count in samples)
    return sum(each * often for each, often in samples) / count if count else 0.0
