"""Names and values of Step Functions' integrations, without a state machine."""

from datetime import UTC, datetime

import pytest

from localcloud.errors import ApiError
from localcloud.sagemaker.api import service_model
from localcloud.states.awssdk import error_name, iso, sdk_name
from localcloud.states.sagemaker_tasks import error_name as optimised_name
from localcloud.states.sagemaker_tasks import plain


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


def test_times_are_milliseconds_in_one_integration_and_text_in_the_other() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    assert plain({"a": [moment], "b": None}) == {"a": [1767323045678]}
    assert iso(moment) == "2026-01-02T03:04:05.678Z"
    assert iso(moment.replace(microsecond=0)) == "2026-01-02T03:04:05Z"
