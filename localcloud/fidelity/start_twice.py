"""StartExecution with the name and input of a running execution gives that execution.

docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html: "If StartExecution is called with the
same name and input as a running execution, the call succeeds and return[s] the same response as the original request";
MiniStack answers ExecutionAlreadyExists, which is for closed executions and other inputs.
"""

from __future__ import annotations

import json
from typing import Any

from localcloud import hooks


def install() -> None:
    """Look for the running execution first."""

    def make(start_execution: Any) -> Any:
        def start(data: dict[str, Any]) -> Any:
            running = _running(data)
            if running is None:
                return start_execution(data)
            answer = {"executionArn": running["executionArn"], "startDate": running["startDate"]}
            return 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(answer).encode()

        return start

    hooks.replace("states.start", make)


def _running(data: dict[str, Any]) -> dict[str, Any] | None:
    name = data.get("name")
    machine = hooks.get("states.resolve")(data.get("stateMachineArn", ""))
    if not name or machine is None:
        return None
    arn = f"{machine.replace(':stateMachine:', ':execution:', 1)}:{name}"
    execution: dict[str, Any] | None = hooks.get("states.executions").get(arn)
    if execution is None or execution["status"] != "RUNNING":
        return None
    return execution if _same(execution["input"], data.get("input", "{}")) else None


def _same(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return one == other
