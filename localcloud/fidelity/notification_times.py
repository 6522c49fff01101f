"""A notification says to the millisecond when its message was published, the same to every subscriber.

docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html; MiniStack cuts the time to whole seconds and takes
it anew for each subscriber, so that what is kept by this time has no order within a second.
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from localcloud import hooks

_published: ContextVar[str] = ContextVar("published")


def install() -> None:
    """Take the time where a message is fanned out, and write it into each envelope."""

    def make_fan_out(fan_out: Any) -> Any:
        def fanned_out(*arguments: Any, **named: Any) -> Any:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            token = _published.set(now.replace("+00:00", "Z"))
            try:
                return fan_out(*arguments, **named)
            finally:
                _published.reset(token)

        return fanned_out

    def make_envelope(envelope: Any) -> Any:
        def made(topic: str, msg_id: str, message: str, subject: str, attributes: Any, raw: bool) -> str:
            text: str = envelope(topic, msg_id, message, subject, attributes, raw)
            return text if raw else json.dumps({**json.loads(text), "Timestamp": _published.get()})

        return made

    hooks.replace("sns.fan_out", make_fan_out)
    hooks.replace("sns.envelope", make_envelope)
