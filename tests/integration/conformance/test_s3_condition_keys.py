"""A bucket policy can refuse unconditional writes, and writes with another key."""

from __future__ import annotations

import json
from typing import Any

from localcloud.testing import Cloud
from tests.integration.localcloud_requests import unique
from tests.integration.roles import acting, allow, refused


def written_once(cloud: Cloud, **condition: Any) -> tuple[str, Any]:
    """A bucket that refuses what the condition describes, and an S3 client of a role."""
    bucket, root = unique("once"), cloud.client("s3")
    root.create_bucket(Bucket=bucket)
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": condition,
    }
    root.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    return bucket, acting(cloud, unique("once"), allow("s3:*", "kms:GenerateDataKey"))("s3")


def test_unconditional_write_is_refused_and_a_conditional_one_is_not(localcloud: Cloud) -> None:
    bucket, s3 = written_once(localcloud, Null={"s3:if-none-match": "true"})
    code, message = refused(s3.put_object, Bucket=bucket, Key="k", Body=b"1")
    assert code == "AccessDenied"
    assert message.endswith(f'on resource: "arn:aws:s3:::{bucket}/k" with an explicit deny in a resource-based policy')
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    source = {"Bucket": bucket, "Key": "k"}
    assert refused(s3.copy_object, Bucket=bucket, Key="copy", CopySource=source)[0] == "AccessDenied"
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, IfNoneMatch="*")


def test_parts_of_an_upload_are_told_from_what_creates_an_object(localcloud: Cloud) -> None:
    bucket, s3 = written_once(
        localcloud, Null={"s3:if-none-match": "true"}, Bool={"s3:ObjectCreationOperation": "true"}
    )
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"1")
    request = {
        "Bucket": bucket,
        "Key": "k",
        "UploadId": upload,
        "MultipartUpload": {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]},
    }
    assert refused(s3.complete_multipart_upload, **request)[0] == "AccessDenied"
    assert s3.complete_multipart_upload(**request, IfNoneMatch="*")["ETag"]


def test_policy_can_insist_on_a_kms_key(localcloud: Cloud) -> None:
    key = localcloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    bucket, s3 = written_once(
        localcloud, StringNotEqualsIfExists={"s3:x-amz-server-side-encryption-aws-kms-key-id": key}
    )
    other = localcloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    encrypted = {"Bucket": bucket, "Key": "k", "Body": b"1", "ServerSideEncryption": "aws:kms"}
    assert refused(s3.put_object, **encrypted, SSEKMSKeyId=other)[0] == "AccessDenied"
    assert s3.put_object(**encrypted, SSEKMSKeyId=key)["SSEKMSKeyId"] == key
