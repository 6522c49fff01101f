"""One boto3 client of each service for the life of the process: creating one costs tens of milliseconds."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sagemaker.client import SageMakerClient
    from mypy_boto3_sagemaker_runtime.client import SageMakerRuntimeClient
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_stepfunctions.client import SFNClient


PROBE_READ_SECONDS = 5.0


@cache
def s3() -> S3Client:
    """The S3 client."""
    return boto3.client("s3")


@cache
def dynamodb() -> DynamoDBClient:
    """The DynamoDB client."""
    return boto3.client("dynamodb")


@cache
def sns() -> SNSClient:
    """The SNS client."""
    return boto3.client("sns")


@cache
def stepfunctions() -> SFNClient:
    """The Step Functions client."""
    return boto3.client("stepfunctions")


@cache
def sagemaker() -> SageMakerClient:
    """The SageMaker client."""
    return boto3.client("sagemaker")


@cache
def sagemaker_runtime(read_seconds: float = PROBE_READ_SECONDS) -> SageMakerRuntimeClient:
    """The client that probes endpoints: it waits so long for an answer and never asks twice by itself."""
    config = Config(connect_timeout=3, read_timeout=read_seconds, retries={"total_max_attempts": 1})
    return boto3.client("sagemaker-runtime", config=config)


@cache
def cloudwatch() -> CloudWatchClient:
    """The CloudWatch client."""
    return boto3.client("cloudwatch")


@cache
def scheduler() -> Any:
    """The EventBridge Scheduler client."""
    return boto3.client("scheduler")
