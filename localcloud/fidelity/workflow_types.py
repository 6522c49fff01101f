"""StartSyncExecution is for Express workflows, ListExecutions for Standard ones: else StateMachineTypeNotSupported.

docs.aws.amazon.com/step-functions/latest/apireference/API_StartSyncExecution.html and API_ListExecutions.html;
MiniStack does either for both. Executions of Express workflows can be described here, unlike on AWS.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.fidelity.answers import Answer, refused
from localcloud.states import workflow


def install() -> None:
    """Look at the state machine's type first."""
    hooks.replace("states.start_sync", _for("EXPRESS"))
    hooks.replace("states.list", _for("STANDARD"))


def _for(supported: str) -> Any:
    def make(operation: Any) -> Any:
        def operated(data: workflow.Json) -> Answer:
            arn = str(data.get("stateMachineArn", "")).partition("#")[0]
            machine = hooks.get("states.machines").get(hooks.get("states.resolve")(arn)) or {}
            if machine.get("type", supported) != supported:
                message = "This operation is not supported by this type of state machine"
                return refused("StateMachineTypeNotSupported", message)
            answer: Answer = operation(data)
            return answer

        return operated

    return make
