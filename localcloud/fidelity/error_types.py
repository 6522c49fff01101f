"""A Python function's error is called by its exception's class, as Retry and Catch in a state machine need it.

docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html: errorType is the class's name; that of a function whose
process has ended is Runtime.ExitError. MiniStack calls every one Runtime.HandlerError and keeps the traceback in the
log.
"""

from __future__ import annotations

import re
from typing import Any

from localcloud import hooks

UNNAMED = "Runtime.HandlerError"
# What MiniStack says of a function whose process has ended.
DIED = "Worker process died"


def install() -> None:
    """Name the errors of warm workers, which run every Python function here."""

    def make(execute: Any) -> Any:
        def executed(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
            result: dict[str, Any] = execute(func, event, request_id)
            body = result.get("body")
            if result.get("error") and isinstance(body, dict) and body.get("errorType") == UNNAMED:
                if body.get("errorMessage") == DIED:
                    message = f"RequestId: {request_id} Error: Runtime exited without providing a reason"
                    body.update(errorType="Runtime.ExitError", errorMessage=message)
                else:
                    body["errorType"] = class_name(body.get("errorMessage", ""), result.get("log", "")) or UNNAMED
            return result

        return executed

    hooks.replace("lambda.execute_warm", make)


def class_name(message: str, log: str) -> str | None:
    """The class of the exception with this message, from the last traceback in the log; None when there is none."""
    first_line = message.partition("\n")[0]
    ending = f": {re.escape(first_line)}" if first_line else ""
    found = re.findall(rf"^(?:[A-Za-z_][\w.]*\.)?([A-Za-z_]\w*){ending}$", log, re.MULTILINE)
    return found[-1] if found and "Traceback (most recent call last)" in log else None
