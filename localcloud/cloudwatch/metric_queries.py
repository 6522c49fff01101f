"""CloudWatch's metric operations: PutMetricData, GetMetricData, GetMetricStatistics, ListMetrics.

docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/Welcome.html. Requests and responses are the service model's,
as Python values.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from localcloud.cloudwatch import metric_math, metric_statistics
from localcloud.cloudwatch.metrics import Aggregate, MetricKey, MetricStore
from localcloud.errors import ApiError
from localcloud.store import Scope

MOST_DATAPOINTS = 1440  # of GetMetricStatistics
MOST_ANSWERED = 100_800  # of GetMetricData
LIST_PAGE = 500
SECONDS_BACK, SECONDS_AHEAD = 14 * 24 * 3600, 2 * 3600  # what PutMetricData takes
MOST_VALUES = 150

Request = Mapping[str, Any]


def dimensions_of(given: Sequence[Mapping[str, str]] | None) -> tuple[tuple[str, str], ...]:
    """The request's dimensions as a metric's key has them."""
    return tuple(sorted((each["Name"], each["Value"]) for each in given or ()))


class MetricQueries:
    """The operations, on one store."""

    operations = ("PutMetricData", "GetMetricData", "GetMetricStatistics", "ListMetrics")

    def __init__(self, store: MetricStore) -> None:
        self._store = store

    def put_metric_data(self, scope: Scope, request: Request) -> dict[str, Any]:
        """Record; everything is checked first, so that a wrong datum leaves nothing behind."""
        namespace = request["Namespace"]
        data = list(request.get("MetricData", ()))
        for group in request.get("EntityMetricData", ()):
            data += group.get("MetricData", ())
        prepared = [(datum, *_prepared(datum)) for datum in data]
        for datum, aggregate, when in prepared:
            self._store.put_aggregate(
                scope,
                namespace,
                datum["MetricName"],
                aggregate,
                datum.get("Unit", "None"),
                dict(dimensions_of(datum.get("Dimensions"))),
                when,
                resolution=1 if datum.get("StorageResolution") == 1 else 60,
            )
        return {}

    def get_metric_statistics(self, scope: Scope, request: Request) -> dict[str, Any]:
        """One metric's statistics, period by period, each unit for itself."""
        start, end, period = _window(request["StartTime"], request["EndTime"], request["Period"])
        if (end - start) / period > MOST_DATAPOINTS:
            raise ApiError(
                "InvalidParameterCombination",
                f"You have requested up to {int((end - start) / period)} datapoints, which exceeds the limit of "
                f"{MOST_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the "
                "time range.",
            )
        basic, extended = request.get("Statistics", []), request.get("ExtendedStatistics", [])
        if not basic and not extended:
            raise ApiError("MissingParameter", "At least one of Statistics and ExtendedStatistics is required.")
        for statistic in extended:
            metric_statistics.check(statistic)
        key = MetricKey(scope, request["Namespace"], request["MetricName"], dimensions_of(request.get("Dimensions")))
        self._store.sample(key)
        datapoints = []
        for when, units in self._store.read(key, period, start, end, request.get("Unit")).items():
            for unit, aggregate in units.items():
                point: dict[str, Any] = {"Timestamp": _time(when), "Unit": unit}
                for statistic in basic:
                    point[statistic] = metric_statistics.value(aggregate, statistic)
                found = {each: metric_statistics.value(aggregate, each) for each in extended}
                if found := {each: value for each, value in found.items() if value is not None}:
                    point["ExtendedStatistics"] = found
                datapoints.append(point)
        return {"Label": request["MetricName"], "Datapoints": datapoints}

    def get_metric_data(self, scope: Scope, request: Request) -> dict[str, Any]:
        """Several metrics and expressions over them; newest first unless ScanBy says otherwise."""
        queries = request["MetricDataQueries"]
        results = self.query(scope, queries, request["StartTime"].timestamp(), request["EndTime"].timestamp())
        newest_first = request.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        answered = []
        for query in queries:
            if query.get("ReturnData") is False:
                continue
            for number, series in enumerate(results[query["Id"]]):
                times = sorted(series, reverse=newest_first)[:MOST_ANSWERED]
                several = len(results[query["Id"]]) > 1
                answered.append(
                    {
                        "Id": query["Id"],
                        "Label": f"{_label(query)} {number}" if several else _label(query),
                        "Timestamps": [_time(when) for when in times],
                        "Values": [float(series[when]) for when in times],
                        "StatusCode": "Complete",
                    }
                )
        return {"MetricDataResults": answered, "Messages": []}

    def query(
        self, scope: Scope, queries: Sequence[Request], start: float, end: float
    ) -> dict[str, list[metric_math.Series]]:
        """The series of each query by its Id.

        Raises:
            ApiError: ValidationError.
        """
        results: dict[str, list[metric_math.Series]] = {}
        metrics = tuple(query["Id"] for query in queries if "MetricStat" in query)
        periods = [query["MetricStat"]["Period"] for query in queries if "MetricStat" in query]
        period = max(periods, default=60)
        if len({query["Id"] for query in queries}) < len(queries):
            raise ApiError("ValidationError", "The values for parameter id in MetricDataQueries are not unique.")
        for query in queries:
            if "MetricStat" in query:
                results[query["Id"]] = [self._series(scope, query["MetricStat"], start, end)]
        waiting = [query for query in queries if "MetricStat" not in query]
        while waiting:
            ready = [each for each in waiting if _ready(each, results)]
            if not ready:
                names = ", ".join(each["Id"] for each in waiting)
                raise ApiError("ValidationError", f"Error in expressions {names}: they refer to what is not there.")
            query = ready[0]
            waiting.remove(query)
            first, last, its_period = _window(start, end, query.get("Period", period))
            context = metric_math.Context(
                series={each: series[0] for each, series in results.items() if len(series) == 1},
                metrics=metrics,
                period=its_period,
                times=tuple(range(int(first), int(last), its_period)),
            )
            results[query["Id"]] = metric_math.evaluate(query["Expression"], context)
        return results

    def list_metrics(self, scope: Scope, request: Request) -> dict[str, Any]:
        """What has been measured in the last two weeks."""
        wanted = request.get("Dimensions", ())
        since = time.time() - (3 * 3600 if request.get("RecentlyActive") == "PT3H" else SECONDS_BACK)
        found = [
            key
            for key, latest in self._store.metrics(scope)
            if latest >= since
            and request.get("Namespace") in (None, key.namespace)
            and request.get("MetricName") in (None, key.name)
            and all(_has(key, each) for each in wanted)
        ]
        found.sort()
        try:
            first = int(request.get("NextToken") or 0)
        except ValueError as error:
            raise ApiError("InvalidParameterValue", "Invalid nextToken") from error
        answer: dict[str, Any] = {
            "Metrics": [
                {
                    "Namespace": key.namespace,
                    "MetricName": key.name,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in key.dimensions],
                }
                for key in found[first : first + LIST_PAGE]
            ]
        }
        if first + LIST_PAGE < len(found):
            answer["NextToken"] = str(first + LIST_PAGE)
        return answer

    def _series(self, scope: Scope, stat: Request, start: float, end: float) -> metric_math.Series:
        metric = stat["Metric"]
        statistic = stat["Stat"]
        metric_statistics.check(statistic)
        first, last, period = _window(start, end, stat["Period"])
        key = MetricKey(
            scope, metric.get("Namespace", ""), metric.get("MetricName", ""), dimensions_of(metric.get("Dimensions"))
        )
        self._store.sample(key)
        series: metric_math.Series = {}
        for when, units in self._store.read(key, period, first, last, stat.get("Unit")).items():
            together = Aggregate()
            for aggregate in units.values():
                together.merge(aggregate)
            if (value := metric_statistics.value(together, statistic)) is not None:
                series[when] = value
        return series


