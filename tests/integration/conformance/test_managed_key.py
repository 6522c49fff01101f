"""localcloud.fidelity.managed_key."""

import pytest

from localcloud.testing import Cloud

from ..localcloud_requests import unique


@pytest.mark.parametrize("how", ["put", "copy", "parts"])
def test_kms_without_a_key_takes_the_accounts_own(localcloud: Cloud, bucket: str, how: str) -> None:
    s3, key = localcloud.client("s3"), unique("encrypted")
    target = {"Bucket": bucket, "Key": key, "ServerSideEncryption": "aws:kms"}
    if how == "put":
        s3.put_object(**target, Body=b"data")
    elif how == "copy":
        s3.put_object(Bucket=bucket, Key=f"{key}-source", Body=b"data")
        s3.copy_object(**target, CopySource={"Bucket": bucket, "Key": f"{key}-source"})
    else:
        upload = s3.create_multipart_upload(**target)["UploadId"]
        part = {"Bucket": bucket, "Key": key, "UploadId": upload}
        etag = s3.upload_part(**part, PartNumber=1, Body=b"data")["ETag"]
        s3.complete_multipart_upload(**part, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})

    found = s3.get_object(Bucket=bucket, Key=key)
    assert found["Body"].read() == b"data"
    assert found["ServerSideEncryption"] == "aws:kms"
    assert found["SSEKMSKeyId"].startswith(f"arn:aws:kms:us-east-1:{localcloud.account}:")


def test_named_key_stays_the_one_named(localcloud: Cloud, bucket: str) -> None:
    s3, key = localcloud.client("s3"), unique("encrypted")
    arn = localcloud.client("kms").create_key(Description="of a person")["KeyMetadata"]["Arn"]
    s3.put_object(Bucket=bucket, Key=key, Body=b"data", ServerSideEncryption="aws:kms", SSEKMSKeyId=arn)
    assert s3.head_object(Bucket=bucket, Key=key)["SSEKMSKeyId"] == arn
