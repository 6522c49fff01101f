"""A function's asynchronous invocation is retried twice, then goes to its on-failure destination and dead-letter queue.

docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html and …/invocation-async-retain-records.html;
MiniStack sends dead-letter queues the destinations' record, knows no on-success destination, gives up when a function
is throttled, and drops the error of a function that SNS invokes. The pause before the retries is 1 and 2 seconds here
instead of minutes.
"""

from __future__ import annotations

import contextvars
import json
import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud import hooks
from localcloud.delivery.deliveries import AGE_USED, Deliverer, Delivery, Failed, enqueue
from localcloud.fidelity import function_metrics, queue_metrics

logger = logging.getLogger("localcloud.fidelity")

KIND = "function"
RETRIES = 2
PAUSE_SECONDS = 1.0  # doubled with each retry
LONGEST_AGE_SECONDS = 6 * 3600
AT_ONCE = 64  # functions that run; the rest waits its turn, in the order of its coming

Result = Mapping[str, Any]


def install() -> None:
    """Invoke asynchronously here; SNS's functions too."""
    deliverer = Deliverer(at_once=AT_ONCE, first_pause=PAUSE_SECONDS)
    invocations = _Invocations()
    deliverer.handle(KIND, invocations)
    hooks.register_state("localcloud_invocations", deliverer)

    def make(_original: Any) -> Any:
        def invoke(func: dict[str, Any], event: Any) -> None:
            deliverer.submit(invocations.prepare(func, event))

        return invoke

    def make_from_topic(_original: Any) -> Any:
        def deliver(endpoint: str, envelope: str, _topic_arn: str, sub_arn: str, *_rest: Any) -> None:
            function, config, name = hooks.get("lambda.find")(endpoint)
            if not function or not config:
                logger.warning("a notification for function %s, which does not exist, is dropped", name)
                return
            record = {
                "EventVersion": "1.0",
                "EventSubscriptionArn": sub_arn,
                "EventSource": "aws:sns",
                "Sns": json.loads(envelope),
            }
            hooks.get("lambda.invoke_async")(hooks.get("lambda.record")(function, config), {"Records": [record]})

        return deliver

    def make_start(start: Any) -> Any:
        def started() -> None:  # when everything has been restored
            deliverer.resume()
            start()

        return started

    hooks.replace("lambda.invoke_async", make)
    hooks.replace("sns.to_function", make_from_topic)
    hooks.replace("events.start", make_start)


class _Invocations:
    """Runs functions."""

    def __init__(self) -> None:
        # What a delivery was made with, by its id: the function, and a context that knows how deep functions call each
        # other. What was restored has neither, and finds its function by its ARN.
        self._made: dict[int, tuple[dict[str, Any], contextvars.Context]] = {}

    def prepare(self, func: dict[str, Any], event: Any) -> Delivery:
        """The delivery of an event to a function."""
        config = func.get("config") or func
        settings = func.get("event_invoke_config") or (func.get("event_invoke_configs") or {}).get("$LATEST") or {}
        arn, version = str(config["FunctionArn"]), config.get("Version", "$LATEST")
        parts = arn.split(":")
        delivery = Delivery(
            KIND,
            parts[4],
            parts[3],
            source_arn=arn,
            target={
                "Arn": arn if version == "$LATEST" or len(parts) > 7 else f"{arn}:{version}",
                "RetryPolicy": {
                    "MaximumRetryAttempts": int(settings.get("MaximumRetryAttempts", RETRIES)),
                    "MaximumEventAgeInSeconds": int(settings.get("MaximumEventAgeInSeconds", LONGEST_AGE_SECONDS)),
                },
            },
            content={"event": event, "settings": dict(settings), "result": {}},
        )
        self._made[id(delivery)] = (func, contextvars.copy_context())
        return delivery

    def attempt(self, delivery: Delivery) -> None:
        """Run the function once."""
        func, context = self._made.get(id(delivery)) or (self._found(delivery), contextvars.copy_context())
        result = context.run(hooks.get("lambda.execute"), func, delivery.content["event"])
        if result.get("throttle"):
            # The event stays in Lambda's own queue; that is no attempt of the function's.
            delivery.attempts -= 1
            raise Failed("TooManyRequestsException", "Rate Exceeded.", final=False)
        delivery.content["result"] = {"body": _body(result), "function_error": result.get("function_error")}
        if result.get("error"):
            raise Failed("Unhandled", str(delivery.content["result"]["body"])[:1000], final=False)

    def _found(self, delivery: Delivery) -> dict[str, Any]:
        function, config, name = hooks.get("lambda.find")(delivery.target["Arn"])
        if not function or not config:
            raise Failed("ResourceNotFoundException", f"Function not found: {name}", final=True)
        found: dict[str, Any] = hooks.get("lambda.record")(function, config)
        return found

    def succeeded(self, delivery: Delivery) -> None:
        """Tell the on-success destination."""
        config = self._config(delivery)
        _send_record(config, delivery, "OnSuccess", "Success")

    def retrying(self, delivery: Delivery, failure: Failed) -> None:
        """Every execution is measured where it runs."""

    def dead(self, delivery: Delivery, failure: Failed, condition: str | None) -> None:
        """Tell the on-failure destination and the dead-letter queue."""
        config = self._config(delivery)
        function_metrics.put(config["FunctionName"], "AsyncEventsDropped", 1)
        _send_record(config, delivery, "OnFailure", "EventAgeExceeded" if condition == AGE_USED else "RetriesExhausted")
        _send_dead_letter(config, delivery.content["event"], delivery.content["result"])

    def _config(self, delivery: Delivery) -> Mapping[str, Any]:
        """The function's configuration, at the end of a delivery."""
        func, _context = self._made.pop(id(delivery), None) or (None, None)
        if func is None:
            _function, found, name = hooks.get("lambda.find")(delivery.target["Arn"])
            return found or {"FunctionName": name, "FunctionArn": delivery.source_arn}
        config: Mapping[str, Any] = func.get("config") or func
        return config


