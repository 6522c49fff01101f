"""RedriveExecution takes an execution that has not succeeded up again where it ended, for 14 days.

docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html and
docs.aws.amazon.com/step-functions/latest/apireference/API_RedriveExecution.html; MiniStack does not have the operation.
The state that was not left runs again with the input and the variables it had, its retries and the execution's
time-out count anew, and the history goes on. Of a Parallel and of an inline Map only those branches and iterations run
again that have not succeeded, each from the state it was at; all of them, when all had succeeded and what they gave was
too large. A distributed Map runs again as a whole, unlike on AWS, where its Map Run is redriven.
"""

from __future__ import annotations

import contextvars
import copy
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from localcloud import hooks
from localcloud.fidelity.answers import Answer, answered, refused
from localcloud.states import workflow

PERIOD = timedelta(days=14)
# "The workflow execution has not exceeded the maximum open time of one year."
LONGEST_LIFE = timedelta(days=365)
MOST_EVENTS = 24_999
# docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
MOST_RUNNING = 1_000_000
# "… idempotent responses for the last 10 client tokens …, valid for up to 15 minutes after they are first used."
TOKENS, TOKEN_LIFE = 10, timedelta(minutes=15)


def install() -> None:
    """Add the operation, and tell of redrives wherever executions are described."""
    hooks.replace("states.handle", _make_handle)
    hooks.replace("states.describe", _make_describe)


def why_not(execution: Mapping[str, Any]) -> str | None:
    """Why an execution cannot be redriven, in AWS's words; None when it can."""
    status = execution["status"]
    if status in ("RUNNING", "SUCCEEDED"):
        return f"Execution is {status} and cannot be redriven"
    now = datetime.now(UTC)
    if len(execution["events"]) >= MOST_EVENTS:
        return "Execution history event limit exceeded"
    if now - workflow.moment(execution["startDate"]) > LONGEST_LIFE:
        return "Execution has exceeded the max execution time"
    if execution["stopDate"] and now - workflow.moment(execution["stopDate"]) > PERIOD:
        return "Execution redrivable period exceeded"
    return None


def redrives(execution: Mapping[str, Any]) -> workflow.Json:
    """An execution's redrives, as DescribeExecution gives them."""
    reason = why_not(execution)
    told: workflow.Json = {
        "redriveCount": execution.get("redriveCount", 0),
        "redriveStatus": "REDRIVABLE" if reason is None else "NOT_REDRIVABLE",
    }
    if execution.get("redriveDate"):
        told["redriveDate"] = execution["redriveDate"]
    if reason is not None:
        told["redriveStatusReason"] = reason
    return told


def _redrive(data: workflow.Json) -> Answer:
    arn, token = data.get("executionArn"), data.get("clientToken")
    execution: workflow.Json | None = hooks.get("states.executions").get(arn)
    if execution is None:
        return refused("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
    with workflow.lock:
        known = _known_tokens(execution)
        if token is not None and token in known:
            return answered({"redriveDate": known[token]})
        machine = hooks.get("states.machines").get(execution["stateMachineArn"]) or {}
        if machine.get("type") == "EXPRESS" or execution.get("sync") or execution.get("mapRunArn"):
            return refused("ExecutionNotRedrivable", "Only executions of Standard workflows can be redriven")
        reason = why_not(execution)
        if reason is not None:
            return refused("ExecutionNotRedrivable", reason)
        if _running() >= MOST_RUNNING:
            return refused("ExecutionLimitExceeded", "The maximum number of running executions has been reached.")
        _reopen(execution, token)
        told = dict(execution)  # it may be stopped before that is told
    hooks.get("states.status_event")(told)
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(hooks.get("states.run"), arn), daemon=True).start()
    return answered({"redriveDate": told["redriveDate"]})


def _reopen(execution: workflow.Json, token: str | None) -> None:
    # A copy: a branch of the earlier run may still be unwinding.
    place = copy.deepcopy(execution.get("place"))
    if place is not None:
        children = place["children"]
        if children and all(child["done"] for child in children) and execution["error"] == "States.DataLimitExceeded":
            place["children"] = None
    redriven = workflow.now()
    tokens = [*execution.get("redriveTokens", []), *([[token, redriven]] if token is not None else [])]
    execution.update(
        status="RUNNING",
        stopDate=None,
        error=None,
        cause=None,
        output=None,
        place=place,
        redriveCount=execution.get("redriveCount", 0) + 1,
        redriveDate=redriven,
        redriveTokens=tokens[-TOKENS:],
    )
    details = {"redriveCount": execution["redriveCount"]}
    hooks.get("states.event")(execution, "ExecutionRedriven", {"executionRedrivenEventDetails": details})


def _known_tokens(execution: Mapping[str, Any]) -> dict[str, str]:
    since = datetime.now(UTC) - TOKEN_LIFE
    return {token: date for token, date in execution.get("redriveTokens", []) if workflow.moment(date) > since}


def _running() -> int:
    executions = hooks.get("states.executions")
    return sum(execution["status"] == "RUNNING" for execution in list(executions.values()))


def _make_handle(handle: Any) -> Any:
    async def handled(method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Any) -> Any:
        if headers.get("x-amz-target", "").rpartition(".")[2] != "RedriveExecution":
            return await handle(method, path, headers, body, query_params)
        try:
            data = json.loads(body or b"{}")
        except ValueError:
            return refused("SerializationException", "The request is no JSON.")
        return hooks.get("states.finalize")(_redrive(data))

    return handled


def _make_describe(describe: Any) -> Any:
    def described(data: workflow.Json) -> Any:
        with workflow.lock:
            status, headers, body = describe(data)
            if status != 200:
                return status, headers, body
            execution = hooks.get("states.executions")[data["executionArn"]]
            more = {name: execution.get(name) for name in ("stateMachineVersionArn", "stateMachineAliasArn")}
            told = {**json.loads(body), **{name: arn for name, arn in more.items() if arn}, **redrives(execution)}
        return status, headers, json.dumps({name: value for name, value in told.items() if value is not None}).encode()

    return described
