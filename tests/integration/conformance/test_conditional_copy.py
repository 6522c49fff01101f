"""localcloud.fidelity.conditional_copy."""

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from ..localcloud_requests import unique


def test_copy_if_none_match_does_not_overwrite(localcloud: Cloud, bucket: str) -> None:
    s3, source, target = localcloud.client("s3"), unique("source"), unique("target")
    s3.put_object(Bucket=bucket, Key=source, Body=b"1")
    copy = {"Bucket": bucket, "Key": target, "CopySource": {"Bucket": bucket, "Key": source}, "IfNoneMatch": "*"}
    s3.copy_object(**copy)
    s3.put_object(Bucket=bucket, Key=source, Body=b"2")
    with pytest.raises(ClientError) as refused:
        s3.copy_object(**copy)
    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket=bucket, Key=target)["Body"].read() == b"1"


def test_copy_if_match_overwrites_only_what_it_knows(localcloud: Cloud, bucket: str) -> None:
    s3, source, target = localcloud.client("s3"), unique("source"), unique("target")
    s3.put_object(Bucket=bucket, Key=source, Body=b"new")
    etag = s3.put_object(Bucket=bucket, Key=target, Body=b"old")["ETag"]
    copy = {"Bucket": bucket, "Key": target, "CopySource": {"Bucket": bucket, "Key": source}}
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.copy_object(**copy, IfMatch='"0123456789abcdef0123456789abcdef"')
    s3.copy_object(**copy, IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key=target)["Body"].read() == b"new"
