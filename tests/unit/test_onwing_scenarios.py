"""Scenarios: what each does to an engine's rows, and by how much."""

from __future__ import annotations

import io
import math
import random
import statistics
from typing import Any

import cmapss
import pytest

from onwing import scenarios
from onwing.errors import UsageError
from onwing.predict import Engine
from onwing.scenarios import SCENARIOS, Change, History, Spread
from tests.conftest import table

S4 = cmapss.COLUMNS.index("s4")
S7 = cmapss.COLUMNS.index("s7")
ALTITUDES = (0.001, 42.003)


def history(unit: int, cycles: int = 40, *, rises: float = 0.0, altitudes: tuple[float, ...] = (0.001,)) -> History:
    """An engine with noise of 2 in s4 and a rise of s7; it flies at each altitude in turn."""
    rng = random.Random(unit)
    rows = []
    for cycle in range(1, cycles + 1):
        altitude = altitudes[cycle % len(altitudes)]
        row = [float(unit), float(cycle), altitude, 0.0, 100.0, *(100.0 + altitude for _ in range(21))]
        row[S4] = 1400.0 - 10 * altitude + rng.gauss(0.0, 2.0)
        row[S7] = 554.0 + rises * cycle
        rows.append(row)
    return rows


FLEET = [history(unit) for unit in range(1, 21)]
SPREAD = scenarios.spread(FLEET)


def applied(name: str, **more: Any) -> tuple[History, History]:
    """An engine before and after."""
    before = FLEET[2]
    return before, scenarios.apply(scenarios.change(name, **more), before, SPREAD, random.Random(1))


def column(rows: History, at: int) -> list[float]:
    return [row[at] for row in rows]


def test_spread_is_of_each_regime_and_noise_is_what_differs_from_flight_to_flight() -> None:
    fleet = [history(unit, 200, rises=0.1, altitudes=ALTITUDES) for unit in range(1, 6)]
    found = scenarios.spread(fleet)
    assert {where for where, _ in found.sigma} == {(0, 100), (42, 100)}
    for where in ((0, 100), (42, 100)):
        assert found.sigma[where, S4] == pytest.approx(2.0, rel=0.1), "the regimes' levels are 420 apart"
        assert found.noise[where, S4] == pytest.approx(2.0, rel=0.1)
        assert found.sigma[where, S7] == pytest.approx(statistics.pstdev(0.1 * n for n in range(200)), rel=0.05)
        assert found.noise[where, S7] == pytest.approx(0.2 / math.sqrt(2)), "a trend is hardly noise"


def test_a_change_is_in_its_sensor_alone_and_the_original_stays_as_it_is() -> None:
    untouched = [list(row) for row in FLEET[2]]
    for name in ("bias", "gain", "stuck", "noise", "dropout", "ramp"):
        before, after = applied(name)
        assert column(after, S4) != column(before, S4)
        assert [[*row[:S4], *row[S4 + 1 :]] for row in after] == [[*row[:S4], *row[S4 + 1 :]] for row in before]
    assert FLEET[2] == untouched


def test_clean_changes_nothing() -> None:
    before, after = applied("clean")
    assert after == before


def test_bias_is_in_sigma_of_the_regime() -> None:
    fleet = [history(unit, 60, altitudes=ALTITUDES) for unit in range(1, 6)]
    for row in fleet[0]:
        row[S4] += row[2]  # varies by another amount up there
    found = scenarios.spread(fleet)
    after = scenarios.apply(scenarios.change("bias", size=1.5), fleet[1], found, random.Random(1))
    for old, new in zip(fleet[1], after, strict=True):
        assert new[S4] - old[S4] == pytest.approx(1.5 * found.sigma[scenarios.regime(old), S4])
    assert found.sigma[(0, 100), S4] != pytest.approx(found.sigma[(42, 100), S4], rel=0.1)


def test_each_scenario_does_what_it_says() -> None:
    sigma = SPREAD.sigma[(0, 100), S4]
    before, gain = applied("gain")
    assert column(gain, S4) == pytest.approx([1.01 * value for value in column(before, S4)])
    assert set(column(applied("stuck")[1], S4)) == {before[0][S4]}
    assert set(column(applied("dropout")[1], S4)) == {0.0}
    assert column(applied("kelvin")[1], S4) == pytest.approx([value * 5 / 9 for value in column(before, S4)])
    ramp = applied("ramp", size=2.0)[1]
    assert ramp[-1][S4] - before[-1][S4] == pytest.approx(2.0 * sigma * len(before) / 100)
    assert ramp[0][S4] - before[0][S4] == pytest.approx(2.0 * sigma / 100)


