"""StartExecution with the name and input of a running execution gives that execution; names are free after 90 days.

docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html: "If StartExecution is called with the
same name and input as a running execution, the call succeeds and return[s] the same response as the original request
… You can reuse the name 90 days after it closes"; MiniStack answers ExecutionAlreadyExists always, which is for
executions that have closed and for other inputs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from localcloud import hooks
from localcloud.fidelity.answers import answered, refused
from localcloud.states import workflow

NAME_KEPT = timedelta(days=90)


def install() -> None:
    """Look for the running execution first."""

    def make(start_execution: Any) -> Any:
        def start(data: dict[str, Any]) -> Any:
            known = _known(data)
            if known is None:
                return start_execution(data)
            if known["status"] == "RUNNING" and _same(known["input"], data.get("input", "{}")):
                return answered({"executionArn": known["executionArn"], "startDate": known["startDate"]})
            if known["status"] != "RUNNING" and datetime.now(UTC) - workflow.moment(known["stopDate"]) > NAME_KEPT:
                del hooks.get("states.executions")[known["executionArn"]]
                return start_execution(data)
            return refused("ExecutionAlreadyExists", f"Execution Already Exists: '{known['executionArn']}'")

        return start

    hooks.replace("states.start", make)


def _known(data: dict[str, Any]) -> dict[str, Any] | None:
    name = data.get("name")
    machine = hooks.get("states.resolve")(data.get("stateMachineArn", ""))
    if not name or machine is None:
        return None
    arn = f"{machine.replace(':stateMachine:', ':execution:', 1)}:{name}"
    known: dict[str, Any] | None = hooks.get("states.executions").get(arn)
    return known


def _same(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return one == other
