"""What EventBridge does with a rule's target: one function for each kind of target.

docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html; the errors' codes are those of a dead-letter queue's
messages (…/eb-rule-dlq.html).
"""

from __future__ import annotations

import json
import urllib.error
import uuid
from collections.abc import Callable

from localcloud import hooks
from localcloud.delivery.deliveries import Delivery, Failed, enqueue
from localcloud.errors import ApiError, LocalcloudError
from localcloud.fidelity import queue_metrics
from localcloud.iam.identity import Identity, NotAssumable, Service
from localcloud.store import Scope

SERVICE: Service = "events.amazonaws.com"
# Answers of an API destination that are worth another attempt.
RETRIED_STATUSES = {401, 407, 409, 429}


class RuleTargets:
    """Gives events to targets."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._kinds: dict[str, Callable[[Delivery, str, str], None]] = {
            "lambda": self._to_function,
            "sqs": self._to_queue,
            "sns": self._to_topic,
            "states": self._to_state_machine,
            "logs": self._to_log_group,
            "events": self._to_bus,
        }

    def give(self, delivery: Delivery) -> None:
        """Give the payload to the target.

        Raises:
            Failed: with AWS's code.
        """
        arn, payload = delivery.target["Arn"], delivery.content["payload"]
        parts = arn.split(":", 5)
        kind = self._kinds.get(parts[2] if len(parts) == 6 else "")
        if kind is None:
            raise Failed("SDK_CLIENT_ERROR", f"localcloud delivers no events to {arn}.", final=True)
        if parts[2] in ("lambda", "sqs", "sns", "states", "logs") and (parts[4], parts[3]) != delivery.scope:
            raise Failed("NO_PERMISSIONS", f"{arn} is in another account or region than the rule.", final=True)
        kind(delivery, arn, payload)

    def may(self, delivery: Delivery, target: str, action: str, role: str | None = None) -> None:
        """Fail unless EventBridge may do this to the target.

        Raises:
            Failed: NO_PERMISSIONS or FAILED_ASSUME_ROLE.
        """
        try:
            self._identity.may_deliver(delivery.scope, SERVICE, delivery.source_arn, role, target, action)
        except NotAssumable as error:
            raise Failed("FAILED_ASSUME_ROLE", error.message, final=True) from error
        except ApiError as error:
            raise Failed("NO_PERMISSIONS", error.message, final=True) from error

    def _to_function(self, delivery: Delivery, arn: str, payload: str) -> None:
        function, config, name = hooks.get("lambda.find")(arn)
        if not function or not config:
            raise Failed("NO_RESOURCE", f"The function {name} does not exist.", final=True)
        self.may(delivery, arn, "lambda:InvokeFunction")
        try:
            event = json.loads(payload)
        except ValueError:
            event = payload  # a template that is no JSON is passed as text
        hooks.get("lambda.invoke_async")(hooks.get("lambda.record")(function, config), event)

    def _to_queue(self, delivery: Delivery, arn: str, payload: str) -> None:
        group = (delivery.target.get("SqsParameters") or {}).get("MessageGroupId")
        enqueue(arn, payload, {}, lambda: self.may(delivery, arn, "sqs:SendMessage"), group)
        queue_metrics.sent(arn, payload)

    def _to_topic(self, delivery: Delivery, arn: str, payload: str) -> None:
        if hooks.get("sns.topic")(arn) is None:
            raise Failed("NO_RESOURCE", f"The topic {arn} does not exist.", final=True)
        self.may(delivery, arn, "sns:Publish")
        hooks.get("sns.publish")(arn, payload, "")

    def _to_state_machine(self, delivery: Delivery, arn: str, payload: str) -> None:
        if hooks.get("states.resolve")(arn) is None:
            raise Failed("NO_RESOURCE", f"State Machine Does Not Exist: '{arn}'", final=True)
        if self._identity.enforced:
            self.may(delivery, arn, "states:StartExecution", delivery.target.get("RoleArn"))
        # Named for the event, so that a delivery that is repeated after a restart starts no second execution.
        mark = uuid.uuid5(uuid.NAMESPACE_URL, f"{delivery.source_arn} {delivery.target.get('Id')}")
        request = {"stateMachineArn": arn, "input": payload, "name": f"{delivery.content['envelope']['id']}_{mark}"}
        status, _headers, body = hooks.get("states.start")(request)
        if status >= 400:
            answer = json.loads(body)
            if answer.get("__type") == "ExecutionAlreadyExists":
                return
            raise Failed("ERROR_FROM_TARGET", f"{answer.get('__type')}: {answer.get('message')}", final=False)

    def _to_log_group(self, delivery: Delivery, arn: str, payload: str) -> None:
        group = arn.split(":log-group:", 1)[-1].removesuffix(":*")
        self.may(delivery, arn, "logs:PutLogEvents")
        stream = str(uuid.uuid4())
        event = {"timestamp": int(delivery.since * 1000), "message": payload}
        for operation, request in (
            ("CreateLogStream", {"logGroupName": group, "logStreamName": stream}),
            ("PutLogEvents", {"logGroupName": group, "logStreamName": stream, "logEvents": [event]}),
        ):
            try:
                hooks.call_json_service(delivery.scope, "logs", f"Logs_20140328.{operation}", request)
            except LocalcloudError as error:
                missing = getattr(error, "code", "") == "ResourceNotFoundException"
                code = "NO_RESOURCE" if missing else "ERROR_FROM_TARGET"
                raise Failed(code, str(error), final=missing) from error

    def _to_bus(self, delivery: Delivery, arn: str, payload: str) -> None:
        _, _, _, region, account, resource = arn.split(":", 5)
        if resource.startswith("api-destination/"):
            self._to_api_destination(delivery, resource, payload)
            return
        name = resource.partition("/")[2]
        with hooks.acting_in(Scope(account, region)):
            if name != "default" and name not in hooks.get("events.buses"):
                raise Failed("NO_RESOURCE", f"The event bus {name} does not exist.", final=True)
            if delivery.target.get("RoleArn") or (account, region) != delivery.scope:
                self.may(delivery, arn, "events:PutEvents", delivery.target.get("RoleArn"))
            event = dict(delivery.content["event"])
            rules = [*event.get("_DispatchPath", []), delivery.content["rule"]]
            forwarded = {**event, "EventBusName": name, "Region": region, "_DispatchPath": rules}
            if delivery.content.get("transformed"):
                forwarded["Detail"] = payload
            hooks.get("events.dispatch")(forwarded)
            hooks.get("events.archive")({key: item for key, item in forwarded.items() if key != "_DispatchPath"})

    def _to_api_destination(self, delivery: Delivery, resource: str, payload: str) -> None:
        name = resource.split("/", 2)[1]
        destination = hooks.get("events.api_destinations").get(name)
        if not destination:
            raise Failed("NO_RESOURCE", f"The API destination {name} does not exist.", final=True)
        connection_name = (destination.get("ConnectionArn") or "").rsplit("/", 1)[-1]
        connection = hooks.get("events.connections").get(connection_name)
        if destination.get("ApiDestinationState") != "ACTIVE" or not connection:
            raise Failed("CONNECTION_FAILURE", f"The API destination {name} is not active.", final=False)
        if connection.get("ConnectionState") != "AUTHORIZED":
            raise Failed("CONNECTION_FAILURE", f"The connection {connection_name} is not authorised.", final=False)
        parameters = hooks.get("events.http_parameters")(
            delivery.target.get("HttpParameters") or {}, delivery.content["envelope"]
        )
        request = hooks.get("events.http_request")(destination, connection, parameters, payload)
        token = (*delivery.scope, connection_name)
        try:
            status = hooks.get("events.http_send")(request, hooks.get("events.http_headers")(connection, token))
        except (OSError, urllib.error.URLError) as error:
            raise Failed("CONNECTION_FAILURE", f"{request['url']}: {error}", final=False) from error
        if status >= 300:
            retried = status in RETRIED_STATUSES or status >= 500
            raise Failed("SDK_CLIENT_ERROR", f"The API destination answered {status}.", final=not retried)
