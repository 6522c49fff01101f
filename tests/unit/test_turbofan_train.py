"""The training job: what it reads, what it prints for the tuner, what it releases and when it refuses to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from turbofan import export, models
from turbofan.dataset import Rows, WindowSet
from turbofan.errors import ParityError, TrainingError
from turbofan.features import to_rul
from turbofan.hyperparameters import Hyperparameters
from turbofan.scoring import rmse

from tests.unit.turbofan_data import AgeFamily, Job, processed, training_job

STATE_MACHINE = Path(__file__).parents[2] / "statemachines" / "training.asl.json"
SMALL = {
    "epochs": "3",
    "lstm_units_1": "4",
    "lstm_units_2": "3",
    "learning_rate": "0.02",
    "batch_size": "64",
    "window_stride": "2",
}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return processed(tmp_path / "process", monkeypatch, DATASET_VERSION="v1")


@pytest.fixture
def age(monkeypatch: pytest.MonkeyPatch) -> AgeFamily:
    """A family that needs no TensorFlow; also shows that a family is a plug."""
    family = AgeFamily()
    monkeypatch.setitem(models.FAMILIES, "age", family)
    return family


def test_artifact_is_complete(tmp_path: Path, source: Job, age: AgeFamily) -> None:
    job = training_job(tmp_path / "train", source, family="age", seed="5", epochs="9")
    assert job.run("train") == 0
    assert sorted(path.name for path in (job.base / "model").iterdir()) == [
        "history.json",
        "metadata.json",
        "model.json",
        "model.onnx",
    ]
    described = job.json("model/metadata.json")
    assert described["features"] == source.json("processing/output/features/metadata.json")["features"]
    assert described["dataset_version"] == "v1"
    assert described["model"]["family"] == "age"
    assert described["training"]["hyperparameters"]["seed"] == 5
    assert (described["training"]["epochs_run"], described["training"]["best_epoch"]) == (3, 2)
    assert described["training"]["parity"]["max_difference"] <= 1e-3
    assert described["library_versions"]["onnxruntime"]
    assert [epoch["train_loss"] for epoch in job.json("model/history.json")["epochs"]] == [900, 400, 625]


def test_metric_lines_match_the_tuners_regular_expressions(
    tmp_path: Path, source: Job, age: AgeFamily, capsys: pytest.CaptureFixture[str]
) -> None:
    job = training_job(tmp_path / "train", source, family="age")
    job.run("train")
    log = capsys.readouterr().out
    definitions = dict(re.findall(r'"Name": "([a-z:]+)",\s*"Regex": "([^"]+)"', STATE_MACHINE.read_text()))
    assert set(definitions) == {"train:loss", "val:loss", "val:rmse"}
    found = {name: [float(value) for value in re.findall(regex, log)] for name, regex in definitions.items()}
    assert found["train:loss"] == [900, 400, 625, 400]
    assert found["val:loss"] == [900, 400, 625, 400]
    assert found["val:rmse"][:3] == [30, 20, 25]
    assert found["val:rmse"][3] == pytest.approx(job.json("model/metadata.json")["metrics"]["val_rmse"], abs=1e-4)


def test_last_metric_is_of_the_served_model_on_the_validation_engines(
    tmp_path: Path, source: Job, age: AgeFamily
) -> None:
    job = training_job(tmp_path / "train", source, family="age")
    job.run("train")
    validation = Rows.load(source.outputs / "validation")
    predicted = to_rul(40 - 20 * validation.features[:, -1], 125)
    expected = rmse(np.minimum(validation.rul, 125), predicted)
    assert job.json("model/metadata.json")["metrics"]["val_rmse"] == pytest.approx(expected, rel=1e-5)


def test_only_train_and_validation_are_read(
    tmp_path: Path, source: Job, age: AgeFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = training_job(tmp_path / "train", source, family="age")
    (job.base / "input/data/test").symlink_to(source.outputs / "test")
    read: list[str] = []
    load = Rows.load

    def watched(folder: Path) -> Rows:
        read.append(folder.name)
        return load(folder)

    monkeypatch.setattr(Rows, "load", watched)
    assert job.run("train") == 0
    assert read == ["train", "validation"]


@pytest.mark.parametrize(("given", "length"), [({}, 10), ({"sequence_length": "25"}, 25)])
def test_sequence_length_is_the_hyperparameter_or_the_metadatas(
    tmp_path: Path, source: Job, age: AgeFamily, given: dict[str, str], length: int
) -> None:
    job = training_job(tmp_path / "train", source, family="age", **given)
    job.run("train")
    assert job.json("model/metadata.json")["sequence_length"] == length
    assert job.json("model/metadata.json")["model"]["input_shape"][1] == length


def test_onnx_model_that_answers_otherwise_fails_the_job(tmp_path: Path, source: Job, age: AgeFamily) -> None:
    age.error = 0.01
    job = training_job(tmp_path / "train", source, family="age")
    assert job.run("train") == 1
    assert "0.01 cycles off the model.json (allowed 0.001)" in job.failure


@pytest.mark.parametrize("error", [0.002, float("nan")])
def test_parity_error(tmp_path: Path, error: float) -> None:
    family = AgeFamily(error)
    windows = np.zeros((4, 5, 3), dtype=np.float32)
    model = family.build(5, 3, 125.0, Hyperparameters())
    with pytest.raises(ParityError):
        export.export(family, model, tmp_path, windows)


def test_difference_within_the_tolerance_is_released(tmp_path: Path) -> None:
    family = AgeFamily(0.0005)
    model = family.build(5, 3, 125.0, Hyperparameters())
    parity = export.export(family, model, tmp_path, np.zeros((4, 5, 3), dtype=np.float32))
    assert 0.0004 < parity["max_difference"] < 0.0006


def test_unknown_hyperparameter_fails_the_job(tmp_path: Path, source: Job) -> None:
    job = training_job(tmp_path / "train", source, momentum="0.9")
    assert job.run("train") == 1
    assert job.failure.startswith("unknown hyperparameter [hyperparameter momentum]. Known are batch_size,")
    assert not (job.base / "model").exists()


def test_unknown_family_fails_the_job(tmp_path: Path, source: Job) -> None:
    job = training_job(tmp_path / "train", source, family="oracle")
    assert job.run("train") == 1
    assert "unknown model family 'oracle'" in job.failure


@pytest.mark.parametrize("channel", ["train", "validation", "features"])
def test_missing_channel_fails_the_job(tmp_path: Path, source: Job, age: AgeFamily, channel: str) -> None:
    job = training_job(tmp_path / "train", source, family="age")
    (job.base / "input/data" / channel).unlink()
    assert job.run("train") == 1
    assert f"data/{channel}" in job.failure


def test_broken_rows_fail_the_job(tmp_path: Path, source: Job, age: AgeFamily) -> None:
    job = training_job(tmp_path / "train", source, family="age")
    (source.outputs / "train/rows.npz").write_bytes(b"PK\x03\x04 cut off")
    assert job.run("train") == 1
    assert "rows.npz cannot be read" in job.failure


def test_channels_of_different_process_jobs_fail_the_job(tmp_path: Path, source: Job, age: AgeFamily) -> None:
    rows = Rows.load(source.outputs / "validation")
    Rows(rows.features[:, 1:], rows.units, rows.offsets, rows.rul).save(source.outputs / "validation")
    job = training_job(tmp_path / "train", source, family="age")
    assert job.run("train") == 1
    assert "the metadata names" in job.failure


def test_metadata_of_another_schema_fails_the_job(tmp_path: Path, source: Job, age: AgeFamily) -> None:
    path = source.outputs / "features/metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    job = training_job(tmp_path / "train", source, family="age")
    assert job.run("train") == 1
    assert "schema 99" in job.failure


# From here on TensorFlow trains for real. Its import costs seconds, so these share a worker (with --dist loadgroup).


@pytest.mark.xdist_group("tensorflow")
def test_lstm_learns_is_released_and_repeats_itself(tmp_path: Path, source: Job) -> None:
    first = training_job(tmp_path / "first", source, **SMALL)
    assert first.run("train") == 0
    described = first.json("model/metadata.json")
    assert {path.name for path in (first.base / "model").iterdir()} >= {"model.onnx", "model.keras"}
    assert described["training"]["parity"]["max_difference"] <= 1e-3
    history = first.json("model/history.json")["epochs"]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    # The metric is of the weights that were best, whatever came after.
    best = min(epoch["val_rmse"] for epoch in history)
    assert described["metrics"]["val_rmse"] == pytest.approx(best, rel=0.05)

    hyperparameters = Hyperparameters.parse(SMALL)
    windows = WindowSet.cut(Rows.load(source.outputs / "train"), 10, 125.0, stride=2)
    held_out = WindowSet.cut(Rows.load(source.outputs / "validation"), 10, 125.0)
    again: list[models.Epoch] = []
    lstm = models.family("lstm")
    model = lstm.build(10, windows.features.shape[1], 125.0, hyperparameters)
    lstm.fit(model, windows, held_out, hyperparameters, again.append)
    assert [epoch.val_loss for epoch in again] == [epoch["val_loss"] for epoch in history]

    import keras
    import onnx

    some = held_out.arrays(np.arange(20))
    native = keras.saving.load_model(first.base / "model/model.keras")
    served = export.run(export.session(str(first.base / "model/model.onnx")), some)
    assert np.allclose(np.asarray(native(some))[:, 0], served, atol=1e-3)
    nodes = [node.op_type for node in onnx.load(first.base / "model/model.onnx").graph.node]
    assert nodes.count("LSTM") == 2


@pytest.mark.xdist_group("tensorflow")
def test_loss_that_is_not_finite_is_an_error_of_its_own(tmp_path: Path, source: Job) -> None:
    rows = Rows.load(source.outputs / "train")
    broken = Rows(np.full_like(rows.features, np.nan), rows.units, rows.offsets, rows.rul)
    windows = WindowSet.cut(broken, 3, 125.0)
    hyperparameters = Hyperparameters(epochs=1, lstm_units_1=1, lstm_units_2=1)
    model = models.family("lstm").build(3, rows.features.shape[1], 125.0, hyperparameters)
    with pytest.raises(TrainingError, match="not finite"):
        models.family("lstm").fit(model, windows, windows, hyperparameters, print)


@pytest.mark.xdist_group("tensorflow")
def test_training_stops_when_validation_gets_worse_and_keeps_the_best_weights(source: Job) -> None:
    # Given validation engines that live the other way round, so that what is learnt makes them worse
    windows = WindowSet.cut(Rows.load(source.outputs / "train"), 5, 125.0)
    opposite = WindowSet(windows.features, windows.rows, windows.labels.max() - windows.labels)
    hyperparameters = Hyperparameters(
        epochs=12, patience=2, learning_rate=0.03, lstm_units_1=4, lstm_units_2=4, dropout_rate=0.0
    )
    epochs: list[models.Epoch] = []
    lstm = models.family("lstm")
    model = lstm.build(5, windows.features.shape[1], 125.0, hyperparameters)
    # When it is trained
    lstm.fit(model, windows, opposite, hyperparameters, epochs.append)
    # Then it stops two epochs after the best one, whose weights it has
    best = min(epochs, key=lambda epoch: epoch.val_loss)
    assert len(epochs) == best.epoch + 2 < 12
    assert rmse(opposite.labels, lstm.predict(model, opposite.arrays())) == pytest.approx(best.val_rmse, rel=1e-4)
