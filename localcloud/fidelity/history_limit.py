"""An execution whose history reaches 25,000 events fails with States.Runtime.

docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html ("maximum execution event history size"); MiniStack's
histories grow without end. The failure itself is the 25,000th event.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.states import workflow

MOST_EVENTS = 25_000
CAUSE = f"The execution reached the maximum number of history events ({MOST_EVENTS})."


def install() -> None:
    """Count before each event."""

    def make(add: Any) -> Any:
        def added(execution: workflow.Json, event_type: str, details: workflow.Json | None = None) -> Any:
            if len(execution["events"]) >= MOST_EVENTS - 1 and not event_type.startswith("Execution"):
                raise workflow.error("States.Runtime", CAUSE)
            return add(execution, event_type, details)

        return added

    hooks.replace("states.event", make)