def _ready(query: Request, results: Mapping[str, Any]) -> bool:
    if "Expression" not in query:
        raise ApiError("ValidationError", f"The query {query['Id']} has neither MetricStat nor Expression.")
    return metric_math.references(query["Expression"]) <= set(results)


def _label(query: Request) -> str:
    if query.get("Label"):
        return str(query["Label"])
    return str(query["MetricStat"]["Metric"].get("MetricName", "")) if "MetricStat" in query else str(query["Id"])


def _has(key: MetricKey, wanted: Mapping[str, str]) -> bool:
    return any(name == wanted["Name"] and wanted.get("Value") in (None, value) for name, value in key.dimensions)


def _time(when: float) -> datetime:
    return datetime.fromtimestamp(when, UTC)


def _window(start: Any, end: Any, period: int) -> tuple[float, float, int]:
    """Start, rounded down to the minute (to the second for periods below one), end, and the period; all in seconds."""
    first = start.timestamp() if isinstance(start, datetime) else start
    last = end.timestamp() if isinstance(end, datetime) else end
    if first >= last:
        raise ApiError(
            "InvalidParameterCombination", "The parameter StartTime must be less than the parameter EndTime."
        )
    if period not in (1, 5, 10, 20, 30) and (period % 60 or period < 60):
        raise ApiError(
            "InvalidParameterValue", f"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, not {period}."
        )
    rounding = 60 if period >= 60 else period
    return float(first // rounding * rounding), last, period


def _prepared(datum: Request) -> tuple[Aggregate, float | None]:
    """A datum's values together, and when they were measured (None: now).

    Raises:
        ApiError: as AWS refuses it.
    """
    name = datum["MetricName"]
    aggregate = Aggregate()
    given = [each for each in ("Value", "Values", "StatisticValues") if each in datum]
    if len(given) != 1:
        code = "InvalidParameterCombination" if given else "MissingParameter"
        raise ApiError(code, f"The metric {name} needs exactly one of Value, Values and StatisticValues.")
    if "Value" in datum:
        aggregate.add(datum["Value"])
    elif "Values" in datum:
        counts = datum.get("Counts") or [1.0] * len(datum["Values"])
        if len(counts) != len(datum["Values"]) or len(counts) > MOST_VALUES:
            raise ApiError(
                "InvalidParameterValue",
                f"The metric {name} must have as many Counts as Values, and at most {MOST_VALUES}.",
            )
        for value, count in zip(datum["Values"], counts, strict=True):
            aggregate.add(value, count)
    else:
        statistics = datum["StatisticValues"]
        aggregate = Aggregate(
            statistics["SampleCount"], statistics["Sum"], statistics["Minimum"], statistics["Maximum"], None
        )
    if "Timestamp" not in datum:
        return aggregate, None
    when: float = datum["Timestamp"].timestamp()
    if not -SECONDS_BACK <= when - time.time() <= SECONDS_AHEAD:
        raise ApiError(
            "InvalidParameterValue",
            f"The value {datum['Timestamp'].isoformat()} for parameter MetricData.Timestamp must be within the last "
            "two weeks and at most two hours in the future.",
        )
    return aggregate, when
