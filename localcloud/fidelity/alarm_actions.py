"""A change of an alarm's state is an event on the default bus, whether or not its actions are enabled.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html and …/alarm-actions.html;
MiniStack sends no event, tells SNS topics in a shorter notice and knows no Lambda actions.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch.alarms import event_detail, notification, previous_state, stamp
from localcloud.iam.identity import Identity, Service
from localcloud.store import Scope

logger = logging.getLogger("localcloud.fidelity")

SERVICE: Service = "cloudwatch.amazonaws.com"
ACTIONS = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}
MOST_HISTORY = 5000  # entries of one account; AWS keeps 30 days

_before: dict[str, dict[str, Any]] = {}


def remember(arn: str, previous: dict[str, Any]) -> None:
    """Keep what an alarm's state was, for the event about its change."""
    _before[arn] = previous


def install(identity: Identity) -> None:
    """Put the event before the actions, which CloudWatch must be allowed by the topic's policy and its key's."""

    def make(_original: Any) -> Any:
        def act(alarm: dict[str, Any], old_state: str, new_state: str, _reason: str) -> None:
            scope = hooks.current_scope()
            previous = _before.pop(alarm["AlarmArn"], {"value": old_state, "timestamp": stamp(time.time())})
            _emit(scope, alarm, previous)
            if alarm.get("ActionsEnabled", True):
                for action in alarm.get(ACTIONS[new_state]) or ():
                    _perform(identity, scope, action, alarm, old_state, previous)
            _forget_history()

        return act

    def make_transition(transition: Any) -> Any:
        def moved(alarm: dict[str, Any], *arguments: Any) -> Any:
            remember(alarm["AlarmArn"], previous_state(alarm))
            return transition(alarm, *arguments)

        return moved

    hooks.replace("cloudwatch.act", make)
    hooks.replace("cloudwatch.transition", make_transition)


def _emit(scope: Scope, alarm: dict[str, Any], previous: dict[str, Any]) -> None:
    hooks.put_event(
        scope,
        {
            "Source": "aws.cloudwatch",
            "DetailType": "CloudWatch Alarm State Change",
            "Resources": [alarm["AlarmArn"]],
            "Detail": json.dumps(event_detail(alarm, previous)),
        },
    )


def _perform(
    identity: Identity, scope: Scope, action: str, alarm: dict[str, Any], old_state: str, previous: dict[str, Any]
) -> None:
    kind = (action.split(":", 3) + [""] * 3)[2]
    try:
        if kind == "sns":
            identity.may_deliver(scope, SERVICE, alarm["AlarmArn"], None, action, "sns:Publish")
            message = json.dumps(notification(scope, alarm, old_state))
            subject = f'{alarm["StateValue"]}: "{alarm["AlarmName"]}" in {scope.region}'[:100]
            if hooks.get("sns.publish")(action, message, subject) is None:
                raise LookupError("there is no such topic")
        elif kind == "lambda":
            _invoke(scope, action, alarm, previous)
        else:
            logger.info("alarm %s: the action %s is accepted, not performed", alarm["AlarmName"], action)
    except Exception:  # one action's failure must not keep the others from being performed
        logger.exception("alarm %s: the action %s failed", alarm["AlarmName"], action)


def _invoke(scope: Scope, arn: str, alarm: dict[str, Any], previous: dict[str, Any]) -> None:
    function, config, name = hooks.get("lambda.find")(arn)
    if not function or not config:
        raise LookupError(f"there is no function {name}")
    event = {
        "source": "aws.cloudwatch",
        "alarmArn": alarm["AlarmArn"],
        "accountId": scope.account,
        "time": stamp(alarm["StateUpdatedTimestamp"]),
        "region": scope.region,
        "alarmData": event_detail(alarm, previous),
    }
    hooks.get("lambda.invoke_async")(hooks.get("lambda.record")(function, config), event)


def _forget_history() -> None:
    entries = hooks.get("cloudwatch.entries")()
    if len(entries) > MOST_HISTORY:
        del entries[: len(entries) - MOST_HISTORY]
