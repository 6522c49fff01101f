"""Captured traffic for tests: simulated engines, a real baseline of them, and Data Capture's files without an endpoint.

Engines come from the simulator, so the figures say nothing about real ones; the baseline is fitted as the process job
does it (about a second, once a session).
"""

from __future__ import annotations

import functools
import json
import random
import tempfile
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cmapss import COLUMNS
from turbofan import baseline
from turbofan.drift import DriftBaseline, cut_ages
from turbofan.drift_predictions import CUTS, PredictionBaseline
from turbofan.features import engine_offsets

from localcloud.serving.data_capture import Exchange, line
from onwing.simulator import simulate
from tests.deployed import Deployed, until
from tests.packages import DATASET_VERSION
from tests.stub_image.turbofan.serve import predict

Array = npt.NDArray[np.float64]
ENGINES = 60  # in the baseline, and as many others for traffic
MODES = frozenset({"Input", "Output"})
TYPES = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
WINDOW_SECONDS = 2.1  # DeliveryDelaySeconds of the tests' stack, and the rest of the second


@functools.cache
def fleet() -> tuple[Array, Array]:
    """Training engines that ran to failure, and other engines of the same fleet that fly: raw rows (n, 26)."""
    with tempfile.TemporaryDirectory() as folder:
        paths = simulate("FD001", Path(folder), engines=ENGINES, seed=5)
        return np.loadtxt(paths["train"]), np.loadtxt(paths["test"])


@functools.cache
def baseline_files() -> dict[str, str]:
    """statistics.json, constraints.json and drift.json of the training engines, as the process job writes them."""
    raw, _ = fleet()
    documents = {
        "statistics.json": baseline.statistics(raw),
        "constraints.json": baseline.constraints(raw),
        "drift.json": DriftBaseline.fit(raw, engine_offsets(raw[:, 0])).to_dict(),
    }
    return {name: json.dumps(document) for name, document in documents.items()}


@functools.cache
def predictions_file() -> str:
    """drift_predictions.json of the stub's model, as the evaluation job writes it."""
    raw, _ = fleet()
    offsets = engine_offsets(raw[:, 0])
    ends = cut_ages(offsets, np.random.default_rng(1), CUTS)
    rul = np.array([[predict(1, int(raw[end - 1, 1]), {}) for end in row] for row in ends])
    inputs = DriftBaseline.from_dict(json.loads(baseline_files()["drift.json"]))
    return json.dumps(PredictionBaseline.fit(inputs, raw, offsets, ends, rul).to_dict())


def histories(count: int = ENGINES, first: int = 0) -> list[Array]:
    """Healthy engines that the baseline has not seen, each (cycles, 26): `count` of them, from the `first` on."""
    _, raw = fleet()
    offsets = engine_offsets(raw[:, 0])
    chosen = range(first, first + count)
    return [raw[offsets[i % ENGINES] : offsets[i % ENGINES + 1]].copy() for i in chosen]


def biased(engines: Iterable[Array], sensor: str = "s4", sigmas: float = 3.0) -> list[Array]:
    """The same engines with a sensor that reads too high by so many of its standard deviations."""
    raw, _ = fleet()
    column = COLUMNS.index(sensor)
    return [changed(rows, column, rows[:, column] + sigmas * raw[:, column].std()) for rows in engines]


def in_kelvin(engines: Iterable[Array], *sensors: str) -> list[Array]:
    """The same engines with temperatures in kelvin instead of degrees Rankine."""
    made = list(engines)
    for column in map(COLUMNS.index, sensors):
        made = [changed(rows, column, rows[:, column] / 1.8) for rows in made]
    return made


def changed(rows: Array, column: int, values: Any) -> Array:
    """A copy of an engine's rows with another column."""
    rows = rows.copy()
    rows[:, column] = np.round(values, 4)
    return rows


def csv_body(*engines: Array) -> bytes:
    """A request's body, text/csv."""
    return "\n".join(
        ",".join(f"{value:.0f}" if value.is_integer() else repr(value) for value in row)
        for rows in engines
        for row in rows.tolist()
    ).encode()


def json_body(*engines: Array) -> bytes:
    """The same as application/json."""
    return json.dumps({"instances": [{"unit": int(rows[0, 0]), "rows": rows.tolist()} for rows in engines]}).encode()


