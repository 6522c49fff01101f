"""The monitoring machine: claim the windows of captured traffic that are due (control_plane.windows)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from control_plane.settings import load_settings, load_window_settings
from control_plane.windows import WindowsRequest, open_windows

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler
@event_parser(model=WindowsRequest)
def handler(event: WindowsRequest, context: LambdaContext) -> dict[str, Any]:
    """Answer with the windows that are the execution's now."""
    result = open_windows(load_settings(), load_window_settings(), event)
    logger.info("%d windows of %s", len(result.windows), event.fleet, extra=result.model_dump())
    metrics.add_metric(name="WindowsOpened", unit=MetricUnit.Count, value=len(result.windows))
    return result.model_dump()
