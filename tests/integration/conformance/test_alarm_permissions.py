"""localcloud.fidelity.alarm_permissions; single alarms and their tags: test_localcloud_task_permissions.py."""

from __future__ import annotations

from localcloud.testing import Cloud
from tests.integration.localcloud_requests import unique
from tests.integration.roles import ACCOUNT, acting, allow, refused

ALARMS = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm"


def test_alarms_are_deleted_by_who_may_delete_each(localcloud: Cloud) -> None:
    name = unique("alarm")
    cloudwatch = acting(localcloud, name, allow("cloudwatch:*Alarm*", on=f"{ALARMS}:{name}-*"))("cloudwatch")
    assert cloudwatch.delete_alarms(AlarmNames=[f"{name}-1", f"{name}-2"])
    code, message = refused(cloudwatch.delete_alarms, AlarmNames=[f"{name}-1", "another-s"])
    assert code in ("AccessDenied", "AccessDeniedException")
    assert f"cloudwatch:DeleteAlarms on resource: {ALARMS}:another-s because no identity-based policy" in message


def test_composite_alarms_are_listed_for_who_may_list_anything(localcloud: Cloud) -> None:
    cloudwatch = acting(localcloud, unique("alarm"), allow("cloudwatch:DescribeAlarms", on=f"{ALARMS}:*"))("cloudwatch")
    assert "MetricAlarms" in cloudwatch.describe_alarms(AlarmNamePrefix="nobody-s")
    wanted = ["MetricAlarm", "CompositeAlarm"]
    assert "DescribeAlarms on resource: * because" in refused(cloudwatch.describe_alarms, AlarmTypes=wanted)[1]
