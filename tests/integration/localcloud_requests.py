"""Requests to SageMaker that the tests of localcloud share."""

import itertools
import time
from typing import Any

from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

ROLE = "arn:aws:iam::000000000000:role/job-role"
RESOURCES = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
METRICS = [{"Name": "val:rmse", "Regex": "Val RMSE: ([0-9.]+)"}]

# All of the same length, so that no name is the beginning of another.
_numbers = itertools.count(10_000_000 + int(time.time() * 1000) % 10_000_000)


def unique(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


def training(name: str, bucket: str, **more: Any) -> dict[str, Any]:
    """CreateTrainingJob's request; ``hyperparameters`` are the stub's wishes."""
    return {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "test/stub:1",
            "TrainingInputMode": "File",
            "MetricDefinitions": METRICS,
        },
        "HyperParameters": more.pop("hyperparameters", {}),
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/models"},
        "ResourceConfig": RESOURCES,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        **more,
    }


def processing(name: str, bucket: str, **more: Any) -> dict[str, Any]:
    """CreateProcessingJob's request; ``environment`` has the stub's wishes."""
    return {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "test/stub:1", "ContainerArguments": ["process"]},
        "ProcessingResources": {"ClusterConfig": RESOURCES},
        "Environment": more.pop("environment", {}),
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "result",
                    "S3Output": {
                        "S3Uri": f"s3://{bucket}/results/{name}",
                        "LocalPath": "/opt/ml/processing/output/result",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        **more,
    }


def tuning(name: str, bucket: str, *, jobs: int = 4, parallel: int = 2, **more: Any) -> dict[str, Any]:
    """CreateHyperParameterTuningJob's request over x, whose best value is 1."""
    definition = training("unused", bucket)
    del definition["TrainingJobName"], definition["HyperParameters"]
    definition["StaticHyperParameters"] = more.pop("static", {})
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "val:rmse"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "2"}]},
            **more.pop("config", {}),
        },
        "TrainingJobDefinition": {**definition, **more.pop("definition", {})},
        **more,
    }


def ended(cloud: Cloud, kind: str, name: str, seconds: float = 240.0) -> dict[str, Any]:
    """The description of a job once it has ended; ``kind``: Training, Processing or HyperParameterTuning."""
    operation = {
        "Training": "describe_training_job",
        "Processing": "describe_processing_job",
        "HyperParameterTuning": "describe_hyper_parameter_tuning_job",
    }[kind]

    def look() -> dict[str, Any] | None:
        described: dict[str, Any] = getattr(cloud.client("sagemaker"), operation)(**{f"{kind}JobName": name})
        return described if described[f"{kind}JobStatus"] in ("Completed", "Failed", "Stopped") else None

    return wait_for(look, seconds)


def log_lines(cloud: Cloud, group: str, job: str) -> list[str]:
    """What a job's container wrote."""
    logs = cloud.client("logs")
    lines: list[str] = []
    for stream in logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]:
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)[
            "events"
        ]
        lines += [event["message"] for event in events]
    return lines


def lines_so_far(cloud: Cloud, group: str, job: str) -> list[str]:
    """What a job's container has written; nothing while there is no log yet."""
    try:
        return log_lines(cloud, group, job)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return []
