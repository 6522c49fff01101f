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
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud import hooks
from localcloud.delivery import Failed, enqueue
from localcloud.fidelity import function_metrics, queue_metrics
from localcloud.store import Scope

logger = logging.getLogger("localcloud.fidelity")

RETRIES = 2
PAUSE_SECONDS = 1.0  # doubled with each retry
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_AGE_SECONDS = 6 * 3600

Result = Mapping[str, Any]


def install() -> None:
    """Invoke asynchronously here; SNS's functions too."""

    def make(_original: Any) -> Any:
        def invoke(func: dict[str, Any], event: Any) -> None:
            context = contextvars.copy_context()  # how deep functions call each other is in it
            threading.Thread(target=context.run, args=(_run, func, event), daemon=True).start()

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

    hooks.replace("lambda.invoke_async", make)
    hooks.replace("sns.to_function", make_from_topic)


def _run(func: dict[str, Any], event: Any) -> None:
    config = func.get("config") or func
    parts = config["FunctionArn"].split(":")
    with hooks.acting_in(Scope(parts[4], parts[3])):
        try:
            _invoke(func, config, event)
        except Exception:
            logger.exception("the asynchronous invocation of %s failed inside localcloud", config.get("FunctionName"))


def _invoke(func: dict[str, Any], config: Mapping[str, Any], event: Any) -> None:
    settings = func.get("event_invoke_config") or (func.get("event_invoke_configs") or {}).get("$LATEST") or {}
    retries = int(settings.get("MaximumRetryAttempts", RETRIES))
    age = float(settings.get("MaximumEventAgeInSeconds", LONGEST_AGE_SECONDS))
    began, attempts, throttled = time.monotonic(), 0, 0
    while True:
        result = hooks.get("lambda.execute")(func, event)
        # A throttled event stays in Lambda's own queue; that is no attempt of the function's.
        if result.get("throttle"):
            throttled += 1
            pause = min(PAUSE_SECONDS * 2 ** (throttled - 1), LONGEST_PAUSE_SECONDS)
        else:
            attempts += 1
            if not result.get("error"):
                _send_record(config, settings, "OnSuccess", event, result, "Success", attempts)
                return
            if attempts > retries:
                condition = "RetriesExhausted"
                break
            pause = PAUSE_SECONDS * 2 ** (attempts - 1)
        if time.monotonic() - began + pause > age:
            condition = "EventAgeExceeded"
            break
        time.sleep(pause)
    function_metrics.put(config["FunctionName"], "AsyncEventsDropped", 1)
    _send_record(config, settings, "OnFailure", event, result, condition, attempts)
    _send_dead_letter(config, event, result)


def _send_record(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    which: str,
    event: Any,
    result: Result,
    condition: str,
    attempts: int,
) -> None:
    """Tell the destination how the invocation ended."""
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
            "approximateInvokeCount": attempts,
        },
        "requestPayload": event,
        "responseContext": {
            "statusCode": 200,
            "executedVersion": config.get("Version", "$LATEST"),
            **({"functionError": result.get("function_error") or "Unhandled"} if failed else {}),
        },
        "responsePayload": _body(result),
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
    body = _body(result)
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
