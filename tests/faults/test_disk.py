"""A full disk: requests that cannot be stored fail, nothing else does, and all is well again when there is room."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud import daemon
from localcloud.errors import LocalcloudError
from localcloud.testing import Cloud, localcloud, wait_for

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def snapshots(cloud: Cloud) -> dict[str, Any]:
    """How the state is saved; nothing while the server is too busy to say."""
    try:
        return daemon.snapshots(cloud.running) or {}
    except LocalcloudError:
        return {}


def test_full_disk_loses_nothing_and_says_so(tmp_path: Path) -> None:
    with localcloud(tmp_path / "cloud", keep=True) as cloud:
        s3 = cloud.client("s3")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="a", Body=b"before")
        wait_for(lambda: snapshots(cloud).get("current"))

        # No file of the server's may grow beyond this, as if the disk were full.
        resource.prlimit(cloud.running.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        with pytest.raises(ClientError, match=r"InternalError|500"):
            s3.put_object(Bucket="bucket", Key="a", Body=b"too large" * 100)
        cloud.client("ssm").put_parameter(Name="/kept", Value="in memory", Type="String")
        failed = wait_for(lambda: snapshots(cloud).get("failed"))
        assert "File too large" in failed
        assert cloud.client("ssm").get_parameter(Name="/kept")["Parameter"]["Value"] == "in memory"

        resource.prlimit(cloud.running.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        wait_for(lambda: snapshots(cloud).get("failed", failed) is None)
        cloud.kill()
        cloud.start_again()
        assert cloud.client("s3").get_object(Bucket="bucket", Key="a")["Body"].read() == b"before"
        assert cloud.client("ssm").get_parameter(Name="/kept")["Parameter"]["Value"] == "in memory"


def test_damaged_state_stops_the_start_and_says_what_to_do(tmp_path: Path) -> None:
    with localcloud(tmp_path / "cloud", keep=True) as cloud:
        cloud.client("s3").create_bucket(Bucket="bucket")
    state = tmp_path / "cloud/state"
    (generation,) = state.glob("*.generation")
    content = generation.read_bytes()
    generation.write_bytes(content[: len(content) // 2])
    with pytest.raises(daemon.StartFailed, match="the kept state is damaged"):
        daemon.start(tmp_path / "cloud")
    generation.write_bytes(content)
    with localcloud(tmp_path / "cloud", keep=True) as cloud:
        assert [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]] == ["bucket"]
