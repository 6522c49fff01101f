"""A model server for localcloud's tests, of nothing but the standard library: it does what its variables ask for.

CRASH: ends at start. NEVER_HEALTHY: /ping answers 500. STATUS: of every answer to /invocations. SLEEP: seconds before
it. HOLD: a folder; an invocation leaves `asked` in it, and is answered once there is `go`. START_SLEEP: seconds before
it listens. START_HOLD: a file; it listens once that is there. DIE_AFTER: so many invocations, then it ends. NAME: what
it says it is.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "model"
NAME = os.environ.get("NAME", "model")
answered = 0
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.answer(500 if "NEVER_HEALTHY" in os.environ else 200, b"")

    def do_POST(self) -> None:
        global answered
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with lock:
            answered += 1
            last = answered > int(os.environ.get("DIE_AFTER", sys.maxsize))
        if last:
            os._exit(9)
        time.sleep(float(os.environ.get("SLEEP", "0")))
        if "HOLD" in os.environ:
            folder = Path(os.environ["HOLD"])
            (folder / "asked").touch()
            wait_for(folder / "go")
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("text/csv"):
            rows = body.decode().splitlines()
            text = "".join(f"{sum(float(value) for value in row.split(','))}\n" for row in rows if row)
            self.answer(int(os.environ.get("STATUS", "200")), text.encode(), "text/csv; charset=utf-8")
            return
        found = sorted(path.name for path in MODEL.rglob("*") if path.is_file())
        said = {"name": NAME, "pid": os.getpid(), "files": found, "headers": dict(self.headers), "size": len(body)}
        said["environment"] = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        if "STATUS" in os.environ:
            said = {"error": f"{NAME} will not"}
        self.answer(int(os.environ.get("STATUS", "200")), json.dumps(said).encode(), "application/json")

    def answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", f"served-by={NAME}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)


if sys.argv[1:] != ["serve"]:
    sys.exit(f"serve, not {sys.argv[1:]}")
print(f"{NAME} starts", flush=True)
if "CRASH" in os.environ:
    sys.exit("no such model")
time.sleep(float(os.environ.get("START_SLEEP", "0")))
if "START_HOLD" in os.environ:
    wait_for(Path(os.environ["START_HOLD"]))
ThreadingHTTPServer.request_queue_size = 128
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
server.daemon_threads = True
server.serve_forever()
