"""What a SageMaker container finds under /opt/ml and what it leaves there; /opt/ml is a directory `base` here.

After AWS's developer guide, "How Amazon SageMaker AI Provides Training Information", "… Processes Training Output",
"How Amazon SageMaker Processing Configures Your Processing Container" and "… Input and Output For Your Processing
Container".
"""

from __future__ import annotations

import gzip
import json
import math
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError

from localcloud.errors import LocalcloudError

ROOT = PurePosixPath("/opt/ml")
HOST = "algo-1"  # the name of a job's first machine
_MESSAGE_LIMIT = 1024


class ContractError(LocalcloudError, ValueError):
    """A request or a container broke the contract; the text reads as SageMaker's FailureReason does."""


class TransferError(ContractError):
    """Data could not be moved from or to S3; str() is the FailureReason ("ClientError: Data download failed: …")."""


def local_path(base: Path, container_path: str) -> Path:
    """`/opt/ml/x` → `base/x`; raises ContractError for a path outside /opt/ml."""
    path = PurePosixPath(container_path)
    if not path.is_relative_to(ROOT) or ".." in path.parts:
        raise ContractError(f"ClientError: The local path {container_path!r} must be under {ROOT}/")
    return base / path.relative_to(ROOT)


def prepare_training(
    base: Path,
    *,
    job_name: str,
    hyperparameters: dict[str, str],
    input_data_config: list[dict[str, Any]],
    resource_config: dict[str, Any],
    environment: dict[str, str] | None = None,
) -> None:
    """Write input/config/{hyperparameters,inputdataconfig,resourceconfig}.json and make the directories.

    Directories: model, output/data, input/data/<channel>, code, checkpoints.
    `input_data_config` and `resource_config` are InputDataConfig and ResourceConfig as in CreateTrainingJob.
    `job_name` and `environment` are part of the request but not of the files: SageMaker hands them over as variables
    (training_environment).
    """
    _make(base, "model", "output/data", "code", "checkpoints", "input/config", "input/data")
    for channel in input_data_config:
        if channel.get("InputMode") != "Pipe":  # which makes its own FIFOs
            _make(base, f"input/data/{channel['ChannelName']}")
    config = base / "input/config"
    _write(config / "hyperparameters.json", hyperparameters)
    _write(
        config / "inputdataconfig.json", {channel["ChannelName"]: _channel(channel) for channel in input_data_config}
    )
    _write(config / "resourceconfig.json", _resources(resource_config))


