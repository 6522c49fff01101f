"""Whoever reads or writes what a customer's KMS key encrypts needs the key."""

from __future__ import annotations

from typing import Any

import pytest

from localcloud.testing import Cloud
from tests.integration.localcloud_requests import unique
from tests.integration.roles import acting, allow, refused


@pytest.fixture(scope="module")
def key(localcloud: Cloud) -> str:
    return str(localcloud.client("kms").create_key()["KeyMetadata"]["Arn"])


@pytest.fixture(scope="module")
def encrypted(localcloud: Cloud, key: str) -> str:
    """A bucket that encrypts with the key, and holds one object."""
    bucket, s3 = unique("encrypted"), localcloud.client("s3")
    s3.create_bucket(Bucket=bucket)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    return bucket


def test_reading_an_object_needs_kms_decrypt(localcloud: Cloud, key: str, encrypted: str) -> None:
    request = {"Bucket": encrypted, "Key": "k"}
    blind = acting(localcloud, unique("blind"), allow("s3:*"), allow("kms:GenerateDataKey"))("s3")
    code, message = refused(blind.get_object, **request)
    assert code == "AccessDenied"
    assert f"not authorized to perform: kms:Decrypt on resource: {key} because no identity-based policy" in message
    seeing = acting(localcloud, unique("seeing"), allow("s3:*"), allow("kms:Decrypt", on=key))("s3")
    assert seeing.get_object(**request)["Body"].read() == b"1"


def test_writing_an_object_needs_kms_generate_data_key(localcloud: Cloud, key: str, encrypted: str) -> None:
    request = {"Bucket": encrypted, "Key": "new", "Body": b"2"}
    mute = acting(localcloud, unique("mute"), allow("s3:*"), allow("kms:Decrypt"))("s3")
    assert f"kms:GenerateDataKey on resource: {key}" in refused(mute.put_object, **request)[1]
    mute.put_object(**request, ServerSideEncryption="AES256")
    writing = acting(localcloud, unique("writing"), allow("s3:*"), allow("kms:GenerateDataKey", on=key))("s3")
    assert writing.put_object(**request)["SSEKMSKeyId"] == key


def test_key_named_in_the_request_is_the_one_that_is_needed(localcloud: Cloud, key: str, bucket: str) -> None:
    s3 = acting(localcloud, unique("naming"), allow("s3:*"))("s3")
    request: dict[str, Any] = {"Bucket": bucket, "Key": unique("named"), "Body": b"1"}
    assert (
        f"kms:GenerateDataKey on resource: {key}"
        in (refused(s3.put_object, **request, ServerSideEncryption="aws:kms", SSEKMSKeyId=key)[1])
    )
    s3.put_object(**request)


def test_table_s_items_need_kms_decrypt(localcloud: Cloud, key: str) -> None:
    table = unique("encrypted")
    localcloud.client("dynamodb").create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
    )
    item = {"TableName": table, "Item": {"pk": {"S": "1"}}}
    blind = acting(localcloud, unique("blind"), allow("dynamodb:*"))("dynamodb")
    code, message = refused(blind.put_item, **item)
    assert code == "AccessDeniedException"
    assert f"kms:Decrypt on resource: {key}" in message
    assert blind.describe_table(TableName=table)
    acting(localcloud, unique("seeing"), allow("dynamodb:*", "kms:Decrypt"))("dynamodb").put_item(**item)


def test_publishing_to_an_encrypted_topic_needs_both(localcloud: Cloud, key: str) -> None:
    topic = localcloud.client("sns").create_topic(Name=unique("encrypted"), Attributes={"KmsMasterKeyId": key})
    message = {"TopicArn": topic["TopicArn"], "Message": "m"}
    mute = acting(localcloud, unique("mute"), allow("sns:Publish", "kms:Decrypt"))("sns")
    code, said = refused(mute.publish, **message)
    assert code == "KMSAccessDenied"
    assert f"kms:GenerateDataKey on resource: {key}" in said
    loud = acting(localcloud, unique("loud"), allow("sns:Publish", "kms:Decrypt", "kms:GenerateDataKey*"))("sns")
    assert loud.publish(**message)["MessageId"]


def test_sending_to_an_encrypted_queue_needs_both(localcloud: Cloud, key: str) -> None:
    queue = localcloud.client("sqs").create_queue(QueueName=unique("encrypted"), Attributes={"KmsMasterKeyId": key})
    message = {"QueueUrl": queue["QueueUrl"], "MessageBody": "m"}
    mute = acting(localcloud, unique("mute"), allow("sqs:*", "kms:GenerateDataKey"))("sqs")
    assert f"kms:Decrypt on resource: {key}" in refused(mute.send_message, **message)[1]
    loud = acting(localcloud, unique("loud"), allow("sqs:*", "kms:Decrypt", "kms:GenerateDataKey"))("sqs")
    assert loud.send_message(**message)["MessageId"]
