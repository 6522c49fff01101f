"""The processing job: three files become three parts that never mix, metadata and a baseline."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from turbofan.dataset import Rows, WindowSet
from turbofan.process import split_engines

from tests.unit.turbofan_data import TEST_LIVES, TEST_RUL, TRAIN_LIVES, Job, histories, processed, sensor, write_trio


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path, monkeypatch)


@pytest.fixture
def dataset(job: Job) -> Path:
    folder = job.base / "processing/input/dataset"
    write_trio(folder)
    return folder


def test_outputs_are_complete(job: Job, dataset: Path) -> None:
    assert job.run("process", DATASET_VERSION="abc", MAX_RUL="100", SEQUENCE_LENGTH="12", SEED="3") == 0
    described = job.json("processing/output/features/metadata.json")
    assert described["schema"] == 1
    assert (described["fleet"], described["dataset_version"], described["simulated"]) == ("FD001", "abc", False)
    assert (described["max_rul"], described["sequence_length"]) == (100, 12)
    assert [file["name"] for file in described["files"]] == ["train_FD001.txt", "test_FD001.txt", "RUL_FD001.txt"]
    assert len(described["columns"]) == 26
    for part in ("train", "validation", "test"):
        rows = Rows.load(job.outputs / part)
        assert rows.features.dtype == np.float32
        assert rows.features.shape[1] == len(described["features"]["names"])
        assert described["parts"][part]["rows"] == len(rows.features)
        assert described["parts"][part]["unseen_regime_rows"] == 0


def test_engines_are_split_not_rows(job: Job, dataset: Path) -> None:
    job.run("process")
    train, validation = Rows.load(job.outputs / "train"), Rows.load(job.outputs / "validation")
    assert set(train.units).isdisjoint(validation.units)
    assert sorted([*train.units, *validation.units]) == list(range(1, 11))
    assert len(validation.units) == 2
    lives = {unit: life for unit, life in enumerate(TRAIN_LIVES, start=1)}
    for part in (train, validation):
        assert np.diff(part.offsets).tolist() == [lives[unit] for unit in part.units]
        assert (part.rul[part.offsets[1:] - 1] == 0).all()


def test_test_rul_is_counted_back_from_the_rul_file_and_not_clipped(job: Job, dataset: Path) -> None:
    job.run("process")
    test = Rows.load(job.outputs / "test")
    assert test.rul[test.offsets[1:] - 1].tolist() == TEST_RUL
    assert test.rul[test.offsets[:-1]].tolist() == [life - 1 for life in TEST_LIVES]


def test_raw_rows_are_kept(job: Job, dataset: Path) -> None:
    job.run("process")
    for part in ("train", "validation", "test"):
        rows, raw = Rows.load_with_raw(job.outputs / part)
        assert raw.shape == (len(rows.features), 26)
        assert raw[rows.offsets[:-1], 0].tolist() == rows.units.tolist()


def test_parameters_are_fitted_on_training_engines_only(job: Job, dataset: Path) -> None:
    job.run("process")
    before = job.json("processing/output/features/metadata.json")
    statistics = job.json("processing/output/baseline/statistics.json")
    features = Rows.load(job.outputs / "train").features

    raw = histories(TRAIN_LIVES)
    validating = np.isin(raw[:, 0], before["parts"]["validation"]["units"])
    raw[validating, sensor("s3")] += 5.0
    raw[validating, 2] += 0.5
    write_trio(dataset, train=raw)
    job.run("process")
    after = job.json("processing/output/features/metadata.json")
    assert after["features"] == before["features"]
    assert after["files"] != before["files"]
    assert job.json("processing/output/baseline/statistics.json") == statistics
    assert np.array_equal(Rows.load(job.outputs / "train").features, features)


def test_same_seed_splits_alike_and_another_one_differently() -> None:
    lengths = np.arange(100, 200)
    assert np.array_equal(split_engines(lengths, 0.2, 1), split_engines(lengths, 0.2, 1))
    assert not np.array_equal(split_engines(lengths, 0.2, 1), split_engines(lengths, 0.2, 2))


def test_both_parts_hold_short_and_long_lives() -> None:
    lengths = np.random.default_rng(0).permutation(np.arange(100, 200))
    for seed in range(20):
        validation = lengths[split_engines(lengths, 0.2, seed)]
        assert len(validation) == 20
        assert validation.min() < 105
        assert validation.max() >= 195


@pytest.mark.parametrize("engines", [2, 3])
def test_smallest_fleets_leave_an_engine_on_both_sides(engines: int) -> None:
    chosen = split_engines(np.full(engines, 50), 0.5, 1)
    assert 1 <= chosen.sum() < engines


def test_windows_have_clipped_labels_and_strides_keep_the_last_cycle(job: Job, dataset: Path) -> None:
    job.run("process")
    rows = Rows.load(job.outputs / "train")
    every = WindowSet.cut(rows, 10, 30.0)
    assert len(every) == len(rows.features)
    assert every.labels.max() == 30
    assert every.arrays().shape == (len(rows.features), 10, rows.features.shape[1])
    third = WindowSet.cut(rows, 10, 30.0, stride=3)
    assert (third.labels == 0).sum() == len(rows.units)
    assert len(third) == pytest.approx(len(every) / 3, abs=len(rows.units))


def test_corrupted_file_is_refused_with_line_and_column(job: Job, dataset: Path) -> None:
    path = dataset / "train_FD001.txt"
    lines = path.read_text().splitlines(keepends=True)
    lines[6] = lines[6].replace("2388.0200", "NaN")
    lines[9] = "1 2 3\n"
    path.write_text("".join(lines))
    assert job.run("process") == 1
    assert "train_FD001.txt, line 7, column s13" in job.message
    assert "line 10" in job.message
    assert not (job.outputs / "train").exists()


def test_rul_file_of_another_length_is_refused(job: Job, dataset: Path) -> None:
    (dataset / "RUL_FD001.txt").write_text("10 \n20 \n")
    assert job.run("process") == 1
    assert re.search(r"RUL_FD001\.txt.*rul_rows", job.message)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "RUL_FD001.txt").unlink(), "0 RUL file"),
        (lambda folder: shutil.copy(folder / "train_FD001.txt", folder / "train_FD002.txt"), "2 train file"),
        (lambda folder: (folder / "test_FD001.txt").rename(folder / "test_FD002.txt"), "several fleets: FD001, FD002"),
        (lambda folder: (folder / "notes.md").write_text("hello"), "none of the data set's"),
        (lambda folder: (folder / "train_FD001.txt").write_bytes(b""), "empty"),
        (lambda folder: (folder / "train_FD001.txt").write_bytes(b"\x00\x01\x02"), "train_FD001.txt"),
    ],
)
def test_anything_but_one_good_trio_is_refused(job: Job, dataset: Path, change: Any, says: str) -> None:
    change(dataset)
    assert job.run("process") == 1
    assert says in job.message


def test_setting_out_of_range_is_refused(job: Job, dataset: Path) -> None:
    assert job.run("process", VALIDATION_FRACTION="0.9") == 1
    assert "environment VALIDATION_FRACTION" in job.message


def test_regime_that_only_the_test_engines_fly_is_counted(job: Job, dataset: Path) -> None:
    path = dataset / "test_FD001.txt"
    rows = [line.split() for line in path.read_text().splitlines()]
    for row in rows[:7]:
        row[2:5] = ["35.0", "0.84", "100.0"]
    path.write_text("".join(" ".join(row) + "  \n" for row in rows))
    assert job.run("process") == 0
    parts = job.json("processing/output/features/metadata.json")["parts"]
    assert parts["test"]["unseen_regime_rows"] == 7
    assert parts["train"]["unseen_regime_rows"] == 0


def test_simulated_data_says_so(job: Job, dataset: Path) -> None:
    job.run("process", SIMULATED="true")
    assert job.json("processing/output/features/metadata.json")["simulated"] is True


def test_baseline_is_in_model_monitors_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = processed(tmp_path, monkeypatch)
    statistics = job.json("processing/output/baseline/statistics.json")
    constraints = job.json("processing/output/baseline/constraints.json")
    rows = len(Rows.load(job.outputs / "train").features)
    assert statistics["dataset"]["item_count"] == rows
    names = [feature["name"] for feature in statistics["features"]]
    assert names == [feature["name"] for feature in constraints["features"]]
    assert names[0] == "cycle"
    assert names[-1] == "s21"
    for feature in statistics["features"]:
        figures = feature["numerical_statistics"]
        assert figures["common"] == {"num_present": rows, "num_missing": 0}
        kll = figures["distribution"]["kll"]
        assert sum(bucket["count"] for bucket in kll["buckets"]) == rows
        assert kll["buckets"][0]["lower_bound"] == figures["min"]
        assert kll["buckets"][-1]["upper_bound"] == figures["max"]
        weight = sum(len(items) << level for level, items in enumerate(kll["sketch"]["data"]))
        assert weight == pytest.approx(rows, rel=0.01)
    assert constraints["monitoring_config"]["distribution_constraints"]["comparison_threshold"] == 0.1


def test_rows_are_the_same_each_time(job: Job, dataset: Path) -> None:
    job.run("process")
    first = json.dumps(job.json("processing/output/features/metadata.json")["features"])
    features = Rows.load(job.outputs / "test").features
    job.run("process")
    assert json.dumps(job.json("processing/output/features/metadata.json")["features"]) == first
    assert np.array_equal(Rows.load(job.outputs / "test").features, features)


@pytest.mark.needs_cmapss
def test_real_fd002_has_six_regimes_and_the_usual_sensors(
    job: Job, cmapss_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = job.base / "processing/input/dataset"
    folder.mkdir(parents=True)
    for role in ("train", "test", "RUL"):
        source = next(cmapss_dir.glob(f"{role}_FD002.txt*"))
        (folder / source.name).symlink_to(source)
    assert job.run("process") == 0
    described = job.json("processing/output/features/metadata.json")
    assert sorted(round(centre[0]) for centre in described["features"]["regimes"]["centres"]) == [0, 10, 20, 25, 35, 42]
    usual = [2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21]
    assert described["features"]["sensors"] == [f"s{number}" for number in usual]
    assert described["parts"]["test"] == {"engines": 259, "rows": 33991, "unseen_regime_rows": 0}
    assert described["parts"]["train"]["engines"] == 208
    assert not math.isnan(float(Rows.load(job.outputs / "test").features.sum()))
    took = re.search(r"processed in ([0-9.]+) s", capsys.readouterr().out)
    assert took is not None
    assert float(took.group(1)) < 5  # 0.3 s alone; machines that run tests are busy
