"""Metrics written as log lines: CloudWatch's embedded metric format.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST_METRICS = 100  # in one directive
MOST_VALUES = 100  # of one metric in one line
MOST_DIMENSIONS = 30  # in one set


@dataclass(frozen=True)
class Measured:
    """Values of one metric in one line.

    Args:
        timestamp: seconds since the epoch.
        resolution: 1 or 60 seconds.
    """

    namespace: str
    name: str
    dimensions: dict[str, str]
    values: tuple[float, ...]
    unit: str
    timestamp: float
    resolution: int


def metrics_of(message: str) -> Iterator[Measured]:
    """The metrics that a log line carries; none for other lines, and none for what breaks the specification."""
    if '"CloudWatchMetrics"' not in message:  # most lines
        return
    try:
        root = json.loads(message)
    except ValueError:
        return
    metadata = root.get("_aws") if isinstance(root, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("CloudWatchMetrics"), list):
        return
    timestamp = metadata.get("Timestamp")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        return
    for directive in metadata["CloudWatchMetrics"]:
        if isinstance(directive, dict):
            yield from _directive(root, directive, timestamp / 1000)


def _directive(root: Mapping[str, Any], directive: Mapping[str, Any], timestamp: float) -> Iterator[Measured]:
    namespace, definitions, sets = (directive.get(name) for name in ("Namespace", "Metrics", "Dimensions"))
    if not isinstance(namespace, str) or not namespace:
        return
    if not isinstance(definitions, list) or len(definitions) > MOST_METRICS:
        return
    if not isinstance(sets, list):
        return
    # [[]] and [] both mean: no dimensions.
    wanted = [dimensions for names in sets or [[]] if (dimensions := _dimensions(root, names)) is not None]
    for definition in definitions:
        if not isinstance(definition, dict) or not isinstance(definition.get("Name"), str):
            continue
        values = _values(root.get(definition["Name"]))
        if not values:
            continue
        resolution = 1 if definition.get("StorageResolution") == 1 else 60
        unit = definition.get("Unit", "None")
        for dimensions in wanted:
            yield Measured(namespace, definition["Name"], dimensions, values, str(unit), timestamp, resolution)


def _dimensions(root: Mapping[str, Any], names: Any) -> dict[str, str] | None:
    """The values of one dimension set; None when one of them is missing or no text."""
    if not isinstance(names, list) or len(names) > MOST_DIMENSIONS:
        return None
    found = {name: root.get(name) for name in names if isinstance(name, str)}
    if len(found) != len(names) or not all(isinstance(value, str) and value for value in found.values()):
        return None
    return {name: str(value) for name, value in found.items()}


def _values(target: Any) -> tuple[float, ...]:
    values = target if isinstance(target, list) else [target]
    if len(values) > MOST_VALUES:
        return ()
    if any(
        isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) for value in values
    ):
        return ()
    return tuple(float(value) for value in values)
