"""Which customer's KMS key encrypts what somebody reads or writes, and what of the key that takes.

docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html (kms:GenerateDataKey to write, kms:Decrypt to
read), amazondynamodb/latest/developerguide/encryption.usagenotes.html (kms:Decrypt),
sns/latest/dg/sns-key-management.html and AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html (both,
to send). AWS's own keys (alias/aws/…) are everybody's in the account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localcloud import hooks

_KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
_READ, _WRITE = ("kms:Decrypt",), ("kms:GenerateDataKey",)
_BOTH = (*_WRITE, *_READ)
_S3 = {"s3:GetObject": _READ, "s3:GetObjectVersion": _READ, "s3:PutObject": _WRITE}
_DYNAMODB = frozenset(
    f"dynamodb:{name}"
    for name in (
        *("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan", "BatchGetItem", "BatchWriteItem"),
        *("ConditionCheckItem", "PartiQLSelect", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"),
    )
)
_SQS = {"sqs:SendMessage": _BOTH, "sqs:ReceiveMessage": _READ}
_SNS = {"sns:Publish": _BOTH}


def needed(action: str, resource: str, context: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The ARN of the key, and the actions on it that an action on a resource takes; none where no key is needed.

    Args:
        context: the request's condition keys.
    """
    use = _USES.get(action.split(":", 1)[0])
    if use is None:
        return "", ()
    key, actions = use(action, resource, context)
    if not actions or not key or "alias/aws/" in key:
        return "", ()
    record = hooks.get("kms.key")(key)
    return (record["Arn"], actions) if record is not None else ("", ())


def _of_object(action: str, arn: str, context: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    actions = _S3.get(action, ())
    bucket, _, key = arn.partition(":::")[2].partition("/")
    if not actions or not key:
        return "", ()
    headers: Mapping[str, str] = {}
    if actions is _WRITE:
        if named := context.get(f"s3:{_KEY_HEADER}"):
            return str(named), actions
        if context.get("s3:x-amz-server-side-encryption") == "AES256":
            return "", ()
        headers = hooks.get("s3.default_encryption")(bucket)
    else:
        # A version that is not the current one is taken to be encrypted alike.
        stored = (hooks.get("s3.bucket")(bucket) or {}).get("objects", {}).get(key)
        if stored is not None:
            headers = hooks.get("s3.encryption")(stored)
    return headers.get(_KEY_HEADER, ""), actions


def _of_table(action: str, arn: str, _context: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if action not in _DYNAMODB:
        return "", ()
    name = arn.partition(":table/")[2].split("/", 1)[0]
    table = hooks.get("dynamodb.tables").get(name) or {}
    return str((table.get("SSEDescription") or {}).get("KMSMasterKeyArn", "")), _READ


def _of_queue(action: str, arn: str, _context: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if action not in _SQS:
        return "", ()
    queue = hooks.get("sqs.queue")(arn) or {}
    return str(queue.get("attributes", {}).get("KmsMasterKeyId", "")), _SQS[action]


def _of_topic(action: str, arn: str, _context: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if action not in _SNS:
        return "", ()
    topic = hooks.get("sns.topic")(arn) or {}
    return str(topic.get("attributes", {}).get("KmsMasterKeyId", "")), _SNS[action]


_USES: dict[str, Callable[[str, str, Mapping[str, Any]], tuple[str, tuple[str, ...]]]] = {
    "s3": _of_object,
    "dynamodb": _of_table,
    "sqs": _of_queue,
    "sns": _of_topic,
}
