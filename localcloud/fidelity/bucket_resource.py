"""AWS::S3::Bucket applies encryption, lifecycle, ownership and tags, and is not deleted while it holds anything.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html: "You can only delete empty
buckets"; MiniStack ignores these properties and deletes whatever is in the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localcloud import hooks
from localcloud.clients import Clients
from localcloud.errors import LocalcloudError

TYPE = "AWS::S3::Bucket"

Props = Mapping[str, Any]


class BucketNotEmpty(LocalcloudError):
    """The text is the stack event's reason."""


def install(clients: Clients) -> None:
    """Wrap the type's handlers."""
    handlers = hooks.cloudformation_types()[TYPE]
    delete = handlers["delete"]

    def s3() -> Any:
        return clients.get("s3", hooks.current_scope())

    def deleted(physical_id: str, props: Props) -> None:
        client = s3()
        try:
            found = client.list_object_versions(Bucket=physical_id, MaxKeys=1)
        except client.exceptions.NoSuchBucket:
            return
        if found.get("Versions") or found.get("DeleteMarkers"):
            raise BucketNotEmpty(
                f"The bucket you tried to delete is not empty. You must delete all versions in the bucket. "
                f"(Service: S3, Status Code: 409, bucket {physical_id})"
            )
        delete(physical_id, props)

    hooks.after_provisioning(TYPE, lambda name, old, new: _apply(s3(), name, old, new))
    handlers["delete"] = deleted


def _apply(s3: Any, bucket: str, old: Props, new: Props) -> None:
    """Set what the template has, remove what it had."""
    steps: dict[str, tuple[Callable[[Any], Any], Callable[..., Any]]] = {
        "BucketEncryption": (
            lambda value: s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=_encryption(value)),
            s3.delete_bucket_encryption,
        ),
        "LifecycleConfiguration": (
            lambda value: s3.put_bucket_lifecycle_configuration(
                Bucket=bucket, LifecycleConfiguration={"Rules": [_rule(rule) for rule in value["Rules"]]}
            ),
            s3.delete_bucket_lifecycle,
        ),
        "OwnershipControls": (
            lambda value: s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=value),
            s3.delete_bucket_ownership_controls,
        ),
        "Tags": (
            lambda value: s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": value}),
            s3.delete_bucket_tagging,
        ),
    }
    for name, (put, remove) in steps.items():
        if new.get(name) == old.get(name):
            continue
        if new.get(name):
            put(new[name])
        else:
            remove(Bucket=bucket)


def _encryption(value: Props) -> dict[str, Any]:
    rules = []
    for rule in value["ServerSideEncryptionConfiguration"]:
        rule = dict(rule)
        if "ServerSideEncryptionByDefault" in rule:
            rule["ApplyServerSideEncryptionByDefault"] = rule.pop("ServerSideEncryptionByDefault")
        rule["BucketKeyEnabled"] = _true(rule.get("BucketKeyEnabled", False))
        rules.append(rule)
    return {"Rules": rules}


def _rule(value: Props) -> dict[str, Any]:
    """A lifecycle rule of a template as one of the API, which nests what the template has flat."""
    rule: dict[str, Any] = {"Status": value["Status"], "Filter": _filter(value)}
    if "Id" in value:
        rule["ID"] = value["Id"]
    expiration: dict[str, Any] = {}
    if "ExpirationInDays" in value:
        expiration["Days"] = int(value["ExpirationInDays"])
    if "ExpirationDate" in value:
        expiration["Date"] = value["ExpirationDate"]
    if "ExpiredObjectDeleteMarker" in value:
        expiration["ExpiredObjectDeleteMarker"] = _true(value["ExpiredObjectDeleteMarker"])
    if expiration:
        rule["Expiration"] = expiration
    noncurrent = dict(value.get("NoncurrentVersionExpiration", {}))
    if "NoncurrentVersionExpirationInDays" in value:
        noncurrent["NoncurrentDays"] = value["NoncurrentVersionExpirationInDays"]
    if noncurrent:
        rule["NoncurrentVersionExpiration"] = {name: int(number) for name, number in noncurrent.items()}
    if "AbortIncompleteMultipartUpload" in value:
        days = value["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": int(days)}
    transitions = list(value.get("Transitions", []))
    if "Transition" in value:
        transitions.append(value["Transition"])
    if transitions:
        rule["Transitions"] = [_transition(transition) for transition in transitions]
    return rule


def _filter(value: Props) -> dict[str, Any]:
    tags = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in value.get("TagFilters", [])]
    prefix = value.get("Prefix")
    if not tags:
        return {"Prefix": prefix or ""}
    if len(tags) == 1 and prefix is None:
        return {"Tag": tags[0]}
    both: dict[str, Any] = {"Tags": tags}
    if prefix is not None:
        both["Prefix"] = prefix
    return {"And": both}


def _transition(value: Props) -> dict[str, Any]:
    transition = {"StorageClass": value["StorageClass"]}
    if "TransitionInDays" in value:
        return {**transition, "Days": int(value["TransitionInDays"])}
    return {**transition, "Date": value["TransitionDate"]}


def _true(value: Any) -> bool:
    """CloudFormation's booleans may be text."""
    return str(value).lower() == "true"
