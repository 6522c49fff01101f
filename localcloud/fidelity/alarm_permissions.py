"""Alarm operations need permission for each alarm that they name, and for its tags.

docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html and API_PutMetricAlarm.html ("you
must have the cloudwatch:TagResource permission"). MiniStack asks for `*` where a request names several alarms or
none, and never for tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import cloudwatch_wire
from localcloud.errors import ApiError
from localcloud.iam.identity import Denied, Identity
from localcloud.store import Scope

SERVICE = "monitoring"
# What lists alarms is authorised for all of them; composite alarms are listed for who may list anything.
_LISTS = frozenset({"DescribeAlarms", "DescribeAlarmsForMetric", "DescribeAlarmHistory"})
_NAMED = frozenset({"DeleteAlarms", "EnableAlarmActions", "DisableAlarmActions"})
_PUTS = frozenset({"PutMetricAlarm", "PutCompositeAlarm"})
_TAGS = frozenset({"TagResource", "UntagResource", "ListTagsForResource"})


def install(identity: Identity) -> None:
    """Name the resource to MiniStack's check, and ask for what more there is."""

    def naming(extract: Any) -> Any:
        def resource_of(
            service: str,
            method: str,
            path: str,
            headers: Mapping[str, str],
            body: bytes,
            query_params: Mapping[str, Any],
            region: str,
            account_id: str,
        ) -> str:
            if service == SERVICE and (found := _needs(Scope(account_id, region), path, headers, body, query_params)):
                return found[0][1]
            return str(extract(service, method, path, headers, body, query_params, region, account_id))

        return resource_of

    def asking(handler: Any) -> Any:
        async def handle(
            method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
        ) -> Any:
            scope, key = hooks.current_scope(), hooks.access_key(headers, query)
            try:
                for action, resource in _needs(scope, path, headers, body, query)[1:]:
                    identity.authorise(scope, key, action, resource)
            except Denied as denied:
                error = ApiError("AccessDenied", denied.message, 403)
                return cloudwatch_wire.write_error(cloudwatch_wire.wire_format(headers), error)
            return await handler(method, path, headers, body, query)

        return handle

    if not identity.enforced:
        return
    hooks.replace("iam.resource", naming)
    handlers = hooks.get("app.handlers")
    handlers[SERVICE] = asking(handlers[SERVICE])


def _needs(
    scope: Scope, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Actions and what they are done to; nothing for operations that are not about alarms, or cannot be read."""
    operation = cloudwatch_wire.operation_name(path, headers, body, query)
    if operation not in _LISTS | _NAMED | _PUTS | _TAGS:
        return []
    try:
        request = cloudwatch_wire.read(operation, cloudwatch_wire.wire_format(headers), body, query)
    except ApiError:
        return []  # who reads it next says what is wrong with it
    return list(needs(scope, operation, request))


def needs(scope: Scope, operation: str, request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What an operation needs: actions, each with the ARN of what it is done to."""

    def arn(name: str) -> str:
        return f"arn:aws:cloudwatch:{scope.region}:{scope.account}:alarm:{name}"

    action = f"cloudwatch:{operation}"
    if operation in _LISTS:
        yield action, "*" if "CompositeAlarm" in request.get("AlarmTypes", []) else arn("*")
    elif operation in _NAMED:
        for name in request["AlarmNames"]:
            yield action, arn(name)
    elif operation in _PUTS:
        yield action, arn(request["AlarmName"])
        if request.get("Tags"):
            yield "cloudwatch:TagResource", arn(request["AlarmName"])
    else:
        yield action, request["ResourceARN"]
