"""NASA's own files: all twelve pass, with the counts and digests that are published for them."""

import io
import os
import time
from pathlib import Path

import pytest
from cmapss import COLUMNS, MEASUREMENTS, check, check_trio, read_rul, read_table

DIRECTORY = os.environ.get("CMAPSS_DIR", "")
pytestmark = [
    pytest.mark.needs_cmapss,
    pytest.mark.skipif(not DIRECTORY, reason="CMAPSS_DIR is not set: the real C-MAPSS files are needed"),
]

# fleet: rows and engines of train and test, first of the digests
FLEETS = {
    "FD001": (20631, 100, 13096, 100, "963b5e22825b34d8"),
    "FD002": (53759, 260, 33991, 259, "dac6c4dbc4e7c1bd"),
    "FD003": (24720, 100, 16596, 100, "2abbe9968cc5e8eb"),
    "FD004": (61249, 249, 41214, 248, "27ef6160b6a1dcb2"),
}


def path(role: str, fleet: str) -> Path:
    plain = Path(DIRECTORY) / f"{role}_{fleet}.txt"
    return plain if plain.exists() else plain.with_suffix(".txt.gz")


@pytest.mark.parametrize("fleet", FLEETS)
def test_real_trio_passes_every_check(fleet: str) -> None:
    results = []
    for role in ("train", "test", "RUL"):
        with path(role, fleet).open("rb") as stream:
            results.append(check(stream, path(role, fleet).name))
    train, test, rul = results
    assert [result.violations for result in results] == [[], [], []]
    assert check_trio(train, test, rul) == []
    train_rows, train_engines, test_rows, test_engines, digest = FLEETS[fleet]
    assert (train.rows, train.engines, test.rows, test.engines) == (train_rows, train_engines, test_rows, test_engines)
    assert train.sha256.startswith(digest)


def test_real_table_is_read_with_its_published_counts() -> None:
    table = read_table(path("train", "FD001"))
    assert (table.rows, table.engines) == (20631, 100)
    assert (min(table.cycles_per_engine), max(table.cycles_per_engine)) == (128, 362)
    rul = read_rul(path("RUL", "FD001"))
    assert (len(rul), min(rul), max(rul)) == (100, 7, 145)


def test_plausible_ranges_leave_a_margin_around_every_real_value() -> None:
    for role in ("train", "test"):
        values = read_table(path(role, "FD004")).values
        for index, column in enumerate(MEASUREMENTS, start=2):
            numbers = values[index :: len(COLUMNS)]
            assert column.low < min(numbers), column.name
            assert max(numbers) < column.high, column.name


def test_swapped_columns_and_other_units_do_not_pass_as_real_data() -> None:
    table = read_table(path("test", "FD001"))
    width = len(COLUMNS)
    rows = [list(table.values[start : start + width]) for start in range(0, 31 * width, width)]

    def rules(change: dict[str, float]) -> set[tuple[str | None, str]]:
        changed = [[v * change.get(c, 1.0) for c, v in zip(COLUMNS, values, strict=True)] for values in rows]
        text = "".join(" ".join(f"{v:.4f}" for v in values) + "\n" for values in changed)
        return {(v.column, v.rule) for v in check(io.BytesIO(text.encode()), "test_X.txt", limit=10_000).violations}

    assert rules({}) == set()
    kelvin, kpa, rad_per_s = 5 / 9, 6.894757, 0.10472
    temperatures = ("s1", "s2", "s3", "s4")
    assert rules(dict.fromkeys(temperatures, kelvin)) == {(column, "range") for column in temperatures}
    pressures = ("s5", "s6", "s7", "s11")
    assert rules(dict.fromkeys(pressures, kpa)) == {(column, "range") for column in pressures}
    speeds = ("s8", "s9", "s13", "s14")
    assert rules(dict.fromkeys(speeds, rad_per_s)) == {(column, "range") for column in speeds}


def test_largest_file_is_read_and_checked_in_a_fraction_of_the_time_its_training_takes() -> None:
    # About half a second on a quiet core (benchmarks/bench_cmapss.py); the bound leaves room for a busy machine.
    started = time.process_time()
    read_table(path("train", "FD004"))
    assert time.process_time() - started < 2.5
