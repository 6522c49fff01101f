"""AWS::DynamoDB::Table applies time to live and point-in-time recovery.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html; MiniStack ignores both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.clients import Clients

TYPE = "AWS::DynamoDB::Table"

Props = Mapping[str, Any]


def install(clients: Clients) -> None:
    """Wrap the type's handlers."""

    def apply(name: str, old: Props, new: Props) -> None:
        dynamodb = clients.get("dynamodb", hooks.current_scope())
        ttl, before = new.get("TimeToLiveSpecification"), old.get("TimeToLiveSpecification")
        if ttl != before:
            wanted = ttl or {**(before or {}), "Enabled": False}
            dynamodb.update_time_to_live(
                TableName=name,
                TimeToLiveSpecification={"AttributeName": wanted["AttributeName"], "Enabled": _true(wanted["Enabled"])},
            )
        recovery = new.get("PointInTimeRecoverySpecification")
        if recovery != old.get("PointInTimeRecoverySpecification"):
            enabled = _true((recovery or {}).get("PointInTimeRecoveryEnabled", False))
            dynamodb.update_continuous_backups(
                TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled}
            )

    hooks.after_provisioning(TYPE, apply)


def _true(value: Any) -> bool:
    """CloudFormation's booleans may be text."""
    return str(value).lower() == "true"
