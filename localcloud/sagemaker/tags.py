"""Tags of any resource, by ARN."""

from __future__ import annotations

from typing import Any

from localcloud.errors import ValidationException
from localcloud.store import Record, Scope, Store

MOST_TAGS = 50
KIND = "tags"


class Tags:
    """AddTags, ListTags and DeleteTags.

    Other families store a new resource's tags through ``put``.
    """

    operations = ("AddTags", "ListTags", "DeleteTags")

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, scope: Scope, arn: str, tags: list[dict[str, str]]) -> None:
        """Tag a new resource; the caller holds the store's lock.

        Raises:
            ValidationException: a reserved key, a key twice, too many.
        """
        check(tags)
        if tags:
            self._store.table(scope, KIND)[arn] = {"Tags": {tag["Key"]: tag["Value"] for tag in tags}}

    def drop(self, scope: Scope, arn: str) -> None:
        """Forget a deleted resource's tags."""
        self._store.table(scope, KIND).pop(arn, None)

    def of(self, scope: Scope, arn: str) -> dict[str, str]:
        """A resource's tags."""
        return dict(self._store.table(scope, KIND).get(arn, {}).get("Tags", {}))

    def add_tags(self, scope: Scope, request: Record) -> Record:
        """Add or overwrite tags; answers all of them."""
        arn = request["ResourceArn"]
        check(request["Tags"])
        with self._store.lock:
            kind, _ = self._find(scope, arn)
            if kind == "model-package" and "/" in arn.split(":", 5)[5].removeprefix("model-package/"):
                raise ValidationException("Tagging is not supported for versioned ModelPackage.")
            tags = self.of(scope, arn)
            tags.update({tag["Key"]: tag["Value"] for tag in request["Tags"]})
            if len(tags) > MOST_TAGS:
                raise ValidationException(f"The number of tags exceeds the limit of {MOST_TAGS} for {arn}.")
            self._store.table(scope, KIND)[arn] = {"Tags": tags}
        return {"Tags": _listed(tags)}

    def list_tags(self, scope: Scope, request: Record) -> Record:
        """All tags of one resource (50 at most, so that one page holds them)."""
        with self._store.lock:
            self._find(scope, request["ResourceArn"])
            return {"Tags": _listed(self.of(scope, request["ResourceArn"]))}

    def delete_tags(self, scope: Scope, request: Record) -> Record:
        """Remove tags by key; keys that are not there do not matter."""
        with self._store.lock:
            self._find(scope, request["ResourceArn"])
            tags = self.of(scope, request["ResourceArn"])
            for key in request["TagKeys"]:
                tags.pop(key, None)
            self._store.table(scope, KIND)[request["ResourceArn"]] = {"Tags": tags}
        return {}

    def _find(self, scope: Scope, arn: str) -> tuple[str, Record]:
        parts = arn.split(":", 5)
        if len(parts) == 6 and parts[2] == "sagemaker" and "/" in parts[5]:
            kind = parts[5].split("/", 1)[0]
            for record in self._store.table(scope, kind).values():
                if record.get("Arn") == arn:
                    return kind, record
        raise ValidationException(f"Could not find resource: {arn}. Resource does not exist.")


def check(tags: list[dict[str, Any]]) -> None:
    """Refuse what SageMaker refuses: reserved keys, a key twice, more than 50 tags."""
    keys = [tag["Key"] for tag in tags]
    if any(key.lower().startswith("aws:") for key in keys):
        raise ValidationException("Tag keys cannot start with the reserved prefix aws:.")
    if len(set(keys)) != len(keys):
        raise ValidationException("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if len(keys) > MOST_TAGS:
        raise ValidationException(f"The number of tags exceeds the limit of {MOST_TAGS}.")


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
