"""The context object has Execution.RoleArn and Execution.RedriveCount.

docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html. Nothing is redriven
yet, so the count is 0.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks

_EXECUTORS = ("states.task", "states.pass", "states.choice", "states.wait", "states.parallel", "states.map")


def install() -> None:
    """Complete the context before each state."""
    for name in _EXECUTORS:
        hooks.replace(name, _make)


def _make(execute: Any) -> Any:
    def execute_completed(*arguments: Any) -> Any:
        context = arguments[-1]
        if isinstance(context, dict) and isinstance(execution := context.get("Execution"), dict):
            execution.setdefault("RedriveCount", 0)
            if "RoleArn" not in execution:
                machine = hooks.get("states.machines").get(context.get("StateMachine", {}).get("Id")) or {}
                execution["RoleArn"] = machine.get("roleArn", "")
        return execute(*arguments)

    return execute_completed
