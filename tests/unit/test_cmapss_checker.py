"""The checker of C-MAPSS files: every rule, the line and column it names, and the memory it needs."""

import gzip
import hashlib
import io
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cmapss import (
    COLUMNS,
    MEASUREMENTS,
    RULES,
    CheckResult,
    DataError,
    Violation,
    check,
    check_trio,
    read_rul,
    read_table,
)
from hypothesis import given, settings
from hypothesis import strategies as st

TAIL = (
    b"-0.0007 -0.0004 100.0 518.67 641.82 1589.70 1400.60 14.62 21.61 554.36 2388.06 9046.19 1.30 47.47 521.66 2388.02 "
    b"8138.62 8.4195 0.03 392 2388 100.00 39.06 23.4190  \n"
)


def row(unit: object, cycle: object) -> bytes:
    """One line as NASA writes it (the values are those of FD001's first)."""
    return f"{unit} {cycle} ".encode() + TAIL


def table(*lengths: int) -> bytes:
    """A sound file of engines that live so many cycles each."""
    return b"".join(row(unit, cycle) for unit, n in enumerate(lengths, 1) for cycle in range(1, n + 1))


def edited(content: bytes, line: int, column: str, field: bytes) -> bytes:
    """The file with one field replaced."""
    lines = content.splitlines(keepends=True)
    fields = lines[line - 1].split()
    fields[COLUMNS.index(column)] = field
    lines[line - 1] = b" ".join(fields) + b"  \n"
    return b"".join(lines)


def checked(content: bytes, name: str = "train_FD001.txt", **options: int) -> CheckResult:
    return check(io.BytesIO(content), name, **options)


def broken(content: bytes, name: str = "train_FD001.txt") -> list[tuple[int | None, str | None, str]]:
    """Line, column and rule of each violation."""
    result = checked(content, name)
    assert result.violation_count == len(result.violations)
    assert not result.ok
    return [(v.line, v.column, v.rule) for v in result.violations]


class Dribble(io.RawIOBase):
    """A stream that hands out pieces of odd sizes, as a network does."""

    def __init__(self, content: bytes, sizes: Callable[[], int]) -> None:
        self._stream = io.BytesIO(content)
        self._sizes = sizes

    def read(self, amount: int = -1, /) -> bytes:
        return self._stream.read(min(amount, self._sizes()))


