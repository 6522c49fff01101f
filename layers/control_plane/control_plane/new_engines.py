"""How many training engines a data set has that another one has not: what a model would learn from it that is new.

An engine is the same if its whole history is: its number in the file says nothing, and one that has flown on since has
a history that nobody was trained on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from botocore.exceptions import ClientError
from cmapss.stream import Content, StreamProblem

from control_plane import clients
from control_plane.manifest import VERSIONS_PREFIX, Manifest
from control_plane.settings import Settings

GONE = ("NoSuchKey", "404")


def count(settings: Settings, newest: str, known: str) -> int | None:
    """How many training engines of data set version `newest` are not in version `known`.

    If `known` is not there any more, all of them. Files larger than `max_validated_bytes` uncompressed are not read:
    then the answer is None.
    """
    new, old = _histories(settings, newest), _histories(settings, known)
    return None if new is None or old is None else (new - old).total()


def _histories(settings: Settings, version: str) -> Counter[bytes] | None:
    """Digests of the training engines' histories; empty if there is no such version, None if it is too large."""
    manifest = _open(settings.bucket_name, f"{VERSIONS_PREFIX}{version}.json")
    if manifest is None:
        return Counter()
    body = _open(settings.bucket_name, Manifest.model_validate_json(manifest.read()).pinned["train"])
    if body is None:
        return Counter()
    engines: dict[bytes, Any] = {}
    rest = b""
    try:
        with body:
            for piece in Content(body, settings.max_validated_bytes):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    _add(engines, line)
    except StreamProblem:
        return None
    _add(engines, rest)
    return Counter(engine.digest() for engine in engines.values())


def _add(engines: dict[bytes, Any], line: bytes) -> None:
    if values := line.split():
        unit = values.pop(0)
        engine = engines.get(unit) or engines.setdefault(unit, hashlib.blake2b(digest_size=16))
        engine.update(b" ".join(values) + b"\n")


def _open(bucket: str, key: str) -> Any:
    """An object's body; None if it is not there."""
    try:
        return clients.s3().get_object(Bucket=bucket, Key=key)["Body"]
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return None
        raise
