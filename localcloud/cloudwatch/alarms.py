"""Alarms: evaluated when their periods end, and at once when a datapoint comes that no later one can make good.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html. AWS evaluates each minute (high-resolution
alarms every ten seconds); here a breach that can only grow, such as a Maximum or a Sum above its threshold, is noticed
within a fraction of a second, everything else when the period is over.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud.cloudwatch import alarm_states
from localcloud.cloudwatch.alarm_states import Datapoint, Rule, Verdict
from localcloud.cloudwatch.metric_queries import MetricQueries, dimensions_of
from localcloud.cloudwatch.metrics import MetricKey, MetricStore
from localcloud.errors import LocalcloudError
from localcloud.store import Scope

logger = logging.getLogger("localcloud.cloudwatch.alarms")

TICK_SECONDS = 1.0
TOGETHER_SECONDS = 0.1  # datapoints that come close together are looked at once
PRUNE_SECONDS = 600.0

# Guards alarms' states: none is changed while its alarm is replaced, which keeps the state.
changing = threading.Lock()

Alarm = dict[str, Any]
Named = tuple[Scope, Alarm]
# What is to happen when an alarm changes its state: scope, alarm, verdict, StateReasonData.
Change = Callable[[Scope, Alarm, str, str, dict[str, Any]], None]


class Evaluator:
    """Looks at every alarm when there is a reason to, in one thread."""

    def __init__(
        self,
        store: MetricStore,
        alarms: Callable[[], Iterable[Named]],
        change: Change,
    ) -> None:
        """Start.

        Args:
            alarms: all metric alarms of all accounts.
            change: moves an alarm to another state.
        """
        self._store = store
        self._alarms = alarms
        self._change = change
        self._queries = MetricQueries(store)
        self._woken = threading.Event()
        self._noting = threading.Lock()  # what is noted while a round begins is looked at in this one or in the next
        self._touched: set[tuple[Scope, str, str]] = set()
        self._everything = False
        self._evaluated: dict[str, tuple[int, float | None]] = {}  # alarm ARN → boundary and gauge last looked at
        store.on_watched = self._on_datapoint
        threading.Thread(target=self._run, name="localcloud-alarms", daemon=True).start()

    def look(self) -> None:
        """Evaluate soon: an alarm is new or has changed."""
        with self._noting:
            self._everything = True
        self._woken.set()

    def _on_datapoint(self, key: MetricKey) -> None:
        with self._noting:
            self._touched.add(key[:3])
        self._woken.set()

    def _run(self) -> None:
        pruned = time.monotonic()
        while True:
            woken = self._woken.wait(TICK_SECONDS)
            if woken:
                time.sleep(TOGETHER_SECONDS)
            self._woken.clear()
            try:
                self._round()
                if time.monotonic() - pruned > PRUNE_SECONDS:
                    pruned = time.monotonic()
                    self._store.prune()
            except Exception:
                logger.exception("the alarms could not be evaluated")

    def _round(self) -> None:
        with self._noting:
            everything, self._everything = self._everything, False
            touched, self._touched = self._touched, set()
        now = time.time()
        alarms = list(self._alarms())
        self._store.watched = frozenset((scope, *metric) for scope, alarm in alarms for metric in _metrics(alarm))
        known = set()
        for scope, alarm in alarms:
            known.add(alarm["AlarmArn"])
            try:
                if self._due(scope, alarm, now, touched) or everything:
                    self.evaluate(scope, alarm, now)
            except Exception:  # one alarm's mistake must not silence the others
                logger.exception("alarm %s could not be evaluated", alarm.get("AlarmName"))
        for arn in set(self._evaluated) - known:
            del self._evaluated[arn]

    def _due(self, scope: Scope, alarm: Alarm, now: float, touched: set[tuple[Scope, str, str]]) -> bool:
        """Whether a period has ended, a datapoint has come or a gauge has moved since the last look."""
        boundary = int(now // _step(alarm))
        gauge = self._store.sample(_key(scope, alarm)) if alarm.get("MetricName") else None
        reason = any((scope, *metric) in touched for metric in _metrics(alarm))
        seen = (boundary, gauge)
        if self._evaluated.get(alarm["AlarmArn"]) == seen and not reason:
            return False
        self._evaluated[alarm["AlarmArn"]] = seen
        return True

    def evaluate(self, scope: Scope, alarm: Alarm, now: float) -> None:
        """Put one alarm into the state that its datapoints call for."""
        if alarm.get("ComparisonOperator") not in alarm_states.COMPARISONS or alarm.get("Threshold") is None:
            return  # anomaly detection: accepted, never evaluated
        rule = rule_of(alarm)
        step = _step(alarm)
        end = int(now // step) * step
        try:
            verdict = self._early(scope, alarm, rule, end + step) or self._judge(scope, alarm, rule, end)
        except LocalcloudError as error:
            logger.warning("alarm %s cannot be evaluated: %s", alarm["AlarmName"], error)
            return
        if verdict is not None and verdict.state != alarm["StateValue"]:
            self._change(scope, alarm, verdict.state, verdict.reason, _reason_data(alarm, rule, verdict, now))

    def _judge(self, scope: Scope, alarm: Alarm, rule: Rule, end: int) -> Verdict | None:
        return alarm_states.judge(rule, self._datapoints(scope, alarm, rule, end), alarm["StateValue"])

    def _early(self, scope: Scope, alarm: Alarm, rule: Rule, end: int) -> Verdict | None:
        """ALARM when the period that still runs is breached already, whatever else it will bring."""
        if not _can_only_grow(alarm):
            return None
        datapoints = self._datapoints(scope, alarm, rule, end)
        newest = datapoints[-1].value
        if newest is None or not rule.breaches(newest):
            return None
        verdict = alarm_states.judge(rule, datapoints, alarm["StateValue"])
        return verdict if verdict is not None and verdict.state == alarm_states.ALARM else None

    def _datapoints(self, scope: Scope, alarm: Alarm, rule: Rule, end: int) -> list[Datapoint]:
        period = period_of(alarm)
        count = rule.periods + alarm_states.EXTRA_PERIODS
        start = end - count * period
        queries = alarm.get("Metrics") or [{"Id": "m1", "MetricStat": metric_stat(alarm)}]
        series = self._queries.query(scope, queries, start, end)
        returned = next((query["Id"] for query in queries if query.get("ReturnData", True)), queries[-1]["Id"])
        found = series[returned][0] if series[returned] else {}
        return [Datapoint(when, found.get(when)) for when in range(start, end, period)]


def rule_of(alarm: Mapping[str, Any]) -> Rule:
    """What an alarm's description says about when it goes off."""
    periods = int(alarm.get("EvaluationPeriods") or 1)
    missing = alarm.get("TreatMissingData") or "missing"
    if alarm.get("Namespace") == "AWS/DynamoDB":
        missing = "ignore"  # whatever the alarm says
    return Rule(
        alarm["ComparisonOperator"],
        float(alarm["Threshold"]),
        int(alarm.get("DatapointsToAlarm") or periods),
        periods,
        missing,
    )


