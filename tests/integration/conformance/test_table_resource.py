"""localcloud.fidelity.table_resource."""

from typing import Any

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import deploy


def table(**properties: Any) -> dict[str, Any]:
    keys = {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    }
    return {"Table": {"Type": "AWS::DynamoDB::Table", "Properties": {**keys, **properties}}}


def test_time_to_live_and_recovery_are_as_the_template_says(localcloud: Cloud) -> None:
    dynamodb, stack = localcloud.client("dynamodb"), unique("table")
    ttl = {"AttributeName": "expires", "Enabled": "true"}
    recovery = {"PointInTimeRecoveryEnabled": True}
    both = table(TimeToLiveSpecification=ttl, PointInTimeRecoverySpecification=recovery)
    name = deploy(localcloud, stack, both)["Table"]

    def described() -> tuple[str, str]:
        backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        live = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        return live["TimeToLiveStatus"], backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]

    assert described() == ("ENABLED", "ENABLED")
    assert deploy(localcloud, stack, table(), update=True)["Table"] == name
    assert described() == ("DISABLED", "DISABLED")
