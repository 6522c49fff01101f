"""Names and values of Step Functions' integrations, without a state machine."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from localcloud.errors import ApiError
from localcloud.hooks import StatesError, TaskRun
from localcloud.jobs.platform import Live
from localcloud.sagemaker.api import service_model
from localcloud.states.awssdk import error_name, iso, sdk_name
from localcloud.states.sagemaker_tasks import SageMakerTasks, plain
from localcloud.states.sagemaker_tasks import error_name as optimised_name
from localcloud.store import Scope


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ("SSEKMSKeyId", "SsekmsKeyId"),
        ("KMSKeyId", "KmsKeyId"),
        ("DBClusterArn", "DbClusterArn"),
        ("ETag", "ETag"),
        ("VolumeSizeInGB", "VolumeSizeInGB"),
        ("stateMachineArn", "StateMachineArn"),
        ("S3Uri", "S3Uri"),
        ("TTL", "Ttl"),
    ],
)
def test_members_are_named_as_java_names_them(member: str, name: str) -> None:
    assert sdk_name(member) == name


@pytest.mark.parametrize(
    ("service", "operation", "prefix", "code", "name"),
    [
        ("s3", "GetObject", "S3", "NoSuchKey", "S3.NoSuchKeyException"),
        ("s3", "HeadObject", "S3", "404", "S3.NoSuchKeyException"),
        ("s3", "PutObject", "S3", "PreconditionFailed", "S3.S3Exception"),
        ("sns", "Publish", "Sns", "NotFound", "Sns.NotFoundException"),
        ("kms", "Encrypt", "Kms", "KMSInvalidStateException", "Kms.KmsInvalidStateException"),
        ("rds", "DeleteDBCluster", "Rds", "DBClusterNotFoundFault", "Rds.DbClusterNotFoundException"),
        ("sagemaker", "CreateModel", "SageMaker", "ResourceLimitExceeded", "SageMaker.ResourceLimitExceededException"),
        ("sagemaker", "CreateModel", "SageMaker", "ThrottlingException", "SageMaker.SageMakerException"),
    ],
)
def test_errors_are_named_as_step_functions_names_them(
    service: str, operation: str, prefix: str, code: str, name: str
) -> None:
    assert error_name(prefix, service_model(service).operation_model(operation), code) == name


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("ResourceLimitExceeded", "SageMaker.ResourceLimitExceededException"),
        ("ResourceInUse", "SageMaker.ResourceInUseException"),
        ("ConflictException", "SageMaker.ConflictException"),
        ("ValidationException", "SageMaker.AmazonSageMakerException"),
    ],
)
def test_errors_of_the_optimised_integration(code: str, name: str) -> None:
    assert optimised_name(ApiError(code, "text")) == name


class Job:
    """SageMaker with one job that runs until `live` ends, and a note of what it was asked."""

    def __init__(self) -> None:
        self.live = Live()
        self.asked: list[str] = []
        self.waited_for = threading.Event()
        self.platform = SimpleNamespace(live=self._live)

    def _live(self, *_of: Any) -> Live:
        self.waited_for.set()
        return self.live

    def perform(self, _scope: Scope, operation: str, _request: Any, _caller: str) -> dict[str, Any]:
        self.asked.append(operation)
        if operation == "StopTrainingJob":
            return {}
        return {"TrainingJobStatus": "Completed" if self.live.finished.is_set() else "InProgress"}


def waiting(job: Job, run: TaskRun) -> Future[Any]:
    """The outcome of a .sync task that waits for the job by now."""
    scope, session = Scope("000000000000", "us-east-1"), SimpleNamespace(access_key="key")
    tasks = SageMakerTasks(cast(Any, job), lambda: scope, lambda _run: cast(Any, session))
    resource = "arn:aws:states:::sagemaker:createTrainingJob.sync"
    pool = ThreadPoolExecutor(1)
    outcome = pool.submit(tasks, resource, {"TrainingJobName": "job"}, run)
    pool.shutdown(wait=False)
    assert job.waited_for.wait(60)
    return outcome


def test_sync_is_told_of_the_job_s_end_and_does_not_poll() -> None:
    job = Job()
    outcome = waiting(job, TaskRun())
    with pytest.raises(TimeoutError):
        outcome.result(0.5)
    assert job.asked == ["CreateTrainingJob"]
    job.live.finished.set()
    job.live.end.end()
    assert outcome.result(60) == {"TrainingJobStatus": "Completed"}
    assert job.asked == ["CreateTrainingJob", "DescribeTrainingJob"]


def test_sync_that_nobody_waits_for_any_more_stops_its_job() -> None:
    job, run = Job(), TaskRun()
    outcome = waiting(job, run)
    run.ending.end()
    with pytest.raises(StatesError):
        outcome.result(60)
    assert job.asked == ["CreateTrainingJob", "StopTrainingJob"]


def test_times_are_milliseconds_in_one_integration_and_text_in_the_other() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    assert plain({"a": [moment], "b": None}) == {"a": [1767323045678]}
    assert iso(moment) == "2026-01-02T03:04:05.678Z"
    assert iso(moment.replace(microsecond=0)) == "2026-01-02T03:04:05Z"
