"""The event that a topic invokes a function with has Lambda's names and always MessageAttributes and Subject.

docs.aws.amazon.com/lambda/latest/dg/with-sns.html; SigningCertUrl and UnsubscribeUrl end otherwise than in the JSON
that queues get (as Powertools' models and AWS's own test event have them); MiniStack gives functions what it gives
queues.
"""

from __future__ import annotations

import json
from typing import Any

from localcloud import hooks

_RENAMED = {"SigningCertURL": "SigningCertUrl", "UnsubscribeURL": "UnsubscribeUrl"}


def install() -> None:
    """Change the notification on its way to the function."""

    def make(deliver: Any) -> Any:
        def delivered(endpoint: str, envelope: str, *arguments: Any) -> Any:
            given = json.loads(envelope)
            content = {_RENAMED.get(name, name): value for name, value in given.items()}
            content.setdefault("Subject", None)
            content.setdefault("MessageAttributes", {})
            return deliver(endpoint, json.dumps(content), *arguments)

        return delivered

    hooks.replace("sns.to_function", make)
