"""A policy can condition PutMetricData on the namespace that metrics are put into: cloudwatch:namespace.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/iam-cw-condition-keys-namespace.html; MiniStack has no such key,
so that a statement with it allows nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import cbor2

from localcloud import hooks


def install() -> None:
    """Add the key to those that MiniStack gives."""

    def make(tag_context: Any) -> Any:
        def request_context(service: str, iam_action: str, body: bytes, params: Mapping[str, Any]) -> dict[str, Any]:
            context: dict[str, Any] = tag_context(service, iam_action, body, params)
            if iam_action == "cloudwatch:PutMetricData" and (namespace := _namespace(body, params)):
                context["cloudwatch:namespace"] = namespace
            return context

        return request_context

    hooks.replace("iam.tag_context", make)


def _namespace(body: bytes, params: Mapping[str, Any]) -> str | None:
    """The namespace of a request, in whichever of CloudWatch's three protocols it came."""
    try:
        if body[:1] == b"{":
            given = json.loads(body)
        elif body and body[0] >= 0xA0:  # CBOR's maps
            given = cbor2.loads(body)
        else:
            asked = parse_qs(body.decode()) or params
            given = {name: value[0] if isinstance(value, list) else value for name, value in asked.items()}
    except (ValueError, cbor2.CBORDecodeError):
        return None  # who reads it next says what is wrong with it
    found = given.get("Namespace") if isinstance(given, Mapping) else None
    return found if isinstance(found, str) else None