def period_of(alarm: Mapping[str, Any]) -> int:
    """Seconds for one datapoint."""
    if alarm.get("Metrics"):
        periods = [query["MetricStat"]["Period"] for query in alarm["Metrics"] if query.get("MetricStat")]
        periods += [query["Period"] for query in alarm["Metrics"] if query.get("Period")]
        return int(max(periods, default=60))
    return int(alarm.get("Period") or 60)


def metric_stat(alarm: Mapping[str, Any]) -> dict[str, Any]:
    """A single-metric alarm's metric, as GetMetricData asks for it."""
    stat: dict[str, Any] = {
        "Metric": {
            "Namespace": alarm.get("Namespace", ""),
            "MetricName": alarm.get("MetricName", ""),
            "Dimensions": list(alarm.get("Dimensions") or ()),
        },
        "Period": period_of(alarm),
        "Stat": alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average",
    }
    return stat | ({"Unit": alarm["Unit"]} if alarm.get("Unit") else {})


def _step(alarm: Mapping[str, Any]) -> int:
    """How often a period ends: each minute, for longer ones too, as they slide."""
    return min(period_of(alarm), 60)


def _metrics(alarm: Mapping[str, Any]) -> list[tuple[str, str]]:
    if alarm.get("Metrics"):
        metrics = [query["MetricStat"]["Metric"] for query in alarm["Metrics"] if query.get("MetricStat")]
        return [(metric.get("Namespace", ""), metric.get("MetricName", "")) for metric in metrics]
    return [(alarm.get("Namespace") or "", alarm.get("MetricName") or "")]


