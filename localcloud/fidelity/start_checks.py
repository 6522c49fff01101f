"""StartExecution refuses names, inputs and sizes that AWS refuses: InvalidName, InvalidExecutionInput, 262,144 bytes.

docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html; MiniStack takes any name, and turns an
input that is no JSON into {}.
"""

from __future__ import annotations

import json
import re
from typing import Any

from localcloud import hooks
from localcloud.fidelity.answers import Answer, refused
from localcloud.states import workflow

LARGEST_INPUT = 262_144  # bytes
LONGEST_NAME = 80
# White space, brackets, wildcards, special characters, control characters, surrogates, invalid characters.
_FORBIDDEN = re.compile(r'[\s<>{}\[\]?*"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff\U0010ffff]')


def install() -> None:
    """Check before anything is started."""

    def make(start_execution: Any) -> Any:
        def start(data: workflow.Json) -> Any:
            return wrong(data) or start_execution(data)

        return start

    hooks.replace("states.start", make)


def wrong(data: workflow.Json) -> Answer | None:
    """The refusal of a request; None when it may start."""
    arn = str(data.get("stateMachineArn", ""))
    name, given = data.get("name"), data.get("input", "{}")
    if name is not None and not 1 <= len(name) <= LONGEST_NAME:
        bound = "less than or equal to 80" if name else "greater than or equal to 1"
        return refused(
            "ValidationException",
            f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: "
            f"Member must have length {bound}",
        )
    if not isinstance(given, str) or len(given.encode("utf-8", "surrogatepass")) > LARGEST_INPUT:
        return refused(
            "ValidationException",
            "1 validation error detected: Value at 'input' failed to satisfy constraint: "
            f"Member must have length less than or equal to {LARGEST_INPUT}",
        )
    if hooks.get("states.resolve")(arn.rpartition("#")[0] or arn) is None:
        return refused("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{arn}'")
    if name is not None and _FORBIDDEN.search(name):
        return refused("InvalidName", f"Invalid Name: '{name}'")
    try:
        json.loads(given)
    except ValueError as error:
        return refused("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'")
    return None
