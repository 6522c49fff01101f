"""The JSON paths that EventBridge takes in InputPath and InputPathsMap.

docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html: dots, dashes, underscores, letters and
digits, indices and wildcards: ``$.detail.items[0].name``, ``$.detail['a b']``, ``$.resources[*]``.
"""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(
    r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]|\[(?P<all>\*)\]|\['(?P<quoted>[^']+)'\]|\[\"(?P<double>[^\"]+)\"\]"
)

MISSING = object()


def find(path: str, event: Any) -> Any:
    """What stands at the path; MISSING when nothing does, or the path cannot be read."""
    if not path.startswith("$"):
        return MISSING
    return _walk(path[1:], event)


def _walk(rest: str, value: Any) -> Any:
    if not rest:
        return value
    step = _STEP.match(rest)
    if step is None:
        return MISSING
    rest = rest[step.end() :]
    if step["all"]:
        if not isinstance(value, list):
            return MISSING
        return [found for item in value if (found := _walk(rest, item)) is not MISSING]
    if step["index"]:
        index = int(step["index"])
        return _walk(rest, value[index]) if isinstance(value, list) and index < len(value) else MISSING
    name = step["name"] or step["quoted"] or step["double"]
    return _walk(rest, value[name]) if isinstance(value, dict) and name in value else MISSING
