"""InvokeEndpoint's way in, past all that MiniStack does to find out which of its services a request is for.

A signed request to an endpoint is told by its path and the service that its signature names. It is answered as
MiniStack would have it answered: for the account and region of its credentials, and only if they are good. That saves
two fifths of the event loop's work for it; all other requests, and whatever is unusual about one, go the long way.
"""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.serving.runtime_api import Response, Runtime

# Headers that say that the body is not what it seems.
_UNUSUAL = frozenset({b"content-encoding", b"transfer-encoding", b"x-amz-decoded-content-length", b"expect"})


class FrontDoor:
    """An ASGI application before another one."""

    def __init__(self, application: Any, runtime: Runtime, enforced: bool) -> None:
        """``enforced``: whether signatures are checked."""
        self._application = application
        self._runtime = runtime
        self._enforced = enforced

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request to an endpoint; hand on any other."""
        if not takes(scope):
            await self._application(scope, receive, send)
            return
        headers = {name.decode("ascii"): value.decode("ascii") for name, value in scope["headers"]}
        key = hooks.access_key(headers, {})
        try:
            hooks.get("responses.set_account")(hooks.get("app.account_of")(key) if self._enforced else key)
        except ValueError:  # a key that two accounts have
            await self._application(scope, receive, send)
            return
        hooks.get("responses.set_region")(hooks.get("router.region")(headers, {}))
        if self._enforced:
            raw = scope.get("raw_path") or scope["path"].encode()
            hooks.get("iam.pin_request")("POST", raw.decode("latin-1"), {}, scope["headers"])
        body = await _body(receive)
        if body is None:
            return
        hooks.get("iam.pin_body")(body)
        request_id = str(uuid.uuid4())
        answer: Response = hooks.get("app.refuse_credentials")("sagemaker", headers, {}, request_id)
        if not answer:
            ask = functools.partial(self._runtime.handle, hooks.current_scope(), "POST", scope["path"])
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._runtime.pool, ask, headers, body, key)
        status, given, content = answer
        given = {**given, "Content-Length": str(len(content)), "x-amzn-RequestId": request_id}
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()],
            }
        )
        await send({"type": "http.response.body", "body": content})


def takes(scope: Mapping[str, Any]) -> bool:
    """Whether a request is a plain signed one to an endpoint."""
    if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith("/endpoints/"):
        return False
    headers = dict(scope["headers"])
    return (
        not scope.get("query_string")
        and b"/sagemaker/aws4_request" in headers.get(b"authorization", b"")
        and len(headers) == len(scope["headers"])
        and not _UNUSUAL & headers.keys()
        and all(value.isascii() for value in headers.values())
    )


async def _body(receive: Any) -> bytes | None:
    """The whole of it; None when the client has gone."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
