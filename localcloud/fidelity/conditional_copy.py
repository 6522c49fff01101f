"""CopyObject honours If-None-Match and If-Match on its destination, as PutObject does.

docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html: conditional writes are for PutObject,
CompleteMultipartUpload and CopyObject; MiniStack has the first two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks


def install() -> None:
    """Check the destination before a copy."""

    def make(copy_object: Any) -> Any:
        def copy(bucket_name: str, dest_key: str, headers: Mapping[str, str]) -> Any:
            bucket = hooks.get("s3.bucket")(bucket_name) or {}
            existing = bucket.get("objects", {}).get(dest_key)
            refused = hooks.get("s3.preconditions")(headers, existing)
            return refused if refused is not None else copy_object(bucket_name, dest_key, headers)

        return copy

    hooks.replace("s3.copy", make)
