"""What a SageMaker container finds under /opt/ml and what it leaves there; /opt/ml is a directory `base` here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal


class ContractError(ValueError):
    """A request or a container broke the contract; the text reads as SageMaker's FailureReason does."""


class TransferError(ContractError):
    """Data could not be moved from or to S3; str() is the FailureReason ("ClientError: Data download failed: …")."""


def local_path(base: Path, container_path: str) -> Path:
    """`/opt/ml/x` → `base/x`; raises ContractError for a path outside /opt/ml."""
    raise NotImplementedError


def prepare_training(
    base: Path,
    *,
    job_name: str,
    hyperparameters: dict[str, str],
    input_data_config: list[dict[str, Any]],
    resource_config: dict[str, Any],
    environment: dict[str, str],
) -> None:
    """Write input/config/{hyperparameters,inputdataconfig,resourceconfig}.json and make the directories.

    Directories: model, output/data, input/data/<channel>, code, checkpoints.
    `input_data_config` and `resource_config` are InputDataConfig and ResourceConfig as in CreateTrainingJob.
    """
    raise NotImplementedError


def training_environment(
    *, job_name: str, job_arn: str, region: str, environment: dict[str, str] | None = None
) -> dict[str, str]:
    """What SageMaker itself sets (AWS_REGION, TRAINING_JOB_NAME, TRAINING_JOB_ARN) plus the request's Environment."""
    raise NotImplementedError


def processing_environment(*, region: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """AWS_REGION plus the request's Environment."""
    raise NotImplementedError


def prepare_processing(base: Path, *, describe: dict[str, Any]) -> None:
    """Write config/processingjobconfig.json and config/resourceconfig.json; make a directory for each LocalPath.

    `describe` is the DescribeProcessingJob response (or the request with ProcessingJobArn added).
    """
    raise NotImplementedError


def read_failure(base: Path) -> str:
    """What the training container wrote to output/failure, at most 1024 characters; "" when nothing."""
    raise NotImplementedError


def read_exit_message(base: Path) -> str:
    """What the processing container wrote to output/message, at most 1024 characters; "" when nothing."""
    raise NotImplementedError


def training_failure_reason(base: Path, exit_code: int) -> str:
    """FailureReason of a training job whose container ended with `exit_code` ("AlgorithmError: …, exit code: 1")."""
    raise NotImplementedError


def processing_failure_reason(base: Path, exit_code: int) -> str:
    """FailureReason of a processing job whose container ended with `exit_code`."""
    raise NotImplementedError


def pack_model(base: Path, target: Path) -> bool:
    """Pack the contents of model/ into `target` (tar.gz); False, and no file, when model/ is empty.

    The same contents give the same bytes: sorted names, no times, no owners.
    """
    raise NotImplementedError


def pack_output(base: Path, target: Path) -> bool:
    """The same for output/data/, which SageMaker uploads as output.tar.gz."""
    raise NotImplementedError


class S3Transfer:
    """Moves job data between S3 and local directories."""

    def __init__(self, client: Any) -> None:
        """`client`: a boto3 S3 client."""
        raise NotImplementedError

    def download_prefix(
        self, uri: str, dest: Path, s3_data_type: Literal["S3Prefix", "ManifestFile"] = "S3Prefix"
    ) -> int:
        """Download every object whose key begins with the URI's (or that a manifest lists); returns the bytes.

        Raises TransferError in SageMaker's words, also when there is no such object.
        """
        raise NotImplementedError

    def upload_tree(self, src: Path, uri: str, kms_key: str | None = None) -> int:
        """Upload every regular file under `src` (links are not followed); returns the bytes. Raises TransferError."""
        raise NotImplementedError

    def upload_file(self, src: Path, uri: str, kms_key: str | None = None) -> int:
        """Upload one file to exactly `uri`; returns the bytes. Raises TransferError."""
        raise NotImplementedError


class MetricScraper:
    """Metrics from log lines by MetricDefinitions: re.search, first group, as a number."""

    def __init__(self, definitions: list[dict[str, str]]) -> None:
        """`definitions`: [{"Name", "Regex"}]. Raises ValueError for an expression that is wrong or has no group."""
        self.latest: dict[str, float] = {}
        self.history: list[tuple[str, float, float]] = []

    def feed(self, line: str, when: float) -> None:
        """Look at one log line that was written at `when` (seconds since the epoch)."""
        raise NotImplementedError