def test_noise_is_as_many_times_what_it_was() -> None:
    change = scenarios.change("noise", size=3.0)
    found = scenarios.spread(
        [scenarios.apply(change, engine, SPREAD, random.Random(n)) for n, engine in enumerate(FLEET)]
    )
    assert found.noise[(0, 100), S4] / SPREAD.noise[(0, 100), S4] == pytest.approx(3.0, rel=0.1)


def test_other_sensors_can_be_named_and_sizes() -> None:
    change = scenarios.change("bias", sensors=["s11", "s2"], size=0.5)
    assert (change.sensors, change.size) == (("s11", "s2"), 0.5)
    assert str(change) == "s11, s2: reads higher by 0.5 σ of its regime"
    assert str(scenarios.change("clean")) == "the engines as they are"
    assert "FD002" in str(Change(SCENARIOS["regime"], fleet="FD002"))


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("gremlins", {}, "no scenario 'gremlins'"),
        ("bias", {"sensors": ["s22"]}, "no sensor 's22'"),
        ("clean", {"sensors": ["s4"]}, "not in a sensor"),
        ("stuck", {"size": 2.0}, "no such size"),
        ("bias", {"size": math.nan}, "no such size"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, more: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        scenarios.change(name, **more)


def test_a_sensor_that_never_varies_cannot_be_biased_by_its_sigma() -> None:
    with pytest.raises(UsageError, match="s1 never varies in FD001"):
        scenarios.require_variation(scenarios.change("bias", sensors=["s1"]), SPREAD, "FD001")
    scenarios.require_variation(scenarios.change("bias"), SPREAD, "FD001")
    scenarios.require_variation(scenarios.change("gain", sensors=["s1"]), SPREAD, "FD001")


def test_whose_engines_are_sent() -> None:
    assert scenarios.source_fleet(SCENARIOS["bias"], "FD003") == "FD003"
    assert scenarios.source_fleet(SCENARIOS["regime"], "FD001") == "FD002"
    assert scenarios.source_fleet(SCENARIOS["fault"], "FD002") == "FD004"
    with pytest.raises(UsageError, match="no engines for scenario regime of FD002") as caught:
        scenarios.source_fleet(SCENARIOS["regime"], "FD002")
    assert "FD001, FD003" in caught.value.todo


def test_engines_whose_fan_fails_are_those_whose_p30_rises_and_are_sent_late_in_their_lives() -> None:
    fleet = [history(1, 100, rises=0.05), history(2, 100, rises=-0.05), history(3, 120, rises=0.05)]
    found = scenarios.late_with_outer_fault(fleet, random.Random(1))
    assert [place for place, _ in found] == [0, 2]
    for place, cut in found:
        left = len(fleet[place]) - len(cut)
        assert 5 <= left <= 30
        assert cut == fleet[place][:-left]


def test_rows_are_written_as_nasa_writes_them_and_read_back() -> None:
    engine = Engine(1, table(1, 3).splitlines())
    rows = scenarios.history_of(engine)
    assert [row.strip() for row in engine.rows] == list(scenarios.engine_of(rows, 1).rows)
    renamed = scenarios.engine_of(rows, 1007)
    assert all(row.startswith(b"1007 ") for row in renamed.rows)
    written = b"".join(row + b"\n" for row in scenarios.engine_of(rows, 1).rows)
    assert cmapss.read_table(io.BytesIO(written), "train_FD001.txt").rows == 3


@pytest.mark.parametrize(("row", "says"), [(b"1 1 x", "not made of numbers"), (b"1 1 0.5", "has not 26 columns")])
def test_rows_that_are_none_are_refused(row: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        scenarios.history_of(Engine(4, [row]))


def test_a_regime_that_was_never_seen_has_no_sigma() -> None:
    before = history(1, 3, altitudes=(25.0,))
    assert scenarios.apply(scenarios.change("bias"), before, Spread({}, {}), random.Random(1)) == before
