"""AWS::Scheduler::Schedule applies every property: time zone, start and end, what follows completion, its key.

docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-scheduler-schedule.html; MiniStack drops
these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.delivery.schedule_times import seconds

TYPE = "AWS::Scheduler::Schedule"

Props = Mapping[str, Any]

PROPERTIES = (
    *("Description", "EndDate", "FlexibleTimeWindow", "GroupName", "KmsKeyArn", "ScheduleExpression"),
    *("ScheduleExpressionTimezone", "StartDate", "State", "Target"),
)


def install() -> None:
    """Write what a template says over what MiniStack has made of it."""
    handlers = hooks.get("cloudformation.types")[TYPE]
    create, update = handlers["create"], handlers["update"]

    def created(logical_id: str, props: Props, stack_name: str) -> Any:
        name, attributes = create(logical_id, props, stack_name)
        _apply(name, props)
        return name, attributes

    def updated(physical_id: str, old: Props, new: Props, stack_name: str, *rest: Any) -> Any:
        name, attributes = update(physical_id, old, new, stack_name, *rest)
        _apply(name, new)
        return name, attributes

    handlers.update(create=created, update=updated)


def _apply(name: str, props: Props) -> None:
    """UpdateSchedule, which replaces everything.

    Raises:
        ValueError: it is refused; the stack's event says so.
    """
    body: dict[str, Any] = {member: props[member] for member in PROPERTIES if member in props}
    for member in ("StartDate", "EndDate"):
        if member in body:
            body[member] = seconds(body[member])
    body["Target"] = _numbers(body.get("Target", {}))
    body["FlexibleTimeWindow"] = _numbers(body.get("FlexibleTimeWindow", {"Mode": "OFF"}))
    status, _headers, answer = hooks.get("scheduler.update")(name, body)
    if status >= 400:
        raise ValueError(f"{TYPE} {name}: {json.loads(answer).get('Message')}")


def _numbers(value: Any) -> Any:
    """A template's numbers, which may be text, where the API has numbers."""
    if isinstance(value, Mapping):
        return {
            key: int(item)
            if key in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "MaximumWindowInMinutes")
            else _numbers(item)
            for key, item in value.items()
        }
    return value
