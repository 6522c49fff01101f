"""CreateTrainingJob's request: what the service model leaves open but SageMaker, or localcloud, refuses.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.containers import container_contract as contract
from localcloud.errors import ValidationException

DEFAULT_RUNTIME = 86_400


def check_request(request: Mapping[str, Any]) -> None:
    """What the service model leaves open but SageMaker refuses.

    Raises:
        ValidationException: as SageMaker words it, or nearly so.
    """
    algorithm = request.get("AlgorithmSpecification")
    if algorithm is None or not algorithm.get("TrainingImage"):
        raise ValidationException(
            "TrainingImage must be provided in AlgorithmSpecification: localcloud has no built-in or marketplace "
            "algorithms."
        )
    if request.get("ResourceConfig") is None:
        raise ValidationException("ResourceConfig must be provided: localcloud runs no serverless jobs.")
    _check_instances(request["ResourceConfig"])
    check_outputs(request["OutputDataConfig"])
    channels = request.get("InputDataConfig", [])
    if len({channel["ChannelName"] for channel in channels}) != len(channels):
        raise ValidationException("Duplicate channel names are not allowed in InputDataConfig.")
    for channel in channels:
        _check_channel(channel, algorithm["TrainingInputMode"])
    _check_stopping(request)
    check_rules(request)
    for member in ("CheckpointConfig", "DebugHookConfig", "TensorBoardOutputConfig"):
        path = request.get(member, {}).get("LocalPath", "/opt/ml/checkpoints")
        if not path.startswith("/opt/ml/"):
            raise ValidationException(f"LocalPath {path} of {member} is invalid: it must begin with /opt/ml/.")
    try:
        contract.MetricScraper(algorithm.get("MetricDefinitions", []))
    except ValueError as error:
        raise ValidationException(f"Invalid metric definition: {error}") from error


def check_outputs(output: Mapping[str, Any]) -> None:
    """The output path must be in S3."""
    if not output["S3OutputPath"].startswith("s3://"):
        raise ValidationException(f"Invalid S3OutputPath: {output['S3OutputPath']} is not an S3 URI.")


def check_rules(request: Mapping[str, Any]) -> None:
    """Debugger's and Profiler's rules are processing jobs of AWS's own images, which are not to be had here."""
    for member in ("DebugRuleConfigurations", "ProfilerRuleConfigurations"):
        if request.get(member):
            raise ValidationException(f"localcloud evaluates no rules: leave {member} out.")


def _check_instances(resources: Mapping[str, Any]) -> None:
    groups = resources.get("InstanceGroups", [])
    if groups and "InstanceType" in resources:
        raise ValidationException("InstanceType and InstanceCount can not be given together with InstanceGroups.")
    count = sum(group["InstanceCount"] for group in groups) if groups else resources.get("InstanceCount", 1)
    if count < 1:
        raise ValidationException("InstanceCount must be at least 1.")
    if count > 1:
        raise ValidationException(
            f"localcloud is one machine and runs no distributed training: InstanceCount must be 1, not {count}."
        )


def _check_channel(channel: Mapping[str, Any], mode: str) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Channel.html"""
    name = channel["ChannelName"]
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise ValidationException(f"Channel {name} has no S3DataSource: localcloud has no other source of data.")
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise ValidationException(
            f"The S3DataType {source['S3DataType']} of channel {name} is not supported by localcloud: use S3Prefix or "
            "ManifestFile."
        )
    mode = channel.get("InputMode", mode)
    if mode != "Pipe" and channel.get("CompressionType") == "Gzip":
        raise ValidationException(f"CompressionType Gzip of channel {name} is used in Pipe mode only, not in {mode}.")
    if mode == "FastFile" and source["S3DataType"] != "S3Prefix":
        raise ValidationException(f"FastFile mode of channel {name} needs the S3DataType S3Prefix.")


def _check_stopping(request: Mapping[str, Any]) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StoppingCondition.html"""
    condition = request.get("StoppingCondition", {})
    wait = condition.get("MaxWaitTimeInSeconds")
    if request.get("EnableManagedSpotTraining"):
        if wait is None or wait < condition.get("MaxRuntimeInSeconds", DEFAULT_RUNTIME):
            raise ValidationException(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
            )
    elif wait is not None:
        raise ValidationException("MaxWaitTimeInSeconds can be given with EnableManagedSpotTraining only.")
