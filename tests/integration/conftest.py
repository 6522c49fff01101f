"""One localcloud for the tests of a session (of a worker, under xdist)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.testing import Cloud
from localcloud.testing import localcloud as running_localcloud

HERE = Path(__file__).parent
# Roles that tests name which are not about roles; they may do everything.
ROLES = ("job-role", "r", "scheduler")


@pytest.fixture(scope="session")
def localcloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A localcloud with the stub image and four slots."""
    directory = tmp_path_factory.mktemp("localcloud")
    with running_localcloud(directory, images=[HERE / "localcloud_images/stub.toml"], slots=4) as cloud:
        for name in ROLES:
            cloud.role(name)
        yield cloud


@pytest.fixture(scope="session")
def bucket(localcloud: Cloud) -> str:
    """A bucket."""
    localcloud.client("s3").create_bucket(Bucket="test-bucket")
    return "test-bucket"
