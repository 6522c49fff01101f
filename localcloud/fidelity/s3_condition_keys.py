"""A policy can condition a write to S3 on s3:if-none-match, s3:if-match, s3:ObjectCreationOperation and its KMS key.

docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html and
service-authorization/latest/reference/list_amazons3.html. MiniStack has none of these keys, so that a statement that
denies unconditional writes denies every write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks

_HEADERS = ("if-none-match", "if-match", "x-amz-server-side-encryption-aws-kms-key-id")


def install() -> None:
    """Add the keys to those that MiniStack gives."""

    def make(service_context: Any) -> Any:
        def s3_service_context(
            iam_action: str,
            query_params: Mapping[str, Any] | None,
            path: str = "",
            headers: Mapping[str, str] | None = None,
        ) -> dict[str, Any]:
            context: dict[str, Any] = service_context(iam_action, query_params, path, headers)
            if iam_action == "s3:PutObject":
                context.update({f"s3:{name}": headers[name] for name in _HEADERS if headers and headers.get(name)})
                # The parts of an upload create nothing yet; completing it does.
                in_parts = {"uploads", "partNumber"} & set(query_params or {})
                context["s3:ObjectCreationOperation"] = "false" if in_parts else "true"
            return context

        return s3_service_context

    hooks.replace("iam.s3_context", make)
