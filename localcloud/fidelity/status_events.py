"""Every change of an execution's status is an event, with its redrives; TIMED_OUT and ABORTED with error and cause too.

docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html. MiniStack knows no redrive and no time-out,
leaves error and cause of stopped executions out, and sends events of Express workflows, which have none.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from localcloud import hooks
from localcloud.fidelity.redrive import why_not
from localcloud.states import workflow

logger = logging.getLogger("localcloud.fidelity")

# In escaped form; beyond it EventBridge's own limit for an event is near.
PAYLOAD_BYTES = 248 * 1024


def install() -> None:
    """Send them from here."""
    hooks.replace("states.status_event", lambda _original: _send)


def _send(execution: workflow.Json) -> None:
    machine = hooks.get("states.machines").get(execution["stateMachineArn"]) or {}
    if execution.get("sync") or machine.get("type") == "EXPRESS":
        return
    entry = {
        "Source": "aws.states",
        "DetailType": "Step Functions Execution Status Change",
        "Detail": json.dumps(detail(execution)),
        "Resources": [execution["executionArn"]],
    }
    try:
        hooks.get("events.put")({"Entries": [entry]}, allow_aws_source=True)
    except Exception:
        logger.exception("the status of %s was not sent", execution["executionArn"])


def detail(execution: workflow.Json) -> workflow.Json:
    """What the event says of an execution."""
    status, given, output = execution["status"], execution.get("input"), execution.get("output")
    reason = why_not(execution)
    input_bytes, output_bytes = _escaped(given), _escaped(output)
    with_input, with_output = input_bytes + output_bytes <= PAYLOAD_BYTES, output_bytes <= PAYLOAD_BYTES
    return {
        "executionArn": execution["executionArn"],
        "stateMachineArn": execution["stateMachineArn"],
        "name": execution["name"],
        "status": status,
        "startDate": _milliseconds(execution.get("startDate")),
        "stopDate": _milliseconds(execution.get("stopDate")),
        "input": given if with_input else None,
        "output": output if with_output else None,
        "inputDetails": {"included": with_input},
        "outputDetails": {"included": with_output} if output is not None else None,
        "error": execution.get("error"),
        "cause": execution.get("cause"),
        "stateMachineVersionArn": execution.get("stateMachineVersionArn"),
        "stateMachineAliasArn": execution.get("stateMachineAliasArn"),
        "redriveCount": execution.get("redriveCount", 0),
        "redriveDate": _milliseconds(execution.get("redriveDate")),
        "redriveStatus": "REDRIVABLE" if reason is None else "NOT_REDRIVABLE",
        "redriveStatusReason": reason,
    }


def _escaped(text: str | None) -> int:
    return 0 if text is None else len(json.dumps(text).encode())


def _milliseconds(stamp: str | None) -> Any:
    return None if stamp is None else int(workflow.moment(stamp).timestamp() * 1000)
