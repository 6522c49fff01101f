"""A Map's iterations run at most 40 at once, each with its events; the first failure ends the others.

docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html; MiniStack starts a thread for each item at once,
tells nothing of them in the history, and waits for all of them before it fails. A redrive runs only those that have
not succeeded. Distributed maps are left to MiniStack.
"""

from __future__ import annotations

from typing import Any

from localcloud import hooks
from localcloud.states import workflow

# docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html
AT_ONCE = 40


def install() -> None:
    """Run inline maps here."""
    hooks.replace("states.items", lambda _original: _run)


def _run(state_def: workflow.Json, raw_input: Any, execution: workflow.Json, ctx: workflow.Json) -> Any:
    jsonata = hooks.get("states.language")(state_def, ctx) == "JSONata"
    effective = raw_input if jsonata else hooks.get("states.input_path")(state_def, raw_input, ctx)
    processor = state_def.get("ItemProcessor") or state_def.get("Iterator") or {}
    if (processor.get("ProcessorConfig") or {}).get("Mode") == "DISTRIBUTED":
        return hooks.get("states.distributed")(state_def, raw_input, effective, processor, execution, ctx)
    items = _items(state_def, raw_input, effective, jsonata, ctx)
    at_once = _at_once(state_def, raw_input, effective, jsonata, ctx)
    walk = workflow.current()
    if walk is None:
        raise workflow.error("States.Runtime", "A Map state runs only in an execution.")
    name, add = ctx["State"]["Name"], hooks.get("states.event")
    start: str = processor.get("StartAt", "")

    def item_context(index: int) -> workflow.Json:
        of_item = {"Index": index, "Value": items[index]}
        return {**ctx, "Map": {"Item": of_item}, "variables": dict(ctx.get("variables", {}))}

    def item_input(index: int) -> Any:
        selector = state_def.get("ItemSelector") or state_def.get("Parameters")
        if not selector:
            return items[index]
        if jsonata:
            return hooks.get("states.template")(selector, raw_input, item_context(index))
        return hooks.get("states.item_parameters")(selector, effective, item_context(index))

    if walk.place["children"] is None:
        add(execution, "MapStateStarted", {"mapStateStartedEventDetails": {"length": len(items)}})
        variables = ctx.get("variables", {})
        walk.place["children"] = [workflow.place_at(start, item_input(index), variables) for index in range(len(items))]

    def iterate(index: int, own: workflow.Walk) -> None:
        told = {"name": name, "index": index}
        if not own.resumed:
            add(execution, "MapIterationStarted", {"mapIterationStartedEventDetails": told})
        try:
            hooks.get("states.machine")(processor["States"], start, own.place["input"], execution, item_context(index))
        except Exception:
            add(execution, "MapIterationFailed", {"mapIterationFailedEventDetails": told})
            raise
        add(execution, "MapIterationSucceeded", {"mapIterationSucceededEventDetails": told})

    def aborted(index: int) -> None:
        workflow.tell_aborted(execution, processor["States"], places[index])
        add(execution, "MapIterationAborted", {"mapIterationAbortedEventDetails": {"name": name, "index": index}})

    places: list[workflow.Json] = walk.place["children"]
    results = workflow.joined("MapState", walk, at_once, iterate, aborted)
    return workflow.left_with(state_def, raw_input, ctx, results)


def _items(state_def: workflow.Json, raw_input: Any, effective: Any, jsonata: bool, ctx: workflow.Json) -> list[Any]:
    if jsonata and "Items" in state_def:
        items: Any = hooks.get("states.field")(state_def, "Items", "array", raw_input, ctx)
    elif jsonata:
        items = raw_input
    else:
        items = hooks.get("states.path")(state_def.get("ItemsPath", "$"), effective, ctx)
    if not isinstance(items, list):
        raise workflow.error(
            "States.QueryEvaluationError" if jsonata else "States.Runtime",
            f"The items of Map state {ctx['State']['Name']!r} must be an array, but are a {type(items).__name__}.",
        )
    return items


def _at_once(state_def: workflow.Json, raw_input: Any, effective: Any, jsonata: bool, ctx: workflow.Json) -> int:
    if "MaxConcurrencyPath" in state_def:
        wanted = hooks.get("states.path")(state_def["MaxConcurrencyPath"], effective, ctx)
    elif jsonata and "MaxConcurrency" in state_def:
        wanted = hooks.get("states.field")(state_def, "MaxConcurrency", "number", raw_input, ctx)
    else:
        wanted = state_def.get("MaxConcurrency", 0)
    return min(int(wanted) or AT_ONCE, AT_ONCE)
