"""The stand-in's model server: answers as `turbofan serve` does, and misbehaves as the model's behaviour.json says.

An engine's RUL is 125 minus its last cycle, within 0 … 125, plus "offset". behaviour.json, inside model.tar.gz:
{"mode": "ok" | "500" | "flaky" (500 for all but probes) | "crash" | "never_healthy" | "slow" ("seconds", else 0.3) |
"nan" | "constant" | "shape" (one answer a row), "offset": 0}.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

CEILING = 125.0
CONSTANT = 63.0
PROBE = "onwing-probe-"


def predict(unit: int, cycle: int, behaviour: dict[str, Any]) -> float:
    """What the model answers for an engine at a cycle; also what tests expect of it."""
    mode = behaviour.get("mode", "ok")
    if mode == "nan":
        return float("nan")
    if mode == "constant":
        return CONSTANT
    return min(max(CEILING - cycle, 0.0), CEILING) + float(behaviour.get("offset", 0))


def engines_of(body: bytes, kind: str) -> list[list[tuple[int, int]]]:
    """Each engine's rows as (unit, cycle), in order of appearance."""
    if kind.startswith("application/json"):
        found = []
        for number, instance in enumerate(json.loads(body)["instances"], 1):
            rows = instance["rows"] if isinstance(instance, dict) else instance
            unit = instance.get("unit", number) if isinstance(instance, dict) else int(rows[0][0])
            found.append([(unit, int(row[1])) for row in rows])
        return found
    engines: dict[int, list[tuple[int, int]]] = {}
    for line in body.decode().splitlines():
        if values := line.replace(",", " ").split():
            assert len(values) == 26, f"{len(values)} columns"
            unit, cycle = int(float(values[0])), int(float(values[1]))
            engines.setdefault(unit, []).append((unit, cycle))
    return list(engines.values())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    behaviour: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        self.answer(500 if self.behaviour.get("mode") == "never_healthy" else 200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        mode = self.behaviour.get("mode", "ok")
        if mode == "slow":
            time.sleep(float(self.behaviour.get("seconds", 0.3)))
        is_probe = self.headers.get("X-Amzn-SageMaker-Inference-Id", "").startswith(PROBE)
        if mode == "500" or (mode == "flaky" and not is_probe):
            self.refuse(500, "the stub was told to answer 500")
            return
        try:
            engines = engines_of(body, self.headers.get("Content-Type", ""))
            assert engines, "no rows"
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            self.refuse(400, f"{type(error).__name__}: {error}")
            return
        last = [row for rows in engines for row in (rows if mode == "shape" else rows[-1:])]
        answers = [{"unit": unit, "cycle": cycle, "rul": predict(unit, cycle, self.behaviour)} for unit, cycle in last]
        if "text/csv" in self.headers.get("Accept", ""):
            text = "".join(f"{a['unit']},{a['cycle']},{a['rul']}\n" for a in answers)
            self.answer(200, text.encode(), "text/csv")
        else:
            self.answer(200, json.dumps({"predictions": answers}).encode(), "application/json")

    def refuse(self, status: int, message: str) -> None:
        error = {"error": {"code": "Stub", "message": message, "where": "body"}}
        self.answer(status, json.dumps(error).encode(), "application/json")

    def answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Many may connect at once: one that finds no room in the queue is tried again only after a second."""

    daemon_threads = True
    request_queue_size = 128


def serve() -> None:
    """Serve the model in /opt/ml/model until the process is ended."""
    path = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "model/behaviour.json"
    Handler.behaviour = json.loads(path.read_text()) if path.exists() else {}
    if Handler.behaviour.get("mode") == "crash":
        sys.exit("the stub was told to end at start")
    Server(("", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))), Handler).serve_forever()
