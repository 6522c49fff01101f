"""What the model server costs, beside the same app with Keras's `predict` behind it: prints JSON when run as a script.

The reference LSTM with random weights (cost does not depend on them) on simulated FD001 engines. A single request holds
one engine of 131 cycles, the mean length of FD001's test engines; a batch holds 256 engines of 50 cycles, which are 256
windows, sent by one client one after the other. Client and server share the machine: run it on one that has nothing
else to do.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

LENGTH, MAX_RUL = 50, 125
CYCLES, BATCH = 131, 256
STARTS = 5
SECONDS = 8.0  # of each measurement
WARM = 20  # requests before it
IMAGE = "bench/turbofan:1"
HOST = "127.0.0.1"

Figures = dict[str, Any]


def run() -> Figures:
    """Milliseconds over HTTP; windows per second; seconds from the start of the process to the first 200 of /ping."""
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        base = Path(folder)
        one, batch = _make(base)
        figures: Figures = {"start_to_ping_seconds": [_start_seconds(base) for _ in range(STARTS)]}
        for name, command in (
            ("onnx", [sys.executable, "-m", "turbofan", "serve"]),
            ("keras", [sys.executable, "-m", "benchmarks.bench_serving", "keras"]),
        ):
            with _server(command, base) as port:
                figures[name] = _measure(port, one, batch)
        figures["invoke_endpoint"] = _through_the_cloud(base, one)
    figures["keras_over_onnx"] = {
        "single_p50": _ratio(figures, "single_csv", "p50_ms"),
        "single_p99": _ratio(figures, "single_csv", "p99_ms"),
    }
    windows = [figures[name]["batch_csv"]["windows_per_second"] for name in ("onnx", "keras")]
    figures["onnx_over_keras_batch_windows"] = round(windows[0] / windows[1], 1)
    return figures


def serve_keras() -> None:
    """The same app, but the windows go to `model.predict`."""
    import keras
    from turbofan.artifact import Artifact
    from turbofan.container import Paths, compute_threads
    from turbofan.features import Floats32
    from turbofan.serve import keep_memory, listen
    from turbofan.serving.app import MIB, App

    class KerasArtifact(Artifact):
        def outputs(self, cut: Floats32) -> Floats32:
            answers: Floats32 = keras_model.predict(cut, verbose=0)
            return answers.reshape(-1)

    folder = Paths.from_environment().model
    keras_model = keras.models.load_model(folder / "model.keras", compile=False)
    artifact = KerasArtifact.open(folder)
    artifact.check()
    keep_memory()
    listen(App(artifact, 25 * MIB, compute_threads()))


def _make(base: Path) -> tuple[bytes, bytes]:
    """The model in `base`/model, and the bodies of a single request and of a batch."""
    from cmapss import read_table
    from turbofan import metadata, models
    from turbofan.features import UNIT, Features, engine_offsets
    from turbofan.hyperparameters import Hyperparameters

    from onwing.simulator import simulate

    files = simulate("FD001", base / "data", 100)
    raw = np.frombuffer(read_table(files["train"]).values).reshape(-1, 26)
    features = Features.fit(raw)
    model = base / "model"
    model.mkdir()
    description = {"features": features.to_dict(), "max_rul": MAX_RUL, "sequence_length": LENGTH, "fleet": "FD001"}
    metadata.write_json(model / metadata.FILE, {"schema": metadata.SCHEMA, **description})
    family = models.family("lstm")
    network = family.build(LENGTH, len(features.names), MAX_RUL, Hyperparameters())
    family.predict(network, np.zeros((1, LENGTH, len(features.names)), np.float32))
    family.export(network, model)

    starts = engine_offsets(raw[:, UNIT])
    engines = [raw[start:end].copy() for start, end in itertools.pairwise(starts) if end - start >= CYCLES]
    several = []
    for unit, engine in zip(range(1, BATCH + 1), itertools.cycle(engines), strict=False):
        several.append(engine[:LENGTH].copy())
        several[-1][:, UNIT] = unit
    return _csv(engines[0][:CYCLES]), _csv(np.concatenate(several))


def _csv(raw: Any) -> bytes:
    return "".join(
        ",".join(f"{x:g}" for x in row[:2]) + "," + ",".join(map(str, row[2:])) + "\n" for row in raw
    ).encode()


def _environment(base: Path, port: int) -> dict[str, str]:
    given = {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": str(port), "SERVE_HOST": HOST}
    return {**os.environ, **given, "TF_CPP_MIN_LOG_LEVEL": "2"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _server(command: list[str], base: Path) -> Iterator[int]:
    """A server that answers /ping."""
    port = _free_port()
    process = subprocess.Popen(command, env=_environment(base, port))
    try:
        while not _pings(port):
            if process.poll() is not None:
                raise RuntimeError(f"{command} ended with exit code {process.returncode}")
            time.sleep(0.005)
        yield port
    finally:
        process.terminate()
        process.wait()


def _pings(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _start_seconds(base: Path) -> float:
    begin = time.perf_counter()
    with _server([sys.executable, "-m", "turbofan", "serve"], base):
        return round(time.perf_counter() - begin, 3)


def _measure(port: int, one: bytes, batch: bytes) -> Figures:
    row_lists = [[float(x) for x in line.split(b",")] for line in one.splitlines()]
    as_json = json.dumps({"instances": [{"unit": int(row_lists[0][0]), "rows": row_lists}]}).encode()
    return {
        "single_csv": _latency(_sender(port, one, "text/csv")),
        "single_json": _latency(_sender(port, as_json, "application/json")),
        "batch_csv": _throughput(_sender(port, batch, "text/csv")),
    }


def _sender(port: int, body: bytes, kind: str) -> Callable[[], None]:
    """One request at a call, over a connection of its own that stays open."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)

    def send() -> None:
        connection.request("POST", "/invocations", body, {"Content-Type": kind})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content[:500]!r}")

    return send


