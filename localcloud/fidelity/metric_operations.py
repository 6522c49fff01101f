"""Metrics are put and read as the service model says: exact dimensions, units, percentiles, expressions, paging.

docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html; MiniStack's answers cannot be read by
boto3 without a package that it does not install (CBOR), it mixes metrics that differ by a dimension, knows no
expressions and keeps every value for two weeks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import metrics
from localcloud.cloudwatch.metric_queries import MetricQueries
from localcloud.cloudwatch.operations import FRONT


class _Saved:
    """The metrics' part in saving, restoring and resetting."""

    def get_state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {"metrics": metrics.STORE.snapshot()}

    def load_persisted_state(self, data: Mapping[str, Any]) -> None:
        """Everything back."""
        metrics.STORE.restore(data["metrics"])

    def reset(self) -> None:
        """Forget everything."""
        metrics.STORE.clear()


def install() -> None:
    """Answer the operations from localcloud's own store, which MiniStack's services put their metrics into as well."""

    def make(_original: Any) -> Any:
        def record(
            namespace: str,
            metric_name: str,
            value: float,
            unit: str = "None",
            dimensions: Mapping[str, str] | None = None,
        ) -> None:
            metrics.put(hooks.current_scope(), namespace, metric_name, value, unit, dimensions)

        return record

    hooks.replace("cloudwatch.record", make)
    hooks.register_state("localcloud_metrics", _Saved())
    FRONT.add(MetricQueries(metrics.STORE))
    FRONT.install()
