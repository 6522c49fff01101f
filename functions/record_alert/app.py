"""Not there yet."""

from typing import Any


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Placeholder."""
    raise NotImplementedError
