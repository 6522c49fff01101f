"""ListExecutions gives 100 a page, those of a version or an alias too, with their redrives, and refuses what AWS does.

docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html; MiniStack gives 1000, knows neither
redrives nor redriveFilter, and lists nothing for a state machine that does not exist.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from localcloud import hooks
from localcloud.fidelity.answers import Answer, answered, refused
from localcloud.states import workflow

_PAGE, _LARGEST_PAGE = 100, 1000
_STATUSES = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE")
_TOLD = (
    *("executionArn", "stateMachineArn", "name", "status", "startDate", "stopDate", "mapRunArn"),
    *("stateMachineVersionArn", "stateMachineAliasArn", "redriveDate"),
)


def install() -> None:
    """List here."""
    hooks.replace("states.list", lambda _original: _list)


def _list(data: workflow.Json) -> Answer:
    machine, map_run = data.get("stateMachineArn"), data.get("mapRunArn")
    status, redriven = data.get("statusFilter"), data.get("redriveFilter")
    limit = data.get("maxResults") or _PAGE
    wrong = _wrong(machine, map_run, status, redriven, limit)
    if wrong is not None:
        return wrong
    with workflow.lock:
        found = [
            dict(execution)
            for execution in list(hooks.get("states.executions").values())
            if (execution.get("mapRunArn") == map_run if map_run else _is_of(execution, str(machine)))
            and status in (None, execution["status"])
            and (redriven is None or (redriven == "REDRIVEN") == (execution.get("redriveCount", 0) > 0))
        ]
    found.sort(key=_position, reverse=True)
    if data.get("nextToken"):
        try:
            moment, arn = json.loads(base64.urlsafe_b64decode(data["nextToken"]))
        except ValueError:
            return refused("InvalidToken", "Invalid Token: 'Invalid token'")
        found = [execution for execution in found if _position(execution) < (moment, arn)]
    page = found[:limit]
    answer: workflow.Json = {"executions": [_told(execution) for execution in page]}
    if len(found) > limit:
        answer["nextToken"] = base64.urlsafe_b64encode(json.dumps(_position(page[-1])).encode()).decode()
    return answered(answer)


def _wrong(machine: Any, map_run: Any, status: Any, redriven: Any, limit: Any) -> Answer | None:
    if bool(machine) == bool(map_run):
        return refused("ValidationException", "Exactly one of stateMachineArn and mapRunArn must be specified.")
    if status is not None and status not in _STATUSES:
        return refused(
            "ValidationException",
            f"1 validation error detected: Value '{status}' at 'statusFilter' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(_STATUSES)}]",
        )
    if machine and (redriven is not None or status == "PENDING_REDRIVE"):
        return refused("ValidationException", "redriveFilter and PENDING_REDRIVE are supported with mapRunArn only.")
    if not isinstance(limit, int) or not 0 < limit <= _LARGEST_PAGE:
        return refused(
            "ValidationException",
            f"1 validation error detected: Value '{limit}' at 'maxResults' failed to satisfy constraint: "
            f"Member must have value less than or equal to {_LARGEST_PAGE}",
        )
    if machine and hooks.get("states.resolve")(machine) is None:
        return refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{machine}'")
    return None


def _is_of(execution: workflow.Json, arn: str) -> bool:
    return arn in (
        execution.get(name) for name in ("stateMachineArn", "stateMachineVersionArn", "stateMachineAliasArn")
    )


def _position(execution: workflow.Json) -> tuple[str, str]:
    """The most recent come first: running ones by start or redrive, others by their end."""
    moment = execution["stopDate"] or execution.get("redriveDate") or execution["startDate"]
    return moment, execution["executionArn"]


def _told(execution: workflow.Json) -> workflow.Json:
    told = {name: execution[name] for name in _TOLD if execution.get(name) is not None}
    return {**told, "redriveCount": execution.get("redriveCount", 0)}
