"""Step Functions' optimised SageMaker integration: ``sagemaker:create…`` and, for jobs, ``.sync``.

A ``.sync`` task waits for the job's own end signal, not by polling, and stops its job when its execution is stopped or
the task runs out of time. Errors are named as the AWS SDK for Java 1, on which these integrations are built, names
them: those that SageMaker's model lists by their own name, all others ``SageMaker.AmazonSageMakerException``.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from localcloud.errors import ApiError
from localcloud.hooks import Integration, StatesError, TaskRun
from localcloud.iam.identity import Session
from localcloud.jobs import processing_jobs, training_jobs, transform_jobs
from localcloud.jobs.job_family import JobNames
from localcloud.sagemaker.api import service_model
from localcloud.sagemaker.service import SageMaker
from localcloud.states.awssdk import AwsSdk
from localcloud.store import Record, Scope
from localcloud.tuning import tuning_jobs

# The tag that Step Functions puts on what it starts and waits for.
MANAGED = {"Key": "MANAGED_BY_AWS", "Value": "STARTED_BY_STEP_FUNCTIONS"}

_RESOURCE = re.compile(r"^arn:aws[a-z-]*:states:::sagemaker:(?P<action>[A-Za-z]+)(?P<pattern>\.[A-Za-z]+)?$")
_ACTIONS = frozenset(
    {
        "createEndpoint",
        "createEndpointConfig",
        "createHyperParameterTuningJob",
        "createLabelingJob",
        "createModel",
        "createProcessingJob",
        "createTrainingJob",
        "createTransformJob",
        "updateEndpoint",
    }
)


JOBS: dict[str, JobNames] = {
    f"create{names.stem}": names
    for names in (processing_jobs.NAMES, training_jobs.NAMES, transform_jobs.NAMES, tuning_jobs.NAMES)
}


class SageMakerTasks:
    """Runs Task states whose resource is ``arn:aws:states:::sagemaker:…``."""

    def __init__(
        self, sagemaker: SageMaker, current_scope: Callable[[], Scope], session: Callable[[TaskRun], Session]
    ) -> None:
        """``current_scope`` says for which account the running execution acts, ``session`` under which role."""
        self._sagemaker = sagemaker
        self._current_scope = current_scope
        self._session = session

    @staticmethod
    def handles(resource: str) -> bool:
        """Whether a Task state's resource is of this integration."""
        return ":states:::sagemaker:" in resource

    def __call__(self, resource: str, arguments: Any, run: TaskRun) -> Any:
        """Start, and with ``.sync`` wait; raises StatesError under the name that Step Functions would give."""
        match = _RESOURCE.match(resource)
        if match is None or match["action"] not in _ACTIONS:
            raise StatesError("States.Runtime", f"The resource {resource} is not supported by Step Functions.")
        scope = self._current_scope()
        action, pattern = match["action"], match["pattern"]
        operation = action[0].upper() + action[1:]
        if pattern not in (None, ".sync"):
            raise StatesError("States.Runtime", f"{resource}: SageMaker supports no {pattern}.")
        shape = service_model("sagemaker").operation_model(operation).input_shape
        request = _request(shape, arguments, arguments)
        caller = self._session(run).access_key
        if pattern is None:
            return self._call(scope, operation, request, caller)
        job = JOBS.get(action)
        if job is None:
            raise StatesError("States.Runtime", f"{resource} is not supported by localcloud.")
        request["Tags"] = [*request.get("Tags", []), MANAGED]
        run.submitted(self._call(scope, operation, request, caller))
        return self._wait(scope, job, request[job.member], run, caller)

    def _wait(self, scope: Scope, job: JobNames, name: str, run: TaskRun, caller: str) -> Record:
        live = self._sagemaker.platform.live(scope, job.kind, name)
        if live is not None:
            either = threading.Event()
            take_back = run.ending.call(either.set)
            live.end.call(either.set)
            either.wait()
            take_back()
            if not live.finished.is_set():
                self._stop(scope, job, name, caller)
                raise StatesError("States.TaskFailed", f"Nobody waits for {name} any more; it is being stopped.")
        described: Record = plain(self._perform(scope, job.describe, {job.member: name}, caller))
        if described[job.status] != "Completed":
            raise StatesError("States.TaskFailed", json.dumps(described))
        return described

    def _stop(self, scope: Scope, job: JobNames, name: str, caller: str) -> None:
        try:
            self._sagemaker.perform(scope, job.stop, {job.member: name}, caller)
        except ApiError as error:
            if error.code != "ValidationException":  # it has ended meanwhile
                raise

    def _call(self, scope: Scope, operation: str, request: Record, caller: str) -> Record:
        answer: Record = plain(self._perform(scope, operation, request, caller))
        return answer

    def _perform(self, scope: Scope, operation: str, request: Record, caller: str) -> Record:
        try:
            return self._sagemaker.perform(scope, operation, request, caller)
        except ApiError as error:
            raise StatesError(error_name(error), _cause(error)) from error


def integrations(tasks: SageMakerTasks, sdk: AwsSdk) -> Callable[[str], Integration | None]:
    """Which of localcloud's integrations runs a resource; None for MiniStack's own."""

    def choose(resource: str) -> Integration | None:
        if tasks.handles(resource):
            return tasks
        return sdk if sdk.handles(resource) else None

    return choose


def error_name(error: ApiError) -> str:
    """The name under which Retry and Catch know an error of SageMaker's API."""
    modelled = {shape.name for shape in service_model("sagemaker").error_shapes}
    if error.code in modelled:
        return f"SageMaker.{error.code.removesuffix('Exception')}Exception"
    return "SageMaker.AmazonSageMakerException"


def plain(value: Any) -> Any:
    """JSON values as these integrations give them: times as epoch milliseconds, nothing that is not there."""
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _request(shape: Shape | None, value: Any, whole: Any) -> Any:
    """The task's arguments as a request; JSONata's whole floats become integers where the API wants them."""
    if isinstance(shape, StructureShape):
        if not isinstance(value, Mapping):
            return value
        unknown = [key for key in value if key not in shape.members]
        if unknown:
            raise StatesError(
                "States.Runtime",
                f"The Parameters '{json.dumps(whole)}' could not be used to start the Task: "
                f'[The field "{unknown[0]}" is not supported by Step Functions]',
            )
        return {key: _request(shape.members[key], item, whole) for key, item in value.items() if item is not None}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_request(shape.member, item, whole) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {key: _request(shape.value, item, whole) for key, item in value.items()}
    if shape is not None and shape.type_name in ("integer", "long") and isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value


def _cause(error: ApiError) -> str:
    return (
        f"{error.message} (Service: AmazonSageMaker; Status Code: {error.status}; Error Code: {error.code}; "
        f"Request ID: {uuid.uuid4()}; Proxy: null)"
    )
