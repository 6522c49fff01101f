"""The context object has Execution.RoleArn and Execution.RedriveCount, after a redrive RedriveTime as well.

docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html; MiniStack's has neither.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.states import workflow

_EXECUTORS = ("states.task", "states.pass", "states.choice", "states.wait", "states.parallel", "states.map")


def install() -> None:
    """Complete the context before each state."""
    for name in _EXECUTORS:
        hooks.replace(name, _make)


def _make(execute: Any) -> Any:
    def execute_completed(*arguments: Any) -> Any:
        context = arguments[-1]
        if isinstance(context, dict) and isinstance(details := context.get("Execution"), dict):
            walk = workflow.current()
            execution = walk.execution if walk is not None else {}
            details.setdefault("RedriveCount", execution.get("redriveCount", 0))
            if execution.get("redriveDate"):
                details.setdefault("RedriveTime", execution["redriveDate"])
            if "RoleArn" not in details and walk is not None:
                details["RoleArn"] = workflow.revision(execution).get("roleArn", "")
        return execute(*arguments)

    return execute_completed
