"""Starting a training run by hand: invoke the stack's StartTraining function and say what it answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onwing.errors import NotFound, OnwingError, UsageError
from onwing.stack import Stack
from onwing.target import Target


@dataclass(frozen=True)
class Started:
    """The function's answer: status started, running (somebody was first) or already (trained before)."""

    status: str
    fleet: str = ""
    dataset_version: str = ""
    attempt: int = 0
    execution_arn: str = ""
    message: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)


def start(
    target: Target,
    stack: Stack,
    *,
    fleet: str | None,
    version: str | None,
    again: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> Started:
    """Ask for a run of a data set version (or its beginning), or of the fleet's newest one.

    Raises NotFound or UsageError when the function says that the version is unknown or the request makes no sense.
    """
    request = {
        "fleet": fleet,
        "dataset_version": version,
        "again": again,
        "trigger": "manual",
        "overrides": dict(overrides or {}),
    }
    name = stack.output("StartTrainingFunctionName")
    answer = target.client("lambda").invoke(FunctionName=name, Payload=json.dumps(request).encode())
    payload = json.loads(answer["Payload"].read() or b"{}")
    if "FunctionError" in answer:
        raise _refused(payload, name)
    return Started(
        status=payload.get("status", "unknown"),
        fleet=payload.get("fleet", fleet or ""),
        dataset_version=payload.get("dataset_version", version or ""),
        attempt=int(payload.get("attempt", 0)),
        execution_arn=payload.get("execution_arn", ""),
        message=payload.get("message", ""),
        overrides=dict(overrides or {}),
    )


def _refused(payload: Mapping[str, Any], function: str) -> OnwingError:
    kind, message = str(payload.get("errorType", "Unhandled")), str(payload.get("errorMessage", "no message"))
    where = f"function {function}"
    if kind == "DatasetNotFoundError":
        return NotFound(message, where=where, todo="See what there is: `onwing status`.")
    if kind in ("TrainingRequestError", "ValidationError", "InvalidModelTypeError"):
        return UsageError(message, where=where, todo="See `onwing train --help`.")
    return OnwingError(f"{kind}: {message}", where=where, todo="Look at what the function wrote to its log group.")
