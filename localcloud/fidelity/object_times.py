"""An object's LastModified is a whole second, in every answer of S3.

docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html; MiniStack keeps milliseconds, in lists only, so that
what is compared with LastModified works here and loses objects on AWS.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks


def install() -> None:
    """Write objects down with the second that they were written in."""

    def make(now: Any) -> Any:
        def whole_second() -> str:
            moment: str = now()
            return f"{moment.partition('.')[0].rstrip('Z')}.000Z"

        return whole_second

    hooks.replace("s3.now", make)
