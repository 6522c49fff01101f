"""What EventBridge Scheduler does with a schedule's target: it calls the service's API under the schedule's role.

docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-templated.html and …/managing-targets-universal.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from localcloud import hooks
from localcloud.clients import Clients
from localcloud.delivery.deliveries import Delivery, Failed
from localcloud.errors import ApiError
from localcloud.hooks import StatesError, TaskRun
from localcloud.iam.identity import Identity, Service, Session
from localcloud.states.awssdk import AwsSdk

SERVICE: Service = "scheduler.amazonaws.com"

_UNIVERSAL = re.compile(r"^arn:aws[a-z-]*:scheduler:::aws-sdk:(?P<service>[a-z0-9]+):(?P<action>[A-Za-z0-9]+)$")
_CONTEXT = re.compile(r"<aws\.scheduler\.(schedule-arn|scheduled-time|execution-id|attempt-number)>")
# Errors of a service that another attempt may not meet.
_PASSING = re.compile(r"Throttl|TooManyRequests|LimitExceeded|ServiceUnavailable|Internal|Timeout|ServiceException")


def payload_of(delivery: Delivery) -> str:
    """The Input with its context attributes, which differ with each attempt."""
    values = {
        "schedule-arn": delivery.source_arn,
        "scheduled-time": stamp(delivery.content["scheduled"]),
        "execution-id": delivery.content["id"],
        "attempt-number": str(delivery.attempts),
    }
    given = delivery.target.get("Input")
    if given is not None:
        return _CONTEXT.sub(lambda found: values[found[1]], given)
    return json.dumps(
        {
            "version": "0",
            "id": delivery.content["id"],
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": delivery.account,
            "time": values["scheduled-time"],
            "region": delivery.region,
            "resources": [delivery.source_arn],
            "detail": "{}",
        }
    )


def stamp(when: float) -> str:
    """A time as Scheduler writes it: 2026-11-23T07:00:00Z."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ScheduleTargets:
    """Calls targets."""

    def __init__(self, identity: Identity, clients: Clients) -> None:
        self._identity = identity
        self._clients = clients
        self._kinds: dict[str, Callable[[Delivery, Session, str], Any]] = {
            "lambda": self._to_function,
            "sqs": self._to_queue,
            "sns": self._to_topic,
            "states": self._to_state_machine,
            "events": self._to_bus,
        }

    def call(self, delivery: Delivery) -> None:
        """Call the target.

        Raises:
            Failed: with the code of the service's error.
        """
        arn = delivery.target["Arn"]
        try:
            session = self._identity.session(delivery.scope, delivery.target.get("RoleArn", ""), SERVICE)
            if universal := _UNIVERSAL.match(arn):
                self._call_anything(delivery, session, universal)
                return
            kind = self._kinds.get((arn.split(":") + [""] * 3)[2])
            if kind is None:
                raise Failed("SDK_CLIENT_ERROR", f"localcloud schedules nothing for {arn}.", final=True)
            kind(delivery, session, payload_of(delivery))
        except ClientError as error:
            code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
            status = error.response["ResponseMetadata"].get("HTTPStatusCode", 500)
            raise Failed(code, message, final=status < 500 and not _PASSING.search(code)) from error
        except StatesError as error:
            raise Failed(error.error, error.cause, final=not _PASSING.search(error.error)) from error
        except ApiError as error:  # no such role
            raise Failed("AccessDeniedException", error.message, final=True) from error
        except BotoCoreError as error:
            raise Failed("SDK_CLIENT_ERROR", str(error), final=False) from error

    def bury(self, delivery: Delivery, queue: str, body: str, attributes: dict[str, str]) -> None:
        """Send what could not be delivered to a queue, under the schedule's role.

        Raises:
            Failed: it cannot be sent there.
        """
        try:
            session = self._identity.session(delivery.scope, delivery.target.get("RoleArn", ""), SERVICE)
            sqs = self._clients.get("sqs", delivery.scope, session)
            sqs.send_message(
                QueueUrl=_url(sqs, queue),
                MessageBody=body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
            )
        except (ClientError, BotoCoreError, ApiError) as error:
            raise Failed("AccessDeniedException", str(error), final=True) from error

    def _call_anything(self, delivery: Delivery, session: Session, target: re.Match[str]) -> None:
        try:
            parameters = json.loads(payload_of(delivery)) if delivery.target.get("Input") else {}
        except ValueError as error:
            raise Failed("ValidationException", f"Input is no JSON: {error}", final=True) from error
        sdk = AwsSdk(self._clients, hooks.current_scope, lambda _run: session)
        sdk(f"arn:aws:states:::aws-sdk:{target['service']}:{target['action']}", parameters, TaskRun())

    def _to_function(self, delivery: Delivery, session: Session, payload: str) -> None:
        client = self._clients.get("lambda", delivery.scope, session)
        client.invoke(FunctionName=delivery.target["Arn"], InvocationType="Event", Payload=payload.encode())

    def _to_queue(self, delivery: Delivery, session: Session, payload: str) -> None:
        client = self._clients.get("sqs", delivery.scope, session)
        group = (delivery.target.get("SqsParameters") or {}).get("MessageGroupId")
        extra = {"MessageGroupId": group, "MessageDeduplicationId": delivery.content["id"]} if group else {}
        client.send_message(QueueUrl=_url(client, delivery.target["Arn"]), MessageBody=payload, **extra)

    def _to_topic(self, delivery: Delivery, session: Session, payload: str) -> None:
        self._clients.get("sns", delivery.scope, session).publish(TopicArn=delivery.target["Arn"], Message=payload)

    def _to_state_machine(self, delivery: Delivery, session: Session, payload: str) -> None:
        client = self._clients.get("stepfunctions", delivery.scope, session)
        client.start_execution(stateMachineArn=delivery.target["Arn"], input=payload, name=delivery.content["id"])

    def _to_bus(self, delivery: Delivery, session: Session, payload: str) -> None:
        parameters = delivery.target.get("EventBridgeParameters") or {}
        entry = {
            "EventBusName": delivery.target["Arn"],
            "Source": parameters.get("Source", ""),
            "DetailType": parameters.get("DetailType", ""),
            "Detail": payload,
        }
        answer = self._clients.get("events", delivery.scope, session).put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            failed = answer["Entries"][0]
            raise Failed(failed["ErrorCode"], failed.get("ErrorMessage", ""), final=True)


def _url(client: Any, queue_arn: str) -> str:
    account, name = queue_arn.split(":")[4:6]
    return f"{client.meta.endpoint_url}/{account}/{name}"
