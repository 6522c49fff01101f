"""A state's Assign is evaluated as a whole, with the variables as they were when the state began.

docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html ("evaluation order in an Assign field"); in
MiniStack an expression sees what those before it in the same Assign have assigned.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.states import workflow


def install() -> None:
    """Assign to a copy, expression by expression, then to the variables."""

    def make(assign: Any) -> Any:
        def assigned(
            state_def: workflow.Json, raw_input: Any, ctx: Any, result: Any = None, error_output: Any = None
        ) -> None:
            expressions = state_def.get("Assign")
            if not isinstance(expressions, dict) or not ctx:
                return
            new: workflow.Json = {}
            for name, expression in expressions.items():
                one = {**ctx, "variables": dict(ctx.get("variables", {}))}
                assign({**state_def, "Assign": {name: expression}}, raw_input, one, result, error_output)
                if name in one["variables"]:
                    new[name] = one["variables"][name]
            ctx.setdefault("variables", {}).update(new)

        return assigned

    hooks.replace("states.assign", make)