def answer_of(*engines: Array, behaviour: dict[str, Any] | None = None) -> bytes:
    """What the stub's model server answers, as application/json."""
    last = [(int(rows[-1, 0]), int(rows[-1, 1])) for rows in engines]
    found = [{"unit": unit, "cycle": cycle, "rul": predict(unit, cycle, behaviour or {})} for unit, cycle in last]
    return json.dumps({"predictions": found}).encode()


def record(
    body: bytes,
    answer: bytes,
    *,
    kind: str = "text/csv",
    answer_kind: str = "application/json",
    inference_id: str | None = None,
    when: datetime | None = None,
    modes: frozenset[str] = MODES,
    types: dict[str, list[str]] = TYPES,
) -> dict[str, Any]:
    """One captured record, as the embedded cloud writes it; without `types`, bodies are base64."""
    when = when or datetime.now(UTC)
    return line(Exchange("v1", body, kind, answer, answer_kind, inference_id, None, when), modes, types)


def records(engines: Iterable[Array], behaviour: dict[str, Any] | None = None, **more: Any) -> list[dict[str, Any]]:
    """One record an engine, answered by the stub's model."""
    return [record(csv_body(rows), answer_of(rows, behaviour=behaviour), **more) for rows in engines]


def as_file(given: Iterable[dict[str, Any]]) -> bytes:
    """Records as the content of a capture file."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in given)


def put_baseline(deployed: Deployed, fleet_name: str, dataset_version: str = DATASET_VERSION) -> str:
    """Upload the baseline where the process job would; gives its prefix, an S3 URI that ends in a slash."""
    prefix = f"monitoring/baseline/{fleet_name}/{dataset_version}/"
    for name, content in baseline_files().items():
        deployed.client("s3").put_object(
            Bucket=deployed.outputs["BucketName"], Key=prefix + name, Body=content.encode()
        )
    return f"s3://{deployed.outputs['BucketName']}/{prefix}"


def put_predictions_baseline(deployed: Deployed, package_arn: str) -> None:
    """Upload the baseline of the stub's predictions beside a package's evaluation report."""
    package = deployed.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    bucket, key = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].removeprefix("s3://").split("/", 1)
    key = f"{key.rsplit('/', 1)[0]}/drift_predictions.json"
    deployed.client("s3").put_object(Bucket=bucket, Key=key, Body=predictions_file().encode())


def put_capture(
    deployed: Deployed, endpoint: str, variant: str, given: Iterable[dict[str, Any]], when: datetime | None = None
) -> str:
    """Deliver one capture file, as an endpoint would; gives its key."""
    when = when or datetime.now(UTC)
    name = f"{when:%M-%S}-{random.randrange(1000):03d}-{uuid.uuid4()}.jsonl"
    key = f"monitoring/capture/{endpoint}/{variant}/{when:%Y/%m/%d/%H}/{name}"
    deployed.client("s3").put_object(Bucket=deployed.outputs["BucketName"], Key=key, Body=as_file(given))
    return key


def ask(deployed: Deployed, endpoint: str, engines: Iterable[Array]) -> None:
    """Send one request an engine to an endpoint that serves; returns when a window that ends now has them all.

    An endpoint delivers in the order of the requests, so that window has all that was asked before, too.
    """
    runtime, mark, sent = deployed.client("sagemaker-runtime"), f"asked-{uuid.uuid4().hex}", 0
    for sent, rows in enumerate(engines, 1):
        runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType="text/csv", Body=csv_body(rows), InferenceId=f"{mark}-{sent}"
        )
    counted: dict[str, int] = {}

    def delivered() -> bool | None:
        for key in deployed.keys(f"monitoring/capture/{endpoint}/"):
            if key not in counted:
                counted[key] = deployed.read(key).count(mark.encode())
        return sum(counted.values()) == sent or None

    until(f"the capture of {endpoint} has {sent} requests", delivered, seconds=180)
    wait_for_window()


def wait_for_window() -> None:
    """Wait until a window that ends now has all that has been delivered: S3's times and windows are whole seconds."""
    time.sleep(WINDOW_SECONDS)
