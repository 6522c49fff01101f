"""CreateTrainingJob's request: what the service model leaves open but SageMaker, or localcloud, refuses.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import container_contract as contract
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
        raise ValidationException("ResourceConfig must be provided.")
    check_outputs(request["OutputDataConfig"])
    channels = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(set(channels)) != len(channels):
        raise ValidationException("Duplicate channel names are not allowed in InputDataConfig.")
    try:
        contract.MetricScraper(algorithm.get("MetricDefinitions", []))
    except ValueError as error:
        raise ValidationException(f"Invalid metric definition: {error}") from error


def check_outputs(output: Mapping[str, Any]) -> None:
    """The output path must be in S3."""
    if not output["S3OutputPath"].startswith("s3://"):
        raise ValidationException(f"Invalid S3OutputPath: {output['S3OutputPath']} is not an S3 URI.")
