"""Requests against the baseline's constraints: what is wrong is named, and nothing that is sent breaks the check."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cmapss import COLUMNS
from hypothesis import given, settings
from hypothesis import strategies as st
from turbofan import baseline, schema
from turbofan.capture import Body
from turbofan.errors import InputError
from turbofan.features import engine_offsets
from turbofan.schema import Constraints, SchemaCheck

from tests import captured


def constraints(**config: object) -> Constraints:
    files = captured.baseline_files()
    document = json.loads(files["constraints.json"])
    document["monitoring_config"] |= config
    return Constraints.from_dict(document, json.loads(files["statistics.json"]))


def checked(*bodies: bytes, kind: str = "text/csv", tolerated: float = 0.0, **config: object) -> SchemaCheck:
    check = SchemaCheck(replace(constraints(**config), tolerated_requests=tolerated))
    for body in bodies:
        check.take(Body(body, kind))
    return check


@pytest.mark.parametrize(
    ("name", "convert", "says"),
    [
        ("s2", lambda v: v / 1.8, "K instead of °R"),
        ("s2", lambda v: v - 459.67, "°F instead of °R"),
        ("s3", lambda v: v / 1.8 - 273.15, "°C instead of °R"),
        ("s7", lambda v: v * 6.894757, "kPa instead of psia"),
        ("s11", lambda v: v * 0.06894757, "bar instead of psia"),
        ("s9", lambda v: v * 0.1047198, "rad/s instead of rpm"),
        ("s19", lambda v: v / 100, "a fraction of 1 instead of %"),
        # Near the ground, nothing tells them apart.
        ("op1", lambda v: v * 304.8, "ft or m instead of 1000 ft"),
    ],
)
def test_unit_is_named(name: str, convert: Callable[[captured.Array], captured.Array], says: str) -> None:
    column = COLUMNS.index(name)
    engines = [captured.changed(rows, column, convert(rows[:, column])) for rows in captured.histories(10)]
    [problem] = checked(*map(captured.csv_body, engines)).problems()
    assert (problem.feature, problem.check) == (name, "baseline_drift_check")
    assert problem.short == f"{name} in {says}"


def test_nothing_is_evaluated_where_the_constraints_say_so() -> None:
    assert checked(b"1,2,3", evaluate_constraints="Disabled").problems() == []
    assert checked(b"1,2,3").problems() != []


@pytest.mark.parametrize(
    ("share", "requests", "allowed"),
    [
        (0.01, 1, 1),
        (0.01, 20, 1),
        (0.01, 199, 1),
        (0.01, 200, 2),
        (0.01, 2900, 29),  # 0.01 x 2900 is a little more than 29,
        (0.29, 100, 29),  # and 0.29 x 100 a little less
        (0.0, 1000, 0),
        (1.0, 3, 3),
    ],
)
def test_tolerated_share_of_requests_is_never_less_than_one_unless_it_is_nothing(
    share: float, requests: int, allowed: int
) -> None:
    check = checked(tolerated=share)
    check.requests = requests
    assert check.allowed == allowed


def test_tolerance_is_about_all_that_is_wrong_with_requests_together() -> None:
    good = captured.csv_body(captured.histories(1)[0])
    check = checked(*[good] * 198, b"1,2,3", b"x", tolerated=0.01)
    assert check.problems() == []
    assert {problem.feature for problem in check.tolerated()} == {"Missing columns"}
    check = checked(*[good] * 197, b"1,2,3", b"", b"1,x" + b",1" * 24, tolerated=0.01)
    assert {problem.feature for problem in check.problems()} == {"Missing columns", "Request", "cycle"}
    assert check.tolerated() == []


def test_constraints_of_before_tolerate_what_new_ones_do() -> None:
    document = json.loads(captured.baseline_files()["constraints.json"])
    assert document.pop("onwing") == {"tolerated_requests": 0.01}
    assert Constraints.from_dict(document).tolerated_requests == 0.01


def test_nothing_is_told_as_tolerated_where_the_constraints_are_not_evaluated() -> None:
    assert checked(b"1,2,3", tolerated=1.0).tolerated() != []
    assert checked(b"1,2,3", tolerated=1.0, evaluate_constraints="Disabled").tolerated() == []


@pytest.mark.parametrize(
    "ours", [{"tolerated_requests": 2}, {"tolerated_requests": "few"}, {"tolerated_requests": -1}, 7]
)
def test_tolerance_that_is_no_share_is_an_error_that_says_so(ours: object) -> None:
    with pytest.raises(InputError, match="constraints"):
        Constraints.from_dict({"features": [], "onwing": ours})


def test_share_of_the_type_is_the_constraints() -> None:
    rows = captured.histories(1)[0]
    cells = [line.split(b",") for line in captured.csv_body(rows).split(b"\n")]
    cells[0][8] = b"warm"
    body = b"\n".join(map(b",".join, cells))
    assert [problem.feature for problem in checked(body).problems()] == ["s4"]
    assert checked(body, datatype_check_threshold=0.9).problems() == []


def test_all_that_is_wrong_with_a_request_is_found_not_the_first_alone() -> None:
    rows = captured.histories(1)[0]
    cells = [line.split(b",") for line in captured.csv_body(rows).split(b"\n")]
    cells[0][8], cells[3][9], cells[5][1] = b"warm", b"", b"6.5"
    cells[7].append(b"0")
    found = {(problem.feature, problem.check) for problem in checked(b"\n".join(map(b",".join, cells))).problems()}
    assert found == {
        ("s4", "data_type_check"),
        ("s5", "completeness_check"),
        ("cycle", "data_type_check"),
        ("Extra columns", "extra_column_check"),
    }


def test_refused_request_is_looked_at_for_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "DIAGNOSED_ROWS", 3)
    line = b"1,x" + b",1" * 24
    assert checked(b"\n".join([line] * 1000)).completeness["cycle"] == 1.0
    assert "Only 0% of data" in checked(b"\n".join([line] * 1000)).problems()[0].description


@pytest.mark.needs_cmapss
@pytest.mark.parametrize("fleet", ["FD001", "FD002", "FD003", "FD004"])
def test_no_real_engine_breaks_the_constraints_of_its_fleet(fleet: str, cmapss_dir: Path) -> None:
    train, test = (np.loadtxt(next(cmapss_dir.glob(f"{role}_{fleet}.txt*"))) for role in ("train", "test"))
    check = SchemaCheck(Constraints.from_dict(baseline.constraints(train), baseline.statistics(train)))
    for begin, end in zip(*[engine_offsets(test[:, 0])[i:] for i in (0, 1)], strict=False):
        assert check.take(Body(captured.csv_body(test[begin:end]), "text/csv")) is not None
    assert check.problems() == []
    assert check.rows == len(test)


@settings(max_examples=300)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='0123456789.,-+eE \n"[]{}:nulNaifrows', max_size=200).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["rows", "unit"]), inner),
            max_leaves=40,
        ).map(lambda value: json.dumps({"instances": value}).encode()),
    ),
    kind=st.sampled_from(["text/csv", "application/json", "text/html", ""]),
)
def test_whatever_is_sent_is_told_and_breaks_nothing(content: bytes, kind: str) -> None:
    check = checked(content, kind=kind)
    if check.malformed:
        problems = check.problems()
        assert problems
        for problem in problems:
            assert 0 <= problem.share <= 1
            json.dumps(problem.violation, allow_nan=False)


@pytest.mark.parametrize("features", [None, [1], [{"name": "s1", "completeness": "all"}], [{"completeness": 1.0}]])
def test_broken_constraints_are_an_error_that_says_so(features: object) -> None:
    with pytest.raises(InputError, match="constraints"):
        Constraints.from_dict({"features": features})
