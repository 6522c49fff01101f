"""The bench that holds the re-stated rule against Evidently: what it counts, and what it says when it cannot run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bench_drift, bench_evidently
from benchmarks.bench_evidently import STAMP, Window, compare

ROOT = Path(__file__).parents[2]


def window(name: str, scores: tuple[float, ...], drift: bool) -> Window:
    return Window("FD001", name, np.zeros((1, len(scores))), np.array(scores), drift)


def verdict(scores: tuple[float, ...], drift: bool, method: str = "far") -> dict[str, Any]:
    return {
        "drift": drift,
        "columns": [{"method": method, "score": score, "drifted": score >= 0.1} for score in scores],
    }


def test_same_verdicts_are_counted() -> None:
    found = compare([window("a", (0.2, 0.0), True)], [verdict((0.25, 0.0), True)])
    assert (found["windows"], found["windows_same"]) == (1, 1)
    assert (found["columns"], found["columns_same"]) == (2, 2)
    assert found["largest_score_difference"] == pytest.approx(0.05)
    assert found["columns_different"] == found["windows_different"] == []


def test_what_differs_is_named() -> None:
    ours = [window("a", (0.2, 0.0), True), window("b", (0.0, 0.09), False)]
    found = compare(ours, [verdict((0.2, 0.0), True), verdict((0.0, 0.1), True, "near")])
    assert (found["windows_same"], found["columns_same"]) == (1, 3)
    assert found["drift"] == {"restated": 1, "library": 2}
    assert found["windows_different"] == ["b"]
    assert found["columns_different"] == [{"window": "b", "sensor": "s2", "restated": 0.09, "library": 0.1}]
    assert found["methods"] == {"far": 2, "near": 2}


def test_missing_environment_is_said_with_the_command_that_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench_drift, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(bench_evidently, "STAMP", tmp_path / ".stamp")
    assert f"make {tmp_path / '.stamp'}" in bench_evidently.run()["skipped"]


def test_missing_data_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CMAPSS_DIR", str(tmp_path))
    assert "CMAPSS_DIR" in bench_evidently.run()["skipped"]


@pytest.mark.parametrize(
    ("arguments", "made"),
    [([str(STAMP)], True), (["bench", "ARGS=evidently"], True), (["bench"], True), (["bench", "ARGS=drift"], False)],
)
def test_make_makes_the_environment_where_it_is_needed(arguments: list[str], made: bool) -> None:
    # -n: only says what it would do; -W: as if the lock had just changed.
    command = ["make", "-n", "-W", "tools/evidently.lock", *arguments]
    # Without what `make test ARGS=…` hands down.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "ARGS")}
    said = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    assert (f"touch {STAMP}" in said) == made
