"""An execution keeps the definition, role and logging it was started with, whatever becomes of its state machine.

docs.aws.amazon.com/step-functions/latest/apireference/API_UpdateStateMachine.html ("Running executions will continue to
use the previous definition and roleArn") and API_DescribeStateMachineForExecution.html; MiniStack describes the present
definition, and runs it also where a version or an alias was started. The versions are kept once each, with the state
machine, for as long as an execution needs them.
"""

from __future__ import annotations

import json
from typing import Any

from localcloud import hooks
from localcloud.fidelity.answers import Answer, answered
from localcloud.states import workflow

_NOT_DESCRIBED = frozenset({"revisions", "updateDate"})


def install() -> None:
    """Note at the start what is started, and describe that."""
    hooks.replace("states.start", _make_start)
    hooks.replace("states.update", _make_update)
    hooks.replace("states.describe_machine", _make_describe)
    hooks.replace("states.internal", lambda internal: internal | _NOT_DESCRIBED)


def _make_start(start: Any) -> Any:
    def started(data: workflow.Json) -> Answer:
        token = workflow.requested.set(data.get("stateMachineArn"))
        try:
            answer: Answer = start(data)
            if answer[0] == 200:  # its thread may have been faster
                workflow.pin(hooks.get("states.executions")[json.loads(answer[2])["executionArn"]])
        finally:
            workflow.requested.reset(token)
        return answer

    return started


def _make_update(update: Any) -> Any:
    def updated(data: workflow.Json) -> Answer:
        answer: Answer = update(data)
        if answer[0] == 200:
            machine = hooks.get("states.machines")[data["stateMachineArn"]]
            machine["updateDate"] = json.loads(answer[2])["updateDate"]
            _forget_unused(machine)
        return answer

    return updated


def _forget_unused(machine: workflow.Json) -> None:
    """Drop the definitions that no execution was started with any more."""
    executions = list(hooks.get("states.executions").values())
    used = {found.get("revisionId") for found in executions if found["stateMachineArn"] == machine["stateMachineArn"]}
    kept = {name: content for name, content in machine.get("revisions", {}).items() if name in used}
    machine["revisions"] = kept


def _make_describe(describe: Any) -> Any:
    def described(data: workflow.Json) -> Answer:
        answer: Answer = describe(data)
        if answer[0] != 200:
            return answer
        execution = hooks.get("states.executions")[data["executionArn"]]
        revision = workflow.revision(execution)
        return answered({**json.loads(answer[2]), **revision, "revisionId": execution.get("revisionId")})

    return described
