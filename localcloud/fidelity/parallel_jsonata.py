"""Parallel and Succeed states honour JSONata's Arguments, Output and Assign; branches have their own context.

docs.aws.amazon.com/step-functions/latest/dg/state-parallel.html; MiniStack drops the fields, and its branches overwrite
each other's context (State.Name, State.RetryCount) and variables. Its Parallel also waits for all branches before it
fails: the first that fails ends the others here. A redrive runs only those that have not succeeded.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.states import workflow


def install() -> None:
    """Run Parallel states here, and evaluate Succeed's Output."""
    hooks.replace("states.branches", lambda _original: _run)
    hooks.replace("states.output_path", _make_output)


def _run(state_def: workflow.Json, raw_input: Any, execution: workflow.Json, ctx: workflow.Json) -> Any:
    jsonata = hooks.get("states.language")(state_def, ctx) == "JSONata"
    if jsonata:
        effective = hooks.get("states.arguments")(state_def, raw_input, ctx)
    else:
        effective = hooks.get("states.input_path")(state_def, raw_input, ctx)
        effective = hooks.get("states.parameters")(state_def, effective, ctx)
    walk = workflow.current()
    if walk is None:
        raise workflow.error("States.Runtime", "A Parallel state runs only in an execution.")
    branches, add, variables = state_def.get("Branches", []), hooks.get("states.event"), ctx.get("variables", {})
    if walk.place["children"] is None:
        add(execution, "ParallelStateStarted")
        walk.place["children"] = [workflow.place_at(branch["StartAt"], effective, variables) for branch in branches]

    def run_branch(number: int, own: workflow.Walk) -> None:
        branch = branches[number]
        context = {**ctx, "variables": dict(variables)}
        hooks.get("states.machine")(branch["States"], branch["StartAt"], own.place["input"], execution, context)

    def aborted(number: int) -> None:
        workflow.tell_aborted(execution, branches[number]["States"], places[number])

    places: list[workflow.Json] = walk.place["children"]
    results = workflow.joined("ParallelState", walk, len(branches), run_branch, aborted)
    return workflow.left_with(state_def, raw_input, ctx, results)


def _make_output(apply_output_path: Any) -> Any:
    def apply(state_def: dict[str, Any], data: Any, ctx: dict[str, Any] | None = None) -> Any:
        if state_def.get("Type") == "Succeed" and hooks.get("states.language")(state_def, ctx) == "JSONata":
            return hooks.get("states.output")(state_def, data, ctx, default=data)
        return apply_output_path(state_def, data, ctx)

    return apply
