"""The evaluation job: figures of the official test engines, gates, champion, and what people look at."""

from __future__ import annotations

import csv
import hashlib
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from turbofan import plots
from turbofan.artifact import Artifact
from turbofan.dataset import Rows
from turbofan.evaluate import gates
from turbofan.scoring import phm08, rmse

from tests.unit.turbofan_data import TEST_LIVES, TEST_RUL, Job, histories, model_archive, processed, write_trio


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return processed(tmp_path / "process", monkeypatch)


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time: only the tests of the figure draw it."""
    if "figure" not in request.node.name:
        monkeypatch.setattr(plots, "evaluation_figure", lambda *arguments: None)


@pytest.fixture
def job(tmp_path: Path, source: Job) -> Job:
    """An evaluation with a model, the test engines and the validation engines in place."""
    job = Job(tmp_path / "evaluate", source.monkeypatch)
    inputs = job.base / "processing/input"
    model_archive(inputs / "model/model.tar.gz", source)
    for part in ("test", "train", "validation"):
        (inputs / part).symlink_to(source.outputs / part)
    return job


def report(job: Job) -> dict:
    return job.json("processing/output/evaluation/report.json")


def test_report_is_complete(job: Job) -> None:
    assert job.run("evaluate", FLEET="FD001", DATASET_VERSION="0123456789abcdef") == 0
    content = report(job)
    archive = (job.base / "processing/input/model/model.tar.gz").read_bytes()
    assert content["schema"] == 1
    assert (content["fleet"], content["dataset_version"], content["engines"]) == ("FD001", "0123456789abcdef", 4)
    assert content["artifact"] == {"sha256": hashlib.sha256(archive).hexdigest(), "bytes": len(archive)}
    for kind in ("clipped", "unclipped"):
        assert set(content["metrics"][kind]) == {"rmse", "mae", "phm08", "predictions"}
        assert set(content["metrics"][kind]["predictions"]) == {"mean", "std", "min", "max"}
        assert sum(band["engines"] for band in content["bands"][kind]) == 4
    assert [band["band"] for band in content["bands"]["clipped"]] == ["0-20", "20-50", "50-100", "100-125"]
    assert content["bands"]["unclipped"][-1]["band"] == ">125"
    assert content["champion"] is None
    assert [gate["name"] for gate in content["gates"]] == ["rmse", "phm08"]
    assert content["simulated"] is False
    assert content["library_versions"]["onnxruntime"]


def test_metrics_are_of_the_last_row_of_each_test_engine(job: Job, source: Job) -> None:
    job.run("evaluate")
    test = Rows.load(source.outputs / "test")
    predicted = np.clip(40 - 20 * test.features[test.offsets[1:] - 1, -1].astype(np.float64), 0, 125)
    true = np.array(TEST_RUL, dtype=float)
    for kind, labels in (("clipped", np.minimum(true, 125)), ("unclipped", true)):
        figures = report(job)["metrics"][kind]
        assert figures["rmse"] == pytest.approx(rmse(labels, predicted), rel=1e-5)
        assert figures["phm08"] == pytest.approx(phm08(labels, predicted), rel=1e-4)


def test_predictions_are_listed_per_engine(job: Job) -> None:
    job.run("evaluate")
    with (job.outputs / "evaluation/predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["unit"] for row in rows] == ["1", "2", "3", "4"]
    assert [int(row["true_rul"]) for row in rows] == TEST_RUL
    assert [int(row["true_rul_clipped"]) for row in rows] == [5, 20, 65, 125]
    assert [int(row["cycles"]) for row in rows] == [life - rul for life, rul in zip(TEST_LIVES, TEST_RUL, strict=True)]
    for row in rows:
        assert float(row["error"]) == pytest.approx(float(row["predicted_rul"]) - float(row["true_rul"]), abs=2e-3)


def test_figure_is_a_png_large_enough_to_read(job: Job) -> None:
    job.run("evaluate")
    content = (job.outputs / "evaluation/evaluation.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 1200
    assert height >= 800


@pytest.mark.parametrize(
    ("thresholds", "passed"),
    [
        ({"RMSE_THRESHOLD": "1000", "PHM08_THRESHOLD": "1000000"}, [True, True]),
        ({"RMSE_THRESHOLD": "0.1", "PHM08_THRESHOLD": "1000000"}, [False, True]),
        ({"RMSE_THRESHOLD": "1000", "PHM08_THRESHOLD": "0.1"}, [True, False]),
    ],
)
def test_missed_gate_is_reported_and_no_failure(job: Job, thresholds: dict[str, str], passed: list[bool]) -> None:
    assert job.run("evaluate", **thresholds) == 0
    assert [gate["passed"] for gate in report(job)["gates"]] == passed
    assert report(job)["gates"][0]["threshold"] == float(thresholds["RMSE_THRESHOLD"])


def test_value_equal_to_the_threshold_misses_it_and_equal_to_the_champion_passes() -> None:
    figures = {"clipped": {"rmse": 15.0, "phm08": 300.0}}
    assert [gate["passed"] for gate in gates(figures, figures, 15.0, 301.0)] == [False, True, True]
    better = {"clipped": {"rmse": 14.9, "phm08": 400.0}}
    assert gates(figures, better, 20.0, 500.0)[2] == {
        "name": "champion",
        "figure": 15.0,
        "threshold": 14.9,
        "passed": False,
    }


def test_tolerance_lets_a_slightly_worse_challenger_pass() -> None:
    figures, champion = {"clipped": {"rmse": 12.5, "phm08": 1.0}}, {"clipped": {"rmse": 12.0}}

    assert not gates(figures, champion, 20.0, 500.0)[2]["passed"]
    gate = gates(figures, champion, 20.0, 500.0, tolerance=0.05)[2]
    assert (gate["threshold"], gate["passed"]) == (pytest.approx(12.6), True)


def test_champion_is_judged_on_the_same_engines(job: Job, source: Job) -> None:
    champion = model_archive(job.base / "processing/input/champion/model.tar.gz", source, slope=0.0, offset=1.0)
    job.run("evaluate")
    content = report(job)
    assert content["champion"]["artifact_sha256"] == hashlib.sha256(champion.read_bytes()).hexdigest()
    expected = rmse(np.array([5.0, 20.0, 65.0, 125.0]), np.ones(4))
    assert content["champion"]["metrics"]["clipped"]["rmse"] == pytest.approx(expected)
    gate = content["gates"][2]
    assert gate["name"] == "champion"
    assert gate["threshold"] == content["champion"]["metrics"]["clipped"]["rmse"]
    assert gate["passed"] is (gate["figure"] <= gate["threshold"])
    assert "champion_predicted_rul" in (job.outputs / "evaluation/predictions.csv").read_text()


def test_champion_keeps_its_own_normalisation(tmp_path: Path, job: Job, source: Job) -> None:
    # Given a champion trained on engines that lived longer, so that its age scale is another
    other = Job(tmp_path / "other", source.monkeypatch)
    write_trio(other.base / "processing/input/dataset", train=histories([150] * 10))
    assert other.run("process", SEQUENCE_LENGTH="7") == 0
    archive = model_archive(job.base / "processing/input/champion/model.tar.gz", other)
    # When both are evaluated on the challenger's test engines
    job.run("evaluate")
    # Then the champion answers as it does with its own parameters
    test = Rows.load(source.outputs / "test")
    assert test.raw is not None
    expected, _ = Artifact.open(archive).predict(test.raw, test.offsets)
    true = np.minimum(np.array(TEST_RUL), 125)
    assert report(job)["champion"]["metrics"]["clipped"]["rmse"] == pytest.approx(rmse(true, expected))
    assert report(job)["metrics"] != report(job)["champion"]["metrics"]


def test_simulated_data_says_so_in_the_report(job: Job, source: Job) -> None:
    model_archive(job.base / "processing/input/model/model.tar.gz", source, simulated=True)
    job.run("evaluate")
    assert report(job)["simulated"] is True


def test_names_come_from_the_model_where_none_are_given(job: Job) -> None:
    job.run("evaluate")
    assert report(job)["fleet"] == "FD001"


def test_model_file_that_is_none_fails_the_job(job: Job) -> None:
    path = job.base / "processing/input/model/model.tar.gz"
    path.write_bytes(path.read_bytes()[:100])
    assert job.run("evaluate") == 1
    assert "the model cannot be read" in job.message


def test_incomplete_model_fails_the_job(job: Job) -> None:
    path = job.base / "processing/input/model/model.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass
    assert job.run("evaluate") == 1
    assert "the model is incomplete (no metadata.json)" in job.message


def test_missing_inputs_fail_the_job(tmp_path: Path, job: Job) -> None:
    (job.base / "processing/input/model/model.tar.gz").unlink()
    assert job.run("evaluate") == 1
    assert "the model is missing" in job.message
    (job.base / "processing/input/test").unlink()
    assert job.run("evaluate") == 1
    assert "rows.npz is missing" in job.message


@pytest.mark.parametrize("part", ["test", "validation"])
def test_part_without_raw_rows_is_not_taken(job: Job, source: Job, part: str) -> None:
    link = job.base / "processing/input" / part
    link.unlink()
    replace(Rows.load(source.outputs / part), raw=None).save(link)
    assert job.run("evaluate") == 1
    assert "holds no raw rows" in job.message
