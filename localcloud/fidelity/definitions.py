"""CreateStateMachine and UpdateStateMachine refuse a definition that cannot work: InvalidDefinition, with each fault.

docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html and
API_ValidateStateMachineDefinition.html, which is answered too; MiniStack parses JSONata expressions, and takes anything
else, also from templates. Checked are the JSON itself, the fields that each type of state requires, transitions, states
that nothing leads to, missing ends, and the errors that Retry and Catch name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from localcloud import hooks
from localcloud.fidelity.answers import Answer, answered, refused
from localcloud.states import workflow

_TYPE = "AWS::StepFunctions::StateMachine"
_TYPES = ("Choice", "Fail", "Map", "Parallel", "Pass", "Succeed", "Task", "Wait")
_ENDS = ("Succeed", "Fail")
_ONE_OF_THESE = {
    "Task": ("Resource",),
    "Choice": ("Choices",),
    "Parallel": ("Branches",),
    "Map": ("ItemProcessor", "Iterator"),
    "Wait": ("Seconds", "SecondsPath", "Timestamp", "TimestampPath"),
}


class Fault(NamedTuple):
    """What is wrong with a definition, and where (a JSON pointer)."""

    code: str
    message: str
    location: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message} at {self.location or '/'}"


def install() -> None:
    """Check whatever makes or changes a state machine."""
    hooks.replace("states.create", _make)
    hooks.replace("states.update", _make)
    hooks.replace("states.validate", lambda _original: _validate)
    handlers = hooks.get("cloudformation.types")[_TYPE]
    handlers.update(create=_make_resource(handlers["create"]))


def faults(text: Any) -> list[Fault]:
    """Everything that is wrong with a definition; nothing when it can be run."""
    try:
        definition = json.loads(text)
    except (TypeError, ValueError) as error:
        return [Fault("INVALID_JSON_DESCRIPTION", f"Invalid JSON description: {error}", "")]
    if not isinstance(definition, dict):
        return [Fault("INVALID_JSON_DESCRIPTION", "A definition must be a JSON object", "")]
    return list(_of_machine(definition, ""))


def _of_machine(machine: Mapping[str, Any], at: str) -> Iterator[Fault]:
    states = machine.get("States")
    if not isinstance(machine.get("StartAt"), str):
        yield Fault("SCHEMA_VALIDATION_FAILED", "The field 'StartAt' is required but was missing", at)
    if not isinstance(states, dict) or not states:
        yield Fault("SCHEMA_VALIDATION_FAILED", "The field 'States' is required but was missing", at)
        return
    yield from _time_limit(machine, at)
    for name, state in states.items():
        if isinstance(state, dict):
            yield from _of_state(state, f"{at}/States/{name}")
        else:
            yield Fault("SCHEMA_VALIDATION_FAILED", "A state must be a JSON object", f"{at}/States/{name}")
    transitions = [("StartAt", machine.get("StartAt"), f"{at}/StartAt")]
    for name, state in states.items():
        if isinstance(state, dict):
            transitions += _transitions(state, f"{at}/States/{name}")
    for field, target, where in transitions:
        if isinstance(target, str) and target not in states:
            yield Fault("MISSING_TRANSITION_TARGET", f"Missing '{field}' target: {target}", where)
    reached = {target for _field, target, _where in transitions}
    for name in states:
        if name not in reached:
            yield Fault("MISSING_TRANSITION_TARGET", f'State "{name}" is not reachable.', f"{at}/States/{name}")
    kinds = [state for state in states.values() if isinstance(state, dict)]
    if kinds and not any(state.get("End") is True or state.get("Type") in _ENDS for state in kinds):
        yield Fault("MISSING_END_STATE", "Workflow has no terminal state", at)


def _of_state(state: Mapping[str, Any], at: str) -> Iterator[Fault]:
    kind = state.get("Type")
    if kind not in _TYPES:
        wanted = "is required but was missing" if kind is None else f"has the unknown value {kind!r}"
        yield Fault("SCHEMA_VALIDATION_FAILED", f"The field 'Type' {wanted}", at)
        return
    fields = _ONE_OF_THESE.get(kind, ())
    if fields and not any(field in state for field in fields):
        named = " or ".join(f"'{field}'" for field in fields)
        yield Fault("SCHEMA_VALIDATION_FAILED", f"The field {named} is required but was missing", at)
    if kind not in (*_ENDS, "Choice") and ("Next" in state) == (state.get("End") is True):
        yield Fault("SCHEMA_VALIDATION_FAILED", "Exactly one of the fields 'Next' and 'End' is required", at)
    if kind in (*_ENDS, "Choice") and ("Next" in state or "End" in state):
        field = "Next" if "Next" in state else "End"
        yield Fault("SCHEMA_VALIDATION_FAILED", f"Field '{field}' is not supported", at)
    if kind in ("Map", "Parallel") and "TimeoutSeconds" in state:
        yield Fault("SCHEMA_VALIDATION_FAILED", "Field 'TimeoutSeconds' is not supported", at)
    yield from _time_limit(state, at)
    yield from _of_handlers(state, at)
    for number, branch in enumerate(_list(state.get("Branches"))):
        yield from _of_machine(branch, f"{at}/Branches/{number}")
    for field in ("ItemProcessor", "Iterator"):
        if kind == "Map" and isinstance(state.get(field), dict):
            yield from _of_machine(state[field], f"{at}/{field}")


def _of_handlers(state: Mapping[str, Any], at: str) -> Iterator[Fault]:
    for field in ("Retry", "Catch"):
        handlers = _list(state.get(field))
        for number, handler in enumerate(handlers):
            where, errors = f"{at}/{field}/{number}", handler.get("ErrorEquals")
            if not isinstance(errors, list) or not errors:
                yield Fault("SCHEMA_VALIDATION_FAILED", "The field 'ErrorEquals' is required but was missing", where)
            elif "States.ALL" in errors and (len(errors) > 1 or number < len(handlers) - 1):
                message = "States.ALL must appear alone, and in the last entry"
                yield Fault("SCHEMA_VALIDATION_FAILED", message, f"{where}/ErrorEquals")
            if field == "Catch" and not isinstance(handler.get("Next"), str):
                yield Fault("SCHEMA_VALIDATION_FAILED", "The field 'Next' is required but was missing", where)


def _time_limit(holder: Mapping[str, Any], at: str) -> Iterator[Fault]:
    for field in ("TimeoutSeconds", "HeartbeatSeconds"):
        value = holder.get(field)
        if isinstance(value, int | float) and (isinstance(value, bool) or value != int(value) or value < 1):
            yield Fault("SCHEMA_VALIDATION_FAILED", f"'{field}' must be a positive integer", f"{at}/{field}")


def _transitions(state: Mapping[str, Any], at: str) -> list[tuple[str, Any, str]]:
    found = [(field, state[field], f"{at}/{field}") for field in ("Next", "Default") if field in state]
    for field in ("Choices", "Catch"):
        for number, entry in enumerate(_list(state.get(field))):
            found.append(("Next", entry.get("Next"), f"{at}/{field}/{number}/Next"))
    return found


def _list(value: Any) -> list[Any]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _wording(found: list[Fault]) -> str:
    return f"Invalid State Machine Definition: '{', '.join(str(fault) for fault in found)}'"


def _make(change: Any) -> Any:
    def changed(data: workflow.Json) -> Any:
        found = faults(data["definition"]) if "definition" in data else []
        return refused("InvalidDefinition", _wording(found)) if found else change(data)

    return changed


def _validate(data: workflow.Json) -> Answer:
    found = faults(data.get("definition"))
    diagnostics = [
        {"severity": "ERROR", "code": fault.code, "message": fault.message, "location": fault.location or "/"}
        for fault in found
    ]
    return answered({"result": "FAIL" if found else "OK", "diagnostics": diagnostics, "truncated": False})


def _make_resource(create: Any) -> Any:
    def created(logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
        arn, attributes = create(logical_id, props, stack_name)
        machines = hooks.get("states.machines")
        found = faults(machines[arn]["definition"])
        if found:
            del machines[arn]
            raise ValueError(_wording(found))
        return arn, attributes

    return created
