"""The other rules of the drift bench: distances are scipy's, and Evidently's rule is the one its source states."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance
from turbofan.features import FIRST_SENSOR, FIRST_SETTING

from benchmarks.drift_rules import EVIDENTLY_LEAST_SPREAD, KS_LEVEL, Column, Rules, drifted

Array = npt.NDArray[np.float64]
ROWS = 4000


def rows(count: int = ROWS, regimes: int = 1, seed: int = 0) -> Array:
    """Raw rows (count, 26): ten constant sensors, then eleven that vary, all about other levels in each regime."""
    random = np.random.default_rng(seed)
    raw = np.ones((count, 26))
    regime = random.integers(regimes, size=count)
    raw[:, FIRST_SETTING] = 20.0 * regime
    raw[:, FIRST_SENSOR:] = 518.67 / (1 + regime[:, None])
    raw[:, FIRST_SENSOR + 10 :] += random.normal(size=(count, 11))
    return raw


def shifted(window: Array, sensors: slice, step: float) -> Array:
    """A copy of the window with a step in some of the 21 sensors."""
    copy = window.copy()
    copy[:, FIRST_SENSOR:][:, sensors] += step
    return copy


@pytest.mark.parametrize("decimals", [12, 1, 0], ids=["no ties", "ties", "many ties"])
@pytest.mark.parametrize(
    ("centre", "spread", "count"), [(0.0, 1.0, 600), (0.3, 2.0, 151), (9.0, 1.0, 150), (-9.0, 1.0, 150), (0.1, 1.0, 1)]
)
def test_distances_are_those_of_scipy(centre: float, spread: float, count: int, decimals: int) -> None:
    random = np.random.default_rng(1)
    reference = random.normal(8138.0, 0.07, ROWS) if decimals == 12 else random.normal(size=ROWS).round(decimals)
    middle, scale = (8138.0, 0.07) if decimals == 12 else (0.0, 1.0)
    window = np.sort((middle + scale * random.normal(centre, spread, count)).round(decimals))
    column = Column.of(reference)
    assert column.ks(window) == pytest.approx(ks_2samp(reference, window).statistic, abs=1e-12)
    expected = wasserstein_distance(reference, window) / reference.std()
    assert column.evidently(window) == pytest.approx(expected, abs=1e-7)


def test_ks_rule_alarms_where_the_p_value_is_below_its_level() -> None:
    reference = rows()
    rules = Rules.fit(reference)
    for step in np.linspace(0.0, 0.4, 21):
        window = shifted(rows(300, seed=1), slice(20, 21), float(step))
        p = min(ks_2samp(reference[:, column], window[:, column], method="asymp").pvalue for column in range(15, 26))
        if not 0.8 * KS_LEVEL < p < 1.25 * KS_LEVEL:  # the one-term series is not exact
            assert rules.rates(window[None])["plan"] == (p < KS_LEVEL)


@pytest.mark.parametrize("seen", [(0.0, 1.0), (0.0, 1.0, 2.0, 7.0), (9.0,)], ids=["the same", "new ones", "others"])
def test_columns_of_few_values_are_compared_by_jensen_shannon(seen: tuple[float, ...]) -> None:
    random = np.random.default_rng(2)
    reference, window = random.choice([0.0, 1.0, 1.0], ROWS), np.sort(random.choice(seen, 90))
    both = np.union1d(reference, window)
    shares = [[np.mean(each == value) for value in both] for each in (reference, window)]
    assert len(both) <= 5
    assert Column.of(reference).evidently(window) == pytest.approx(jensenshannon(*shares), abs=1e-12)


def test_six_values_together_are_compared_by_wasserstein() -> None:
    reference, window = np.tile([0.0, 1.0], ROWS // 2), np.array([2.0, 3.0, 4.0, 5.0])
    expected = wasserstein_distance(reference, window) / 0.5
    assert Column.of(reference).evidently(window) == pytest.approx(expected)


def test_spread_of_a_constant_is_taken_as_a_thousandth() -> None:
    window = 5.0 + np.arange(6) * 1e-5
    distance = wasserstein_distance([5.0], window)
    assert Column.of(np.full(ROWS, 5.0)).evidently(window) == pytest.approx(distance / EVIDENTLY_LEAST_SPREAD)


def test_data_set_drifts_from_half_of_the_columns_on() -> None:
    rules = Rules.fit(rows())
    for moved in (10, 11):
        scores, drift = rules.evidently(rules.shown(shifted(rows(900, seed=1), slice(10, 10 + moved), 2.0)))
        assert drifted(scores).sum() == moved
        assert drift == (moved == 11)


def test_rows_that_a_short_history_lacks_are_not_shown() -> None:
    rules = Rules.fit(rows())
    window = rows(30, seed=1)
    window[:7] = np.nan
    assert rules.shown(window).shape == (23, 21)


def test_constants_of_a_regime_do_not_drift_with_the_mix_of_regimes() -> None:
    # 518.67 and what is left of it when the mean of thousands of it is subtracted must not be ranked.
    rules = Rules.fit(rows(regimes=3))
    window = rows(300, regimes=3, seed=1)
    window = window[window[:, FIRST_SETTING] == 20.0]
    shown = rules.shown(window)
    scores, _ = rules.evidently(shown)
    assert not scores[:10].any()
    assert [column.ks(np.sort(each)) for column, each in zip(rules.columns[:10], shown.T, strict=False)] == [0.0] * 10


def test_small_reference_is_refused_because_evidently_takes_tests_there() -> None:
    with pytest.raises(ValueError, match="1000 rows"):
        Rules.fit(rows(1000))
    Rules.fit(rows(1001))
