"""EventBridge and Scheduler invoke a function asynchronously: two retries, then its on-failure destination.

MiniStack invokes it once and drops the error. AWS: "Lambda … asynchronous invocation … retries"
(docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html); the pause before the retries is 1 and 2
seconds here instead of minutes.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from localcloud import hooks

logger = logging.getLogger("localcloud.fidelity")


def install() -> None:
    """Send events to functions by way of Lambda's asynchronous invocation."""

    def make(_original: Any) -> Any:
        def dispatch(arn: str, payload: str) -> None:
            function, config, name = hooks.get("lambda.find")(arn)
            if not function or not config:
                logger.warning("event for function %s, which does not exist, is dropped", name)
                return
            try:
                event = json.loads(payload)
            except ValueError:
                event = payload  # a template that is no JSON is passed as text
            hooks.get("lambda.invoke_async")(hooks.get("lambda.record")(function, config), event)

        return dispatch

    hooks.replace("events.to_lambda", make)
