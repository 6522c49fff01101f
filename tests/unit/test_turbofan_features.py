"""Feature code: the same rows give the same inputs in training and in service, fitted on training engines only."""

from __future__ import annotations

import json

import numpy as np
import pytest
from turbofan.errors import InputError
from turbofan.features import (
    Features,
    Regimes,
    engine_offsets,
    run_to_failure_rul,
    to_rul,
    windows,
)

from tests.unit.turbofan_data import SETTINGS, TRAIN_LIVES, TRENDS, histories, sensor


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    return histories(TRAIN_LIVES, regimes=3)


@pytest.fixture(scope="module")
def features(raw: np.ndarray) -> Features:
    return Features.fit(raw)


def test_rul_counts_down_to_zero_or_to_what_the_rul_file_says() -> None:
    offsets = engine_offsets(np.array([1, 1, 1, 2, 2]))
    assert offsets.tolist() == [0, 3, 5]
    assert run_to_failure_rul(offsets).tolist() == [2, 1, 0, 1, 0]
    assert run_to_failure_rul(offsets, np.array([10, 20])).tolist() == [12, 11, 10, 21, 20]


def test_windows_end_at_their_row_and_never_reach_into_another_engine() -> None:
    rows = np.arange(5, dtype=np.float32)[:, None]
    cut = windows(rows, np.array([0, 3, 5]), 2)
    assert cut.shape == (5, 2, 1)
    assert cut[:, :, 0].tolist() == [[0, 0], [0, 1], [1, 2], [3, 3], [3, 4]]


def test_engine_younger_than_the_window_is_padded_with_its_first_row() -> None:
    rows = np.arange(5, dtype=np.float32)[:, None]
    cut = windows(rows, np.array([0, 3, 5]), 4, ends=np.array([2, 4]))
    assert cut[:, :, 0].tolist() == [[0, 0, 1, 2], [3, 3, 3, 4]]


def test_window_of_the_whole_history_and_of_one_row() -> None:
    rows = np.arange(5, dtype=np.float32)[:, None]
    assert windows(rows, np.array([0, 5]), 5, np.array([4]))[0, :, 0].tolist() == [0, 1, 2, 3, 4]
    assert windows(rows, np.array([0, 5]), 1).shape == (5, 1, 1)


def test_answers_stay_within_zero_and_the_ceiling() -> None:
    assert to_rul(np.array([[-3.0], [50.0], [140.0]]), 125).tolist() == [0, 50, 125]


def test_regimes_are_found_from_noisy_settings(raw: np.ndarray) -> None:
    regimes = Regimes.fit(raw[:, 2:5])
    assert np.allclose(regimes.centres, SETTINGS, atol=0.01)
    nearest, unseen = regimes.assign(np.array(SETTINGS))
    assert nearest.tolist() == [0, 1, 2]
    assert not unseen.any()


def test_row_in_a_regime_never_seen_is_told_and_taken_for_the_nearest(raw: np.ndarray) -> None:
    regimes = Regimes.fit(raw[:, 2:5])
    nearest, unseen = regimes.assign(np.array([[10.0, 0.25, 100.0], [20.5, 0.7, 100.0]]))
    assert nearest.tolist() == [0, 1]
    assert unseen.tolist() == [True, False]


def test_settings_without_gaps_make_one_regime() -> None:
    settings = np.column_stack([np.linspace(0, 42, 500), np.linspace(0, 0.84, 500), np.full(500, 100.0)])
    assert len(Regimes.fit(settings).centres) == 1


def test_group_too_small_for_a_mean_is_no_regime() -> None:
    settings = np.array([SETTINGS[0]] * 500 + [SETTINGS[1]] * 3)
    regimes = Regimes.fit(settings)
    assert len(regimes.centres) == 1
    assert regimes.assign(settings)[1].sum() == 3


def test_few_rows_in_many_groups_still_make_a_regime() -> None:
    assert len(Regimes.fit(np.array(SETTINGS)).centres) == 1


def test_only_sensors_with_a_signal_are_taken(features: Features) -> None:
    assert set(features.sensors) == set(TRENDS)
    assert features.signal_share["s1"] == 0  # constant
    assert features.signal_share["s14"] < 0.25  # noise
    assert features.names == (*features.sensors, *(f"{name}_mean" for name in features.sensors), "cycle")


def test_sensor_that_rises_in_one_engine_and_falls_in_another_is_taken() -> None:
    raw = histories([80] * 4)
    trend = np.where(raw[:, 0] <= 2, 1, -1) * raw[:, 1] / 80
    raw[:, sensor("s14")] += 30 * trend
    assert "s14" in Features.fit(raw).sensors


def test_every_regime_is_normalised_by_itself(raw: np.ndarray, features: Features) -> None:
    inputs, _ = features.transform(raw)
    regime, _ = features.regimes.assign(raw[:, 2:5])
    sensors = inputs[:, : len(features.sensors)]
    for r in range(3):
        assert np.allclose(sensors[regime == r].mean(axis=0), 0, atol=1e-5)
        assert np.allclose(sensors[regime == r].std(axis=0), 1, atol=1e-5)


def test_sensor_that_stands_still_in_one_regime_does_not_blow_up() -> None:
    raw = histories(TRAIN_LIVES, regimes=3)
    still = np.isclose(raw[:, 2], 20, atol=1)
    raw[still, sensor("s4")] = 1400.0
    features = Features.fit(raw)
    inputs, _ = features.transform(raw)
    assert "s4" in features.sensors
    assert np.allclose(inputs[still, features.sensors.index("s4")], 0)


def test_means_since_the_first_row_are_of_one_engine(features: Features, raw: np.ndarray) -> None:
    inputs, _ = features.transform(raw)
    k = len(features.sensors)
    second = raw[:, 0] == 2
    expected = np.cumsum(inputs[second, :k], axis=0) / np.arange(1, second.sum() + 1)[:, None]
    assert np.allclose(inputs[second, k : 2 * k], expected, atol=1e-5)


def test_no_input_looks_into_the_future(features: Features, raw: np.ndarray) -> None:
    whole, _ = features.transform(raw)
    first, _ = features.transform(raw[:20])
    assert np.array_equal(whole[:20], first)


def test_broken_sensor_is_held_within_the_limit(features: Features, raw: np.ndarray) -> None:
    broken = raw[:5].copy()
    broken[:, sensor("s3")] = 1e9
    inputs, _ = features.transform(broken)
    assert np.abs(inputs).max() <= features.limit


def test_parameters_survive_json_exactly(features: Features, raw: np.ndarray) -> None:
    restored = Features.from_dict(json.loads(json.dumps(features.to_dict())))
    assert np.array_equal(restored.transform(raw)[0], features.transform(raw)[0])
    assert restored.names == features.names


def test_incomplete_parameters_are_refused(features: Features) -> None:
    content = features.to_dict()
    del content["mean"]
    with pytest.raises(InputError, match=r"'mean'.*metadata\.json"):
        Features.from_dict(content)


def test_data_without_any_signal_is_refused() -> None:
    raw = histories([30, 30])
    raw[:, 5:] = raw[0, 5:]
    with pytest.raises(InputError, match="no sensor changes"):
        Features.fit(raw)
