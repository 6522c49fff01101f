"""S3's events on EventBridge carry the object's version-id when the bucket has versions.

docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html; MiniStack has it in classic notifications only.
"""

from __future__ import annotations

import contextvars
import json
from typing import Any

from localcloud import hooks

_version: contextvars.ContextVar[str | None] = contextvars.ContextVar("localcloud_object_version", default=None)


def install() -> None:
    """Carry the version from S3's side to the event."""

    def remember(fire: Any) -> Any:
        def fire_event(*arguments: Any, **named: Any) -> Any:
            token = _version.set(named.get("version_id"))
            try:
                return fire(*arguments, **named)
            finally:
                _version.reset(token)

        return fire_event

    def add(dispatch: Any) -> Any:
        def dispatch_event(event: dict[str, Any], view: Any = None) -> Any:
            version = _version.get()
            if version and version != "null" and event.get("Source") == "aws.s3" and view is None:
                detail = json.loads(event["Detail"])
                detail["object"]["version-id"] = version
                event = {**event, "Detail": json.dumps(detail)}
            return dispatch(event, view)

        return dispatch_event

    hooks.replace("s3.fire", remember)
    hooks.replace("events.dispatch", add)