def _send_record(config: Mapping[str, Any], delivery: Delivery, which: str, condition: str) -> None:
    """Tell the destination how the invocation ended."""
    settings, result = delivery.content["settings"], delivery.content["result"]
    target = ((settings.get("DestinationConfig") or {}).get(which) or {}).get("Destination")
    if not target:
        return
    failed = which == "OnFailure"
    record = {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": f"{config['FunctionArn']}:{config.get('Version', '$LATEST')}",
            "condition": condition,
            "approximateInvokeCount": delivery.attempts,
        },
        "requestPayload": delivery.content["event"],
        "responseContext": {
            "statusCode": 200,
            "executedVersion": config.get("Version", "$LATEST"),
            **({"functionError": result.get("function_error") or "Unhandled"} if failed else {}),
        },
        "responsePayload": result.get("body"),
    }
    try:
        _send(target, json.dumps(record), {}, record, which)
    except Exception:  # what is lost is said, and counted as AWS counts it
        logger.exception("%s: the destination %s takes nothing", config["FunctionName"], target)
        function_metrics.put(config["FunctionName"], "DestinationDeliveryFailures", 1)


def _send_dead_letter(config: Mapping[str, Any], event: Any, result: Result) -> None:
    """Put the event itself into the function's dead-letter queue or topic."""
    target = (config.get("DeadLetterConfig") or {}).get("TargetArn")
    if not target:
        return
    body = result.get("body")
    message = str(body.get("errorMessage", "")) if isinstance(body, dict) else ""
    attributes = {"RequestID": str(uuid.uuid4()), "ErrorCode": "200", "ErrorMessage": message[:1000] or "Unhandled"}
    try:
        _send(target, json.dumps(event), attributes, event, "")
    except Exception:
        logger.exception("%s: the dead-letter target %s takes nothing", config["FunctionName"], target)
        function_metrics.put(config["FunctionName"], "DeadLetterErrors", 1)


def _send(target: str, text: str, attributes: dict[str, str], content: Any, which: str) -> None:
    kind = target.split(":")[2]
    if kind == "sqs":
        enqueue(target, text, attributes, lambda: None)
        queue_metrics.sent(target, text)
    elif kind == "sns":
        told = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        if hooks.get("sns.publish")(target, text, "", message_attributes=told) is None:
            raise Failed("NO_RESOURCE", f"The topic {target} does not exist.", final=True)
    elif kind == "lambda":
        function, found, name = hooks.get("lambda.find")(target)
        if not function or not found:
            raise Failed("NO_RESOURCE", f"The function {name} does not exist.", final=True)
        hooks.get("lambda.invoke_async")(hooks.get("lambda.record")(function, found), content)
    elif kind == "events":
        result = "Success" if which == "OnSuccess" else "Failure"
        entry = {
            "EventBusName": target,
            "Source": "lambda",
            "DetailType": f"Lambda Function Invocation Result - {result}",
            "Resources": [content["requestContext"]["functionArn"], target],
            "Detail": text,
        }
        hooks.get("events.put")({"Entries": [entry]}, allow_aws_source=True)
    else:
        raise Failed("SDK_CLIENT_ERROR", f"localcloud sends no records to {target}.", final=True)


def _body(result: Result) -> Any:
    body = result.get("body")
    if isinstance(body, bytes | str):
        try:
            return json.loads(body)
        except ValueError:
            return body if isinstance(body, str) else body.decode("utf-8", "replace")
    return body
