"""AWS::CloudWatch::CompositeAlarm can be created, changed and deleted.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudwatch-compositealarm.html; MiniStack
has composite alarms, but not this type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.clients import Clients
from localcloud.sagemaker.provisioning import generated_name

TYPE = "AWS::CloudWatch::CompositeAlarm"

Props = Mapping[str, Any]

PROPERTIES = (
    *("ActionsEnabled", "AlarmActions", "AlarmDescription", "AlarmRule", "InsufficientDataActions", "OKActions"),
    *("ActionsSuppressor", "ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod", "Tags"),
)


def install(clients: Clients) -> None:
    """Add the type."""

    def put(name: str, props: Props) -> tuple[str, dict[str, Any]]:
        request = {member: props[member] for member in PROPERTIES if member in props}
        if "ActionsEnabled" in request:
            request["ActionsEnabled"] = str(request["ActionsEnabled"]).lower() == "true"
        cloudwatch = clients.get("cloudwatch", hooks.current_scope())
        cloudwatch.put_composite_alarm(AlarmName=name, **request)
        scope = hooks.current_scope()
        return name, {"Arn": f"arn:aws:cloudwatch:{scope.region}:{scope.account}:alarm:{name}"}

    def created(logical_id: str, props: Props, stack_name: str) -> tuple[str, dict[str, Any]]:
        return put(props.get("AlarmName") or generated_name(stack_name, logical_id, 255), props)

    def updated(physical_id: str, old: Props, new: Props, stack_name: str, *rest: Any) -> tuple[str, dict[str, Any]]:
        if old.get("AlarmName") == new.get("AlarmName"):
            return put(physical_id, new)
        replaced = created(rest[0] if rest else physical_id, new, stack_name)
        deleted(physical_id, old)
        return replaced

    def deleted(physical_id: str, _props: Props) -> None:
        clients.get("cloudwatch", hooks.current_scope()).delete_alarms(AlarmNames=[physical_id])

    hooks.cloudformation_types()[TYPE] = {
        "create": created,
        "update": updated,
        "delete": deleted,
        "update_with_logical_id": True,
    }
