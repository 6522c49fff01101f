"""A metric filter turns the lines that match its pattern into a metric.

docs.aws.amazon.com/AmazonCloudWatch/latest/logs/MonitoringLogData.html; MiniStack keeps metric filters and never
applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import log_patterns, metrics
from localcloud.delivery.event_paths import MISSING, find


def install() -> None:
    """Read each line where it is fanned out."""

    def make(fan_out: Any) -> Any:
        def fanned_out(group_name: str, stream_name: str, events: list[dict[str, Any]]) -> Any:
            for each in hooks.get("logs.metric_filters").values():
                if each["logGroupName"] == group_name:
                    _apply(each, events)
            return fan_out(group_name, stream_name, events)

        return fanned_out

    hooks.replace("logs.fan_out", make)


def _apply(metric_filter: Mapping[str, Any], events: list[dict[str, Any]]) -> None:
    try:
        match = log_patterns.compiled(metric_filter.get("filterPattern") or "")
    except log_patterns.InvalidPattern:
        return
    found = [(event, match(event.get("message") or "")) for event in events]
    for transformation in metric_filter.get("metricTransformations", []):
        put = 0
        for event, fields in found:
            if fields is None:
                continue
            value = _number(_read(transformation["metricValue"], fields))
            if value is None:
                continue
            dimensions = {
                name: str(_read(path, fields)) for name, path in (transformation.get("dimensions") or {}).items()
            }
            _put(transformation, value, dimensions, event)
            put += 1
        default = transformation.get("defaultValue")
        if default is not None and not put and not transformation.get("dimensions"):
            _put(transformation, float(default), {}, {})


def _put(
    transformation: Mapping[str, Any], value: float, dimensions: Mapping[str, str], event: Mapping[str, Any]
) -> None:
    metrics.put(
        hooks.current_scope(),
        transformation["metricNamespace"],
        transformation["metricName"],
        value,
        transformation.get("unit", "None"),
        dimensions,
        event["timestamp"] / 1000 if "timestamp" in event else None,
    )


def _read(text: str, fields: Mapping[str, Any]) -> Any:
    """A number as it stands, $.path of a JSON line, or $name of a space-delimited one."""
    if text.startswith("$."):
        return find(text, fields)
    return fields.get(text[1:], MISSING) if text.startswith("$") else text


def _number(value: Any) -> float | None:
    if value is MISSING or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
