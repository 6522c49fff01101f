"""PutMetricAlarm is checked as on AWS, takes expressions, and DescribeAlarms gives back what was put.

docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html; MiniStack drops Metrics (expressions),
accepts any period, statistic and operator, and gives some alarms members that were never set.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import metric_math, metric_statistics
from localcloud.cloudwatch.alarms import changing, previous_state
from localcloud.cloudwatch.operations import FRONT
from localcloud.errors import ApiError
from localcloud.fidelity import alarm_actions
from localcloud.sagemaker.api import service_model
from localcloud.store import Scope

Request = Mapping[str, Any]

LONGEST_SECONDS = 7 * 24 * 3600  # period times evaluation periods
MOST_TAGS = 50
STATE = ("StateValue", "StateReason", "StateReasonData", "StateUpdatedTimestamp", "StateTransitionedTimestamp")
TIMES = ("StateUpdatedTimestamp", "StateTransitionedTimestamp", "AlarmConfigurationUpdatedTimestamp")


def install() -> None:
    """Answer the operations; a template's alarms take the same way."""
    FRONT.add(AlarmOperations())

    def make(_original: Any) -> Any:
        def record(name: str, props: Mapping[str, Any]) -> dict[str, Any]:
            """An alarm as a template describes it, whose numbers and booleans may be text."""
            shape = service_model("cloudwatch").operation_model("PutMetricAlarm").input_shape
            request = {**_typed(shape, props), "AlarmName": name}
            return alarm_of(hooks.current_scope(), request)

        return record

    hooks.replace("cloudformation.alarm", make)


class AlarmOperations:
    """The alarm operations that MiniStack answers otherwise than AWS."""

    operations = ("PutMetricAlarm", "DescribeAlarms", "DescribeAlarmsForMetric", "SetAlarmState")

    def put_metric_alarm(self, scope: Scope, request: Request) -> dict[str, Any]:
        """Create or replace; the state stays."""
        alarms = hooks.get("cloudwatch.alarms")
        name = request["AlarmName"]
        is_new = name not in alarms
        tags = request.get("Tags", [])
        if len(tags) > MOST_TAGS:
            raise ApiError("ValidationError", f"The resultant tag set must not have more than {MOST_TAGS} user tags.")
        if is_new and any(tag["Key"].lower().startswith("aws:") for tag in tags):
            raise ApiError("AccessDenied", 'The provided tag keys must not start with any case of "aws:"', 403)
        with changing:
            alarm = alarm_of(scope, request)
            hooks.get("cloudwatch.put_alarm")(alarm)
        if is_new and tags:
            hooks.get("cloudwatch.tags")[alarm["AlarmArn"]] = {tag["Key"]: tag["Value"] for tag in tags}
        return {}

    def describe_alarms(self, _scope: Scope, request: Request) -> dict[str, Any]:
        """Metric alarms unless AlarmTypes asks for others, in order of their names."""
        kinds = request.get("AlarmTypes") or ["MetricAlarm"]
        found: list[tuple[str, str, dict[str, Any]]] = []
        for kind, table in (("MetricAlarm", "cloudwatch.alarms"), ("CompositeAlarm", "cloudwatch.composites")):
            if kind in kinds:
                found += [(alarm["AlarmName"], kind, alarm) for alarm in hooks.get(table).values()]
        names, prefix = request.get("AlarmNames"), request.get("AlarmNamePrefix", "")
        action = request.get("ActionPrefix")
        found = sorted(
            (
                (name, kind, alarm)
                for name, kind, alarm in found
                if (not names or name in names)
                and name.startswith(prefix)
                and request.get("StateValue") in (None, alarm["StateValue"])
                and (not action or any(each.startswith(action) for each in alarm.get("AlarmActions") or ()))
                and name >= request.get("NextToken", "")
            ),
            key=lambda each: each[:2],
        )
        page = request.get("MaxRecords", 50)
        answer: dict[str, Any] = {"MetricAlarms": [], "CompositeAlarms": []}
        for _name, kind, alarm in found[:page]:
            answer[f"{kind}s"].append(described(kind, alarm))
        if len(found) > page:
            answer["NextToken"] = found[page][0]
        return answer

    def describe_alarms_for_metric(self, _scope: Scope, request: Request) -> dict[str, Any]:
        """The alarms on exactly this metric."""
        wanted = sorted((each["Name"], each["Value"]) for each in request.get("Dimensions", ()))
        return {
            "MetricAlarms": [
                described("MetricAlarm", alarm)
                for alarm in hooks.get("cloudwatch.alarms").values()
                if alarm.get("Namespace") == request["Namespace"]
                and alarm.get("MetricName") == request["MetricName"]
                and sorted((each["Name"], each["Value"]) for each in alarm.get("Dimensions") or ()) == wanted
                and all(
                    request.get(member) in (None, alarm.get(member))
                    for member in ("Statistic", "ExtendedStatistic", "Period", "Unit")
                )
            ]
        }

    def set_alarm_state(self, _scope: Scope, request: Request) -> dict[str, Any]:
        """Set the state until the next evaluation; actions and events follow as for any change."""
        name, state, reason = request["AlarmName"], request["StateValue"], request["StateReason"]
        metric_alarm = hooks.get("cloudwatch.alarms").get(name)
        alarm = metric_alarm or hooks.get("cloudwatch.composites").get(name)
        if alarm is None:
            raise ApiError("ResourceNotFound", f"Alarm {name} not found", 404)
        data = request.get("StateReasonData")
        if data is not None:
            _must_be_json(data)
        with changing:
            before = alarm["StateValue"]
            alarm_actions.remember(alarm["AlarmArn"], previous_state(alarm))
            now = round(time.time(), 3)
            alarm.update(StateValue=state, StateReason=reason, StateReasonData=data or "{}", StateUpdatedTimestamp=now)
            if before != state:
                alarm["StateTransitionedTimestamp"] = now
        if before != state:
            kind = "MetricAlarm" if metric_alarm else "CompositeAlarm"
            hooks.get("cloudwatch.history")(name, before, state, reason, kind, json.loads(data or "{}"))
            hooks.get("cloudwatch.act")(alarm, before, state, reason)
            hooks.get("cloudwatch.parents")(alarm)
        return {}


