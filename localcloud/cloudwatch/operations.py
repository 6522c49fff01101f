"""The front of CloudWatch: operations that localcloud answers itself, in any wire format; MiniStack has the rest."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from localcloud import hooks
from localcloud.cloudwatch import cloudwatch_wire
from localcloud.errors import ApiError
from localcloud.store import Scope

logger = logging.getLogger("localcloud.cloudwatch.operations")

Operation = Callable[[Scope, Mapping[str, Any]], Mapping[str, Any]]


class Family(Protocol):
    """Some operations: one method each, named in snake case, that takes (scope, request)."""

    @property
    def operations(self) -> tuple[str, ...]:
        """Their names."""


class Front:
    """Answers the operations of its families."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}

    def add(self, family: Family) -> None:
        """Answer a family's operations from now on."""
        for name in family.operations:
            self._operations[name] = getattr(family, re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())

    def install(self) -> None:
        """Stand before MiniStack's handler."""

        def make(handler: Any) -> Any:
            async def handle(
                method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]
            ) -> Any:
                name = cloudwatch_wire.operation_name(path, headers, body, query)
                if name not in self._operations:
                    return await handler(method, path, headers, body, query)
                return self.answer(name, headers, body, query)

            return handle

        handlers = hooks.get("app.handlers")
        handlers["monitoring"] = make(handlers["monitoring"])

    def answer(self, name: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, Any]) -> Any:
        """Perform one operation."""
        wire = cloudwatch_wire.wire_format(headers)
        try:
            request = cloudwatch_wire.read(name, wire, body, query)
            return cloudwatch_wire.write(name, wire, self._operations[name](hooks.current_scope(), request))
        except ApiError as error:
            if error.code == "ValidationException":  # CloudWatch's word for it
                error = ApiError("ValidationError", error.message)
            return cloudwatch_wire.write_error(wire, error)
        except Exception:
            logger.exception("%s failed inside localcloud", name)
            return cloudwatch_wire.write_error(
                wire, ApiError("InternalServiceFault", f"{name} failed inside localcloud: see its log.", 500)
            )


FRONT = Front()
