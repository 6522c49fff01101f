"""Clients by which localcloud calls its own services on somebody's behalf.

They go through the front door, by HTTP, except from the event loop: the server cannot answer while its loop waits for
the answer, so there the service is called directly (CloudFormation's handlers run on the loop).
"""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from localcloud import hooks
from localcloud.errors import LocalcloudError
from localcloud.iam.identity import Session
from localcloud.sagemaker.api import botocore_session
from localcloud.store import Scope

# A client takes about half a megabyte; those that were not used for longest are made again when they are needed.
MOST_CLIENTS = 100


class UnknownService(LocalcloudError):
    """AWS has no service of this name."""


class Clients:
    """boto3 clients of one endpoint, made once for each service and principal; they leave retrying to their callers."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._made: dict[tuple[str, Scope, Session | None], Any] = {}
        self._lock = threading.Lock()

    def get(self, service: str, scope: Scope, session: Session | None = None) -> Any:
        """The client of a service that acts for an account.

        Args:
            session: under which it acts; None for the account's root.

        Raises:
            UnknownService: there is no such service.
        """
        key = service, scope, session
        with self._lock:  # making a client is not thread-safe
            client = self._made.pop(key, None) or self._make(service, scope, session)
            self._made[key] = client
            if len(self._made) > MOST_CLIENTS:
                del self._made[next(iter(self._made))]
            return client

    def _make(self, service: str, scope: Scope, session: Session | None) -> Any:
        if service not in botocore_session().get_available_services():
            raise UnknownService(f"AWS has no service {service!r} (or localcloud does not know its name).")
        factory: Any = _boto3_session().client  # its overloads are for literal names only
        client = factory(
            service,
            region_name=scope.region,
            endpoint_url=self._endpoint,
            aws_access_key_id=session.access_key if session else scope.account,
            aws_secret_access_key=session.secret if session else "localcloud",
            aws_session_token=session.token or None if session else None,
            config=Config(
                retries={"total_max_attempts": 1},
                max_pool_connections=50,
                read_timeout=900,
                s3={"addressing_style": "path"},
            ),
        )
        client.meta.events.register("before-send", functools.partial(_answer_on_the_loop, service))
        return client


def _answer_on_the_loop(service: str, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
    """The response, when this thread runs the event loop; None, which means HTTP, in any other."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
    sent: Any = request.body or b""
    body = sent.encode() if isinstance(sent, str) else bytes(sent)
    status, answered, content = hooks.serve_now(service, request.method, request.url, headers, body)
    response: Any = AWSResponse(request.url, status, HTTPHeaders.from_dict(answered), None)
    response._content = content
    answer: AWSResponse = response
    return answer


@functools.lru_cache(maxsize=1)
def _boto3_session() -> boto3.Session:
    return boto3.Session(botocore_session=botocore_session())
