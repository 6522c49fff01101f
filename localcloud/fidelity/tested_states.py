"""TestState runs the state under the role that the request names.

docs.aws.amazon.com/step-functions/latest/apireference/API_TestState.html (roleArn); MiniStack runs it under none.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks


def install() -> None:
    """Let the task know of its role."""

    def make(test_state: Any) -> Any:
        def tested(data: dict[str, Any]) -> Any:
            with hooks.running_task(hooks.TaskRun({"roleArn": data.get("roleArn")})):
                return test_state(data)

        return tested

    hooks.replace("states.test", make)
