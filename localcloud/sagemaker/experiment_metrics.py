"""SageMaker Metrics, a service of its own: BatchPutMetrics into trial components.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_metrics_BatchPutMetrics.html
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import ClassVar

from localcloud.errors import ApiError
from localcloud.sagemaker.api import parse_request, service_model
from localcloud.sagemaker.trial_components import TrialComponents
from localcloud.store import Scope

PATHS = ("/BatchPutMetrics", "/BatchGetMetrics")
# Lets a caller pass who may perform an operation: scope, operation, request, access key.
Authorise = Callable[[Scope, str, object, str | None], None]


class ExperimentMetrics:
    """BatchPutMetrics of SageMaker Metrics.

    It answers the requests that come to PATHS.
    """

    operations = ("BatchPutMetrics",)
    partial: ClassVar[dict[str, str]] = {
        "BatchPutMetrics": "kept as statistics over all points; BatchGetMetrics, which gives the series, is refused."
    }

    def __init__(self, components: TrialComponents, authorise: Authorise) -> None:
        self._components = components
        self._authorise = authorise

    @staticmethod
    def handles(path: str) -> bool:
        """Whether a request's path is of this service."""
        return path in PATHS

    def handle(self, scope: Scope, path: str, body: bytes, caller: str | None) -> tuple[int, dict[str, str], bytes]:
        """Answer one HTTP request: status, headers, body."""
        headers = {"Content-Type": "application/json"}
        try:
            return 200, headers, json.dumps(self._perform(scope, path.removeprefix("/"), body, caller)).encode()
        except ApiError as error:
            return (
                error.status,
                {**headers, "x-amzn-ErrorType": error.code},
                json.dumps({"Message": error.message}).encode(),
            )

    def _perform(self, scope: Scope, operation: str, body: bytes, caller: str | None) -> dict[str, object]:
        if operation == "BatchGetMetrics":
            raise ApiError(
                "UnsupportedOperationException",
                "localcloud keeps statistics of a trial component's metrics, not their series: DescribeTrialComponent "
                "gives them as Metrics.",
                501,
            )
        try:
            given = json.loads(body or b"{}")
        except ValueError as error:
            raise ApiError("SerializationException", "The request is no JSON.") from error
        self._authorise(scope, operation, given, caller)
        request = parse_request(service_model("sagemaker-metrics").operation_model(operation).input_shape, given)
        points = [(point["MetricName"], point["Value"], point["Timestamp"]) for point in request["MetricData"]]
        self._components.put_metrics(scope, request["TrialComponentName"], points)
        return {"Errors": []}
