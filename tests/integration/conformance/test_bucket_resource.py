"""localcloud.fidelity.bucket_resource."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import deploy, reasons, settled


def bucket(**properties: Any) -> dict[str, Any]:
    return {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": properties}}


def test_bucket_has_what_the_template_says_and_loses_what_it_no_longer_says(localcloud: Cloud) -> None:
    s3, stack = localcloud.client("s3"), unique("bucket")
    kms = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": "true"}
    lifecycle = {"Id": "old", "Status": "Enabled", "Prefix": "tmp/", "ExpirationInDays": 7}
    name = deploy(
        localcloud,
        stack,
        bucket(
            BucketEncryption={"ServerSideEncryptionConfiguration": [kms]},
            LifecycleConfiguration={"Rules": [lifecycle]},
            OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            Tags=[{"Key": "team", "Value": "a"}],
        ),
    )["Bucket"]

    [encryption] = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert encryption["BucketKeyEnabled"] is True
    [rule] = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert (rule["ID"], rule["Filter"], rule["Expiration"]) == ("old", {"Prefix": "tmp/"}, {"Days": 7})
    [ownership] = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    assert ownership["ObjectOwnership"] == "BucketOwnerEnforced"
    assert {"Key": "team", "Value": "a"} in s3.get_bucket_tagging(Bucket=name)["TagSet"]

    assert deploy(localcloud, stack, bucket(Tags=[{"Key": "team", "Value": "b"}]), update=True)["Bucket"] == name
    assert {"Key": "team", "Value": "b"} in s3.get_bucket_tagging(Bucket=name)["TagSet"]
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=name)


def test_bucket_that_holds_an_object_is_not_deleted(localcloud: Cloud) -> None:
    s3, stack = localcloud.client("s3"), unique("bucket")
    name = deploy(localcloud, stack, bucket())["Bucket"]
    s3.put_object(Bucket=name, Key="precious", Body=b"data")

    localcloud.client("cloudformation").delete_stack(StackName=stack)
    assert settled(localcloud, stack)["StackStatus"] == "DELETE_FAILED"
    assert any("not empty" in reason for reason in reasons(localcloud, stack))
    assert s3.get_object(Bucket=name, Key="precious")["Body"].read() == b"data"

    s3.delete_object(Bucket=name, Key="precious")
    localcloud.client("cloudformation").delete_stack(StackName=stack)
    assert settled(localcloud, stack)["StackStatus"] == "DELETE_COMPLETE"
