"""What the tests of the model server share: a small model without a framework, bodies, and an ASGI client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from turbofan import metadata
from turbofan.features import Features
from turbofan.serving.app import App

from .turbofan_data import Array, histories, onnx_model

LENGTH, MAX_RUL = 10, 125


def model_folder(folder: Path, regimes: int = 1, slope: float = -20.0, offset: float = 40.0) -> Path:
    """/opt/ml/model as SageMaker unpacks it: RUL is offset + slope x the engine's normalised age."""
    features = Features.fit(histories([50, 60, 70], regimes=regimes))
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(onnx_model(len(features.names) - 1, slope, offset))
    described = {"features": features.to_dict(), "max_rul": MAX_RUL, "sequence_length": LENGTH, "fleet": "FD001"}
    metadata.write_json(folder / metadata.FILE, {"schema": metadata.SCHEMA, **described})
    return folder


def as_csv(raw: Array, separator: str = ",") -> bytes:
    """Raw rows as a body."""
    return "\n".join(separator.join(repr(x) for x in row) for row in raw.tolist()).encode()


def as_json(histories: list[Array]) -> bytes:
    """One instance an engine."""
    instances = [{"unit": int(raw[0, 0]), "rows": raw.tolist()} for raw in histories]
    return json.dumps({"instances": instances}).encode()


@dataclass(frozen=True)
class Answer:
    """What a request was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def rul(self) -> list[float]:
        """The RUL of each engine."""
        return [prediction["rul"] for prediction in self.json()["predictions"]]

    @property
    def error(self) -> tuple[str, str, str]:
        """Code, message and where."""
        error = self.json()["error"]
        return error["code"], error["message"], error["where"]


def request(
    app: App,
    body: bytes = b"",
    content_type: str | None = "text/csv",
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    path: str = "/invocations",
    part: int = 1 << 16,
) -> Answer:
    """One request, its body in parts as a server delivers it."""
    return asyncio.run(ask(app, body, content_type, headers, method, path, part))


async def ask(
    app: App,
    body: bytes = b"",
    content_type: str | None = "text/csv",
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    path: str = "/invocations",
    part: int = 1 << 16,
) -> Answer:
    """The same, inside an event loop."""
    given = dict(headers or {}) | ({"content-type": content_type} if content_type is not None else {})
    parts = [body[i : i + part] for i in range(0, len(body), part)] or [b""]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
    }
    await app(scope, receive, send)
    start, *bodies = sent
    answered = b"".join(message.get("body", b"") for message in bodies)
    return Answer(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, answered)


def engines(*lives: int, seed: int = 0, regimes: int = 1) -> list[Array]:
    """Histories of engines 1, 2, ..."""
    raw = histories(list(lives), seed=seed, regimes=regimes)
    return [raw[raw[:, 0] == unit] for unit in np.unique(raw[:, 0])]
