"""An execution that was stopped stays ABORTED, whatever its abandoned task ends in.

docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html; in MiniStack the task's later failure
overwrites the status and sends a second event.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks


def install() -> None:
    """Fail only executions that run."""

    def make(fail_execution: Any) -> Any:
        def fail(execution: dict[str, Any], error: str, cause: str) -> None:
            if execution["status"] == "RUNNING":
                fail_execution(execution, error, cause)

        return fail

    hooks.replace("states.fail", make)
