"""S3 Object Created of a constraint_violations.json: alert, roll back or retrain (control_plane.violations)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.parser.models import S3EventNotificationEventBridgeModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from control_plane.settings import load_deployment_settings, load_settings, load_violation_settings
from control_plane.violations import handle

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@logger.inject_lambda_context(correlation_id_path="id")
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler
@event_parser(model=S3EventNotificationEventBridgeModel)
def handler(event: S3EventNotificationEventBridgeModel, context: LambdaContext) -> dict[str, Any]:
    """Handle the file version that the event names."""
    created = event.detail.object
    result = handle(
        load_settings(),
        load_deployment_settings(),
        load_violation_settings(),
        key=created.key,
        version_id=created.version_id or "null",
    )
    logger.info(result.message, extra=result.model_dump(exclude={"message"}))
    metrics.add_metric(name=f"Violation{result.outcome.title()}", unit=MetricUnit.Count, value=1)
    return result.model_dump()
