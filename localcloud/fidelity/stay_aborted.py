"""An execution that has ended stays as it ended, whatever its abandoned task ends in.

docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html; in MiniStack the task's later failure
overwrites the status and sends a second event. A failed execution has no output
(docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html), which MiniStack gives it.
"""

from __future__ import annotations

from localcloud import hooks
from localcloud.states import workflow


def install() -> None:
    """Fail only executions that run."""
    hooks.replace("states.fail", lambda _original: _fail)


def _fail(execution: workflow.Json, error: str, cause: str) -> None:
    workflow.close(execution, "FAILED", error=error, cause=cause)
