"""The simulator: files in NASA's format that pass every check, look like NASA's and can be learned from."""

import time
from pathlib import Path

import numpy as np
import pytest
from cmapss import DataError, check, check_trio, read_rul, read_table
from sklearn.ensemble import HistGradientBoostingRegressor

from onwing.simulator import MARKER, SCENARIOS, Scenario, simulate

# NASA's first line of train_FD001.txt and of RUL_FD001.txt
NASA_ROW = (
    "1 1 -0.0007 -0.0004 100.0 518.67 641.82 1589.70 1400.60 14.62 21.61 554.36 2388.06 9046.19 1.30 47.47 521.66 "
    "2388.02 8138.62 8.4195 0.03 392 2388 100.00 39.06 23.4190  \n"
)
NASA_RUL = "112 \n"


def rows(path: Path) -> np.ndarray:
    return np.frombuffer(read_table(path).values).reshape(-1, 26)


@pytest.mark.parametrize("fleet", [*SCENARIOS, "A1"])
def test_simulated_trio_passes_every_check(fleet: str, tmp_path: Path) -> None:
    paths = simulate(fleet, tmp_path, engines=25, test_engines=12)
    results = {}
    for role, path in paths.items():
        with path.open("rb") as stream:
            results[role] = check(stream, path.name)
    assert {role: result.violations for role, result in results.items()} == {"train": [], "test": [], "RUL": []}
    assert check_trio(results["train"], results["test"], results["RUL"]) == []
    assert (results["train"].engines, results["test"].engines) == (25, 12)


def test_lines_have_the_exact_form_of_nasas(tmp_path: Path) -> None:
    paths = simulate("FD001", tmp_path, engines=2)

    def form(line: str) -> list[int]:
        """Decimals of each field; what is not a number stays as it is."""
        return [len(field.partition(".")[2]) for field in line.split(" ")]

    for line in paths["train"].read_bytes().decode("ascii").splitlines(keepends=True):
        assert line.endswith("  \n")
        assert form(line) == form(NASA_ROW)
    for line in paths["RUL"].read_text().splitlines(keepends=True):
        assert line.rstrip("0123456789 \n") == ""
        assert form(line) == form(NASA_RUL)


def test_same_arguments_give_the_same_bytes_and_other_seeds_or_fleets_do_not(tmp_path: Path) -> None:
    def content(fleet: str, name: str, seed: int) -> bytes:
        paths = simulate(fleet, tmp_path / name, engines=3, seed=seed)
        return b"".join(path.read_bytes() for path in paths.values())

    first = content("FD001", "a", 1)
    assert content("FD001", "b", 1) == first
    assert content("FD001", "c", 2) != first
    assert content("X", "d", 1) != first  # same scenario, another fleet


def test_files_never_lie_about_without_the_mark(tmp_path: Path) -> None:
    simulate("FD001", tmp_path, engines=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [MARKER, "RUL_FD001.txt", "test_FD001.txt", "train_FD001.txt"]
    )
    assert "SIMULATED" in (tmp_path / MARKER).read_text()


def test_lives_records_and_levels_are_like_nasas(tmp_path: Path) -> None:
    paths = simulate("FD001", tmp_path, engines=200)
    lives = read_table(paths["train"]).cycles_per_engine
    assert 110 <= min(lives) <= 160  # NASA: 128
    assert 180 <= np.median(lives) <= 225  # 199
    assert 300 <= max(lives) <= 450  # 362
    rul = read_rul(paths["RUL"])
    assert min(rul) >= 6
    assert max(rul) <= 145
    assert min(read_table(paths["test"]).cycles_per_engine) >= 20
    train = rows(paths["train"])
    last = np.append(np.flatnonzero(train[:, 1] == 1)[1:], len(train)) - 1
    t50 = train[:, 8]  # s4
    assert abs(t50[train[:, 1] <= 20].mean() - 1402.8) < 2
    assert abs(t50[last].mean() - 1430) < 4


def test_six_conditions_and_two_faults_show_in_the_data(tmp_path: Path) -> None:
    train = rows(simulate("FD004", tmp_path, engines=60)["train"])
    altitudes, flights = np.unique(train[:, 2].round(), return_counts=True)
    assert altitudes.tolist() == [0, 10, 20, 25, 35, 42]
    assert flights[-1] / flights.sum() == pytest.approx(0.25, abs=0.02)
    single = rows(simulate("FD003", tmp_path, engines=60)["train"])
    last = np.append(np.flatnonzero(single[:, 1] == 1)[1:], len(single)) - 1
    p30 = single[last, 11]  # s7 falls with an HPC fault and rises with a fan fault
    assert 0.2 < (p30 > 560).mean() < 0.7
    assert ((p30 < 553.5) | (p30 > 560)).all()


def test_scenario_can_be_chosen_for_a_fleet_of_any_name(tmp_path: Path) -> None:
    paths = simulate("A320", tmp_path, engines=3, scenario=Scenario(six_conditions=True, fan_faults=True))
    assert len(np.unique(rows(paths["train"])[:, 2].round())) == 6


def test_fleet_that_cannot_stand_in_a_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        simulate("../x", tmp_path)
    with pytest.raises(ValueError, match="needs engines"):
        simulate("FD001", tmp_path, engines=0)
    assert list(tmp_path.iterdir()) == []


def test_hundred_engines_take_a_couple_of_seconds(tmp_path: Path) -> None:
    started = time.process_time()
    simulate("FD004", tmp_path)
    assert time.process_time() - started < 3


def features(table: np.ndarray, scale: dict[float, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Age and, per sensor normalised by condition, the mean of the last 10 and 30 cycles and of all so far."""
    conditions = table[:, 2].round()
    normal = np.zeros((len(table), 21))
    for condition, (mean, deviation) in scale.items():
        chosen = conditions == condition
        normal[chosen] = (table[chosen, 5:] - mean) / np.maximum(deviation, 1e-3)
    found = []
    starts = np.flatnonzero(table[:, 1] == 1)[1:]
    for engine in np.split(normal, starts):
        total = np.vstack([np.zeros(21), engine.cumsum(axis=0)])
        cycle = np.arange(1, len(engine) + 1)
        means = [
            (total[cycle] - total[np.maximum(cycle - n, 0)]) / np.minimum(cycle, n)[:, None] for n in (10, 30, 999)
        ]
        found.append(np.hstack([*means, cycle[:, None]]))
    return np.vstack(found)


@pytest.mark.parametrize("fleet", ["FD001", "FD004"])
def test_a_simple_regression_learns_remaining_life_about_as_well_as_on_nasas_files(fleet: str, tmp_path: Path) -> None:
    paths = simulate(fleet, tmp_path)
    train, test = rows(paths["train"]), rows(paths["test"])
    conditions = train[:, 2].round()
    scale = {
        c: (train[conditions == c, 5:].mean(axis=0), train[conditions == c, 5:].std(axis=0)) for c in set(conditions)
    }
    ends = np.append(np.flatnonzero(train[:, 1] == 1)[1:], len(train))
    rul = np.repeat(train[ends - 1, 1], train[ends - 1, 1].astype(int)) - train[:, 1]
    model = HistGradientBoostingRegressor(max_iter=60, random_state=0)
    model.fit(features(train, scale)[::3], rul.clip(max=125)[::3])
    last = np.append(np.flatnonzero(test[:, 1] == 1)[1:], len(test)) - 1
    error = model.predict(features(test, scale)[last]) - np.clip(read_rul(paths["RUL"]), 0, 125)
    assert 5 < np.sqrt(np.mean(error**2)) < 17  # NASA's FD001 and FD004 with the same model: 14
