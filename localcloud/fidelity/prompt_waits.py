"""A Wait state ends when its execution is stopped or its time is up.

docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html; MiniStack's thread sleeps on to the end,
also when everything has been reset.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.states import workflow


def install() -> None:
    """Wait for the time or the end, whichever comes first."""
    hooks.replace("states.sleep", lambda _original: workflow.pause)
    hooks.replace("states.reset", _make_reset)


def _make_reset(reset: Any) -> Any:
    def resetting() -> None:
        reset()
        workflow.forget_all()

    return resetting
