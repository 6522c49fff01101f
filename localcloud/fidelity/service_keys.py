"""Whoever reads or writes what is encrypted with a customer's KMS key must be allowed to use the key as well.

docs.aws.amazon.com/kms/latest/developerguide/service-integration.html; localcloud/iam/encryption.py says which action
takes what of the key. MiniStack keeps the key's name and never asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.iam import encryption
from localcloud.iam.identity import denial

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
            if refused is not None:
                return refused
            key, actions = encryption.needed(iam_action, resource_arn, service_context or {})
            for action in actions:
                result = enforce(access_key_id, action, "kms", region, resource_arn=key)
                if result is not None and not isinstance(result, hooks.get("iam.auth_error")):
                    explicit = result.decision == "Deny"
                    message = denial(action, result.principal_arn, key, explicit, result.resource_policy_arn)
                    if service == "dynamodb":
                        message = f"KMS key access denied error: {message}"
                    return hooks.get("iam.auth_error")(_CODES.get(service, "AccessDenied"), message)
            return None

        return enforced

    hooks.replace("iam.enforce", make)
