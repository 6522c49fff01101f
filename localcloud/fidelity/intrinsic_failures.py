"""An intrinsic function that cannot be evaluated fails its state with States.IntrinsicFailure, which Catch can name.

docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html (States.IntrinsicFailure); in MiniStack it
ends the execution with States.Runtime.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.states import workflow


def install() -> None:
    """Name what intrinsic functions raise."""
    failed = hooks.get("states.error")

    def make(evaluate: Any) -> Any:
        def evaluated(expression: str, data: Any, ctx: Any) -> Any:
            try:
                return evaluate(expression, data, ctx)
            except failed:
                raise
            except Exception as error:
                raise workflow.error(
                    "States.IntrinsicFailure", f"The function '{expression}' could not be evaluated: {error}"
                ) from error

        return evaluated

    hooks.replace("states.intrinsic", make)
