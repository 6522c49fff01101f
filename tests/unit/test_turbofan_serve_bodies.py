"""Bodies of requests: what is read, and what is said of a body with something wrong in it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turbofan.serving import bodies
from turbofan.serving.bodies import RequestError, read_csv, read_json

from .turbofan_serving import as_csv, as_json, engines

ONE, TWO = engines(5, 4)
BOTH = np.vstack((ONE, TWO))


def refused(read: Any, body: bytes | str) -> tuple[str, str, str]:
    """Code, message and where."""
    with pytest.raises(RequestError) as caught:
        read(body.encode() if isinstance(body, str) else body)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message, caught.value.where


def changed(column: int, value: str, row: int = 2) -> str:
    """Rows of one engine with another text in one field."""
    lines = [line.split(",") for line in as_csv(ONE).decode().split("\n")]
    lines[row][column] = value
    return "\n".join(",".join(line) for line in lines)


# --- text/csv ---


@pytest.mark.parametrize("separator", [",", " ", "\t", "  ", ", "])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "  \n"])
@pytest.mark.parametrize("last", ["", "\n", "\r\n", "  \n\n"])
def test_rows_are_read_in_every_spelling(separator: str, line_end: str, last: str) -> None:
    text = as_csv(BOTH, separator).decode().replace("\n", line_end) + last
    found = read_csv(text.encode())
    np.testing.assert_array_equal(found.raw, BOTH)
    assert (found.units, found.cycles, found.offsets.tolist()) == ([1, 2], [5, 4], [0, 5, 9])


@pytest.mark.parametrize("number", ["1", "1.", "+1", "01", "1.0", "1e0", "10E-1", "  1 "])
def test_numbers_may_be_spelled_as_c_does(number: str) -> None:
    assert read_csv(changed(5, number).encode()).raw[2, 5] == 1.0


def test_engines_need_not_be_numbered_from_1_and_cycles_may_have_gaps() -> None:
    raw = BOTH[[5, 7, 0, 3]]
    found = read_csv(as_csv(raw))
    assert (found.units, found.cycles) == ([2, 1], [3, 4])


def test_values_out_of_any_range_are_read() -> None:
    assert read_csv(changed(7, "1e300").encode()).raw[2, 7] == 1e300


@pytest.mark.parametrize(
    ("body", "code", "message", "where"),
    [
        ("", "empty", "no rows", "the body"),
        (" \n\r\n", "empty", "no rows", "the body"),
        (changed(7, "x"), "number", "'x' is not a number", "line 3, column s3"),
        (changed(7, "1_0"), "number", "'1_0' is not a number", "line 3, column s3"),
        (changed(7, "0x1"), "number", "'0x1' is not a number", "line 3, column s3"),
        (changed(7, ""), "number", "missing", "line 3, column s3"),
        (changed(7, "NaN"), "finite", "'NaN' is not a finite number", "line 3, column s3"),
        (changed(7, "-inf"), "finite", "'-inf' is not a finite number", "line 3, column s3"),
        (changed(7, "1e999"), "finite", "'1e999' is not a finite number", "line 3, column s3"),
        (changed(7, "null"), "number", "'null' is not a number", "line 3, column s3"),
        (changed(7, "[1]"), "number", "'[1]' is not a number", "line 3, column s3"),
        (changed(7, "1 2"), "number", "'1 2' is not a number", "line 3, column s3"),
        (changed(7, "1,2"), "columns", "there are 27 columns instead of 26", "line 3"),
        (changed(25, "1,"), "columns", "there are 27 columns instead of 26", "line 3"),
        ("1,2\n" + changed(7, "1"), "columns", "there are 2 columns instead of 26", "line 1"),
        ("1\n", "columns", "there is 1 column instead of 26", "line 1"),
        (changed(0, "1\n\n1"), "columns", "1 column ", "line 3"),
        (as_csv(ONE).decode().replace("\n", "\n\n", 1), "blank_line", "blank", "line 2"),
        ("unit,cycle\n" + changed(7, "1"), "number", "no number at all: it starts with 'unit,cycle'", "line 1"),
        (changed(7, "1\x00"), "encoding", "byte 0x00 at position", "line 3"),
        ("\ufeff" + changed(7, "1"), "encoding", "byte 0xef at position 1", "line 1"),
        (changed(0, "1.5"), "integer", "1.5 is not a whole number from 1", "line 3, column unit"),
        (changed(1, "0"), "integer", "0 is not a whole number from 1", "line 3, column cycle"),
        (changed(1, "-3"), "integer", "-3 is not a whole number from 1", "line 3, column cycle"),
        (changed(1, "1e300"), "integer", "1e+300 is not a whole number from 1", "line 3, column cycle"),
        (changed(1, "2"), "cycle_sequence", "cycle 2 of engine 1 follows cycle 2", "line 3, column cycle"),
        (changed(1, "1"), "cycle_sequence", "cycle 1 of engine 1 follows cycle 2", "line 3, column cycle"),
        (changed(0, "7"), "unit_sequence", "engine 1 comes again, its rows began in line 1", "line 4, column unit"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_column(body: str, code: str, message: str, where: str) -> None:
    found = refused(read_csv, body)
    assert (found[0], found[2]) == (code, where)
    assert message in found[1]


def test_bytes_that_are_no_text_are_told() -> None:
    assert refused(read_csv, b"\xff\xfe1,2")[0] == "encoding"


def test_a_lost_and_a_surplus_column_do_not_make_up_for_each_other() -> None:
    lines = as_csv(ONE, " ").decode().split("\n")
    first, second = lines[1].split(), lines[2].split()
    lines[1], lines[2] = " ".join(first[:-1]), " ".join([*second, first[-1]])
    assert refused(read_csv, "\n".join(lines))[::2] == ("columns", "line 2")


# Texts near a good body, so that both ways of reading have something to disagree about.
fields = st.sampled_from(["1", "2", "-0.0", "1.5", "1e5", "+1", "01", "1.", "x", "", "nan", "1 2", "[", "1_0"])
rows = st.lists(st.one_of(st.just("1.25"), st.just("1.25"), fields), min_size=25, max_size=27)


@settings(max_examples=150)
@given(st.lists(rows, min_size=1, max_size=4), st.sampled_from([",", " ", "\t", ", "]), st.sampled_from(["\n", " \n"]))
def test_the_quick_way_reads_what_the_slow_way_reads(table: list[list[str]], separator: str, line_end: str) -> None:
    body = "".join(separator.join(row) + line_end for row in table).encode()
    quick = bodies._read_block(body)
    if quick is not None:
        slow = [bodies._read_line(number, line) for number, line in enumerate(body[:-1].split(b"\n"), start=1)]
        np.testing.assert_array_equal(quick, np.array(slow))


def test_the_quick_way_takes_the_official_format() -> None:
    for body in (as_csv(BOTH), as_csv(BOTH, " "), as_csv(BOTH, "\t"), as_csv(BOTH, " ").replace(b"\n", b"  \n")):
        assert bodies._read_block(body + b"\n") is not None


def test_bodies_of_many_blocks_are_read_whole_and_lines_are_counted_through() -> None:
    many = np.vstack(engines(*[200] * 5))
    body = as_csv(many)
    assert len(body) > 2 * bodies.BLOCK
    np.testing.assert_array_equal(read_csv(body).raw, many)
    lines = body.split(b"\n")
    lines[-2] = lines[-2].replace(b"518.67", b"warm")
    assert refused(read_csv, b"\n".join(lines))[::2] == ("number", "line 999, column s1")


# --- application/json ---


def test_instances_are_read_with_and_without_their_name() -> None:
    named = read_json(as_json([ONE, TWO]))
    bare = read_json(json.dumps({"instances": [ONE.tolist(), TWO.tolist()]}).encode())
    for found in (named, bare):
        np.testing.assert_array_equal(found.raw, BOTH)
        assert (found.units, found.cycles) == ([1, 2], [5, 4])


def test_instances_may_be_of_the_same_engine() -> None:
    found = read_json(as_json([ONE[:3], ONE]))
    assert (found.units, found.cycles, found.offsets.tolist()) == ([1, 1], [3, 5], [0, 3, 8])


def rows_with(column: int, value: Any, row: int = 2) -> str:
    """A body of one instance with another value in one field."""
    table = ONE.tolist()
    table[row][column] = value
    return json.dumps({"instances": [TWO.tolist(), {"unit": 1, "rows": table}]})


@pytest.mark.parametrize(
    ("body", "code", "message", "where"),
    [
        ("", "empty", "nothing", "the body"),
        ("{", "json", "not JSON", "the body"),
        ("\ufeff{}", "json", "not JSON", "the body"),
        ("[" * 100_000, "instances", "Expected 'object', got 'array'", "the body"),
        ('{"instances": ' + "[" * 100_000, "instances", "", "instances[0][0][0]"),
        ('{"x": ' + "[" * 100_000, "json", "not JSON", "the body"),
        ("3", "instances", "Expected 'object', got 'int'", "the body"),
        ("{}", "instances", "missing required field 'instances'", "the body"),
        ('{"instances": 3}', "instances", "Expected 'array', got 'int'", "instances"),
        ('{"instances": []}', "empty", "no instances", "instances"),
        ('{"instances": [[]]}', "empty", "no rows", "instances[0]"),
        ('{"instances": [{"rows": []}]}', "empty", "no rows", "instances[0].rows"),
        ('{"instances": [{"row": []}]}', "instances", "missing required field 'rows'", "instances[0]"),
        ('{"instances": [[[1, 2]]]}', "columns", "there are 2 columns instead of 26", "instances[0][0]"),
        (rows_with(7, "518.67"), "instances", "Expected 'float', got 'str'", "instances[1].rows[2][7]"),
        (rows_with(7, True), "instances", "Expected 'float', got 'bool'", "instances[1].rows[2][7]"),
        (rows_with(7, None), "instances", "Expected 'float', got 'null'", "instances[1].rows[2][7]"),
        (rows_with(7, float("nan")), "json", "NaN", "the body"),
        (rows_with(7, 10**400), "instances", "out of range", "instances[1].rows[2][7]"),
        (rows_with(7, 0).replace(" 0,", f" {9:9<5000},", 1), "instances", "out of range", "instances[1].rows[2][7]"),
        (rows_with(1, 1.5), "integer", "1.5 is not a whole number", "instances[1].rows[2][1] (cycle)"),
        (rows_with(1, 2), "cycle_sequence", "cycle 2 of engine 1 follows cycle 2", "instances[1].rows[2][1] (cycle)"),
        (rows_with(0, 3), "unit_sequence", "engine 3 stands among those of engine 1", "instances[1].rows[2][0] (unit)"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(body: str, code: str, message: str, where: str) -> None:
    found = refused(read_json, body)
    assert (found[0], found[2]) == (code, where)
    assert message in found[1]


def test_an_instances_unit_is_that_of_its_rows() -> None:
    body = json.dumps({"instances": [{"unit": 9, "rows": ONE.tolist()}]})
    code, message, where = refused(read_json, body)
    assert (code, where) == ("unit_sequence", "instances[0].rows[0][0] (unit)")
    assert "engine 1 stands among those of engine 9" in message
