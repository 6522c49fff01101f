"""CloudFormation types that MiniStack lacks, with create, update and delete."""

from __future__ import annotations

from localcloud.service import SageMaker


def install(sagemaker: SageMaker) -> None:
    """Teach MiniStack's CloudFormation the types."""
