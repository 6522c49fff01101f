"""Figures against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from turbofan.scoring import bands, mae, metrics, phm08, rmse


def test_rmse_is_over_all_engines_at_once() -> None:
    assert rmse(np.array([0.0, 0.0]), np.array([3.0, -4.0])) == pytest.approx(math.sqrt(12.5))


def test_mae() -> None:
    assert mae(np.array([0.0, 0.0]), np.array([3.0, -4.0])) == 3.5


def test_phm08_of_late_early_and_right_predictions() -> None:
    true = np.array([50.0, 50.0, 50.0])
    predicted = np.array([60.0, 37.0, 50.0])  # 10 late: e - 1; 13 early: e - 1; right: 0
    assert phm08(true, predicted) == pytest.approx(2 * (math.e - 1))


def test_phm08_punishes_late_more_than_early() -> None:
    assert phm08(np.array([50.0]), np.array([70.0])) == pytest.approx(math.exp(2) - 1)
    assert phm08(np.array([50.0]), np.array([30.0])) == pytest.approx(math.exp(20 / 13) - 1)


def test_perfect_predictions_score_zero() -> None:
    figures = metrics(np.array([5.0, 125.0]), np.array([5.0, 125.0]))
    assert (figures["rmse"], figures["mae"], figures["phm08"]) == (0, 0, 0)
    assert figures["predictions"] == {"mean": 65.0, "std": 60.0, "min": 5.0, "max": 125.0}


def test_bands_hold_their_upper_end_and_the_first_one_holds_zero() -> None:
    true = np.array([0.0, 20.0, 20.5, 50.0, 100.0, 125.0])
    rows = bands(true, true + 1, 125)
    assert [(row["band"], row["engines"]) for row in rows] == [
        ("0-20", 2),
        ("20-50", 2),
        ("50-100", 1),
        ("100-125", 1),
    ]
    assert all(row["rmse"] == row["mae"] == row["bias"] == pytest.approx(1) for row in rows)


def test_bias_is_predicted_minus_true() -> None:
    assert bands(np.array([10.0, 10.0]), np.array([4.0, 8.0]), 125)[0]["bias"] == -4


def test_engines_above_the_ceiling_have_a_band_of_their_own() -> None:
    rows = bands(np.array([10.0, 140.0]), np.array([10.0, 125.0]), 125)
    assert rows[-1]["band"] == ">125"
    assert rows[-1]["rmse"] == 15


def test_band_without_engines_has_no_figures() -> None:
    empty = bands(np.array([10.0]), np.array([10.0]), 125)[1]
    assert empty == {"band": "20-50", "engines": 0, "rmse": None, "mae": None, "bias": None, "phm08": None}


def test_bands_follow_the_ceiling() -> None:
    assert [row["band"] for row in bands(np.array([1.0]), np.array([1.0]), 90)] == ["0-20", "20-50", "50-90"]
