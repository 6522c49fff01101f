"""An execution that exceeds its definition's TimeoutSeconds is TIMED_OUT, and what it waits for is ended.

docs.aws.amazon.com/step-functions/latest/dg/statemachine-structure.html: "If it runs longer than the specified time,
the execution fails with a States.Timeout". MiniStack ignores the field. A redrive counts anew.
"""

from __future__ import annotations

import contextvars
from functools import partial
from typing import Any

from localcloud import hooks
from localcloud.states import workflow
from localcloud.states.endings import timers


def install() -> None:
    """Start each execution's clock."""

    def make(run_execution: Any) -> Any:
        def run(exec_arn: str) -> None:
            execution = hooks.get("states.executions").get(exec_arn)
            seconds = workflow.definition(execution).get("TimeoutSeconds") if execution is not None else None
            if not isinstance(seconds, int | float):
                run_execution(exec_arn)
                return
            redrives = execution.get("redriveCount", 0)
            time_out = partial(contextvars.copy_context().run, _time_out, execution, redrives)
            take_back = timers.after(seconds, time_out)
            try:
                run_execution(exec_arn)
            finally:
                take_back()

        return run

    hooks.replace("states.run", make)


def _time_out(execution: workflow.Json, redrives: int) -> None:
    # After a redrive it is no longer this run's clock that counts.
    workflow.close(execution, "TIMED_OUT", redrives=redrives, error="States.Timeout")