def _channel(channel: dict[str, Any]) -> dict[str, str]:
    """A channel as in inputdataconfig.json: the request's fields under other names."""
    written = {
        "TrainingInputMode": channel.get("InputMode", "File"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    source = channel.get("DataSource", {}).get("S3DataSource", {})
    if source:
        written["S3DistributionType"] = source.get("S3DataDistributionType", "FullyReplicated")
    if "ContentType" in channel:
        written["ContentType"] = channel["ContentType"]
    return written


def _resources(config: dict[str, Any]) -> dict[str, Any]:
    """resourceconfig.json of a training job: one host, whatever InstanceCount says; this is one machine."""
    groups = config.get("InstanceGroups") or [{"InstanceGroupName": "homogeneousCluster", **config}]
    group = groups[0]
    name, kind = group["InstanceGroupName"], group.get("InstanceType", "")
    return {
        "current_host": HOST,
        "current_instance_type": kind,
        "current_group_name": name,
        "hosts": [HOST],
        "instance_groups": [{"instance_group_name": name, "instance_type": kind, "hosts": [HOST]}],
        "network_interface_name": "lo",
    }


def training_environment(
    *, job_name: str, job_arn: str, region: str, environment: dict[str, str] | None = None
) -> dict[str, str]:
    """What SageMaker itself sets (AWS_REGION, TRAINING_JOB_NAME, TRAINING_JOB_ARN) plus the request's Environment."""
    return {
        **(environment or {}),
        "AWS_REGION": region,
        "TRAINING_JOB_NAME": job_name,
        "TRAINING_JOB_ARN": job_arn,
    }


def processing_environment(*, region: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """AWS_REGION plus the request's Environment."""
    return {**(environment or {}), "AWS_REGION": region}


def prepare_processing(base: Path, *, describe: dict[str, Any]) -> None:
    """Write config/processingjobconfig.json and config/resourceconfig.json; make a directory for each LocalPath.

    `describe` is the DescribeProcessingJob response (or the request with ProcessingJobArn added).
    Raises ContractError for a LocalPath that is not under /opt/ml/processing/.
    """
    inputs, outputs = describe.get("ProcessingInputs", []), describe.get("ProcessingOutputConfig", {})
    _make(base, "config", "output")
    for transfer in [*inputs, *outputs.get("Outputs", [])]:
        source = transfer.get("S3Input") or transfer.get("S3Output") or transfer.get("DatasetDefinition") or {}
        if path := source.get("LocalPath"):
            if not path.startswith(f"{ROOT}/processing/"):
                raise ContractError(f"ClientError: The local path {path!r} must begin with {ROOT}/processing/")
            local_path(base, path).mkdir(parents=True, exist_ok=True)
    application = describe["AppSpecification"]
    cluster = describe["ProcessingResources"]["ClusterConfig"]
    config = {
        "ProcessingJobArn": describe["ProcessingJobArn"],
        "ProcessingJobName": describe["ProcessingJobName"],
        "AppSpecification": {
            "ImageUri": application["ImageUri"],
            "ContainerEntrypoint": application.get("ContainerEntrypoint"),
            "ContainerArguments": application.get("ContainerArguments"),
        },
        "Environment": describe.get("Environment", {}),
        "ProcessingInputs": inputs,
        "ProcessingOutputConfig": {"Outputs": outputs.get("Outputs", []), "KmsKeyId": outputs.get("KmsKeyId")},
        "ProcessingResources": {"ClusterConfig": {"VolumeKmsKeyId": None, **cluster}},
        "RoleArn": describe["RoleArn"],
        "StoppingCondition": describe.get("StoppingCondition", {"MaxRuntimeInSeconds": 86400}),
    }
    _write(base / "config/processingjobconfig.json", config)
    _write(base / "config/resourceconfig.json", {"current_host": HOST, "hosts": [HOST]})


def read_failure(base: Path) -> str:
    """What the training container wrote to output/failure, at most 1024 characters; "" when nothing."""
    return _message(base / "output/failure")


def read_exit_message(base: Path) -> str:
    """What the processing container wrote to output/message, at most 1024 characters; "" when nothing."""
    return _message(base / "output/message")


def training_failure_reason(base: Path, exit_code: int) -> str:
    """FailureReason of a training job whose container ended with `exit_code` ("AlgorithmError: …, exit code: 1")."""
    ending = f", exit code: {_docker_code(exit_code)}"
    return f"AlgorithmError: {read_failure(base)}"[: _MESSAGE_LIMIT - len(ending)] + ending


def processing_failure_reason(base: Path, exit_code: int) -> str:
    """FailureReason of a processing job whose container ended with `exit_code`; its own words are in ExitMessage.

    A message that is not UTF-8 is an error of its own, as on AWS ("Save and Access Metadata Information …").
    """
    try:
        (base / "output/message").read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return "ClientError: The exit message in /opt/ml/output/message is not UTF-8"
    except (FileNotFoundError, IsADirectoryError):
        pass
    return f"AlgorithmError: See job logs for more information, exit code: {_docker_code(exit_code)}"


def pack_model(base: Path, target: Path) -> bool:
    """Pack the contents of model/ into `target` (tar.gz); False, and no file, when model/ is empty.

    The same contents give the same bytes: sorted names, no times, no owners.
    """
    return _pack(base / "model", target)


def pack_output(base: Path, target: Path) -> bool:
    """The same for output/data/, which SageMaker uploads as output.tar.gz."""
    return _pack(base / "output/data", target)


class S3Transfer:
    """Moves job data between S3 and local directories."""

    def __init__(self, client: Any) -> None:
        """`client`: a boto3 S3 client."""
        self._client = client

    def download_prefix(
        self, uri: str, dest: Path, s3_data_type: Literal["S3Prefix", "ManifestFile"] | str = "S3Prefix"
    ) -> int:
        """Download every object whose key begins with the URI's (or that a manifest lists); returns the bytes.

        Keys keep their path below the URI; a URI that names one object gives one file. Raises TransferError in
        SageMaker's words, also when there is no such object.
        """
        bucket, prefix = _split(uri)
        dest.mkdir(parents=True, exist_ok=True)
        total = 0
        try:
            for source, key, relative in self._find(uri, bucket, prefix, s3_data_type):
                try:
                    total += self._download(source, key, _inside(dest, relative, key))
                except (ClientError, BotoCoreError) as error:  # which of many it is
                    where = f"s3://{source}/{key}"
                    raise TransferError(f"ClientError: Data download failed: {where}: {error}") from error
        except (ClientError, BotoCoreError) as error:
            raise TransferError(f"ClientError: Data download failed: {uri}: {error}") from error
        except OSError as error:  # a file where a directory is to be: the keys a and a/b
            raise TransferError(f"ClientError: Data download failed: {uri}: {error}") from error
        return total

    def objects(self, uri: str, s3_data_type: str = "S3Prefix") -> list[tuple[str, str]]:
        """Bucket and key of every object that ``download_prefix`` would download. Raises TransferError."""
        bucket, prefix = _split(uri)
        try:
            return [(source, key) for source, key, _ in self._find(uri, bucket, prefix, s3_data_type)]
        except (ClientError, BotoCoreError) as error:
            raise TransferError(f"ClientError: Data download failed: {uri}: {error}") from error

    def exists(self, uri: str) -> bool:
        """Whether there is an object under a prefix. Raises TransferError."""
        bucket, prefix = _split(uri)
        try:
            return bool(self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents"))
        except (ClientError, BotoCoreError) as error:
            raise TransferError(f"ClientError: Data download failed: {uri}: {error}") from error

    def folders(self, uri: str) -> list[str]:
        """The names of the folders right below a URI. Raises TransferError."""
        bucket, prefix = _split(f"{uri.rstrip('/')}/")
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
            return [item["Prefix"][len(prefix) : -1] for page in pages for item in page.get("CommonPrefixes", [])]
        except (ClientError, BotoCoreError) as error:
            raise TransferError(f"ClientError: Data download failed: {uri}: {error}") from error

    def open(self, bucket: str, key: str) -> Any:
        """An object's content, to be read in pieces. Raises TransferError."""
        try:
            return self._client.get_object(Bucket=bucket, Key=key)["Body"]
        except (ClientError, BotoCoreError) as error:
            raise TransferError(f"ClientError: Data download failed: s3://{bucket}/{key}: {error}") from error

    def upload_tree(self, src: Path, uri: str, kms_key: str | None = None) -> int:
        """Upload every regular file under `src` (links are not followed); returns the bytes. Raises TransferError."""
        bucket, prefix = _split(uri)
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        return sum(
            self.upload_file(path, f"s3://{bucket}/{prefix}{path.relative_to(src).as_posix()}", kms_key)
            for path in sorted(src.rglob("*"))
            if path.is_file() and not path.is_symlink()
        )

    def upload_file(self, src: Path, uri: str, kms_key: str | None = None) -> int:
        """Upload one file to exactly `uri`; returns the bytes. Raises TransferError."""
        bucket, key = _split(uri)
        extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else None
        try:
            size = src.stat().st_size
            self._client.upload_file(str(src), bucket, key, ExtraArgs=extra)
        except (ClientError, BotoCoreError, OSError, S3UploadFailedError) as error:
            raise TransferError(f"ClientError: Data upload failed: {uri}: {error}") from error
        return size

    def _find(self, uri: str, bucket: str, prefix: str, s3_data_type: str) -> list[tuple[str, str, str]]:
        """Bucket, key and path of each object of a data source."""
        if s3_data_type == "ManifestFile":
            found = self._manifest(uri, bucket, prefix)
        elif s3_data_type == "S3Prefix":
            found = [(bucket, key, _below(prefix, key)) for key in self._keys(bucket, prefix)]
        else:
            raise TransferError(f"ClientError: Data download failed: S3DataType {s3_data_type} is not supported")
        if not found:
            raise TransferError(self._nothing(uri, bucket))
        return found

    def _keys(self, bucket: str, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        # Keys that end in a slash are the console's "folders".
        return [item["Key"] for page in pages for item in page.get("Contents", []) if not item["Key"].endswith("/")]

    def _manifest(self, uri: str, bucket: str, key: str) -> list[tuple[str, str, str]]:
        """The objects of `[{"prefix": "s3://b/p/"}, "suffix", …]`, with their paths below the prefix."""
        body = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        try:
            first, *suffixes = json.loads(body)
            source, prefix = _split(first["prefix"])
            return [(source, prefix + suffix, suffix) for suffix in suffixes]
        except (ValueError, TypeError, KeyError) as error:
            raise TransferError(
                f'ClientError: Data download failed: {uri} is no manifest, [{{"prefix": "s3://…"}}, "key", …]: {error}'
            ) from error

    def _download(self, bucket: str, key: str, target: Path) -> int:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not download_file: it begins with HeadObject, whose refusal cannot say why.
        body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
        with target.open("wb") as file:
            shutil.copyfileobj(body, file, 1 << 20)
        return target.stat().st_size

    def _nothing(self, uri: str, bucket: str) -> str:
        return (
            f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}" given in input data source. '
            f"Please ensure that the bucket exists in the selected region ({self._client.meta.region_name}), that "
            f'objects exist under that S3 prefix, and that the role has "s3:ListBucket" permissions on bucket '
            f'"{bucket}".'
        )


class MetricScraper:
    """Metrics from log lines by MetricDefinitions: re.search, first group, as a number."""

    def __init__(self, definitions: list[dict[str, str]]) -> None:
        """`definitions`: [{"Name", "Regex"}]. Raises ValueError for an expression that is wrong or has no group."""
        self.latest: dict[str, float] = {}
        self.history: list[tuple[str, float, float]] = []
        self._expressions: list[tuple[str, re.Pattern[str]]] = []
        for definition in definitions:
            name, text = definition["Name"], definition["Regex"]
            try:
                expression = re.compile(text)
            except re.error as error:
                raise ContractError(f"The regex {text!r} of metric {name} is invalid: {error}") from error
            if not expression.groups:
                raise ContractError(f"The regex {text!r} of metric {name} has no group: put the figure in brackets")
            self._expressions.append((name, expression))

    def feed(self, line: str, when: float) -> list[tuple[str, float]]:
        """Look at one log line written at `when` (seconds since the epoch); returns what it says, as (name, value)."""
        found = []
        for name, expression in self._expressions:
            match = expression.search(line)
            if match is None:
                continue
            try:
                value = float(match[1])
            except (ValueError, TypeError):  # something else than a number, or a group that took no part
                continue
            if math.isfinite(value):  # CloudWatch takes no others
                found.append((name, value))
                self.latest[name] = value
                self.history.append((name, value, when))
        return found


def _split(uri: str) -> tuple[str, str]:
    match = re.fullmatch(r"s3://([^/]+)/?(.*)", uri, re.DOTALL)
    if match is None:
        raise TransferError(f"ClientError: {uri!r} is no S3 URI; expected s3://bucket/key")
    return match[1], match[2]


def _below(prefix: str, key: str) -> str:
    """The path of a key below a prefix: of p/a.csv and p/b/c.csv below p, p/ or p/a.csv it is a.csv and b/c.csv.

    A prefix may end within a name, as S3's do: then the whole name is kept.
    """
    if prefix and not prefix.endswith("/") and not key.startswith(f"{prefix}/"):
        prefix = prefix[: prefix.rfind("/") + 1]
    return key[len(prefix) :].lstrip("/")


def _inside(dest: Path, relative: str, key: str) -> Path:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise TransferError(f"ClientError: Data download failed: the key {key!r} would be written outside its channel")
    return dest / path


def _make(base: Path, *directories: str) -> None:
    for directory in directories:
        (base / directory).mkdir(parents=True, exist_ok=True)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, default=str), "utf-8")


def _message(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 * _MESSAGE_LIMIT).decode("utf-8", "replace")[:_MESSAGE_LIMIT].strip()
    except (FileNotFoundError, IsADirectoryError):
        return ""


def _docker_code(code: int) -> int:
    """Docker's code: 128 + N for a process that signal N ended."""
    return code if code >= 0 else 128 - code


def _files(root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from sorted(path for path in root.rglob("*") if path.is_file())


def _pack(root: Path, target: Path) -> bool:
    files = list(_files(root))
    if not files:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in files:
            info = tarfile.TarInfo(path.relative_to(root).as_posix())
            status = path.stat()
            info.size = status.st_size
            info.mode = 0o755 if status.st_mode & 0o100 else 0o644
            with path.open("rb") as file:
                archive.addfile(info, file)
    return True
