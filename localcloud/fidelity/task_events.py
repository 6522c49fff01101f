"""TaskScheduled says what was called and with what: integration, action, region, parameters.

docs.aws.amazon.com/step-functions/latest/apireference/API_TaskScheduledEventDetails.html; MiniStack has the resource's
ARN only, so that nobody who follows an execution can tell which job it waits for.
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any

from localcloud import hooks

# …:::sagemaker:createTrainingJob.sync is sagemaker and createTrainingJob.sync; …:::aws-sdk:s3:getObject is aws-sdk:s3.
_INTEGRATION = re.compile(r"^arn:aws[a-z-]*:states:::(?P<type>(?:aws-sdk:)?[^:]+):(?P<action>[^:]+)$")
_EVENTS = re.compile(r"Task(Scheduled|Started|Succeeded|Failed|TimedOut)")


def install() -> None:
    """Complete each task's events; a state's arguments are evaluated in the thread that then adds them."""
    latest = threading.local()

    def make_arguments(apply: Any) -> Any:
        def applied(*arguments: Any, **named: Any) -> Any:
            latest.arguments = apply(*arguments, **named)
            return latest.arguments

        return applied

    def make_event(add: Any) -> Any:
        def added(execution: dict[str, Any], event_type: str, details: dict[str, Any] | None = None) -> Any:
            if details and _EVENTS.fullmatch(event_type):
                details = {name: _complete(value) for name, value in details.items()}
                if event_type == "TaskScheduled":
                    scheduled = details["taskScheduledEventDetails"]
                    scheduled["region"] = execution["executionArn"].split(":")[3]
                    scheduled["parameters"] = json.dumps(getattr(latest, "arguments", {}))
            return add(execution, event_type, details)

        return added

    hooks.replace("states.arguments", make_arguments)
    hooks.replace("states.parameters", make_arguments)
    hooks.replace("states.event", make_event)


def _complete(details: dict[str, Any]) -> dict[str, Any]:
    match = _INTEGRATION.match(details.get("resource", ""))
    return {**details, "resourceType": match["type"], "resource": match["action"]} if match else dict(details)
