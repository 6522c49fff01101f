"""What has been measured: CloudWatch's datapoints, aggregated as they come, in memory and bounded.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html: a metric is a namespace, a name and a
set of dimensions; a standard datapoint belongs to its minute, a high-resolution one to its second, and the finer ones
are merged into coarser ones as they grow old. ``put`` is the door for everything in this process that measures.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from localcloud.store import Scope

STANDARD = 60  # seconds: the resolution of a metric unless it says otherwise

# (seconds old, resolution kept from there on): AWS keeps 1 s for 3 hours, 60 s for 15 days, 300 s for 63 days. Less is
# kept here, so that a localcloud may run for weeks.
RETENTION = ((3 * 3600, 60), (24 * 3600, 300))
FORGET_SECONDS = 15 * 24 * 3600
MOST_BUCKETS = 200_000  # some 60 MB; beyond that the oldest datapoints go
# Distinct values kept in one bucket for percentiles; beyond that they are rounded, to three significant digits first.
# Each takes 85 bytes: an endpoint with steady traffic has several metrics in which no two values are alike.
MOST_VALUES = 200
DIGITS = (3, 2, 1)

Dimensions = tuple[tuple[str, str], ...]


class MetricKey(NamedTuple):
    """One metric."""

    scope: Scope
    namespace: str
    name: str
    dimensions: Dimensions


@dataclass(slots=True)
class Aggregate:
    """All values of one metric in one stretch of time.

    Args:
        values: how often each value came; None when only statistics of them were published, so that percentiles are
            not to be had.
    """

    count: float = 0.0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    values: dict[float, float] | None = field(default_factory=dict)
    rounding: int = 0  # how many of DIGITS have been tried

    def add(self, value: float, count: float = 1.0) -> None:
        """Take a value that was seen ``count`` times."""
        self.count += count
        self.total += value * count
        self.least = min(self.least, value)
        self.most = max(self.most, value)
        if self.values is not None:
            self._keep(self.values, value, count)

    def merge(self, other: Aggregate) -> None:
        """Take what another has."""
        self.count += other.count
        self.total += other.total
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)
        if self.values is None or other.values is None:
            self.values = None
            return
        for value, count in other.values.items():
            self._keep(self.values, value, count)

    def _keep(self, values: dict[float, float], value: float, count: float) -> None:
        if self.rounding:
            value = _rounded(value, DIGITS[self.rounding - 1])
        values[value] = values.get(value, 0.0) + count
        while len(values) > MOST_VALUES and self.rounding < len(DIGITS):
            self.rounding += 1
            exact = dict(values)
            values.clear()
            for each, often in exact.items():
                each = _rounded(each, DIGITS[self.rounding - 1])
                values[each] = values.get(each, 0.0) + often


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _sorted(dimensions: Mapping[str, str] | None) -> Dimensions:
    if not dimensions:
        return ()
    return tuple(dimensions.items()) if len(dimensions) == 1 else tuple(sorted(dimensions.items()))


class MetricStore:
    """Every account's metrics. All methods may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # metric → (start of the bucket, unit) → aggregate
        self._series: dict[MetricKey, dict[tuple[int, str], Aggregate]] = {}
        self._units: dict[MetricKey, tuple[str, ...]] = {}
        self._buckets = 0
        # Who wants to know of new datapoints (the alarms): by scope, namespace and name, so that put stays cheap.
        self.watched: frozenset[tuple[Scope, str, str]] = frozenset()
        self.on_watched: Callable[[MetricKey], None] = lambda _key: None
        # By namespace, what measures a gauge: nobody puts its datapoints, so it is measured when somebody asks.
        self.gauges: dict[str, Callable[[MetricKey], tuple[float, str] | None]] = {}
        self._sampled: dict[MetricKey, tuple[int, float]] = {}

    def put(
        self,
        scope: Scope,
        namespace: str,
        name: str,
        value: float,
        unit: str = "None",
        dimensions: Mapping[str, str] | None = None,
        timestamp: float | None = None,
        *,
        count: float = 1.0,
        resolution: int = STANDARD,
    ) -> None:
        """Record a value; some microseconds.

        Args:
            unit: one of CloudWatch's (``Count``, ``Milliseconds``, …); it is a label, nothing is converted.
            timestamp: seconds since the epoch; None for now.
            count: how many times the value was seen.
            resolution: seconds; less than 60 for a high-resolution metric.
        """
        key = MetricKey(scope, namespace, name, _sorted(dimensions))
        with self._lock:
            self._bucket(key, unit, timestamp, resolution).add(float(value), count)
        self._after(key)

    def put_aggregate(
        self,
        scope: Scope,
        namespace: str,
        name: str,
        aggregate: Aggregate,
        unit: str = "None",
        dimensions: Mapping[str, str] | None = None,
        timestamp: float | None = None,
        *,
        resolution: int = STANDARD,
    ) -> None:
        """Record several values at once, or a published statistic set."""
        key = MetricKey(scope, namespace, name, _sorted(dimensions))
        with self._lock:
            self._bucket(key, unit, timestamp, resolution).merge(aggregate)
        self._after(key)

    def _bucket(self, key: MetricKey, unit: str, timestamp: float | None, resolution: int) -> Aggregate:
        """The aggregate that a datapoint belongs to; under the lock."""
        when = int((self._clock() if timestamp is None else timestamp) // resolution) * resolution
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = {}
        found = series.get((when, unit))
        if found is None:
            found = series[when, unit] = Aggregate()
            self._buckets += 1
            if unit not in self._units.get(key, ()):
                self._units[key] = (*self._units.get(key, ()), unit)
        return found

    def _after(self, key: MetricKey) -> None:
        if self._buckets > MOST_BUCKETS:
            self.prune()
        if self.watched and key[:3] in self.watched:
            self.on_watched(key)

    def read(self, key: MetricKey, period: int, start: float, end: float, unit: str | None = None) -> dict[int, Any]:
        """Aggregates of the periods that begin in [start, end) and have data, by their start, counted from ``start``.

        Returns:
            start of period → unit → Aggregate.
        """
        found: dict[int, dict[str, Aggregate]] = {}
        first = int(start)
        with self._lock:
            series = self._series.get(key, {})
            units = self._units.get(key, ())
            if (end - start) * len(units) < len(series):  # an alarm's last minutes of a long series
                seconds = range(first, math.ceil(end))
                candidates = ((when, each) for when in seconds for each in units if (when, each) in series)
            else:
                candidates = ((when, each) for when, each in series)
            for when, its_unit in candidates:
                if start <= when < end and unit in (None, its_unit):
                    period_start = first + (when - first) // period * period
                    merged = found.setdefault(period_start, {}).setdefault(its_unit, Aggregate())
                    merged.merge(series[when, its_unit])
        return dict(sorted(found.items()))

    def sample(self, key: MetricKey) -> float | None:
        """Measure a gauge: a datapoint if it is the minute's first or has moved; None if it is none."""
        gauge = self.gauges.get(key.namespace)
        measured = gauge(key) if gauge is not None else None
        if measured is None:
            return None
        value, unit = measured
        now = self._clock()
        seen = (int(now // STANDARD), value)
        if self._sampled.get(key) != seen:
            self._sampled[key] = seen
            self.put(key.scope, key.namespace, key.name, value, unit, dict(key.dimensions), now)
        return value

    def metrics(self, scope: Scope) -> list[tuple[MetricKey, int]]:
        """An account's metrics, and when each had its latest datapoint (seconds since the epoch)."""
        with self._lock:
            return [
                (key, max(when for when, _ in series))
                for key, series in self._series.items()
                if key.scope == scope and series
            ]

    def prune(self) -> None:
        """Merge old datapoints into coarser ones, drop those that are too old, and the oldest if there are too many."""
        now = self._clock()
        with self._lock:
            for key, series in list(self._series.items()):
                self._series[key] = _aged(series, now)
            self._count()
            if self._buckets > MOST_BUCKETS:
                starts = sorted(when for series in self._series.values() for when, _ in series)
                cut = starts[len(starts) - MOST_BUCKETS * 3 // 4]
                for key, series in list(self._series.items()):
                    self._series[key] = {bucket: each for bucket, each in series.items() if bucket[0] >= cut}
                self._count()

    def _count(self) -> None:
        self._series = {key: series for key, series in self._series.items() if series}
        self._units = {key: tuple({unit for _, unit in series}) for key, series in self._series.items()}
        self._buckets = sum(len(series) for series in self._series.values())

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._series.clear()
            self._units.clear()
            self._sampled.clear()
            self._buckets = 0

    def snapshot(self) -> list[Any]:
        """Everything, as JSON values. Takes no lock: it may run in a forked child, where nobody would release it."""
        return [
            [*key.scope, key.namespace, key.name, [list(pair) for pair in key.dimensions], list(_rows(series))]
            for key, series in list(self._series.items())
        ]

    def restore(self, snapshot: Iterable[Any]) -> None:
        """Put a snapshot back in the place of everything."""
        series = {
            MetricKey(Scope(account, region), namespace, name, tuple((each, value) for each, value in dimensions)): {
                (when, unit): Aggregate(
                    count, total, least, most, None if values is None else {value: often for value, often in values}
                )
                for when, unit, count, total, least, most, values in rows
            }
            for account, region, namespace, name, dimensions, rows in snapshot
        }
        with self._lock:
            self._series = series
            self._count()


def _rows(series: Mapping[tuple[int, str], Aggregate]) -> Iterator[list[Any]]:
    for (when, unit), each in list(series.items()):
        values = None if each.values is None else [list(pair) for pair in list(each.values.items())]
        yield [when, unit, each.count, each.total, each.least, each.most, values]


def _aged(series: Mapping[tuple[int, str], Aggregate], now: float) -> dict[tuple[int, str], Aggregate]:
    aged: dict[tuple[int, str], Aggregate] = {}
    for (when, unit), aggregate in series.items():
        age = now - when
        if age > FORGET_SECONDS:
            continue
        for older_than, resolution in RETENTION:
            if age > older_than:
                when = when // resolution * resolution
        if (when, unit) in aged:
            aged[when, unit].merge(aggregate)
        else:
            aged[when, unit] = aggregate
    return aged


STORE = MetricStore()


def put(
    scope: Scope,
    namespace: str,
    name: str,
    value: float,
    unit: str = "None",
    dimensions: Mapping[str, str] | None = None,
    timestamp: float | None = None,
    *,
    resolution: int = STANDARD,
) -> None:
    """Record one value of a metric of this process's cloud: cheap, from any thread.

    Args:
        scope: whose metric it is.
        unit: one of CloudWatch's units; nothing is converted.
        timestamp: seconds since the epoch; None for now.
        resolution: of the datapoint that it belongs to, in seconds; less than 60 for a high-resolution metric.
    """
    STORE.put(scope, namespace, name, value, unit, dimensions, timestamp, resolution=resolution)
