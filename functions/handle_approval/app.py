"""SageMaker Model Package State Change: deploy what was approved, stop what was rejected (control_plane.approvals)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from control_plane.approvals import act_on
from control_plane.package_events import PackageStateChange
from control_plane.settings import load_deployment_settings, load_settings

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@logger.inject_lambda_context(correlation_id_path="id")
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler
@event_parser(model=PackageStateChange)
def handler(event: PackageStateChange, context: LambdaContext) -> dict[str, Any]:
    """Act on the package's approval status if the event is a transition."""
    result = act_on(load_settings(), load_deployment_settings(), event)
    logger.info(result.message, extra=result.model_dump(exclude={"message"}))
    metrics.add_metric(name=f"Approval{result.outcome.title()}", unit=MetricUnit.Count, value=1)
    return result.model_dump()