def _key(scope: Scope, alarm: Mapping[str, Any]) -> MetricKey:
    return MetricKey(
        scope, alarm.get("Namespace") or "", alarm.get("MetricName") or "", dimensions_of(alarm.get("Dimensions"))
    )


def _can_only_grow(alarm: Mapping[str, Any]) -> bool:
    if alarm.get("Metrics") or alarm.get("ExtendedStatistic"):
        return False
    statistic, comparison = alarm.get("Statistic"), str(alarm.get("ComparisonOperator", ""))
    if comparison.startswith("GreaterThan"):
        # Counts are what is summed; a metric with negative values would be evaluated too early.
        return statistic in ("Maximum", "Sum", "SampleCount")
    return statistic == "Minimum" and comparison.startswith("LessThan")


def _reason_data(alarm: Mapping[str, Any], rule: Rule, verdict: Verdict, now: float) -> dict[str, Any]:
    points = [point for point in verdict.evaluated if point.value is not None]
    data: dict[str, Any] = {
        "version": "1.0",
        "queryDate": stamp(now),
        **({"startDate": stamp(points[-1].start)} if points else {}),
        **({"unit": alarm["Unit"]} if alarm.get("Unit") else {}),
    }
    if alarm.get("Statistic"):
        data["statistic"] = alarm["Statistic"]
    elif alarm.get("ExtendedStatistic"):
        data["extendedStatistic"] = alarm["ExtendedStatistic"]
    return data | {
        "period": period_of(alarm),
        "recentDatapoints": [point.value for point in reversed(points)],
        "threshold": rule.threshold,
        "evaluatedDatapoints": [{"timestamp": stamp(point.start), "value": point.value} for point in points],
    }


def stamp(when: float) -> str:
    """A time as CloudWatch writes it into its notices: 2026-11-23T07:00:00.000+0000."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(when * 1000) % 1000:03d}+0000"


def event_detail(alarm: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """The detail of a CloudWatch Alarm State Change event.

    docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html.
    """
    state = {
        "value": alarm["StateValue"],
        "reason": alarm.get("StateReason", ""),
        "reasonData": alarm.get("StateReasonData"),
        "timestamp": stamp(alarm["StateUpdatedTimestamp"]),
    }
    configuration: dict[str, Any] = {}
    if "AlarmRule" in alarm:
        configuration["alarmRule"] = alarm["AlarmRule"]
    else:
        configuration["metrics"] = [_event_metric(query) for query in _queries(alarm)]
    if alarm.get("AlarmDescription"):
        configuration["description"] = alarm["AlarmDescription"]
    return {
        "alarmName": alarm["AlarmName"],
        "configuration": configuration,
        "previousState": {key: value for key, value in previous.items() if value is not None},
        "state": {key: value for key, value in state.items() if value is not None},
    }


def previous_state(alarm: Mapping[str, Any]) -> dict[str, Any]:
    """An alarm's state before it is changed, as the event will say it."""
    return {
        "value": alarm["StateValue"],
        "reason": alarm.get("StateReason", ""),
        "reasonData": alarm.get("StateReasonData"),
        "timestamp": stamp(alarm.get("StateUpdatedTimestamp", time.time())),
    }