def alarm_of(scope: Scope, request: Request) -> dict[str, Any]:
    """The alarm that a PutMetricAlarm asks for.

    Raises:
        ApiError: ValidationError and its kin, as AWS refuses it.
    """
    _check(request)
    name = request["AlarmName"]
    now = round(time.time(), 3)
    known = hooks.get("cloudwatch.alarms").get(name) or {
        "StateValue": "INSUFFICIENT_DATA",
        "StateReason": "Unchecked: Initial alarm creation",
        "StateUpdatedTimestamp": now,
        "StateTransitionedTimestamp": now,
    }
    return {
        "ActionsEnabled": True,
        "AlarmActions": [],
        "OKActions": [],
        "InsufficientDataActions": [],
        **({} if request.get("Metrics") else {"Dimensions": []}),
        **{member: value for member, value in request.items() if member != "Tags"},
        "AlarmArn": f"arn:aws:cloudwatch:{scope.region}:{scope.account}:alarm:{name}",
        "AlarmConfigurationUpdatedTimestamp": now,
        **{member: known[member] for member in STATE if member in known},
    }


def _check(request: Request) -> None:
    queries = request.get("Metrics") or []
    single = request.get("MetricName")
    if bool(queries) == bool(single):
        raise ApiError("ValidationError", "Give either MetricName (with Namespace and Period) or Metrics, not both.")
    periods = [query["MetricStat"]["Period"] for query in queries if "MetricStat" in query]
    if single:
        if not request.get("Namespace") or not request.get("Period"):
            raise ApiError("ValidationError", "A metric needs its Namespace and Period.")
        if bool(request.get("Statistic")) == bool(request.get("ExtendedStatistic")):
            raise ApiError("ValidationError", "Give either Statistic or ExtendedStatistic.")
        metric_statistics.check(request.get("Statistic") or request["ExtendedStatistic"])
        periods.append(request["Period"])
    else:
        _check_queries(queries)
    for period in periods:
        if period not in (10, 20, 30) and (period < 60 or period % 60):
            raise ApiError("ValidationError", f"Invalid period {period}: it must be 10, 20, 30 or a multiple of 60.")
    evaluated = request["EvaluationPeriods"]
    if request.get("DatapointsToAlarm", 1) > evaluated:
        raise ApiError("ValidationError", "DatapointsToAlarm must not be greater than EvaluationPeriods.")
    if periods and max(periods) * evaluated > LONGEST_SECONDS:
        raise ApiError("ValidationError", "Metrics cannot be checked across more than seven days.")
    if periods and max(periods) < 3600 and max(periods) * evaluated > 24 * 3600:
        raise ApiError("ValidationError", "Metrics cannot be checked across more than a day: lengthen the period.")
    if request.get("TreatMissingData", "missing") not in ("breaching", "notBreaching", "ignore", "missing"):
        raise ApiError("ValidationError", f"The value {request['TreatMissingData']} for TreatMissingData is not valid.")
    if "Threshold" not in request and "ThresholdMetricId" not in request:
        raise ApiError("ValidationError", "An alarm needs a Threshold.")


def _check_queries(queries: list[dict[str, Any]]) -> None:
    names = {query["Id"] for query in queries}
    returned = [query["Id"] for query in queries if query.get("ReturnData", True)]
    if len(returned) != 1:
        raise ApiError("ValidationError", f"Exactly one element of Metrics must return data, not {len(returned)}.")
    for query in queries:
        if "MetricStat" in query:
            metric_statistics.check(query["MetricStat"]["Stat"])
        elif missing := metric_math.references(query.get("Expression", "")) - names:
            raise ApiError("ValidationError", f"Expression {query['Id']} refers to {sorted(missing)}: there is none.")


def described(kind: str, alarm: Mapping[str, Any]) -> dict[str, Any]:
    """An alarm as DescribeAlarms gives it."""
    shape = service_model("cloudwatch").shape_for(kind)
    answer = {name: alarm[name] for name in shape.members if alarm.get(name) is not None}  # type: ignore[attr-defined]
    for name in TIMES:
        if name in answer:
            answer[name] = datetime.fromtimestamp(answer[name], UTC)
    return answer


def _must_be_json(text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise ApiError("InvalidFormat", f"StateReasonData is no JSON: {error}") from error


def _typed(shape: Any, value: Any) -> Any:
    """Values of the model's types from a template's, which may all be text."""
    kind = shape.type_name
    if kind == "structure":
        return {
            name: _typed(shape.members[name], item)
            for name, item in value.items()
            if name in shape.members and item is not None
        }
    if kind == "list":
        return [_typed(shape.member, item) for item in (value if isinstance(value, list) else [value])]
    if kind in ("integer", "long"):
        return int(float(value))
    if kind in ("float", "double"):
        return float(value)
    if kind == "boolean":
        return str(value).lower() == "true"
    return str(value) if kind == "string" else value
