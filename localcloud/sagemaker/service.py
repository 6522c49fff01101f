"""SageMaker's API: one request in, checked, dispatched to the family that has the operation, checked, answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from botocore import xform_name

from localcloud.errors import ApiError
from localcloud.iam.identity import Identity
from localcloud.jobs.platform import Platform
from localcloud.jobs.processing_jobs import ProcessingJobs
from localcloud.jobs.training_jobs import TrainingJobs
from localcloud.jobs.transform_jobs import TransformJobs
from localcloud.monitoring.executions import Executions
from localcloud.monitoring.job_definitions import (
    DataQualityDefinitions,
    ModelBiasDefinitions,
    ModelExplainabilityDefinitions,
    ModelQualityDefinitions,
)
from localcloud.monitoring.schedules import Schedules
from localcloud.sagemaker import permissions
from localcloud.sagemaker.api import parse_request, serialise_response, service_model
from localcloud.sagemaker.experiment_metrics import ExperimentMetrics
from localcloud.sagemaker.experiments import Entities, Experiments
from localcloud.sagemaker.job_tracking import JobTracking
from localcloud.sagemaker.lineage import Associations, Lineage
from localcloud.sagemaker.model_registry import ModelRegistry
from localcloud.sagemaker.search import Search
from localcloud.sagemaker.tags import Tags
from localcloud.sagemaker.trial_components import TrialComponents
from localcloud.sagemaker.unsupported import refusal
from localcloud.serving.endpoint_configs import EndpointConfigs
from localcloud.serving.endpoints import Endpoints
from localcloud.serving.models import Models
from localcloud.serving.router import Router
from localcloud.serving.runtime_api import Runtime
from localcloud.store import Record, Scope
from localcloud.tuning.tuning_jobs import TuningJobs

logger = logging.getLogger("localcloud.sagemaker")

CONTENT_TYPE = "application/x-amz-json-1.1"
INTERRUPTED = "InternalServerError: localcloud was stopped while the job ran; start it again."

Operation = Callable[[Scope, dict[str, Any]], dict[str, Any]]


class SageMaker:
    """All operations that localcloud has of SageMaker."""

    def __init__(self, platform: Platform, identity: Identity | None = None) -> None:
        """``identity`` authorises callers; None lets everybody do everything."""
        self.platform = platform
        self.identity = identity or Identity(enforced=False)
        self.tags = Tags(platform.store)
        self.processing = ProcessingJobs(platform, self.tags)
        self.training = TrainingJobs(platform, self.tags)
        self.tuning = TuningJobs(platform, self.tags, self.training)
        self.registry = ModelRegistry(platform.store, self.tags, platform.events, platform.quotas)
        router = Router()
        self.models = Models(platform, self.tags)
        self.endpoint_configs = EndpointConfigs(platform, self.tags)
        self.endpoints = Endpoints(platform, self.tags, router)
        self.runtime = Runtime(router, self.authorise)
        self.transform = TransformJobs(platform, self.tags)
        serving = (self.models, self.endpoint_configs, self.endpoints, self.transform)
        self.monitoring_executions = Executions(platform, self.processing, self.endpoints.describe_endpoint)
        self.monitoring_schedules = Schedules(platform, self.tags, self.monitoring_executions)
        self.data_quality = DataQualityDefinitions(platform.store, self.tags)
        self.model_quality = ModelQualityDefinitions(platform.store, self.tags)
        self.model_bias = ModelBiasDefinitions(platform.store, self.tags)
        self.model_explainability = ModelExplainabilityDefinitions(platform.store, self.tags)
        definitions = (self.data_quality, self.model_quality, self.model_bias, self.model_explainability)
        monitoring = (self.monitoring_schedules, self.monitoring_executions, *definitions)
        entities = Entities(platform.store, self.tags)
        self.experiments = Experiments(entities)
        self.trial_components = TrialComponents(entities, platform.quotas)
        self.metrics = ExperimentMetrics(self.trial_components, self.authorise)
        platform.tracking = JobTracking(entities)
        self.search = Search(platform.store, self.tags, self._described)
        self.lineage = Lineage(platform.store, self.tags)
        self.associations = Associations(platform.store)
        tracked = (self.experiments, self.trial_components, self.search, self.lineage, self.associations)
        self._operations: dict[str, Operation] = {}
        for family in (
            self.tags,
            self.processing,
            self.training,
            self.tuning,
            self.registry,
            *serving,
            *monitoring,
            *tracked,
        ):
            for name in family.operations:
                self._operations[name] = getattr(family, xform_name(name))

    @property
    def operations(self) -> frozenset[str]:
        """The names of the operations that are implemented."""
        return frozenset(self._operations)

    def perform(self, scope: Scope, operation: str, request: Any, caller: str | None = None) -> dict[str, Any]:
        """Perform one operation.

        Args:
            request: the request as JSON values.
            caller: the access key of who asks; None for localcloud itself, which is not authorised.

        Returns:
            The response as Python values (times as datetimes).

        Raises:
            ApiError: with AWS's code and wording.
        """
        model = service_model("sagemaker")
        if operation not in model.operation_names:
            raise ApiError("UnknownOperationException", f"SageMaker has no operation {operation!r}.", 404)
        perform = self._operations.get(operation)
        if perform is None:
            raise refusal(operation)
        self.authorise(scope, operation, request, caller)
        parsed = parse_request(model.operation_model(operation).input_shape, request)
        permissions.check_roles(self.identity, scope, parsed)
        return perform(scope, parsed)

    def authorise(self, scope: Scope, operation: str, request: Any, caller: str | None) -> None:
        """Let a caller pass who may perform an operation of SageMaker's, or SageMaker Runtime's.

        Raises:
            Denied: with AWS's wording.
        """
        if caller is not None and self.identity.enforced:
            permissions.authorise(
                self.identity, scope, caller, operation, request, lambda arn: self.tags.of(scope, arn)
            )

    def call(self, scope: Scope, operation: str, request: Any, caller: str | None = None) -> dict[str, Any]:
        """The same with the response as JSON values, as it goes over the wire."""
        response = self.perform(scope, operation, request, caller)
        return serialise_response(service_model("sagemaker").operation_model(operation).output_shape, response)

    def handle(
        self, scope: Scope, target: str, body: bytes, caller: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer one HTTP request: status, headers, body."""
        operation = target.rsplit(".", 1)[-1]
        try:
            try:
                request = json.loads(body or b"{}")
            except ValueError as error:
                raise ApiError("SerializationException", "The request is no JSON.") from error
            answer = self.call(scope, operation, request, caller)
            return 200, {"Content-Type": CONTENT_TYPE}, json.dumps(answer).encode()
        except ApiError as error:
            return _failed(error)
        except Exception as error:
            logger.exception("SageMaker %s failed inside localcloud", operation)
            return _failed(ApiError("InternalFailure", f"localcloud: {type(error).__name__}: {error}", 500))

    def _described(self, kind: str, scope: Scope, record: Record) -> Record:
        """A record as its Describe operation gives it, where that is more than the record."""
        return self.tuning.describe(scope, record) if kind == self.tuning.names.kind else {}

    def restored(self) -> None:
        """After a restart with kept state: fail the jobs that the restart has cut off."""
        for family in (self.processing, self.training, self.tuning, self.transform):
            for scope, record in family.interrupt(INTERRUPTED):
                logger.warning("%s in %s was cut off by a restart", record["Arn"], scope.region)
        self.endpoints.restored()
        self.monitoring_executions.restored(INTERRUPTED)
        self.monitoring_schedules.restored()

    def close(self) -> None:
        """Stop every job and deliver what is left."""
        self.monitoring_schedules.close()
        self.runtime.close()
        self.endpoints.close()
        self.platform.close()
        self.platform.logs.close()
        self.platform.events.close()


def _failed(error: ApiError) -> tuple[int, dict[str, str], bytes]:
    headers: Mapping[str, str] = {"Content-Type": CONTENT_TYPE, "x-amzn-ErrorType": error.code}
    # json 1.1 services differ in the message's case; SageMaker's is lower.
    return error.status, dict(headers), json.dumps({"__type": error.code, "message": error.message}).encode()
