"""The model server as a process: how it starts, what is in it, and how it stops."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import urllib3
from turbofan import metadata
from turbofan.artifact import Artifact
from turbofan.errors import InputError

from .turbofan_data import onnx_model
from .turbofan_serving import as_csv, engines, model_folder

BODY = as_csv(np.vstack(engines(12, 30)))
SECONDS = 60.0  # of a busy machine
CSV = {"Content-Type": "text/csv"}


class Server:
    """`python -m turbofan serve` on a port of its own."""

    def __init__(self, base: Path, **environment: str) -> None:
        # Nobody else gets the port meanwhile: it stays bound. The server may bind it as well, because nobody listens.
        self.reserved = socket.socket()
        self.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reserved.bind(("127.0.0.1", 0))
        self.port: int = self.reserved.getsockname()[1]
        self.log = base / "log"
        given = {
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "SERVE_HOST": "127.0.0.1",
            **environment,
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "turbofan", "serve"], env=os.environ | given, stdout=log, stderr=log
            )
        self.pool = urllib3.HTTPConnectionPool("127.0.0.1", self.port, maxsize=8, retries=False)

    def wait(self) -> Server:
        """Wait for the first 200 of /ping."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.pool.request("GET", "/ping").status == 200:
                    return self
            except urllib3.exceptions.HTTPError:
                time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def invoke(self, body: bytes = BODY) -> urllib3.BaseHTTPResponse:
        return self.pool.request("POST", "/invocations", body=body, headers=CSV, timeout=SECONDS)


Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    servers = []

    def begin(**environment: str) -> Server:
        servers.append(Server(tmp_path, **environment))
        return servers[-1]

    yield begin
    for server in servers:
        server.process.kill()
        server.process.wait()
        server.reserved.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def test_it_answers_on_its_port_over_connections_that_stay_open(start: Start, model: Path) -> None:
    server = start().wait()
    answer = server.invoke()
    raw = np.vstack(engines(12, 30))
    expected, _ = Artifact.open(model).predict(raw, np.array([0, 12, 42]))
    assert answer.status == 200
    assert [p["rul"] for p in answer.json()["predictions"]] == pytest.approx(expected.tolist(), abs=1e-3)
    connections = server.pool.num_connections
    for _ in range(3):
        assert server.invoke().status == 200
    assert server.pool.num_connections == connections
    assert server.log.read_text() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_is_ready_soon_after_the_imports_that_it_needs(start: Start, model: Path) -> None:
    # Time of the processor, against that of the same machine: the clock of a busy one says nothing of the server, and
    # `make bench` measures that. TensorFlow alone would be twenty times as much.
    server = start().wait()
    user, system = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    code = "import time, numpy, onnxruntime, uvicorn.protocols.http.httptools_impl; print(time.process_time())"
    imports = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") < 4 * float(imports.stdout)


def test_a_failed_request_is_a_line_in_the_log(start: Start, model: Path) -> None:
    server = start().wait()
    answer = server.invoke(b"1,2,3")
    assert (answer.status, answer.json()["error"]["where"]) == (400, "line 1")
    assert re.fullmatch(r"400 columns: there are 3 columns instead of 26 \[line 1\] \(.*\)\n", server.log.read_text())


def test_a_body_over_the_limit_of_the_environment_is_refused_and_the_server_goes_on(start: Start, model: Path) -> None:
    server = start(SAGEMAKER_MAX_PAYLOAD_IN_MB="1").wait()
    answer = server.invoke(b"1" * (20 << 20))
    assert answer.status == 413
    assert "larger than 1 MiB" in answer.json()["error"]["message"]
    chunks = iter([b"1" * (1 << 20)] * 3)
    chunked = server.pool.request("POST", "/invocations", body=chunks, headers=CSV, chunked=True, timeout=SECONDS)
    assert chunked.status == 413
    assert server.invoke().status == 200


def test_what_is_no_http_is_refused_and_the_server_goes_on(start: Start, model: Path) -> None:
    server = start().wait()
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert b" 400 " in connection.recv(4096)
    assert server.invoke().status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_with_exit_code_0(start: Start, model: Path, number: signal.Signals) -> None:
    server = start().wait()
    server.process.send_signal(number)
    assert server.process.wait(SECONDS) == 0
    assert server.log.read_text() == ""


