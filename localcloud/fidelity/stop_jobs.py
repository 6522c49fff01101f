"""StopExecution ends at once whatever the execution waits for, in its branches too, and stops its jobs.

docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html and
docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html#connect-sync ("if a task using this pattern is
aborted … Step Functions will make a best-effort attempt to cancel the task"). MiniStack only changes the status. Error
and cause are limited to 256 and 32,768 characters; an execution that has ended keeps its end.
"""

from __future__ import annotations

from localcloud import hooks
from localcloud.fidelity.answers import Answer, answered, refused
from localcloud.states import workflow

_LIMITS = {"error": 256, "cause": 32_768}


def install() -> None:
    """Stop executions here."""
    hooks.replace("states.stop", lambda _original: _stop)


def _stop(data: workflow.Json) -> Answer:
    arn = data.get("executionArn")
    execution = hooks.get("states.executions").get(arn)
    if execution is None:
        return refused("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
    for name, limit in _LIMITS.items():
        if len(data.get(name) or "") > limit:
            return refused(
                "ValidationException",
                f"1 validation error detected: Value at '{name}' failed to satisfy constraint: "
                f"Member must have length less than or equal to {limit}",
            )
    workflow.close(execution, "ABORTED", error=data.get("error"), cause=data.get("cause"))
    return answered({"stopDate": execution["stopDate"]})
