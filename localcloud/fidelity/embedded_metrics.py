"""Log lines in the embedded metric format become metrics, wherever they come from: functions, jobs, PutLogEvents.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html; MiniStack
keeps them as text.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import emf, metrics
from localcloud.cloudwatch.metrics import Aggregate


def install() -> None:
    """Read the lines where they are fanned out to whoever wants them."""

    def make(fan_out: Any) -> Any:
        def fanned_out(group_name: str, stream_name: str, events: list[dict[str, Any]]) -> Any:
            for event in events:
                for measured in emf.metrics_of(event.get("message") or ""):
                    _put(measured)
            return fan_out(group_name, stream_name, events)

        return fanned_out

    hooks.replace("logs.fan_out", make)


def _put(measured: emf.Measured) -> None:
    aggregate = Aggregate()
    for value in measured.values:
        aggregate.add(value)
    metrics.STORE.put_aggregate(
        hooks.current_scope(),
        measured.namespace,
        measured.name,
        aggregate,
        measured.unit,
        measured.dimensions,
        measured.timestamp,
        resolution=measured.resolution,
    )
