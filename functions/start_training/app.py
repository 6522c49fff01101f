"""The weekly schedule, or a person with `onwing train`: start training (control_plane.training)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from control_plane.settings import load_settings
from control_plane.training import TrainingRequest, start_requested, start_scheduled

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler
@event_parser(model=TrainingRequest)
def handler(event: TrainingRequest, context: LambdaContext) -> dict[str, Any]:
    """Start the version asked for, or with trigger schedule the newest version of every fleet."""
    if event.trigger == "schedule":
        results = start_scheduled(load_settings(), event.overrides)
        answer = {"results": [result.model_dump() for result in results]}
    else:
        results = [start_requested(load_settings(), event)]
        answer = results[0].model_dump()
    for result in results:
        logger.info(result.message, extra=result.model_dump(exclude={"message"}))
        metrics.add_metric(name=f"Training{result.status.title()}", unit=MetricUnit.Count, value=1)
    return answer