def _queries(alarm: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if alarm.get("Metrics"):
        return list(alarm["Metrics"])
    # AWS invents an Id; one that stays the same is of more use.
    return [{"Id": "m1", "MetricStat": metric_stat(alarm), "ReturnData": True}]


def _event_metric(query: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"id": query["Id"]}
    if "MetricStat" in query:
        stat = query["MetricStat"]
        metric = stat["Metric"]
        described["metricStat"] = {
            "metric": {
                "namespace": metric.get("Namespace", ""),
                "name": metric.get("MetricName", ""),
                "dimensions": {each["Name"]: each["Value"] for each in metric.get("Dimensions") or ()},
            },
            "period": stat["Period"],
            "stat": stat["Stat"],
            **({"unit": stat["Unit"]} if stat.get("Unit") else {}),
        }
    else:
        described["expression"] = query["Expression"]
        if query.get("Label"):
            described["label"] = query["Label"]
    return described | {"returnData": query.get("ReturnData", True)}


def notification(scope: Scope, alarm: Mapping[str, Any], previous: str) -> dict[str, Any]:
    """What an alarm tells its SNS topics.

    docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-actions.html.
    """
    told = {
        "AlarmName": alarm["AlarmName"],
        "AlarmDescription": alarm.get("AlarmDescription") or None,
        "AWSAccountId": scope.account,
        "AlarmConfigurationUpdatedTimestamp": stamp(alarm.get("AlarmConfigurationUpdatedTimestamp", time.time())),
        "NewStateValue": alarm["StateValue"],
        "NewStateReason": alarm.get("StateReason", ""),
        "StateChangeTime": stamp(alarm["StateUpdatedTimestamp"]),
        "Region": scope.region,
        "AlarmArn": alarm["AlarmArn"],
        "OldStateValue": previous,
        "OKActions": list(alarm.get("OKActions") or ()),
        "AlarmActions": list(alarm.get("AlarmActions") or ()),
        "InsufficientDataActions": list(alarm.get("InsufficientDataActions") or ()),
    }
    if "AlarmRule" in alarm:
        data = json.loads(alarm.get("StateReasonData") or "{}")
        return told | {"AlarmRule": alarm["AlarmRule"], "TriggeringChildren": data.get("triggeringAlarms", [])}
    return told | {"Trigger": _trigger(alarm)}


def _trigger(alarm: Mapping[str, Any]) -> dict[str, Any]:
    trigger: dict[str, Any] = {
        "Period": period_of(alarm),
        "EvaluationPeriods": alarm.get("EvaluationPeriods", 1),
        **({"DatapointsToAlarm": alarm["DatapointsToAlarm"]} if alarm.get("DatapointsToAlarm") else {}),
        "ComparisonOperator": alarm.get("ComparisonOperator"),
        "Threshold": alarm.get("Threshold"),
        "TreatMissingData": alarm.get("TreatMissingData") or "missing",
        "EvaluateLowSampleCountPercentile": alarm.get("EvaluateLowSampleCountPercentile", ""),
    }
    if alarm.get("Metrics"):
        return trigger | {"Metrics": alarm["Metrics"]}
    kind = "ExtendedStatistic" if alarm.get("ExtendedStatistic") else "Statistic"
    return {
        "MetricName": alarm.get("MetricName"),
        "Namespace": alarm.get("Namespace"),
        "StatisticType": kind,
        kind: alarm["ExtendedStatistic"] if kind == "ExtendedStatistic" else str(alarm.get("Statistic", "")).upper(),
        "Unit": alarm.get("Unit"),
        "Dimensions": [{"value": each["Value"], "name": each["Name"]} for each in alarm.get("Dimensions") or ()],
    } | trigger
