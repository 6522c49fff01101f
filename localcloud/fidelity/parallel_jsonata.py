"""Parallel and Succeed states honour JSONata's Arguments, Output and Assign; branches have their own context.

docs.aws.amazon.com/step-functions/latest/dg/state-parallel.html; MiniStack drops the fields, and its branches overwrite
each other's context (State.Name, State.RetryCount).
"""

from __future__ import annotations

import contextvars
import copy
import threading
from typing import Any

from localcloud import hooks


def install() -> None:
    """Run Parallel states here, and evaluate Succeed's Output."""
    hooks.replace("states.branches", _make_branches)
    hooks.replace("states.output_path", _make_output)


def _make_branches(run_branches: Any) -> Any:
    def run(state_def: dict[str, Any], raw_input: Any, execution: Any, ctx: dict[str, Any]) -> Any:
        if hooks.get("states.language")(state_def, ctx) != "JSONata":
            return run_branches(state_def, raw_input, execution, ctx)
        effective = hooks.get("states.arguments")(state_def, raw_input, ctx)
        branches = state_def.get("Branches", [])
        results: list[Any] = [None] * len(branches)
        errors: list[BaseException] = []

        def run_branch(index: int, branch: dict[str, Any]) -> None:
            try:
                results[index] = hooks.get("states.machine")(
                    branch.get("States", {}), branch.get("StartAt"), effective, execution, copy.deepcopy(ctx)
                )
            except Exception as error:  # noqa: BLE001 - raised again below, in the state's own thread
                errors.append(error)

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(run_branch, index, branch), daemon=True)
            for index, branch in enumerate(branches)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            failed = hooks.get("states.error")
            first = errors[0]
            raise first if isinstance(first, failed) else failed("States.BranchFailed", str(first))
        output = hooks.get("states.output")(state_def, raw_input, ctx, result=results, default=results)
        hooks.get("states.assign")(state_def, raw_input, ctx, result=results)
        return output, hooks.get("states.next")(state_def)

    return run


def _make_output(apply_output_path: Any) -> Any:
    def apply(state_def: dict[str, Any], data: Any, ctx: dict[str, Any] | None = None) -> Any:
        if state_def.get("Type") == "Succeed" and hooks.get("states.language")(state_def, ctx) == "JSONata":
            return hooks.get("states.output")(state_def, data, ctx, default=data)
        return apply_output_path(state_def, data, ctx)

    return apply
