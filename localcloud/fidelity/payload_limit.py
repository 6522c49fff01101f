"""No input, output, argument or result of a state may exceed 262,144 bytes: States.DataLimitExceeded.

docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html ("maximum input or output size for a task, state, or
execution": 256 KiB as UTF-8; all variables that one Assign sets, 256 KiB) and concepts-error-handling.html; MiniStack
passes anything on.
"""

from __future__ import annotations

import json
from typing import Any

from localcloud import hooks
from localcloud.states import workflow

LARGEST = 262_144  # bytes

_OF_ONE_ATTEMPT = ("states.pass", "states.choice", "states.wait")


def install() -> None:
    """Measure what goes into tasks and what comes out of tasks and states."""
    for name in _OF_ONE_ATTEMPT:
        hooks.replace(name, _of_state)
    hooks.replace("states.attempts", _of_attempt)
    hooks.replace("states.arguments", _of_arguments)
    hooks.replace("states.parameters", _of_arguments)
    hooks.replace("states.invoke", _of_result)
    hooks.replace("states.assign", _of_variables)


def size(value: Any) -> int:
    """How many bytes a value takes as JSON in UTF-8."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def check(value: Any, what: str) -> Any:
    """Give the value back; raises States.DataLimitExceeded when it is too large."""
    if size(value) > LARGEST:
        raise workflow.error(
            "States.DataLimitExceeded",
            f"The state/task '{what}' returned a result with a size exceeding the maximum number of bytes "
            "service limit.",
        )
    return value


def _name(ctx: Any) -> str:
    return str(((ctx or {}).get("State") or {}).get("Name", ""))


def _of_state(execute: Any) -> Any:
    def executed(*arguments: Any) -> Any:
        name = _name(arguments[-1])
        output, following = execute(*arguments)
        return check(output, name), following

    return executed


def _of_attempt(attempts: Any) -> Any:
    def attempted(state_def: workflow.Json, raw_input: Any, ctx: Any, attempt: Any) -> Any:
        def checked() -> Any:
            output, following = attempt()
            return check(output, _name(ctx)), following

        return attempts(state_def, raw_input, ctx, checked)

    return attempted


def _of_arguments(apply: Any) -> Any:
    def applied(state_def: workflow.Json, data: Any, ctx: Any = None) -> Any:
        return check(apply(state_def, data, ctx), _name(ctx))

    return applied


def _of_result(invoke: Any) -> Any:
    def invoked(resource: str, input_data: Any) -> Any:
        return check(invoke(resource, input_data), resource.rsplit(":", 1)[-1])

    return invoked


def _of_variables(assign: Any) -> Any:
    def assigned(
        state_def: workflow.Json, raw_input: Any, ctx: Any, result: Any = None, error_output: Any = None
    ) -> None:
        assign(state_def, raw_input, ctx, result, error_output)
        names = state_def.get("Assign")
        if isinstance(names, dict):
            variables = (ctx or {}).get("variables", {})
            check({name: variables[name] for name in names if name in variables}, _name(ctx))

    return assigned
