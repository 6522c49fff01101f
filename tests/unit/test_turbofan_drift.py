"""Drift statistics: what is healthy passes, what is broken is found and named, and the same thresholds come back."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from cmapss import COLUMNS
from turbofan.drift import LEVEL, DriftBaseline, Finding, Findings, cut_ages, draw_windows
from turbofan.drift_predictions import CUTS, PredictionBaseline, cause, severity
from turbofan.drift_summary import RECENT_ROWS, recent_rows
from turbofan.errors import InputError
from turbofan.features import engine_offsets

from tests import captured

Array = npt.NDArray[np.float64]
COUNT = 20


@functools.cache
def baseline() -> DriftBaseline:
    return DriftBaseline.from_dict(json.loads(captured.baseline_files()["drift.json"]))


def check(engines: list[Array]) -> Findings:
    offsets = np.cumsum([0] + [len(rows) for rows in engines])
    return baseline().check(np.concatenate(engines), offsets)


def broken(name: str, change: Callable[[Array], Array], count: int = COUNT) -> Findings:
    """Healthy engines, all with a column that was changed over their recent rows."""
    engines = captured.histories(count)
    column = COLUMNS.index(name)
    for rows in engines:
        rows[-RECENT_ROWS:, column] = change(rows[-RECENT_ROWS:, column])
    return check(engines)


def worst(findings: Findings) -> Finding:
    assert findings.violated
    return findings.violations[0]


def test_healthy_engines_pass() -> None:
    findings = check(captured.histories(COUNT))
    assert (findings.engines, findings.violated, findings.severity, findings.cause) == (COUNT, False, "none", None)
    assert 0 < findings.ratio <= 1
    assert {finding.name for finding in findings.features} >= {*COLUMNS[2:], "regime", "pattern"}
    assert all(finding.what == "" for finding in findings.features)


def test_false_alarms_stay_near_the_nominal_level() -> None:
    _, raw = captured.fleet()
    offsets = engine_offsets(raw[:, 0])
    random = np.random.default_rng(0)
    ends = cut_ages(offsets, random, 6)
    healthy = baseline()
    summary = healthy.reference.normal.summarise(recent_rows(raw, np.repeat(offsets[:-1], 6), ends.ravel()))
    for size in (5, 20):
        ratios = healthy.statistics(summary, draw_windows(len(offsets) - 1, size, 400, random, 6))
        assert (ratios.max(axis=1) > 1).mean() < 4 * LEVEL


def test_many_windows_at_once_and_one_check_give_the_same_verdict() -> None:
    engines = captured.biased(captured.histories(COUNT), "s4", 0.4)
    raw, offsets = np.concatenate(engines), np.cumsum([0] + [len(rows) for rows in engines])
    summary = baseline().reference.normal.summarise(recent_rows(raw, offsets[:-1], offsets[1:]))
    together = baseline().statistics(summary, np.arange(COUNT)[None]).max()
    assert check(engines).ratio == pytest.approx(together)


@pytest.mark.parametrize("count", [5, 20])
def test_bias_of_one_sigma_is_found_and_its_sensor_named(count: int) -> None:
    findings = check(captured.biased(captured.histories(count), "s11", 1.0))
    found = worst(findings)
    assert (found.name, found.kind, findings.cause, findings.severity) == ("s11", "shift", "drift", "severe")
    assert found.effect == pytest.approx(1.0, abs=0.3)
    assert found.what.startswith("bias +")
    assert found.ks is not None
    assert found.ks > 0.2
    assert [violation.name for violation in findings.violations if violation.kind == "shift"] == ["s11"]


def test_gain_of_one_per_cent_is_found_also_in_a_sensor_that_never_moved() -> None:
    assert worst(broken("s3", lambda values: values * 1.01)).name == "s3"
    constant = worst(broken("s5", lambda values: values * 1.01))
    assert (constant.name, constant.kind) == ("s5", "level")
    assert constant.what.startswith("reads 14.7662 where it always read 14.62")


def test_stuck_sensor_is_named() -> None:
    findings = broken("s7", lambda values: np.full_like(values, values[0]))
    assert [(each.name, each.kind) for each in findings.violations] == [("s7", "stuck")]
    assert findings.cause == "data"


def test_noise_is_named() -> None:
    random = np.random.default_rng(0)
    spread = captured.fleet()[0][:, COLUMNS.index("s12")].std()
    found = worst(broken("s12", lambda values: values + 3 * spread * random.standard_normal(len(values))))
    assert (found.name, found.kind) == ("s12", "noise")
    assert found.what.startswith("noise × ")


@pytest.mark.parametrize(("value", "what"), [(0.0, "reads 0"), (np.nan, "missing")])
@pytest.mark.parametrize("name", ["s1", "s3"])
def test_sensor_that_drops_out_is_named(name: str, value: float, what: str) -> None:
    findings = broken(name, lambda values: np.full_like(values, value))
    assert [(each.name, each.kind, each.what) for each in findings.violations] == [(name, "dropped", what)]
    assert (findings.cause, findings.severity) == ("data", "severe")


@pytest.mark.parametrize("name", ["s1", "s2", "s3", "s4"])
@pytest.mark.parametrize(("factor", "what"), [(5 / 9, "in K instead of °R"), (9 / 5, "converted from K to °R twice")])
def test_wrong_unit_is_named(name: str, factor: float, what: str) -> None:
    findings = broken(name, lambda values: values * factor, count=5)
    found = worst(findings)
    assert (found.name, found.kind, findings.cause) == (name, "unit", "data")
    assert found.what.startswith(what)


def test_several_wrong_units_are_all_named() -> None:
    findings = check(captured.in_kelvin(captured.histories(COUNT), "s1", "s2", "s3", "s4"))
    assert {each.name for each in findings.violations if each.kind == "unit"} == {"s1", "s2", "s3", "s4"}


def test_regime_never_seen_is_named_and_not_blamed_on_sensors() -> None:
    findings = broken("op1", lambda values: values + 25.0)
    assert {each.name for each in findings.violations} == {"op1", "regime"}
    assert (findings.regimes[0].regime, findings.regimes[0].share) == (-1, 1.0)
    assert findings.cause == "drift"
    assert "no altitude" in worst(broken("op1", lambda values: values + 35000.0)).what


def test_one_broken_engine_is_ranked_first_and_no_severe_drift() -> None:
    engines = captured.histories(COUNT)
    engines[7] = captured.biased(engines[7:8], "s4", 8.0)[0]
    findings = check(engines)
    assert findings.engines_ranked[0][0] == 7
    assert "in 1 of 20 engines" in worst(findings).what
    assert findings.severity == "moderate"


def test_engine_with_too_few_rows_is_not_judged() -> None:
    engines = captured.histories(6)
    engines[2] = engines[2][:5]
    assert check(engines).engines == 5
    assert check([rows[:5] for rows in engines]).engines == 0


def test_few_engines_give_no_thresholds_and_no_verdict() -> None:
    raw, _ = captured.fleet()
    for count in (1, 2, 3):
        rows = raw[raw[:, 0] <= count]
        offsets = engine_offsets(rows[:, 0])
        few = DriftBaseline.from_dict(json.loads(json.dumps(DriftBaseline.fit(rows, offsets).to_dict())))
        assert not few.calibrated
        assert f"{count} engines in the baseline" in few.why_not
        with pytest.raises(InputError, match="no thresholds"):
            few.check(rows, offsets)
        ends = cut_ages(offsets, np.random.default_rng(0), CUTS)
        assert not PredictionBaseline.fit(few, rows, offsets, ends, np.full(ends.shape, 50.0)).calibrated


def test_baseline_comes_back_exactly() -> None:
    text = captured.baseline_files()["drift.json"]
    assert json.dumps(DriftBaseline.from_dict(json.loads(text)).to_dict()) == text
    assert len(text) < 200_000
    predictions = captured.predictions_file()
    assert json.dumps(PredictionBaseline.from_dict(json.loads(predictions)).to_dict()) == predictions


def test_other_content_is_no_baseline() -> None:
    content = json.loads(captured.baseline_files()["drift.json"])
    for spoilt in ({}, {**content, "schema": 2}, {**content, "kind": "drift-predictions"}, {**content, "reference": 1}):
        with pytest.raises(InputError, match=r"drift\.json"):
            DriftBaseline.from_dict(spoilt)
    with pytest.raises(InputError, match=r"drift_predictions\.json"):
        PredictionBaseline.from_dict(content)


@functools.cache
def answered() -> tuple[PredictionBaseline, Callable[[list[Array]], Array]]:
    """The baseline of a model that answers by age and wear, and the model."""
    raw, _ = captured.fleet()
    offsets = engine_offsets(raw[:, 0])
    ends = cut_ages(offsets, np.random.default_rng(1), CUTS)
    column = COLUMNS.index("s4")
    middle, spread = raw[:, column].mean(), raw[:, column].std()

    def model(engines: list[Array]) -> Array:
        wear = np.array([(rows[-10:, column].mean() - middle) / spread for rows in engines])
        ages = np.array([rows[-1, 1] for rows in engines])
        return np.clip(110 - 25 * wear - 0.1 * ages, 0, 125)

    starts = np.repeat(offsets[:-1], CUTS)
    histories = [raw[a:b] for a, b in zip(starts, ends.ravel(), strict=True)]
    return PredictionBaseline.fit(baseline(), raw, offsets, ends, model(histories).reshape(ends.shape)), model


def test_biased_model_is_found_with_healthy_inputs_and_a_worn_fleet_is_not() -> None:
    predictions, model = answered()
    engines = captured.histories(COUNT)
    raw, offsets = np.concatenate(engines), np.cumsum([0] + [len(rows) for rows in engines])
    inputs = baseline().check(raw, offsets)
    healthy = predictions.check(baseline(), raw, offsets, model(engines))
    assert (healthy.violated, healthy.severity, cause(inputs, healthy)) == (False, "none", None)
    biased = predictions.check(baseline(), raw, offsets, np.minimum(model(engines) + 15, 125))
    assert (biased.violated, biased.severity, cause(inputs, biased)) == (True, "severe", "model")
    assert biased.bias == pytest.approx(15, abs=5)
    assert severity(inputs, biased) == "severe"
    worn = [rows for rows in engines if model([rows])[0] < np.median(model(engines))]
    ends = np.cumsum([0] + [len(rows) for rows in worn])
    assert not predictions.check(baseline(), np.concatenate(worn), ends, model(worn)).violated


def test_inputs_are_blamed_before_the_model() -> None:
    predictions, model = answered()
    engines = captured.histories(COUNT)
    raw, offsets = np.concatenate(engines), np.cumsum([0] + [len(rows) for rows in engines])
    biased = predictions.check(baseline(), raw, offsets, np.minimum(model(engines) + 15, 125))
    shifted = check(captured.biased(engines, "s4", 1.0))
    assert cause(shifted, biased) == "drift"
    assert cause(replace(shifted, features=(), ratio=0.5), biased) == "model"
