"""Whoever reads or writes what is encrypted with a customer's KMS key must be allowed to use the key as well.

docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html (kms:GenerateDataKey to write, kms:Decrypt to
read), amazondynamodb/latest/developerguide/encryption.usagenotes.html and encryption.howitworks.html (kms:Decrypt),
sns/latest/dg/sns-key-management.html and AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html (both,
to send). MiniStack keeps the key's name and never asks. AWS's own keys (alias/aws/…) are everybody's in the account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localcloud import hooks
from localcloud.identity import denial

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
# How a service names the refusal, where it is not simply an access denied.
_CODES = {"sns": "KMSAccessDenied", "sqs": "KMS.AccessDeniedException"}


def install() -> None:
    """Ask for the key once the action itself is allowed."""

    def make(enforce: Any) -> Any:
        def enforced(
            access_key_id: str,
            iam_action: str,
            service: str,
            region: str,
            resource_arn: str = "*",
            service_context: Mapping[str, Any] | None = None,
        ) -> Any:
            refused = enforce(
                access_key_id, iam_action, service, region, resource_arn=resource_arn, service_context=service_context
            )
            if refused is not None or service not in _USES:
                return refused
            key, actions = _USES[service](iam_action, resource_arn, service_context or {})
            if not actions or not key or "alias/aws/" in key:
                return None
            record = hooks.get("kms.key")(key)
            if record is None:
                return None
            for action in actions:
                result = enforce(access_key_id, action, "kms", region, resource_arn=record["Arn"])
                if result is not None and not isinstance(result, hooks.get("iam.auth_error")):
                    message = denial(
                        action,
                        result.principal_arn,
                        record["Arn"],
                        result.decision == "Deny",
                        result.resource_policy_arn,
                    )
                    if service == "dynamodb":
                        message = f"KMS key access denied error: {message}"
                    return hooks.get("iam.auth_error")(_CODES.get(service, "AccessDenied"), message)
            return None

        return enforced

    hooks.replace("iam.enforce", make)


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
