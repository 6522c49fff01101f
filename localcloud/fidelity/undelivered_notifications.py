"""A notification that its function or queue cannot take goes to the subscription's dead-letter queue.

docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html: a subscriber that is gone, or whose policy does not let
the topic in, is a client-side error: there is no retry. MiniStack drops the notification, and invokes functions without
looking at their policy.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.delivery.deliveries import Failed, enqueue
from localcloud.errors import ApiError
from localcloud.fidelity import topic_metrics
from localcloud.iam.identity import Identity
from localcloud.store import Scope

logger = logging.getLogger("localcloud.fidelity")

SERVICE = "sns.amazonaws.com"


def install(identity: Identity) -> None:
    """Look whether a subscriber takes the notification before it is delivered."""

    def refused(topic: str, target: str, action: str) -> str | None:
        try:
            identity.may_deliver(_scope(topic), "sns.amazonaws.com", topic, None, target, action)
        except ApiError as error:
            return error.message
        return None

    def redrive(topic: str, subscription: Mapping[str, Any], body: str) -> None:
        policy = json.loads((subscription.get("attributes") or {}).get("RedrivePolicy") or "{}")
        target = policy.get("deadLetterTargetArn")
        if not target:
            return

        def allowed() -> None:
            if why := refused(topic, target, "sqs:SendMessage"):
                raise Failed("NO_PERMISSIONS", why, final=True)

        try:
            enqueue(target, body, {}, allowed)
        except Failed as error:
            topic_metrics.put(topic, "NumberOfNotificationsFailedToRedriveToDlq", 1)
            logger.warning("%s: the dead-letter queue %s takes nothing: %s", subscription["arn"], target, error)
        else:
            topic_metrics.put(topic, "NumberOfNotificationsRedrivenToDlq", 1)

    def make_to_function(deliver: Any) -> Any:
        def delivered(endpoint: str, envelope: str, topic_arn: str, sub_arn: str, *arguments: Any) -> Any:
            function, config, _name = hooks.get("lambda.find")(endpoint)
            if not function or not config:
                deliver(endpoint, envelope, topic_arn, sub_arn, *arguments)  # which counts and logs it
            elif why := refused(topic_arn, endpoint, "lambda:InvokeFunction"):
                topic_metrics.put(topic_arn, "NumberOfNotificationsFailed", 1)
                logger.warning("a notification for %s is not delivered: %s", endpoint, why)
            else:
                return deliver(endpoint, envelope, topic_arn, sub_arn, *arguments)
            for subscription in _subscriptions(topic_arn):
                if subscription["arn"] == sub_arn:
                    redrive(topic_arn, subscription, envelope)
            return None

        return delivered

    def make_to_queue(deliver: Any) -> Any:
        def delivered(endpoint: str, envelope: str, raw: bool, raw_message: str, **named: Any) -> Any:
            deliver(endpoint, envelope, raw, raw_message, **named)
            topic = named.get("topic_arn", "")
            found = hooks.get("sqs.find")(endpoint)
            if found is not None and hooks.get("sqs.allows")(endpoint, SERVICE, topic, _scope(topic).account):
                return
            for subscription in _subscriptions(topic):
                if subscription.get("endpoint") == endpoint:
                    redrive(topic, subscription, raw_message if raw else envelope)

        return delivered

    hooks.replace("sns.to_function", make_to_function)
    hooks.replace("sns.to_queue", make_to_queue)


def _subscriptions(topic: str) -> list[dict[str, Any]]:
    return list((hooks.get("sns.topic")(topic) or {}).get("subscriptions", []))


def _scope(topic: str) -> Scope:
    parts = [*topic.split(":"), "", "", "", "", ""]
    return Scope(parts[4], parts[3])
