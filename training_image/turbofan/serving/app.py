"""The ASGI application: GET /ping and POST /invocations, as SageMaker asks a container for them.

Source: "Use Your Own Inference Code with Hosting Services" in SageMaker's developer guide.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from turbofan.features import Floats, Floats32, Ints
from turbofan.serving import media
from turbofan.serving.bodies import CSV, JSON, Engines, RequestError, read

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

T = TypeVar("T")

MIB = 1 << 20
# What is larger goes to another thread, so that it does not hold up /ping and other requests. What is smaller takes
# about a millisecond, and handing it over, to be gathered into batches or not, costs about half of that again.
BYTES_IN_PLACE, ENGINES_IN_PLACE = 64 << 10, 8
DECIMALS = 4  # of a RUL in cycles: float32 has not many more at 100
# The only response header of its own that InvokeEndpoint hands on to the caller.
ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
INFERENCE_ID = b"x-amzn-sagemaker-inference-id"


class _ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Model(Protocol):
    """What is served: an Artifact, or in a benchmark something else. Asked by several threads at once."""

    def prepare(self, raw: Floats, offsets: Ints) -> tuple[Floats32, Ints]:
        """Model inputs (n, k) of raw rows (n, 26), and each engine's number of rows in an unseen regime."""

    def infer(self, inputs: Floats32, offsets: Ints) -> Floats:
        """RUL in cycles of each engine, (n_engines,)."""


class App:
    """Answers requests with a model that is loaded: to be asked at all is to be healthy."""

    def __init__(self, model: Model, most_bytes: int, threads: int) -> None:
        """`most_bytes`: the largest body that is read; `threads`: how many large requests are worked on at once."""
        self._model = model
        self._most_bytes = most_bytes
        self._threads = ThreadPoolExecutor(threads, "large")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request (ASGI)."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        status, kind = 200, JSON
        more: list[tuple[bytes, bytes]] = []
        try:
            if scope["path"] == "/ping":
                _check_method(scope["method"], "GET", "HEAD")
                answer = b"{}"
            elif scope["path"] == "/invocations":
                _check_method(scope["method"], "POST")
                answer, kind, more = await self._invoke(headers, receive)
            else:
                raise RequestError(404, "not_found", "there are only /ping and /invocations", "the path")
        except _ClientGone:
            return
        except RequestError as error:
            status, kind = error.status, JSON
            answer = _error(error.code, error.message, error.where)
            _log(f"{error}", headers)
        except Exception as error:  # noqa: BLE001  the last frame of a request: it is answered, whatever it is
            status, kind = 500, JSON
            answer = _error("internal", f"unexpected {type(error).__name__}: see the server's log", "the server")
            _log(f"500 internal:\n{traceback.format_exc()}", headers)
        lines = [(b"content-type", kind.encode()), (b"content-length", str(len(answer)).encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": answer if scope["method"] != "HEAD" else b""})

    async def _invoke(
        self, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[bytes, str, list[tuple[bytes, bytes]]]:
        """The answer, its media type and more headers."""
        given = media.of_body(_text(headers, b"content-type"), _text(headers, b"content-encoding"))
        wanted = media.of_answer(_text(headers, b"accept"))
        body = await self._body(headers, receive)
        engines, inputs, unseen = await self._do(partial(self._read, given, body), len(body) <= BYTES_IN_PLACE)
        infer = partial(self._model.infer, inputs, engines.offsets)
        rul = await self._do(infer, len(engines.offsets) - 1 <= ENGINES_IN_PLACE)
        if not np.isfinite(rul).all():
            unit = engines.units[int(np.argmin(np.isfinite(rul)))]
            raise RequestError(500, "model", "the model gave no finite RUL: deploy another version", f"engine {unit}")
        answer = (_as_csv if wanted == CSV else _as_json)(engines, rul, unseen)
        total = int(unseen.sum())
        return answer, wanted, [(ATTRIBUTES, b"unseen_regime_rows=%d" % total)] if total else []

    async def _do(self, action: Callable[[], T], in_place: bool) -> T:
        return action() if in_place else await asyncio.get_running_loop().run_in_executor(self._threads, action)

    def _read(self, kind: str, body: bytes) -> tuple[Engines, Floats32, Ints]:
        engines = read(kind, body)
        return engines, *self._model.prepare(engines.raw, engines.offsets)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body; what is over the limit is refused unread. Raises RequestError, status 413."""
        given = headers.get(b"content-length", b"")
        size = int(given) if given.isdigit() else 0
        parts: list[bytes] = []
        received, more = 0, True
        while more and max(size, received) <= self._most_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            parts.append(message.get("body", b""))
            received += len(parts[-1])
            more = message.get("more_body", False)
        if max(size, received) > self._most_bytes:
            limit = f"{self._most_bytes / MIB:g} MiB"
            raise RequestError(413, "too_large", f"the body is larger than {limit}: send fewer engines", "the body")
        return b"".join(parts)


def _check_method(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise RequestError(405, "method_not_allowed", f"only {' and '.join(allowed)}", "the method")


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _as_json(engines: Engines, rul: Floats, unseen: Ints) -> bytes:
    predictions: list[dict[str, float]] = []
    for unit, cycle, cycles, rows in zip(engines.units, engines.cycles, rul.tolist(), unseen.tolist(), strict=True):
        prediction = {"unit": unit, "cycle": cycle, "rul": round(cycles, DECIMALS)}
        if rows:
            prediction["unseen_regime_rows"] = rows
        predictions.append(prediction)
    return msgspec.json.encode({"predictions": predictions})


def _as_csv(engines: Engines, rul: Floats, unseen: Ints) -> bytes:
    answers = zip(engines.units, engines.cycles, rul.tolist(), strict=True)
    return "".join(f"{unit},{cycle},{round(cycles, DECIMALS)}\n" for unit, cycle, cycles in answers).encode()


def _error(code: str, message: str, where: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message, "where": where}})


def _log(what: str, headers: dict[bytes, bytes]) -> None:
    """One line a failed request: never its body, which is the customer's."""
    names = (b"content-type", b"content-length", INFERENCE_ID)
    about = ", ".join(f"{name.decode()} {_text(headers, name)[:80]!a}" for name in names if name in headers)
    print(f"{what} ({about})", file=sys.stderr, flush=True)
