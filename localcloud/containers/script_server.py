"""The model server of AWS's framework images: model_fn, input_fn, predict_fn and output_fn of a person's own script.

Serves /ping and /invocations on SAGEMAKER_BIND_TO_PORT (8080). What the script does not define is done as the inference
toolkit does it: JSON, CSV and NPY in and out, and the model's own predict. Contract:
github.com/aws/sagemaker-inference-toolkit and sagemaker.readthedocs.io/en/v2/using_sklearn.html.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from localcloud.containers.script_mode import fetch_code, python_path

DEFAULT_PROGRAM = "inference.py"
JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"


class Unsupported(Exception):
    """A content type that neither the script nor the defaults know: 415 or 406."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Model:
    """A loaded model with the functions of its script."""

    def __init__(self, root: Path) -> None:
        """Raises whatever the script's model_fn raises."""
        directory = root / "model"
        source = os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY")
        # The SDK repacks the model with its script in code/.
        code = directory / "code"
        if source and not source.startswith("/opt/ml/model"):
            code = fetch_code(source, root / "code")
        sys.path[:0] = [folder for folder in python_path(code).split(os.pathsep) if folder]
        program = os.environ.get("SAGEMAKER_PROGRAM") or DEFAULT_PROGRAM
        self._module = importlib.import_module(program.removesuffix(".py").replace("/", "."))
        load = getattr(self._module, "model_fn", None)
        if load is None:
            raise NotImplementedError(f"{program} must define model_fn(model_dir)")
        self._model = _call(load, str(directory))

    def answer(self, body: bytes, content_type: str, accept: str) -> tuple[bytes, str]:
        """The answer to one invocation and its content type."""
        data: Any = body.decode("utf-8") if content_type in (JSON, CSV, "text/plain") else body
        transform = getattr(self._module, "transform_fn", None)
        if transform is not None:
            result = _call(transform, self._model, data, content_type, accept)
        else:
            value = _call(getattr(self._module, "input_fn", _input), data, content_type)
            prediction = _call(getattr(self._module, "predict_fn", _predict), value, self._model)
            result = _call(getattr(self._module, "output_fn", _output), prediction, accept)
        answer, kind = result if isinstance(result, tuple) else (result, accept)
        return (answer.encode("utf-8") if isinstance(answer, str) else bytes(answer)), kind


def serve(root: Path) -> int:
    """Load the model and serve it until the process is ended; 1 when it cannot be loaded."""
    try:
        model = Model(root)
    except Exception:  # noqa: BLE001 - the script may raise anything; the log says what, and the endpoint fails
        traceback.print_exc()
        return 1

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200 if self.path == "/ping" else 404, b"", "text/plain")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path != "/invocations":
                self._answer(404, b"", "text/plain")
                return
            content_type = (self.headers.get("Content-Type") or JSON).partition(";")[0].strip()
            accept = (self.headers.get("Accept") or "").partition(",")[0].partition(";")[0].strip()
            if accept in ("", "*/*"):
                accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)
            try:
                answer, kind = model.answer(body, content_type, accept)
            except Unsupported as error:
                self._answer(error.status, str(error).encode(), "text/plain")
            except Exception as error:  # noqa: BLE001 - the script's error is the client's answer, as on AWS
                traceback.print_exc()
                self._answer(500, f"{error}\n{traceback.format_exc()}".encode(), "text/plain")
            else:
                self._answer(200, answer, kind)

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            if not self.path.startswith("/ping"):
                print(f"{self.command} {self.path} {format % arguments}", flush=True)

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # connections that wait; one that finds no room is tried again only after a second

    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    Server(("127.0.0.1", port), Handler).serve_forever()
    return 0


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call one of the script's functions; each may take the context as a last parameter, and gets None for it."""
    if len(inspect.signature(function).parameters) == len(arguments) + 1:
        return function(*arguments, None)
    return function(*arguments)


def _input(data: Any, content_type: str) -> Any:
    import numpy

    if content_type == JSON:
        return numpy.array(json.loads(data))
    if content_type == CSV:
        return numpy.genfromtxt(io.StringIO(data), delimiter=",", ndmin=2)
    if content_type == NPY:
        return numpy.load(io.BytesIO(data), allow_pickle=False)
    raise Unsupported(415, f"Content type {content_type} is not supported: define input_fn in your script")


def _predict(data: Any, model: Any) -> Any:
    return model.predict(data)


def _output(prediction: Any, accept: str) -> tuple[Any, str]:
    import numpy

    values = numpy.asarray(prediction)
    if accept == JSON:
        return json.dumps(values.tolist()), JSON
    if accept == CSV:
        rows = values.reshape(-1, 1) if values.ndim < 2 else values
        return "".join(",".join(str(item) for item in row) + "\n" for row in rows.tolist()), CSV
    if accept == NPY:
        packed = io.BytesIO()
        numpy.save(packed, values, allow_pickle=False)
        return packed.getvalue(), NPY
    raise Unsupported(406, f"Accept {accept} is not supported: define output_fn in your script")
