"""An object written with aws:kms and no key is encrypted with AWS's own key of the account, aws/s3.

docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html: "If the value of x-amz-server-side-encryption is aws:kms …
but you don't provide x-amz-server-side-encryption-aws-kms-key-id, Amazon S3 uses the AWS managed key (aws/s3)".
MiniStack refuses it; the SageMaker SDK writes models so. The key is named by its alias here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks

_KEY = "x-amz-server-side-encryption-aws-kms-key-id"


def install() -> None:
    """Name the key where the request names none."""

    def make(resolve: Any) -> Any:
        def resolved(headers: Mapping[str, str], bucket_name: str) -> Any:
            if headers.get("x-amz-server-side-encryption") == "aws:kms" and not headers.get(_KEY):
                scope = hooks.current_scope()
                headers = {**headers, _KEY: f"arn:aws:kms:{scope.region}:{scope.account}:alias/aws/s3"}
            return resolve(headers, bucket_name)

        return resolved

    hooks.replace("s3.write_encryption", make)
