"""What the tests of turbofan share: small fleets that degrade, job folders, and models made without a framework."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from turbofan import metadata
from turbofan.__main__ import main
from turbofan.dataset import WindowSet
from turbofan.features import Floats32
from turbofan.hyperparameters import Hyperparameters
from turbofan.models import Epoch

from tests.conftest import ROW

Array = npt.NDArray[Any]

SETTINGS = ((0.0, 0.0, 100.0), (20.0, 0.7, 100.0), (25.0, 0.62, 60.0))
TRENDS = {"s2": 0.8, "s3": 9.0, "s4": 10.0, "s7": -1.0, "s11": 0.4, "s12": -1.2}  # over a whole life


def sensor(name: str) -> int:
    """Column of a sensor in a raw row."""
    return 4 + int(name[1:])


def histories(lives: list[int], cut: list[int] | None = None, regimes: int = 1, seed: int = 0) -> Array:
    """Raw rows (n, 26) of engines with these lives; each is cut off `cut` cycles before it fails."""
    random = np.random.default_rng(seed)
    base = np.array([float(value) for value in ROW.split()])
    rows = []
    for unit, life in enumerate(lives, start=1):
        for cycle in range(1, life - (cut[unit - 1] if cut else 0) + 1):
            regime = random.integers(regimes)
            row = np.concatenate(([unit, cycle], base))
            row[2:5] = np.array(SETTINGS[regime]) + random.normal(0, (0.002, 0.0003, 0.0))
            for name, change in TRENDS.items():
                damage = max(0.0, 1 - (life - cycle) / 60)
                row[sensor(name)] += change * (damage + random.normal(0, 0.1)) - 4.0 * regime
            row[sensor("s14")] += random.normal(0, 3.0)  # noise alone
            rows.append(row)
    return np.array(rows)


def text(raw: Array) -> str:
    """Rows as a train or test file."""
    return "".join(f"{row[0]:.0f} {row[1]:.0f} " + " ".join(f"{x:.4f}" for x in row[2:]) + "  \n" for row in raw)


TRAIN_LIVES = [50, 54, 58, 62, 66, 70, 74, 78, 82, 86]
TEST_LIVES, TEST_RUL = [60, 66, 72, 150], [5, 20, 65, 130]


def write_trio(folder: Path, fleet: str = "FD001", regimes: int = 1, train: Array | None = None) -> None:
    """The three files of a small fleet: ten training engines, four test engines (one younger than any window)."""
    folder.mkdir(parents=True, exist_ok=True)
    train = histories(TRAIN_LIVES, regimes=regimes) if train is None else train
    (folder / f"train_{fleet}.txt").write_text(text(train))
    (folder / f"test_{fleet}.txt").write_text(text(histories(TEST_LIVES, TEST_RUL, regimes, seed=1)))
    (folder / f"RUL_{fleet}.txt").write_text("".join(f"{rul} \n" for rul in TEST_RUL))


@dataclass
class Job:
    """One job's base directory."""

    base: Path
    monkeypatch: pytest.MonkeyPatch

    def run(self, name: str, **environment: str) -> int:
        """Run the entry point in this process; gives the exit code."""
        with self.monkeypatch.context() as patch:
            patch.setenv("SAGEMAKER_BASE_DIR", str(self.base))
            patch.setenv("OMP_NUM_THREADS", "1")
            for key, value in environment.items():
                patch.setenv(key, value)
            return main([name])

    @property
    def outputs(self) -> Path:
        """The outputs of a processing job."""
        return self.base / "processing" / "output"

    @property
    def message(self) -> str:
        """The ExitMessage of a processing job."""
        return (self.base / "output" / "message").read_text()

    @property
    def failure(self) -> str:
        """The FailureReason of a training job."""
        return (self.base / "output" / "failure").read_text()

    def json(self, path: str) -> Any:
        """A JSON file under the base directory."""
        return json.loads((self.base / path).read_text())


def processed(base: Path, monkeypatch: pytest.MonkeyPatch, regimes: int = 1, **environment: str) -> Job:
    """A process job that has run on the small fleet."""
    job = Job(base, monkeypatch)
    write_trio(base / "processing/input/dataset", regimes=regimes)
    assert job.run("process", **({"SEQUENCE_LENGTH": "10"} | environment)) == 0
    return job


def training_job(base: Path, source: Job, **hyperparameters: str) -> Job:
    """A training job on what `source` processed, not yet run."""
    (base / "input/config").mkdir(parents=True)
    (base / "input/data").mkdir()
    (base / "input/config/hyperparameters.json").write_text(json.dumps(hyperparameters))
    for channel in ("train", "validation", "features"):
        (base / "input/data" / channel).symlink_to(source.outputs / channel)
    return Job(base, source.monkeypatch)


def onnx_model(column: int, slope: float, offset: float) -> bytes:
    """An ONNX model: offset + slope × feature `column` of a window's last row, (m, length, k) to (m, 1)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    def constant(name: str, values: Any, kind: Any) -> Any:
        return numpy_helper.from_array(np.array(values, dtype=kind), name)

    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["windows", "last"], ["row"], axis=1),
            helper.make_node("Gather", ["row", "column"], ["value"], axis=1),
            helper.make_node("Mul", ["value", "slope"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["rul"]),
        ],
        "test",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, [None, None, None])],
        [helper.make_tensor_value_info("rul", TensorProto.FLOAT, [None, 1])],
        [
            constant("last", -1, np.int64),
            constant("column", [column], np.int64),
            constant("slope", slope, np.float32),
            constant("offset", offset, np.float32),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


class AgeFamily:
    """A model family without a framework: RUL falls with the engine's age, the last feature."""

    native_file = "model.json"

    def __init__(self, error: float = 0.0) -> None:
        """`error` makes the ONNX model differ from the native one, in cycles."""
        self.error = error

    def build(self, length: int, width: int, max_rul: float, hyperparameters: Hyperparameters) -> dict[str, float]:
        return {"column": width - 1, "slope": -20.0, "offset": 40.0}

    def fit(
        self, model: Any, train: WindowSet, validation: WindowSet, hyperparameters: Hyperparameters, report: Any
    ) -> None:
        for epoch, loss in enumerate((900.0, 400.0, 625.0), start=1):
            report(Epoch(epoch, loss, loss + 1e-5, hyperparameters.learning_rate))

    def predict(self, model: Any, windows: Floats32) -> Floats32:
        return np.asarray(model["offset"] + model["slope"] * windows[:, -1, model["column"]], dtype=np.float32)

    def export(self, model: Any, folder: Path) -> None:
        content = onnx_model(model["column"], model["slope"], model["offset"] + self.error)
        (folder / "model.onnx").write_bytes(content)
        (folder / self.native_file).write_text(json.dumps(model))


def model_archive(path: Path, source: Job, slope: float = -20.0, offset: float = 40.0, **changes: Any) -> Path:
    """A model.tar.gz as SageMaker makes it, with the features of what `source` processed."""
    described = source.json("processing/output/features/metadata.json")
    described |= {"metrics": {"val_rmse": 12.5}, **changes}
    column = len(described["features"]["names"]) - 1
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (
            (metadata.FILE, json.dumps(described).encode()),
            ("model.onnx", onnx_model(column, slope, offset)),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
