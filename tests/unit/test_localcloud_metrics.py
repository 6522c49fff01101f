"""The metric store, statistics and expressions."""

import json
import random
import statistics
import threading

import pytest

from localcloud.cloudwatch import metric_math, metric_statistics, metrics
from localcloud.cloudwatch.metric_math import Context
from localcloud.cloudwatch.metrics import Aggregate, MetricKey, MetricStore
from localcloud.errors import ApiError
from localcloud.store import Scope

SCOPE = Scope("000000000000", "us-east-1")
KEY = MetricKey(SCOPE, "N", "m", ())
NOW = 1_800_000_000.0 // 60 * 60


def aggregate(*values: float) -> Aggregate:
    made = Aggregate()
    for value in values:
        made.add(value)
    return made


# --- the store ---


def test_values_of_a_minute_are_one_bucket() -> None:
    store = MetricStore(lambda: NOW)
    for value, when in ((1, NOW), (2, NOW + 59), (4, NOW + 60)):
        store.put(SCOPE, "N", "m", value, timestamp=when)
    read = store.read(KEY, 60, NOW, NOW + 120)
    assert [(when, units["None"].total) for when, units in read.items()] == [(NOW, 3), (NOW + 60, 4)]


def test_old_seconds_become_minutes_and_then_nothing() -> None:
    clock = [NOW]
    store = MetricStore(lambda: clock[0])
    for second in range(60):
        store.put(SCOPE, "N", "m", 1, timestamp=NOW + second, resolution=1)
    assert len(store.read(KEY, 1, NOW, NOW + 60)) == 60
    clock[0] = NOW + 4 * 3600
    store.prune()
    assert len(store.read(KEY, 1, NOW, NOW + 60)) == 1
    assert store.read(KEY, 60, NOW, NOW + 60)[int(NOW)]["None"].total == 60
    clock[0] = NOW + metrics.FORGET_SECONDS + 3600
    store.prune()
    assert store.metrics(SCOPE) == []


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_BUCKETS", 100)
    store = MetricStore(lambda: NOW)
    for number in range(1000):
        store.put(SCOPE, "N", "m", 1, timestamp=NOW - 3000 + number, resolution=1)
    kept = store.read(KEY, 1, NOW - 3000, NOW)
    assert 0 < len(kept) <= 100
    assert max(kept) == NOW - 3000 + 999  # the newest stay


def test_many_values_cost_little_and_keep_their_percentiles() -> None:
    values = [random.Random(4).lognormvariate(3, 1) for _ in range(20_000)]
    made = aggregate(*values)
    assert made.values is not None
    assert len(made.values) <= metrics.MOST_VALUES
    wanted = statistics.quantiles(values, n=100)[98]
    assert metric_statistics.value(made, "p99") == pytest.approx(wanted, rel=0.05)


def test_snapshot_brings_everything_back() -> None:
    store, other = MetricStore(lambda: NOW), MetricStore(lambda: NOW)
    store.put(SCOPE, "N", "m", 2, "Count", {"a": "b"}, NOW)
    store.put_aggregate(SCOPE, "N", "set", Aggregate(2, 4, 1, 3, None), timestamp=NOW)
    other.restore(json.loads(json.dumps(store.snapshot())))
    assert other.snapshot() == store.snapshot()
    assert other.read(MetricKey(SCOPE, "N", "m", (("a", "b"),)), 60, NOW, NOW + 60)


def test_threads_lose_nothing() -> None:
    store = MetricStore(lambda: NOW)

    def put() -> None:
        for _ in range(1000):
            store.put(SCOPE, "N", "m", 1)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(KEY, 60, NOW, NOW + 60)[int(NOW)]["None"].count == 8000


# --- statistics ---


@pytest.mark.parametrize(
    ("statistic", "wanted"),
    [
        ("SampleCount", 10),
        ("Average", 5.5),
        ("p0", 1),
        ("p50", 5.5),
        ("p90", 9.1),
        ("p100", 10),
        ("tm90", 5),
        ("PR(2:4)", 20),
        ("IQM", 5.5),
    ],
)
def test_statistics(statistic: str, wanted: float) -> None:
    made = aggregate(*(float(number) for number in range(1, 11)))
    assert metric_statistics.value(made, statistic) == pytest.approx(wanted)


def test_percentile_counts_how_often_a_value_was_seen() -> None:
    made = Aggregate()
    made.add(1, 99)
    made.add(1000, 1)
    assert metric_statistics.value(made, "p50") == 1
    assert metric_statistics.value(made, "p99") == pytest.approx(1 + 999 * 0.01)
    assert metric_statistics.value(made, "p100") == 1000


@pytest.mark.parametrize("statistic", ["p101", "mean", "", "sum"])
def test_unknown_statistic_is_refused(statistic: str) -> None:
    with pytest.raises(ApiError, match="Stat"):
        metric_statistics.check(statistic)


# --- expressions ---

CONTEXT = Context(
    {"m1": {0: 1.0, 60: 2.0, 180: 4.0}, "m2": {0: 10.0, 60: 0.0, 120: 30.0}}, ("m1", "m2"), 60, (0, 60, 120, 180)
)


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("m1 + m2", {0: 11.0, 60: 2.0}),
        ("m1 / m2", {0: 0.1}),  # division by zero leaves the datapoint out
        ("m1 * 2 ^ 2", {0: 4.0, 60: 8.0, 180: 16.0}),
        ("-m1", {0: -1.0, 60: -2.0, 180: -4.0}),
        ("FILL(m1, 0)", {0: 1.0, 60: 2.0, 120: 0.0, 180: 4.0}),
        ("FILL(m1, REPEAT)", {0: 1.0, 60: 2.0, 120: 2.0, 180: 4.0}),
        ("FILL(m1, LINEAR)", {0: 1.0, 60: 2.0, 120: 3.0, 180: 4.0}),
        ("IF(m1 > 1, m1, 0)", {0: 0.0, 60: 2.0, 180: 4.0}),
        ("m1 > 1 && m1 < 4", {0: 0.0, 60: 1.0, 180: 0.0}),
        ("SUM([m1, m2])", {0: 11.0, 60: 2.0, 120: 30.0, 180: 4.0}),
        ("MAX(METRICS())", {0: 10.0, 60: 2.0, 120: 30.0, 180: 4.0}),
        ("m1 / PERIOD(m1)", {0: 1 / 60, 60: 2 / 60, 180: 4 / 60}),
        ("DIFF(m1)", {60: 1.0, 180: 2.0}),
        ("RATE(m1)", {60: 1 / 60, 180: 2 / 120}),
        ("RUNNING_SUM(m1)", {0: 1.0, 60: 3.0, 180: 7.0}),
        ("SUM(m1)", {0: 7.0, 60: 7.0, 120: 7.0, 180: 7.0}),
        ("ABS(m1 - 3)", {0: 2.0, 60: 1.0, 180: 1.0}),
    ],
)
def test_expressions(expression: str, wanted: dict[int, float]) -> None:
    (series,) = metric_math.evaluate(expression, CONTEXT)
    assert series == pytest.approx(wanted)


@pytest.mark.parametrize(
    "expression",
    ["m1 +", "__import__('os')", "m9", "SEARCH('x')", "ANOMALY_DETECTION_BAND(m1)", "m1.real", "[x for x in m1]"],
)
def test_expression_that_is_not_supported_is_refused(expression: str) -> None:
    with pytest.raises(ApiError, match="rror in expression"):
        metric_math.evaluate(expression, CONTEXT)
