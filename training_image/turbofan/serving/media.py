"""Media types: what a request is written in, and what its answer is to be written in (RFC 9110, 8.3 and 12.5.1)."""

from __future__ import annotations

from turbofan.serving.bodies import CSV, JSON, RequestError

KINDS = (JSON, CSV)  # the first is the answer's when the request leaves the choice
CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")


def of_body(content_type: str, content_encoding: str) -> str:
    """CSV or JSON. Raises RequestError, status 415."""
    kind, parameters = _split(content_type)
    known = f"send {' or '.join(KINDS)}"
    if not kind:
        raise RequestError(415, "unsupported_media_type", f"there is no content type: {known}", "header Content-Type")
    if kind not in KINDS:
        message = f"{content_type[:80]!r} is not known: {known}"
        raise RequestError(415, "unsupported_media_type", message, "header Content-Type")
    if parameters.get("charset", "utf-8").lower() not in CHARSETS:
        message = f"charset {parameters['charset'][:80]!r} is not known: send UTF-8"
        raise RequestError(415, "unsupported_media_type", message, "header Content-Type")
    if content_encoding.strip().lower() not in ("", "identity"):
        message = f"{content_encoding[:80]!r} is not known: send the body uncompressed"
        raise RequestError(415, "unsupported_media_type", message, "header Content-Encoding")
    return kind


def of_answer(accept: str) -> str:
    """The kind that `accept` likes best. Raises RequestError, status 406."""
    ranges = [_split(part) for part in accept.split(",") if part.strip()] or [("*/*", {})]
    quality = {kind: _quality(kind, ranges) for kind in KINDS}
    best = max(KINDS, key=lambda kind: quality[kind])
    if quality[best] <= 0:
        message = f"{accept[:80]!r} leaves nothing: accept {' or '.join(KINDS)}"
        raise RequestError(406, "not_acceptable", message, "header Accept")
    return best


def _quality(kind: str, ranges: list[tuple[str, dict[str, str]]]) -> float:
    """How much `kind` is wanted, from 0 to 1: the most specific range decides."""
    for pattern in (kind, kind.split("/")[0] + "/*", "*/*"):
        for name, parameters in ranges:
            if name == pattern:
                return _weight(parameters.get("q", "1"))
    return 0.0


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def _split(value: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case, and its parameters."""
    kind, *parameters = value.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return kind.strip().lower(), {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
