"""Probes: held-out engines with the model's own answers, as text that reads back exactly."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cmapss import COLUMNS
from hypothesis import given
from hypothesis import strategies as st
from turbofan import plots, probes
from turbofan.artifact import Artifact
from turbofan.dataset import Rows
from turbofan.features import engine_offsets
from turbofan.serving import bodies

from tests.unit.turbofan_data import TRAIN_LIVES, Job, model_archive, processed

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """An evaluation with everything in place; half of the ten training engines validate."""
    source = processed(tmp_path / "process", monkeypatch, VALIDATION_FRACTION="0.5")
    monkeypatch.setattr(plots, "evaluation_figure", lambda *arguments: None)
    job = Job(tmp_path / "evaluate", monkeypatch)
    inputs = job.base / "processing/input"
    model_archive(inputs / "model/model.tar.gz", source)
    for part in ("test", "validation"):
        (inputs / part).symlink_to(source.outputs / part)
    return job


def made(job: Job) -> dict[str, Any]:
    assert job.run("evaluate", FLEET="FD001", DATASET_VERSION="0123456789abcdef") == 0
    content: dict[str, Any] = job.json("processing/output/evaluation/probes.json")
    return content


def parsed(body: str) -> np.ndarray[Any, Any]:
    return np.array([[float(x) for x in line.split(",")] for line in body.split("\n")])


def test_probes_are_of_the_evaluated_artefact(job: Job) -> None:
    content = made(job)
    report = job.json("processing/output/evaluation/report.json")
    assert content["artifact_sha256"] == report["artifact"]["sha256"]
    assert (content["schema"], content["fleet"], content["dataset_version"]) == (1, "FD001", "0123456789abcdef")
    assert (content["content_type"], content["max_rul"], content["tolerance"]) == ("text/csv", 125, 0.5)


def test_probes_are_histories_of_validation_engines_cut_off_at_several_ages(job: Job) -> None:
    content = made(job)
    validation, raw = Rows.load_with_raw(job.base / "processing/input/validation")
    lives = dict(zip(validation.units.tolist(), np.diff(validation.offsets).tolist(), strict=True))
    assert len(content["probes"]) == 5
    for probe in content["probes"]:
        rows = parsed(probe["body"])
        start = validation.offsets[validation.units.tolist().index(probe["unit"])]
        assert np.array_equal(rows, raw[start : start + len(rows)])
        assert rows.shape[1] == len(COLUMNS)
        assert (rows[-1, 0], rows[-1, 1]) == (probe["unit"], probe["cycle"])
        assert probe["rul"] == lives[probe["unit"]] - probe["cycle"]
    cuts = zip(content["probes"], itertools.cycle((0.35, 0.60, 0.80, 0.95)), strict=False)
    assert all(probe["cycle"] == round(lives[probe["unit"]] * share) for probe, share in cuts)
    assert set(lives.values()) <= set(TRAIN_LIVES)


def test_expected_is_what_the_model_answers_to_the_body(job: Job) -> None:
    content = made(job)
    model = Artifact.open(job.base / "processing/input/model/model.tar.gz")
    every = np.concatenate([parsed(probe["body"]) for probe in content["probes"]])
    answers, _ = model.predict(every, engine_offsets(every[:, 0]))
    assert [probe["expected"] for probe in content["probes"]] == answers.tolist()
    assert len(set(answers.tolist())) > 1
    single, _ = model.predict(parsed(content["probes"][0]["body"]), np.array([0, content["probes"][0]["cycle"]]))
    assert single[0] == pytest.approx(content["probes"][0]["expected"], abs=1e-3)


def test_the_served_model_reads_the_very_rows_that_were_cut_off(job: Job) -> None:
    content = made(job)
    batch = bodies.read("text/csv", "\n".join(probe["body"] for probe in content["probes"]).encode())
    assert np.array_equal(batch.raw, np.concatenate([parsed(probe["body"]) for probe in content["probes"]]))
    asked = [(probe["unit"], probe["cycle"]) for probe in content["probes"]]
    assert list(zip(batch.units, batch.cycles, strict=True)) == asked


def test_true_rul_is_clipped_at_the_models_ceiling(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Artifact, "max_rul", 10.0)
    assert max(probe["rul"] for probe in made(job)["probes"]) == 10.0


@pytest.mark.parametrize(("engines", "expected"), [(1, 1), (5, 5), (12, 12), (40, 12)])
def test_at_most_twelve_engines_of_all_lengths_of_life(engines: int, expected: int) -> None:
    lives = np.arange(20, 20 + engines)
    offsets = np.concatenate(([0], np.cumsum(lives)))
    raw = np.zeros((offsets[-1], 26))
    raw[:, 0] = np.repeat(np.arange(1, engines + 1), lives)
    raw[:, 1] = np.concatenate([np.arange(1, life + 1) for life in lives])
    rul = np.concatenate([np.arange(life)[::-1] for life in lives]).astype(np.float32)
    rows = Rows(np.zeros((len(raw), 1), np.float32), np.arange(1, engines + 1), offsets, rul)

    class Model:
        sha256, max_rul = "0" * 64, 125.0

        def predict(self, raw: Any, offsets: Any) -> tuple[Any, int]:
            return np.zeros(len(offsets) - 1), 0

    content = probes.make(Model(), rows, raw, "FD001", "v")  # type: ignore[arg-type]
    units = [probe["unit"] for probe in content["probes"]]
    assert len(units) == len(set(units)) == expected
    assert (units[0], units[-1]) == (1, engines)
    assert all(a < b for a, b in itertools.pairwise(units))


@given(st.lists(st.lists(FINITE, min_size=26, max_size=26), min_size=1, max_size=3))
def test_text_reads_back_as_the_same_numbers(rows: list[list[float]]) -> None:
    raw = np.array(rows)
    text = probes.to_csv(raw)
    assert np.array_equal(parsed(text), raw)
