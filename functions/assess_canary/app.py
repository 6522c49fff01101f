"""The deployment, rollback and recovery machines: judge a package or a variant (control_plane.assessment)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from control_plane.assessment import AssessmentRequest, assess
from control_plane.settings import load_assessment_settings, load_settings

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler
@event_parser(model=AssessmentRequest)
def handler(event: AssessmentRequest, context: LambdaContext) -> dict[str, Any]:
    """Judge what the event names; the verdict is the answer, an AWS error is raised."""
    result = assess(load_settings(), load_assessment_settings(), event)
    logger.info(result.summary, extra=result.model_dump(mode="json", exclude={"summary"}) | {"phase": event.phase})
    metrics.add_metric(name=f"Assessment{result.verdict.title()}", unit=MetricUnit.Count, value=1)
    return result.model_dump(mode="json")
