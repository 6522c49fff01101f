"""Who acts: sessions of roles, and whether a caller may do what it asks for, in AWS's words.

docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html and troubleshoot_access-denied.html.
MiniStack evaluates the policies; it has no idea of the services that localcloud adds, nor of what its own services do
for a state machine, a rule or a schedule. A service that acts for somebody takes a session of the role that it was
given, when that role exists and trusts it; a session here never expires, for as long as the server runs.
"""

from __future__ import annotations

import base64
import contextvars
import functools
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from localcloud import hooks
from localcloud.errors import ApiError
from localcloud.iam import encryption
from localcloud.store import Scope

Service = Literal[
    "states.amazonaws.com",
    "sagemaker.amazonaws.com",
    "events.amazonaws.com",
    "scheduler.amazonaws.com",
    "cloudwatch.amazonaws.com",
    "sns.amazonaws.com",
]

_ROLE = re.compile(r"^arn:aws[a-z-]*:iam::(?P<account>\d{12}):role/(?:.+/)?(?P<name>[\w+=,.@-]+)$")
# How the services that act for somebody call their sessions; None for 32 letters that say nothing.
_SESSION_NAMES: dict[str, str | None] = {"sagemaker.amazonaws.com": "SageMaker"}
_KEYS_OF_A_CALLER_WITHOUT_ONE = ""


class Denied(ApiError):
    """A caller may not do what it asks for."""

    def __init__(self, message: str, code: str = "AccessDeniedException", status: int = 400) -> None:
        super().__init__(code, message, status)


class NotAssumable(ApiError):
    """A service cannot act under a role: there is none, or it trusts others only."""

    def __init__(self, role_arn: str, service: str) -> None:
        super().__init__(
            "ValidationException",
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal '{service}' "
            "to assume the role.",
        )


