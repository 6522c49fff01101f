"""A model's artefact on its way from S3 into a container's /opt/ml/model."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from localcloud.containers import archives
from localcloud.containers.container_contract import ContractError, S3Transfer


class ArtefactError(ContractError):
    """The artefact could not be had or unpacked; the text is the endpoint's FailureReason."""


def check(s3: Any, artefact: Mapping[str, Any] | None, role: str) -> None:
    """Whether a packed artefact is there and may be read, as CreateModel looks.

    Raises:
        ArtefactError: in AWS's words.
    """
    if artefact is None or artefact.get("S3DataType") == "S3Prefix":
        return
    uri = artefact["S3Uri"]
    bucket, key = _place(uri)
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NoSuchBucket", "NotFound"):
            raise ArtefactError(f"Could not find model data at {uri}.") from error
        raise ArtefactError(
            f'Could not access model data at {uri}. Please ensure that the role "{role}" exists and that its trust '
            'relationship policy allows the action "sts:AssumeRole" for the service principal '
            '"sagemaker.amazonaws.com". Also ensure that the role has "s3:GetObject" permissions and that the object '
            f"is located in {s3.meta.region_name}."
        ) from error


def fetch(s3: Any, artefact: Mapping[str, Any] | None, directory: Path) -> Path | None:
    """Bring a model's artefact to this machine; gives the archive, or the tree of an artefact that is not packed.

    Args:
        s3: a client that acts under the model's role.
        artefact: S3Uri, S3DataType and CompressionType; None for a model without one.
        directory: where it is put.

    Raises:
        ArtefactError: in AWS's words.
    """
    if artefact is None:
        return None
    uri = artefact["S3Uri"]
    bucket, key = _place(uri)
    try:
        if artefact.get("S3DataType") == "S3Prefix":
            tree = directory / "tree"
            S3Transfer(s3).download_prefix(uri, tree)
            return tree
        archive = directory / "artefact"
        s3.download_file(bucket, key, str(archive))
    except (ClientError, BotoCoreError, Boto3Error, ContractError, OSError) as error:
        raise ArtefactError(
            f'Failed to download model data for container "container_1" from URL: "{uri}". Please ensure that there is '
            "an object located at the URL and that the role passed to CreateModel has permissions to download the "
            f"model. ({error})"
        ) from error
    if artefact.get("CompressionType") == "None":
        tree = directory / "tree"
        tree.mkdir()
        archive.rename(tree / Path(key).name)
        return tree
    return archive


def unpack(fetched: Path | None, model: Path, uri: str = "") -> None:
    """Put the artefact into a container's model directory; members that would leave it are refused.

    Raises:
        ArtefactError: it is no archive, or not a harmless one.
    """
    model.mkdir(parents=True, exist_ok=True)
    if fetched is None:
        return
    if fetched.is_dir():
        _copy(fetched, model)
        return
    try:
        with tarfile.open(fetched) as archive:
            archives.unpack(archive, model)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ArtefactError(
            f'Failed to extract model data archive for container "container_1" from URL "{uri}". Please ensure that '
            f"the object located at the URL is a valid tar.gz archive. ({error})"
        ) from error


def _place(uri: str) -> tuple[str, str]:
    match = re.fullmatch(r"(?:s3://|https://s3[^/]*/)([^/]+)/(.+)", uri)
    if match is None:
        raise ArtefactError(f'The model data URL "{uri}" is no URL of an S3 object (s3://bucket/key).')
    return match[1], match[2]


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())