@pytest.mark.parametrize("count", [2, 500])
def test_told_to_stop_it_answers_what_it_has_begun(start: Start, model: Path, count: int) -> None:
    server = start().wait()
    body = as_csv(np.vstack(engines(*[12] * count)))
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
        connection.sendall(head.encode() + body[:-500])
        for _ in range(5):  # what came before has been accepted then, and read: each takes another turn of the loop
            assert server.pool.request("GET", "/ping").status == 200
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(body[-500:])
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b'"rul"') == count
    assert server.process.wait(SECONDS) == 0


# --- a model that cannot be served ---


def says(server: Server, *texts: str) -> None:
    """The server ended with exit code 1 and one line."""
    assert server.process.wait(SECONDS) == 1
    said = server.log.read_text()
    assert said.count("\n") == 1, said
    for text in texts:
        assert text in said


def test_no_model_ends_the_process_and_says_so(start: Start, tmp_path: Path) -> None:
    says(start(), "ERROR: the model is missing", str(tmp_path / "model"))


def test_an_incomplete_model_ends_the_process_and_says_so(start: Start, model: Path) -> None:
    (model / "model.onnx").unlink()
    says(start(), "the model is incomplete (no model.onnx)")


def test_a_model_that_is_no_onnx_ends_the_process_and_says_so(start: Start, model: Path) -> None:
    (model / "model.onnx").write_bytes(b"junk")
    says(start(), "model.onnx is no model that ONNX Runtime takes", "Give the model.tar.gz of a training job")


def test_a_model_that_gives_no_number_ends_the_process_and_says_so(start: Start, tmp_path: Path) -> None:
    model_folder(tmp_path / "model", offset=float("nan"))
    says(start(), "the model answers [nan] to an average engine")


def test_a_model_that_does_not_fit_its_features_ends_the_process_and_says_so(start: Start, model: Path) -> None:
    (model / "model.onnx").write_bytes(onnx_model(column=99, slope=1.0, offset=0.0))
    said = start()
    assert said.process.wait(SECONDS) == 1
    assert "the model does not run on its own features" in said.log.read_text()


@pytest.mark.parametrize("content", ["{}", '{"schema": 1}', '{"schema": 1, "features": []}', "[]", "x"])
def test_broken_metadata_is_told(model: Path, content: str) -> None:
    (model / metadata.FILE).write_text(content)
    with pytest.raises(InputError, match=r"schema|features|not JSON"):
        Artifact.open(model)


def test_a_wrong_setting_ends_the_process_and_says_so(start: Start, model: Path) -> None:
    says(start(SAGEMAKER_MAX_PAYLOAD_IN_MB="lots"), "'lots' is not a number [environment SAGEMAKER_MAX_PAYLOAD_IN_MB]")


def test_a_port_that_is_taken_ends_the_process_and_says_so(start: Start, model: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = start(SAGEMAKER_BIND_TO_PORT=str(other.getsockname()[1]))
        assert server.process.wait(SECONDS) > 0
    assert "address already in use" in server.log.read_text()


# --- what is in the process ---


def test_neither_tensorflow_nor_anything_of_training_is_in_the_process(model: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from turbofan import serve
from turbofan.artifact import Artifact
Artifact.open(Path({str(model)!r})).check()
import uvicorn.protocols.http.httptools_impl
heavy = {{"tensorflow", "keras", "matplotlib", "onnx", "tf2onnx", "pandas", "scipy", "h11"}}
print(sorted(heavy & {{name.split(".")[0] for name in sys.modules}}), "turbofan.train" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_started_as_root_it_becomes_the_user_it_is_told(start: Start, model: Path) -> None:
    server = start(SERVE_UID="65534").wait()
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    assert re.search(r"^Uid:\t65534\t65534\t65534\t65534$", status, re.MULTILINE)
    assert re.search(r"^Gid:\t65534\t65534\t65534\t65534$", status, re.MULTILINE)
    assert re.search(r"^Groups:\t *$", status, re.MULTILINE)
    assert server.invoke().status == 200
    server.process.terminate()
    assert server.process.wait(SECONDS) == 0
