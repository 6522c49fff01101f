"""localcloud.fidelity.object_versions."""

from typing import Any

import pytest

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import first_message, rule


def listened(cloud: Cloud, versioned: bool) -> tuple[str, str]:
    """A bucket, and a queue that hears its events."""
    s3, name = cloud.client("s3"), unique("versions")
    s3.create_bucket(Bucket=name)
    if versioned:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"EventBridgeConfiguration": {}})
    return name, rule(cloud, {"source": ["aws.s3"], "detail": {"bucket": {"name": [name]}}})


def event_of(cloud: Cloud, url: str) -> dict[str, Any]:
    found: dict[str, Any] = first_message(cloud, url)["detail"]["object"]
    return found


@pytest.mark.parametrize("key", ["plain.txt", "a+b/100% ü.txt"])
def test_event_names_the_version_that_was_written(localcloud: Cloud, key: str) -> None:
    name, url = listened(localcloud, versioned=True)
    put = localcloud.client("s3").put_object(Bucket=name, Key=key, Body=b"abc")
    told = event_of(localcloud, url)
    assert (told["key"], told["version-id"]) == (key, put["VersionId"])


def test_bucket_without_versions_has_none_in_its_events(localcloud: Cloud) -> None:
    name, url = listened(localcloud, versioned=False)
    localcloud.client("s3").put_object(Bucket=name, Key="k", Body=b"abc")
    assert "version-id" not in event_of(localcloud, url)
