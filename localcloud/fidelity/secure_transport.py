"""Requests to AWS's endpoints arrive over TLS, so aws:SecureTransport is true.

docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html (aws:SecureTransport). MiniStack sees
plain HTTP, and a bucket's or topic's usual TLS-only statement would deny everybody everything. The embedded cloud
listens on loopback only, which stands for AWS's endpoints; what a service does on its own for somebody counts as well.
"""

from __future__ import annotations

import contextvars
from typing import Any

from localcloud import hooks

LOOPBACK = "127.0.0.1"


def install() -> None:
    """Say so of every request, and of everything that happens outside one."""
    origin: contextvars.ContextVar[tuple[str, bool]] = contextvars.ContextVar(
        "localcloud_request_origin", default=(LOOPBACK, True)
    )

    def make(_pin: Any) -> Any:
        def pin_request_origin(source_ip: str, secure_transport: bool) -> None:
            origin.set((source_ip, True))

        return pin_request_origin

    hooks.replace("iam.origin", lambda _: origin)
    hooks.replace("app.pin_origin", make)