@dataclass(frozen=True)
class Session:
    """Credentials, and whose they are.

    Args:
        arn: the principal's ARN, such as ``arn:aws:sts::…:assumed-role/NAME/SESSION``.
    """

    arn: str
    access_key: str
    secret: str
    token: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to act under it."""
        found = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret}
        return {**found, "AWS_SESSION_TOKEN": self.token} if self.token else found


class Identity:
    """Gives sessions and authorises; with ``enforced`` false everybody is the account's root and may do anything."""

    def __init__(self, enforced: bool) -> None:
        self.enforced = enforced
        # Nobody who merely knows a role's name can make its keys; they are others after a restart.
        self._secret = secrets.token_bytes(32)

    def root(self, scope: Scope) -> Session:
        """The account's root, for what localcloud does on its own account."""
        return Session(f"arn:aws:iam::{scope.account}:root", scope.account, "localcloud")

    def session(self, scope: Scope, role_arn: str, service: Service, source_arn: str | None = None) -> Session:
        """The session under which a service acts for somebody.

        Args:
            source_arn: for whom: the state machine, rule or the like; None for any resource of the service.

        Raises:
            NotAssumable: the role does not exist, or does not trust the service.
        """
        if not self.enforced:
            return self.root(scope)
        if not self.assumable(scope, role_arn, service, source_arn):
            raise NotAssumable(role_arn, service)
        match = _ROLE.match(role_arn)
        assert match is not None  # it could not be assumed otherwise
        name = _SESSION_NAMES.get(service) or self._letters(f"{service} {role_arn}", 32)
        arn = f"arn:aws:sts::{match['account']}:assumed-role/{match['name']}/{name}"
        session = Session(
            arn,
            f"ASIA{self._letters(f'key {arn}', 16).upper()}",
            self._letters(f"secret {arn}", 40),
            self._letters(f"token {arn}", 200),
        )
        # Each time, since a reset forgets the sessions.
        hooks.get("sts.register")(
            session.access_key,
            {
                "Arn": arn,
                "UserId": f"{self._role(scope, role_arn).get('RoleId', match['name'])}:{name}",
                "AccountId": match["account"],
                "PrincipalType": "AssumedRole",
                "SecretAccessKey": session.secret,
                "SessionToken": session.token,
            },
        )
        return session

    def assumable(self, scope: Scope, role_arn: str, service: str, source_arn: str | None = None) -> bool:
        """Whether a role exists and trusts a service, which asks for this account."""
        if not self.enforced:
            return True
        document = self._role(scope, role_arn).get("AssumeRolePolicyDocument")
        if not document:
            return False
        source = source_arn or f"arn:aws:{service.split('.', 1)[0]}:{scope.region}:{scope.account}:*"
        regional = service.replace(".", f".{scope.region}.", 1)
        return any(
            self._policy_allows(scope, document, name, "sts:AssumeRole", role_arn, {"aws:SourceArn": source})
            for name in (service, regional)
        )

    def authorise(
        self,
        scope: Scope,
        access_key: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Let a caller pass who may do something.

        Args:
            access_key: the caller's.
            action: such as ``sagemaker:CreateTrainingJob``.
            resource: the ARN that it is done to, or ``*``.
            context: the request's own condition keys.

        Raises:
            Denied: AWS's code and wording.
        """
        if not self.enforced:
            return
        if access_key == _KEYS_OF_A_CALLER_WITHOUT_ONE:
            raise Denied("Missing Authentication Token", "MissingAuthenticationTokenException")
        result = _evaluated(scope, lambda: _enforce(scope, access_key, action, resource, context))
        if result is None:
            return
        if isinstance(result, hooks.get("iam.auth_error")):
            raise Denied(result.message, result.code, 403 if result.code.startswith("AccessDenied") else 400)
        raise Denied(
            denial(action, result.principal_arn, resource, result.decision == "Deny", result.resource_policy_arn)
        )

    def may_deliver(
        self, scope: Scope, service: Service, source_arn: str, role_arn: str | None, target_arn: str, action: str
    ) -> None:
        """Let a rule or schedule deliver to a target: under its role, or by the target's own policy.

        Args:
            source_arn: the rule's or schedule's.
            role_arn: the target's RoleArn, if it has one.
            action: what is done to the target, such as ``lambda:InvokeFunction``.

        Raises:
            NotAssumable: there is no such role, or it does not trust the service.
            Denied: the role, or without one the target's policy, does not allow it.
        """
        if not self.enforced:
            return
        if role_arn:
            self.authorise(scope, self.session(scope, role_arn, service, source_arn).access_key, action, target_arn)
            return
        context = {"aws:SourceArn": source_arn, "aws:SourceAccount": scope.account, "aws:SourceOwner": scope.account}
        if action == "logs:PutLogEvents":
            target_arn = f"{target_arn.removesuffix(':*')}:log-stream:{service}"
        key, key_actions = _evaluated(scope, lambda: encryption.needed(action, target_arn, {}))
        for asked, resource in ((action, target_arn), *((each, key) for each in key_actions)):
            policies = _evaluated(scope, functools.partial(_policies_of, asked, resource))
            if not any(self._policy_allows(scope, each, service, asked, resource, context) for each in policies):
                raise Denied(
                    f"User: {service} is not authorized to perform: {asked} on resource: {resource} because no "
                    f"resource-based policy allows the {asked} action"
                )

    def _role(self, scope: Scope, role_arn: str) -> Mapping[str, Any]:
        match = _ROLE.match(role_arn)
        if match is None or match["account"] != scope.account:
            return {}
        role = hooks.get("iam.roles").get_scoped(scope.account, None, match["name"])
        return role if role is not None and role.get("Arn") == role_arn else {}

    def _policy_allows(
        self,
        scope: Scope,
        document: str | Mapping[str, Any],
        service: str,
        action: str,
        resource: str,
        context: Mapping[str, Any],
    ) -> bool:
        """Whether a policy that stands with a resource lets a service do something to it."""
        keys = {"aws:SourceAccount": scope.account, **context}
        asked = hooks.get("iam.context")(
            principal_arn="*",
            principal_type="Service",
            principal_account="",
            action=action,
            resource_arn=resource,
            region=scope.region,
            service_context={key.lower(): value for key, value in keys.items()},
        )
        decided = _evaluated(scope, lambda: hooks.get("iam.evaluate_resource_policy")(document, asked, service=service))
        return bool(decided.decision == "Allow")

    def _letters(self, text: str, count: int) -> str:
        """Letters that only this server can make of a text."""
        made = b""
        while len(made) < count:
            digest = hmac.new(self._secret, f"{len(made)} {text}".encode(), hashlib.sha256).digest()
            made += re.sub(rb"[^A-Za-z]", b"", base64.b64encode(digest))
        return made[:count].decode()


def denial(action: str, principal: str, resource: str, explicit: bool = False, resource_policy: str = "") -> str:
    """The message of a denial, as the services word it."""
    service, _, name = action.partition(":")
    spelled = {"sns": f"SNS:{name}", "sqs": f"sqs:{name.lower()}"}.get(service, action)
    named = f'"{resource}"' if service == "s3" else resource
    place = "" if service == "s3" and resource == "*" else f" on resource: {named}"
    if explicit:
        reason = f"with an explicit deny in {'a resource' if resource_policy else 'an identity'}-based policy"
    else:
        reason = f"because no identity-based policy allows the {spelled} action"
    return f"User: {principal} is not authorized to perform: {spelled}{place} {reason}"


def tag_context(tags: Iterable[Mapping[str, str]], resource_tags: Mapping[str, str]) -> dict[str, Any]:
    """The condition keys of the tags in a request, and of those that a resource has already."""
    given = {tag["Key"]: tag["Value"] for tag in tags if isinstance(tag, Mapping) and {"Key", "Value"} <= tag.keys()}
    context: dict[str, Any] = {f"aws:RequestTag/{key}": value for key, value in given.items()}
    if given:
        context["aws:TagKeys"] = list(given)
    return {**context, **{f"aws:ResourceTag/{key}": value for key, value in resource_tags.items()}}


def _policies_of(action: str, resource: str) -> list[Any]:
    """The policies that stand with a resource; log groups have those of their account."""
    service = action.split(":", 1)[0]
    if service == "logs":
        return [each.get("policyDocument") for each in hooks.get("logs.policies").values()]
    found = hooks.get("iam.resource_policy")(service, resource)
    return [found[0]] if found is not None and found[0] else []


def _enforce(scope: Scope, access_key: str, action: str, resource: str, context: Mapping[str, Any] | None) -> Any:
    return hooks.get("iam.enforce")(
        access_key,
        action,
        action.split(":", 1)[0],
        scope.region,
        resource_arn=resource,
        service_context=dict(context or {}),
    )


def _evaluated(scope: Scope, evaluate: Any) -> Any:
    """What an evaluation gives that knows nothing of the request during which it is made."""

    def alone() -> Any:
        with hooks.acting_in(scope):
            return evaluate()

    return contextvars.Context().run(alone)
