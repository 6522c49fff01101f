"""The reconciliation does what the handlers of lost events would have done: it needs what they may do."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.statemachines.definitions import load_template

RESOURCES: dict[str, Any] = load_template()["Resources"]


def statements(function: str) -> list[dict[str, Any]]:
    [policy] = RESOURCES[function]["Properties"]["Policies"]
    return list(policy["Statement"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def text(resource: Any) -> str:
    """A resource as text; that of !GetAtt and !Ref by its name."""
    return str(resource if isinstance(resource, str) else next(iter(resource.values())))


def prefixes(statement: dict[str, Any]) -> list[str]:
    """The S3 prefixes that a statement is bound to."""
    return listed(statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", []))


@pytest.mark.parametrize("handler", ["IngestDataset", "HandleApproval", "HandleViolation"])
def test_reconciliation_may_do_what_the_handler_of_a_lost_event_may(handler: str) -> None:
    own = statements("Reconcile")
    for needed in statements(handler):
        for action in listed(needed["Action"]):
            for resource in listed(needed["Resource"]):
                allowed = [
                    each
                    for each in own
                    if action in listed(each["Action"])
                    and any(fnmatchcase(text(resource), text(pattern)) for pattern in listed(each["Resource"]))
                ]
                assert allowed, f"{handler}: {action} on {text(resource)}"
                reached = {prefix for each in allowed for prefix in prefixes(each)}
                assert set(prefixes(needed)) <= reached, f"{handler}: {action} below {prefixes(needed)}"


def test_environment_of_the_handlers_is_the_reconciliations() -> None:
    variables = RESOURCES["Reconcile"]["Properties"]["Environment"]["Variables"]
    for handler in ("IngestDataset", "HandleApproval", "HandleViolation"):
        its = RESOURCES[handler]["Properties"]["Environment"]["Variables"]
        for name, value in its.items():
            if name != "POWERTOOLS_SERVICE_NAME":
                assert variables[name] == value, f"{handler}: {name}"
