"""A path that leads nowhere fails the state with States.Runtime, where a template or a state's field uses it.

docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html (States.Runtime: "attempting to apply
InputPath or OutputPath on a null JSON payload") and amazon-states-language-paths.html; MiniStack makes it null. An
index beyond an array's end is null on AWS as well, and a wildcard gives what it finds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.states import workflow


def install() -> None:
    """Look for the fields that a path names before it is resolved."""
    hooks.replace("states.item_parameters", _make_template)
    for hook, field in (("states.input_path", "InputPath"), ("states.output_path", "OutputPath")):
        hooks.replace(hook, _make_field(field))


def leads_somewhere(path: str, data: Any) -> bool:
    """Whether each field that a path names is there."""
    tokens = hooks.get("states.path_tokens")(path)
    for kind, name in tokens or ():
        if kind == "field":
            if not isinstance(data, Mapping) or name not in data:
                return False
            data = data[name]
        elif kind == "index" and isinstance(data, list):
            if name >= len(data):
                return True
            data = data[name]
        else:
            return bool(kind != "index")
    return True


def _check(path: str, data: Any, ctx: Any, field: str) -> None:
    source, found = (ctx or {}, path[1:]) if path.startswith("$$") else (data, path)
    if path.startswith("$") and not leads_somewhere(found, source):
        given = json.dumps(source, separators=(",", ":"), default=str)
        raise workflow.error(
            "States.Runtime",
            f"The JSONPath '{path}' specified for the field '{field}' could not be found in the input '{given}'",
        )


def _make_template(resolve: Any) -> Any:
    def resolved(template: Any, data: Any, ctx: Any = None) -> Any:
        if isinstance(template, Mapping):
            for field, path in template.items():
                if field.endswith(".$") and isinstance(path, str):
                    _check(path, data, ctx, field)
        return resolve(template, data, ctx)

    return resolved


def _make_field(field: str) -> Any:
    def make(apply: Any) -> Any:
        def applied(state_def: workflow.Json, data: Any, ctx: Any = None) -> Any:
            path = state_def.get(field)
            if isinstance(path, str) and hooks.get("states.language")(state_def, ctx) != "JSONata":
                _check(path, data, ctx, field)
            return apply(state_def, data, ctx)

        return applied

    return make
