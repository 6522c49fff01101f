"""S3 Object Created under data/raw/: take the file in (control_plane.ingestion)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.parser.models import S3EventNotificationEventBridgeModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from control_plane.ingestion import ingest
from control_plane.settings import load_settings

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@logger.inject_lambda_context(correlation_id_path="id")
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler
@event_parser(model=S3EventNotificationEventBridgeModel)
def handler(event: S3EventNotificationEventBridgeModel, context: LambdaContext) -> dict[str, Any]:
    """Ingest the object version that the event names."""
    created = event.detail.object
    result = ingest(
        load_settings(),
        bucket=event.detail.bucket.name,
        key=created.key,
        version_id=created.version_id or "null",
        sequencer=created.sequencer or "",
    )
    logger.info(result.message, extra=result.model_dump(exclude={"message"}))
    metrics.add_metric(name=f"Upload{result.outcome.title()}", unit=MetricUnit.Count, value=1)
    return result.model_dump()