def _latency(send: Callable[[], None]) -> Figures:
    seconds = _repeat(send)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2), "requests": len(seconds)}


def _throughput(send: Callable[[], None]) -> Figures:
    seconds = _repeat(send)
    rate = BATCH * len(seconds) / sum(seconds)
    return {"windows_per_second": round(rate), "p50_ms": round(float(np.median(seconds)) * 1000, 1)}


def _repeat(send: Callable[[], None]) -> list[float]:
    """Seconds of one request after the other."""
    for _ in range(WARM):
        send()
    seconds = []
    end = time.perf_counter() + SECONDS
    while (begin := time.perf_counter()) < end:
        send()
        seconds.append(time.perf_counter() - begin)
    return seconds


def _ratio(figures: Figures, kind: str, figure: str) -> float:
    return round(float(figures["keras"][kind][figure]) / float(figures["onnx"][kind][figure]), 1)


def _through_the_cloud(base: Path, one: bytes) -> Figures:
    """The single request again, by InvokeEndpoint of the embedded cloud, signed and authorised."""
    from localcloud.testing import localcloud, wait_for

    root = Path(__file__).parents[1]
    images = base / "images.toml"
    paths = json.dumps([str(root / "training_image"), str(root / "layers/control_plane")])
    images.write_text(
        f'[[image]]\nmatch = "{IMAGE}"\nentrypoint = ["python", "-m", "turbofan"]\npythonpath = {paths}\n'
        f'env = {{ SERVE_HOST = "{HOST}" }}\n'
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(base / "model", arcname=".")
    with localcloud(base / "cloud", images=[images]) as cloud:
        sagemaker, runtime = cloud.client("sagemaker"), cloud.client("sagemaker-runtime")
        cloud.client("s3").create_bucket(Bucket="bench")
        cloud.client("s3").put_object(Bucket="bench", Key="model.tar.gz", Body=packed.getvalue())
        container = {"Image": IMAGE, "ModelDataUrl": "s3://bench/model.tar.gz"}
        sagemaker.create_model(ModelName="bench", ExecutionRoleArn=cloud.role("bench"), PrimaryContainer=container)
        variant = {"VariantName": "v1", "ModelName": "bench", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(EndpointConfigName="bench", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="bench", EndpointConfigName="bench")

        def in_service() -> bool:
            status = sagemaker.describe_endpoint(EndpointName="bench")["EndpointStatus"]
            if status == "Failed":
                raise RuntimeError(sagemaker.describe_endpoint(EndpointName="bench")["FailureReason"])
            return bool(status == "InService")

        wait_for(in_service, 120)

        def send() -> None:
            runtime.invoke_endpoint(EndpointName="bench", Body=one, ContentType="text/csv")["Body"].read()

        return {"single_csv": _latency(send)}


if __name__ == "__main__":
    if sys.argv[1:] == ["keras"]:
        serve_keras()
    else:
        print(json.dumps(run(), indent=2))