class Endless:
    """A generated stream that is never in memory as a whole."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, amount: int, /) -> bytes:
        piece = next(self._pieces, b"")
        assert len(piece) <= amount
        return piece


# --- what is sound ---------------------------------------------------------------------------------------------------


def test_sound_table_passes_with_its_counts_and_digest() -> None:
    content = table(3, 1, 5)
    result = checked(content)
    assert result.ok
    assert (result.fleet, result.role, result.rows, result.engines) == ("FD001", "train", 9, 3)
    assert (result.bytes, result.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert json.loads(json.dumps(result.to_dict()))["ok"] is True


def test_compressed_file_has_the_digest_of_its_content_whatever_its_name_says() -> None:
    content = table(4)
    plain = checked(content, "train_FD001.txt.gz")
    packed = checked(gzip.compress(content), "train_FD001.txt")
    assert (plain.sha256, plain.bytes, plain.rows) == (packed.sha256, packed.bytes, packed.rows)
    assert (plain.gzip, packed.gzip) == (False, True)


def test_gzip_of_several_members_padded_with_zeros_is_one_file() -> None:
    content = table(2, 2)
    packed = gzip.compress(content[:300]) + bytes(70_000) + gzip.compress(content[300:]) + bytes(512)
    result = checked(packed)
    assert result.ok
    assert result.rows == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"  \n", b"\n"),
        lambda text: text.replace(b" ", b"\t"),
        lambda text: text.replace(b"518.67", b"5.1867e+02"),
        lambda text: text.replace(b"1 1 ", b"1.0 1.0 "),
        lambda text: text.replace(b"-0.0004", b"-.0004"),
    ],
    ids=["CR LF", "no blanks at line ends", "tabs", "exponents", "counts as decimals", "no leading zero"],
)
def test_other_spellings_of_the_same_numbers_are_accepted(change: Callable[[bytes], bytes]) -> None:
    changed = change(table(2, 1))
    assert checked(changed).ok
    assert read_table(io.BytesIO(changed)).values == read_table(io.BytesIO(table(2, 1))).values


def test_table_is_read_whole() -> None:
    read = read_table(io.BytesIO(table(3, 1, 5)))
    assert (read.rows, read.engines, read.cycles_per_engine) == (9, 3, [3, 1, 5])
    assert len(read.values) == 9 * 26
    assert list(read.values[3 * 26 : 3 * 26 + 6]) == [2.0, 1.0, -0.0007, -0.0004, 100.0, 518.67]


def test_rul_file_is_read_whole() -> None:
    assert read_rul(io.BytesIO(b"112 \n98 \n0\n")) == [112, 98, 0]


def test_table_is_read_from_a_path_and_errors_name_it(tmp_path: Path) -> None:
    path = tmp_path / "train_FD001.txt.gz"
    path.write_bytes(gzip.compress(table(2)))
    assert read_table(path).rows == 2
    path.write_bytes(gzip.compress(table(2) + row(1, 4)))
    with pytest.raises(DataError, match=r"train_FD001.txt.gz, line 3, column cycle") as caught:
        read_table(str(path))
    assert caught.value.violations[0].rule == "cycle_sequence"


# --- every rule ------------------------------------------------------------------------------------------------------

SOUND = table(3, 3)
CASES: dict[str, tuple[bytes, list[tuple[int | None, str | None, str]]]] = {
    "nothing": (b"", [(None, None, "empty")]),
    "compressed nothing": (gzip.compress(b""), [(None, None, "empty")]),
    "cut off gzip": (gzip.compress(SOUND)[:-9], [(None, None, "gzip")]),
    "only the magic of gzip": (b"\x1f\x8b", [(None, None, "gzip")]),
    "gzip with a wrong checksum": (gzip.compress(SOUND)[:-8] + bytes(8), [(None, None, "gzip")]),
    "gzip followed by something": (gzip.compress(SOUND) + b"more", [(None, None, "gzip")]),
    "zip": (b"PK\x03\x04\x14\0\0\0", [(1, None, "binary")]),
    "UTF-16": (SOUND.decode().encode("utf-16-le"), [(1, None, "binary")]),
    "NUL in line 3": (table(2) + b"1 3\0" + TAIL, [(3, None, "binary")]),
    "byte order mark": (b"\xef\xbb\xbf" + SOUND, [(1, None, "encoding")]),
    "umlaut": (table(2) + "1 3 ä".encode() + TAIL + row(1, 4), [(3, None, "encoding")]),
    "form feed": (SOUND.replace(b"518.67", b"518.67\f", 1), [(1, None, "encoding")]),
    "lone carriage return": (SOUND.replace(b"518.67 ", b"518.67\r", 1), [(1, None, "encoding")]),
    "blank line": (table(2) + b"\n" + row(1, 3), [(3, None, "blank_line")]),
    "blank last line": (SOUND + b" \n", [(7, None, "blank_line")]),
    "long line": (table(2) + row(1, 3)[:-1] + b" " * 1024 + b"\n" + row(1, 4), [(3, None, "line_length")]),
    "very long line": (table(2) + b"1" * 500_000 + b"\n" + row(1, 4), [(3, None, "line_length")]),
    "only one very long line": (b"1" * 500_000, [(1, None, "line_length")]),
    "cut off in a number": (SOUND[:-7], [(6, None, "line_end")]),
    "cut off in a line": (SOUND[:-60], [(6, None, "line_end"), (6, None, "columns")]),
    "25 columns": (table(2) + row(1, 3).replace(b" 518.67", b"") + row(1, 4), [(3, None, "columns")]),
    "27 columns": (table(2) + row(1, 3).replace(b" 518.67", b" 1 1") + row(1, 4), [(3, None, "columns")]),
    "27 and 25 columns": (SOUND.replace(b"  \n1 ", b" 1 \n", 1), [(1, None, "columns"), (2, None, "columns")]),
    "header": (b" ".join(c.encode() for c in COLUMNS) + b"\n" + SOUND, [(1, None, "number")]),
    "word": (edited(SOUND, 2, "s3", b"hot"), [(2, "s3", "number")]),
    "decimal comma": (edited(SOUND, 2, "s3", b"1589,70"), [(2, "s3", "number")]),
    "underscore": (edited(SOUND, 2, "s3", b"1_589.7"), [(2, "s3", "number")]),
    "only a sign": (edited(SOUND, 2, "op2", b"-"), [(2, "op2", "number")]),
    "NaN": (edited(SOUND, 4, "s21", b"NaN"), [(4, "s21", "finite")]),
    "infinity": (edited(SOUND, 4, "s1", b"-inf"), [(4, "s1", "finite")]),
    "overflow": (edited(SOUND, 4, "s1", b"1e999"), [(4, "s1", "finite")]),
    "NaN as unit": (edited(SOUND, 2, "unit", b"nan"), [(2, "unit", "finite")]),
    "half a cycle": (edited(SOUND, 2, "cycle", b"2.5"), [(2, "cycle", "integer")]),
    "half a unit": (edited(SOUND, 2, "unit", b"1.5"), [(2, "unit", "integer")]),
    "first unit 0": (table(2).replace(b"1 1 ", b"0 1 ", 1), [(1, "unit", "unit_sequence")]),
    "units from 2": (row(2, 1) + row(2, 2), [(1, "unit", "unit_sequence")]),
    "unit left out": (table(2) + row(3, 1) + row(3, 2), [(3, "unit", "unit_sequence")]),
    "unit again": (table(2, 2) + row(1, 3) + row(1, 4), [(5, "unit", "unit_sequence")]),
    "cycle left out": (table(2) + row(1, 4) + row(1, 5), [(3, "cycle", "cycle_sequence")]),
    "cycle twice": (table(2) + row(1, 2) + row(1, 3), [(3, "cycle", "cycle_sequence")]),
    "first cycle left out": (row(1, 2) + row(1, 3), [(1, "cycle", "cycle_sequence")]),
    "second unit begins late": (table(2) + row(2, 2) + row(2, 3), [(3, "cycle", "cycle_sequence")]),
    "altitude in feet": (edited(SOUND, 2, "op1", b"42000"), [(2, "op1", "range")]),
    "temperature in kelvin": (edited(SOUND, 2, "s1", b"288.15"), [(2, "s1", "range")]),
    "pressure in kPa": (edited(SOUND, 2, "s5", b"100.8"), [(2, "s5", "range")]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rule_names_line_column_and_rule(case: str) -> None:
    content, expected = CASES[case]
    assert broken(content) == expected
    with pytest.raises(DataError) as caught:
        read_table(io.BytesIO(content))
    assert [(v.line, v.column, v.rule) for v in caught.value.violations] == expected


RUL_CASES: dict[str, tuple[bytes, list[tuple[int | None, str | None, str]]]] = {
    "nothing": (b"", [(None, None, "empty")]),
    "fraction": (b"112 \n98.5 \n", [(2, "RUL", "integer")]),
    "negative": (b"112 \n-1 \n", [(2, "RUL", "range")]),
    "absurd": (b"112 \n1000000 \n", [(2, "RUL", "range")]),
    "word": (b"RUL\n112\n", [(1, "RUL", "number")]),
    "NaN": (b"nan\n112\n", [(1, "RUL", "finite")]),
    "two columns": (b"112 \n1 98 \n", [(2, None, "columns")]),
    "blank line": (b"112 \n\n98 \n", [(2, None, "blank_line")]),
    "cut off": (b"112 \n98", [(2, None, "line_end")]),
}


@pytest.mark.parametrize("case", RUL_CASES)
def test_each_rule_of_rul_files_names_line_column_and_rule(case: str) -> None:
    content, expected = RUL_CASES[case]
    assert broken(content, "RUL_FD001.txt") == expected
    with pytest.raises(DataError):
        read_rul(io.BytesIO(content))


def test_every_rule_is_documented_and_has_a_case() -> None:
    shown = {rule for cases in (CASES, RUL_CASES) for _, found in cases.values() for _, _, rule in found}
    elsewhere = {"name", "too_large", "trio", "rul_rows"}
    assert shown | elsewhere == set(RULES)


@pytest.mark.parametrize("column", MEASUREMENTS, ids=lambda column: column.name)
def test_values_just_outside_the_plausible_range_are_found_and_its_ends_are_accepted(column) -> None:  # type: ignore[no-untyped-def]
    for value in (column.low, column.high):
        assert checked(edited(SOUND, 5, column.name, repr(value).encode())).ok
    for value in (column.low - 0.001, column.high + 0.001):
        assert broken(edited(SOUND, 5, column.name, repr(value).encode())) == [(5, column.name, "range")]


def test_violation_reads_as_a_sentence_with_the_place_first() -> None:
    (violation,) = checked(edited(SOUND, 2, "s1", b"288.15")).violations
    assert str(violation) == (
        "train_FD001.txt, line 2, column s1: '288.15' is outside 356 to 648.337 °R, where T2, total temperature at the "
        "fan inlet is plausible: check unit and column order (rule: range)"
    )
    assert Violation(**violation.to_dict()) == violation  # type: ignore[arg-type]


def test_only_the_first_violations_are_kept_and_all_are_counted() -> None:
    result = checked(SOUND.replace(b"518.67", b"bad"), limit=2)
    assert (result.violation_count, [v.line for v in result.violations]) == (6, [1, 2])
    assert result.to_dict()["violation_count"] == 6


def test_hostile_content_does_not_reach_messages_raw() -> None:
    (violation,) = checked(edited(SOUND, 2, "s1", b"<b>" + b"x" * 900)).violations
    assert len(violation.message) < 120
    assert checked(b"\x1b[31m\n").violations[0].message.isprintable()


# --- trios -----------------------------------------------------------------------------------------------------------


def test_trio_needs_one_rul_per_test_engine_of_the_same_fleet() -> None:
    train, test = checked(table(3)), checked(table(2, 2), "test_FD001.txt")
    rul = checked(b"5 \n6 \n", "RUL_FD001.txt")
    assert check_trio(train, test, rul) == []
    (short,) = check_trio(train, test, checked(b"5 \n", "RUL_FD001.txt"))
    assert (short.file, short.rule) == ("RUL_FD001.txt", "rul_rows")
    assert "1 RUL values for the 2 engines of test_FD001.txt" in short.message
    (foreign,) = check_trio(train, test, checked(b"5 \n6 \n", "RUL_FD002.txt"))
    assert foreign.rule == "trio"
    assert [v.rule for v in check_trio(test, train, rul)] == ["trio", "trio", "rul_rows"]


# --- properties ------------------------------------------------------------------------------------------------------


@st.composite
def sound_tables(draw: st.DrawFn) -> tuple[list[int], list[list[float]]]:
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    fields = st.tuples(*(st.floats(c.low, c.high, allow_nan=False).map(lambda v: round(v, 6)) for c in MEASUREMENTS))
    rows = []
    for unit, length in enumerate(lengths, 1):
        for cycle in range(1, length + 1):
            values = (min(max(v, c.low), c.high) for v, c in zip(draw(fields), MEASUREMENTS, strict=True))
            rows.append([float(unit), float(cycle), *values])
    return lengths, rows


@settings(max_examples=40)
@given(sound_tables(), st.randoms(use_true_random=False))
def test_what_is_written_is_read_back_exactly(data: tuple[list[int], list[list[float]]], rng: random.Random) -> None:
    lengths, rows = data
    content = b"".join(" ".join(map(repr, values)).encode() + b"  \n" for values in rows)
    read = read_table(Dribble(content, lambda: rng.choice([1, 7, 100, 1000])))
    assert read.cycles_per_engine == lengths
    assert list(read.values) == [value for values in rows for value in values]


LARGE = table(40, 61, 30, 1, 50)
BAD_FIELDS = [
    b"nan",
    b"-inf",
    b"1e400",
    b"x",
    b"1,5",
    b"0x1F",
    b"--1",
    b"1e",
    b"-777.7",
    b"99999999",
    b"1_0",
    b"\xc2\xbd",
]


@settings(max_examples=150)
@given(
    line=st.integers(1, LARGE.count(b"\n")),
    column=st.sampled_from(COLUMNS),
    field=st.sampled_from(BAD_FIELDS),
    step=st.sampled_from([100, 1000, 1 << 16]),
    packed=st.booleans(),
)
def test_any_single_corrupted_field_is_found_in_its_line_and_column(
    line: int, column: str, field: bytes, step: int, packed: bool
) -> None:
    content = edited(LARGE, line, column, field)
    result = check(Dribble(gzip.compress(content) if packed else content, lambda: step), "train_FD001.txt")
    assert [(v.line, v.column) for v in result.violations] == [(line, None if field == b"\xc2\xbd" else column)]
    assert result.sha256 == hashlib.sha256(content).hexdigest()


@settings(max_examples=60)
@given(line=st.integers(1, LARGE.count(b"\n")), twice=st.booleans())
def test_any_lost_or_repeated_line_is_found_where_it_matters(line: int, twice: bool) -> None:
    lines = LARGE.splitlines(keepends=True)
    lines[line - 1 : line] = [lines[line - 1]] * 2 if twice else []
    result = checked(b"".join(lines))
    unit, cycle = map(int, LARGE.splitlines()[line - 1].split()[:2])
    last_of_unit = (unit, cycle) in {(1, 40), (2, 61), (3, 30), (4, 1), (5, 50)}
    if not twice and last_of_unit and unit != 4:
        assert result.ok  # an engine cut one cycle short cannot be told from the file alone
    else:
        assert result.violation_count == 1
        assert result.violations[0].line == line + twice


@settings(max_examples=100)
@given(st.binary(max_size=3000), st.sampled_from(["train_FD001.txt", "RUL_FD001.txt"]))
def test_arbitrary_bytes_never_raise_anything_but_violations(content: bytes, name: str) -> None:
    for stream in (content, gzip.compress(content), b"\x1f\x8b\x08" + content):
        result = check(io.BytesIO(stream), name)
        assert result.ok == (result.violation_count == 0)


@settings(max_examples=30)
@given(st.integers(0, len(CASES) - 1), st.randoms(use_true_random=False))
def test_the_outcome_does_not_depend_on_the_pieces_in_which_a_file_arrives(case: int, rng: random.Random) -> None:
    content, expected = list(CASES.values())[case]
    small = len(content) < 10_000
    stream = Dribble(content, lambda: rng.choice([1, 2, 50, 900]) if small else 7777)
    assert [(v.line, v.column, v.rule) for v in check(stream, "train_FD001.txt").violations] == expected


# --- bounds ----------------------------------------------------------------------------------------------------------


def _peak(stream: Endless, name: str = "train_FD001.txt", max_bytes: int = 1 << 40) -> tuple[CheckResult, int]:
    tracemalloc.start()
    try:
        return check(stream, name, max_bytes=max_bytes), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file() -> None:
    def pieces(engines: int) -> Iterator[bytes]:
        for unit in range(1, engines + 1):
            yield b"".join(row(unit, cycle) for cycle in range(1, 301))

    _, small = _peak(Endless(pieces(10)))
    result, large = _peak(Endless(pieces(50)))
    assert result.rows == 15_000
    assert large < 1.2 * small
    assert large < 8 << 20


def test_memory_is_bounded_when_every_line_is_wrong() -> None:
    result, peak = _peak(Endless(row(unit, "x") * 100 for unit in range(1, 40)))
    assert result.violation_count == 3900
    assert peak < 8 << 20


def test_a_huge_line_is_not_slurped() -> None:
    result, peak = _peak(Endless(b"7" * 60_000 for _ in range(1000)))
    assert [(v.line, v.rule) for v in result.violations] == [(1, "line_length")]
    assert result.bytes == 60_000_000
    assert peak < 2 << 20


def test_decompression_bomb_stops_at_the_limit_in_bounded_memory() -> None:
    bomb = gzip.compress(bytes(64 << 20), 9)
    stream = io.BytesIO(bomb)
    result, peak = _peak(Endless(iter(lambda: stream.read(65536), b"")), max_bytes=1 << 20)
    assert [v.rule for v in result.violations] == ["binary", "too_large"]
    assert result.bytes < 2 << 20
    assert peak < 2 << 20


def test_plain_file_over_the_limit_is_refused() -> None:
    result = checked(SOUND, max_bytes=len(SOUND) - 1)
    assert [v.rule for v in result.violations] == ["too_large"]
    assert checked(SOUND, max_bytes=len(SOUND)).ok
