"""localcloud.fidelity.schedule_resource."""

from datetime import UTC, datetime
from typing import Any

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import deploy

ROLE = "arn:aws:iam::000000000000:role/scheduler"


def resources(**properties: Any) -> dict[str, Any]:
    target = {
        "Arn": "arn:aws:sqs:us-east-1:000000000000:queue",
        "RoleArn": ROLE,
        "RetryPolicy": {"MaximumRetryAttempts": "3", "MaximumEventAgeInSeconds": 60},
    }
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": "15"}
    return {
        "Schedule": {
            "Type": "AWS::Scheduler::Schedule",
            "Properties": {"Target": target, "FlexibleTimeWindow": window, **properties},
        }
    }


def test_templates_schedule_keeps_all_that_it_says(localcloud: Cloud) -> None:
    name = unique("stack")
    made = deploy(
        localcloud,
        name,
        resources(
            ScheduleExpression="cron(0 6 ? * MON *)",
            ScheduleExpressionTimezone="Europe/Paris",
            StartDate="2030-01-01T00:00:00Z",
            EndDate="2031-01-01T00:00:00Z",
        ),
    )
    client = localcloud.client("scheduler")
    found = client.get_schedule(Name=made["Schedule"])
    assert found["ScheduleExpressionTimezone"] == "Europe/Paris"
    assert found["StartDate"].astimezone(UTC) == datetime(2030, 1, 1, tzinfo=UTC)
    assert found["EndDate"].astimezone(UTC) == datetime(2031, 1, 1, tzinfo=UTC)
    assert found["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
    assert found["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 60}

    deploy(localcloud, name, resources(ScheduleExpression="rate(2 days)", State="DISABLED"), update=True)
    changed = client.get_schedule(Name=made["Schedule"])
    assert (changed["ScheduleExpression"], changed["State"]) == ("rate(2 days)", "DISABLED")
    assert "StartDate" not in changed
    assert changed["ScheduleExpressionTimezone"] == "UTC"
