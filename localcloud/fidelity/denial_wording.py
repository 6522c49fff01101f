"""A denial names who may not do what to which resource and why, with the service's status and spelling.

docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html. MiniStack leaves the resource out, or names
the request's first where another is refused, and answers every denial with status 403, where services that speak JSON
answer 400.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from localcloud import hooks
from localcloud.iam.identity import denial

# They have wordings of their own, which MiniStack knows.
_OWN_WORDING = frozenset({"apigateway", "ec2", "iot", "iot-data", "logs", "ssm"})
_STATUS_403 = frozenset({"lambda", "sqs"})

# What the request that is being served was last checked for.
_checked: ContextVar[str | None] = ContextVar("localcloud_checked", default=None)


def install() -> None:
    """Reword what MiniStack answers, and remember which resource it was about."""

    def make(access_denied_response: Any) -> Any:
        def denied(
            service: str,
            action: str,
            principal_arn: str,
            request_id: str,
            *,
            error_code: str = "",
            message: str = "",
            headers: dict[str, str] | None = None,
            resource_arn: str = "*",
            explicit_deny: bool = False,
            resource_policy_arn: str = "",
        ) -> tuple[int, dict[str, str], bytes]:
            resource_arn = _checked.get() or resource_arn
            if not message and not error_code and service not in _OWN_WORDING:
                message = denial(
                    action, principal_arn, resource_policy_arn or resource_arn, explicit_deny, resource_policy_arn
                )
            status, answered, body = access_denied_response(
                service,
                action,
                principal_arn,
                request_id,
                error_code=error_code,
                message=message,
                headers=headers,
                resource_arn=resource_arn,
                explicit_deny=explicit_deny,
                resource_policy_arn=resource_policy_arn,
            )
            if status == 403 and service not in _STATUS_403 and (headers or {}).get("x-amz-target"):
                status = 400
            return status, answered, body

        return denied

    def noting(enforce: Any) -> Any:
        def enforced(
            access_key_id: str,
            iam_action: str,
            service: str,
            region: str,
            resource_arn: str = "*",
            service_context: Mapping[str, Any] | None = None,
        ) -> Any:
            _checked.set(resource_arn)
            return enforce(
                access_key_id, iam_action, service, region, resource_arn=resource_arn, service_context=service_context
            )

        return enforced

    hooks.replace("iam.denied", make)
    hooks.replace("iam.enforce", noting)
