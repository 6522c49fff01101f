"""SNS messages of both alert topics: kept for `onwing alerts` (control_plane.alert_log)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from control_plane.alert_log import Notifications, keep
from control_plane.settings import load_settings

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler
@event_parser(model=Notifications)
def handler(event: Notifications, context: LambdaContext) -> dict[str, Any]:
    """Keep each message once."""
    kept = [keep(load_settings(), record.notification) for record in event.records]
    logger.info("alerts kept", extra={"kept": sum(kept), "known": len(kept) - sum(kept)})
    metrics.add_metric(name="AlertKept", unit=MetricUnit.Count, value=sum(kept))
    return {"kept": sum(kept), "known": len(kept) - sum(kept)}
