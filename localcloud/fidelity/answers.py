"""Answers in Step Functions' wire format (AWS JSON 1.0), for operations that are written anew here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Answer = tuple[int, dict[str, str], bytes]

_TYPE = "application/x-amz-json-1.0"


def answered(body: Mapping[str, Any]) -> Answer:
    """A success; times may be as MiniStack's records have them."""
    return 200, {"Content-Type": _TYPE}, json.dumps(body).encode()


def refused(code: str, message: str) -> Answer:
    """A refusal of the request."""
    body = {"__type": code, "message": message}
    return 400, {"Content-Type": _TYPE, "x-amzn-ErrorType": code}, json.dumps(body).encode()
