"""The daily schedule, or `onwing status`: compare what is with what should be (control_plane.reconcile)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from control_plane.reconcile import ReconcileRequest, reconcile
from control_plane.settings import (
    load_deployment_settings,
    load_reconcile_settings,
    load_settings,
    load_violation_settings,
)

logger = Logger()
metrics = Metrics()
tracer = Tracer()


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
@tracer.capture_lambda_handler
@event_parser(model=ReconcileRequest)
def handler(event: ReconcileRequest, context: LambdaContext) -> dict[str, Any]:
    """Repair or report what was lost; the answer says all of it, and how much is watched."""
    result = reconcile(
        load_settings(), load_deployment_settings(), load_violation_settings(), load_reconcile_settings(), event
    )
    for finding in result.findings:
        logger.warning(finding.message, extra=finding.model_dump(exclude={"message"}))
    repaired = sum(finding.repaired for finding in result.findings)
    metrics.add_metric(name="FindingsRepaired", unit=MetricUnit.Count, value=repaired)
    metrics.add_metric(name="FindingsToDo", unit=MetricUnit.Count, value=len(result.findings) - repaired)
    if result.coverage is not None:
        metrics.add_metric(name="MonitoringCoverage", unit=MetricUnit.Percent, value=result.coverage.percent)
    return result.model_dump(mode="json")
