"""A rule's target is given its event outside PutEvents, retried as its RetryPolicy says, and dead-lettered at last.

docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html and …/eb-rule-dlq.html; MiniStack invokes
targets inside PutEvents, once, and drops what fails. The metrics of AWS/Events come with it.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import metrics
from localcloud.delivery.deliveries import Deliverer, Delivery, Failed, enqueue
from localcloud.delivery.event_paths import MISSING, find
from localcloud.delivery.rule_targets import RuleTargets
from localcloud.fidelity import queue_metrics
from localcloud.iam.identity import Identity

logger = logging.getLogger("localcloud.fidelity")

NAMESPACE = "AWS/Events"
KIND = "rule"


def install(identity: Identity, deliverer: Deliverer) -> None:
    """Hand each matching rule's targets to the deliverer."""
    targets = RuleTargets(identity)
    deliverer.handle(KIND, _Rules(targets))

    def make_invoke(_original: Any) -> Any:
        def invoke(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
            if rule.get("ScheduleExpression") and target is _first_target(rule):
                _put(rule["Name"], rule.get("EventBusName", "default"), "TriggeredRules")
            deliverer.submit(_delivery(target, event, rule, view or hooks.get("events.view")(event)))

        return invoke

    def make_matches(matches: Any) -> Any:
        def matched(pattern: Any, view: Any, owner: str = "rule") -> bool:
            found: bool = matches(pattern, view, owner)
            if found and owner.startswith("rule "):
                bus, _, rule = owner.removeprefix("rule ").partition("|")
                _put(rule, bus, "MatchedEvents")
                _put(rule, bus, "TriggeredRules")
            return found

        return matched

    hooks.replace("events.invoke", make_invoke)
    hooks.replace("events.matches", make_matches)


def _first_target(rule: dict[str, Any]) -> Any:
    """The target for which a scheduled rule is counted; one that an event triggers is counted where it matches."""
    key = hooks.get("events.key")(rule["Name"], rule.get("EventBusName", "default"))
    return next(iter(hooks.get("events.targets").get(key) or ()), None)


def _delivery(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any) -> Delivery:
    envelope = view.event_with_detail()
    payload = transformed(target, rule, view)
    return Delivery(
        KIND,
        *hooks.current_scope(),
        source_arn=rule.get("Arn", ""),
        target=dict(target),
        content={
            "payload": json.dumps(envelope) if payload is None else payload,
            "transformed": payload is not None,
            "event": {key: value for key, value in event.items() if key != "_ExtraEnvelope"},
            "envelope": envelope,
            "rule": hooks.get("events.key")(rule.get("Name"), rule.get("EventBusName", "default")),
        },
    )


def transformed(target: dict[str, Any], rule: dict[str, Any], view: Any) -> str | None:
    """What the target gets in the place of the event; None if it gets the event itself."""
    if target.get("InputTransformer"):
        return _from_template(target["InputTransformer"], rule, view)
    if target.get("Input"):
        return str(target["Input"])
    if target.get("InputPath"):
        found = find(target["InputPath"], view.event_with_detail())
        return None if found is MISSING else json.dumps(found)
    return None


def _from_template(transformer: dict[str, Any], rule: dict[str, Any], view: Any) -> str:
    event = view.event_with_detail()
    values: dict[str, Any] = {
        "aws.events.event.json": event,
        "aws.events.event": view.envelope(),
        "aws.events.rule-name": rule.get("Name", ""),
        "aws.events.rule-arn": rule.get("Arn", ""),
    }
    for name, path in (transformer.get("InputPathsMap") or {}).items():
        found = find(path, event)
        values[name] = "" if found is MISSING else found
    # EventBridge's own, which no variable replaces.
    values["aws.events.event.ingestion-time"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(hooks.get("events.render")(transformer.get("InputTemplate", ""), values))


class _Rules:
    """Delivers for rules."""

    def __init__(self, targets: RuleTargets) -> None:
        self._targets = targets

    def attempt(self, delivery: Delivery) -> None:
        """Give the target its event."""
        _measure(delivery, "InvocationAttempts")
        self._targets.give(delivery)

    def succeeded(self, delivery: Delivery) -> None:
        """Count it."""
        _measure(delivery, "Invocations")
        _measure(delivery, "SuccessfulInvocationAttempts")
        _measure(delivery, "FailedInvocations", 0)

    def retrying(self, delivery: Delivery, _failure: Failed) -> None:
        """Count it."""
        _measure(delivery, "RetryInvocationAttempts")

    def dead(self, delivery: Delivery, failure: Failed, condition: str | None) -> None:
        """Send the event to the target's dead-letter queue, if it has one."""
        _measure(delivery, "Invocations")
        _measure(delivery, "FailedInvocations")
        queue = (delivery.target.get("DeadLetterConfig") or {}).get("Arn")
        if not queue:
            return
        attributes = {
            "RULE_ARN": delivery.source_arn,
            "TARGET_ARN": delivery.target["Arn"],
            "ERROR_CODE": failure.code,
            "ERROR_MESSAGE": failure.message[:1000],
            "RETRY_ATTEMPTS": str(delivery.attempts - 1),
        }
        if condition:
            attributes["EXHAUSTED_RETRY_CONDITION"] = condition
        body = json.dumps(delivery.content["envelope"])
        try:
            enqueue(queue, body, attributes, lambda: self._targets.may(delivery, queue, "sqs:SendMessage"))
        except Failed as error:
            _measure(delivery, "InvocationsFailedToBeSentToDlq")
            logger.warning("%s: the dead-letter queue %s takes nothing: %s", delivery.source_arn, queue, error)
            return
        queue_metrics.sent(queue, body)
        _measure(delivery, "InvocationsSentToDlq")


def _measure(delivery: Delivery, name: str, value: float = 1) -> None:
    bus, _, rule = delivery.content["rule"].partition("|")
    _put(rule, bus, name, value)


def _put(rule: str, bus: str, name: str, value: float = 1) -> None:
    scope = hooks.current_scope()
    metrics.put(scope, NAMESPACE, name, value, "Count", {"RuleName": rule})
    if bus != "default":
        metrics.put(scope, NAMESPACE, name, value, "Count", {"RuleName": rule, "EventBusName": bus})
