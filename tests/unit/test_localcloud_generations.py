"""Generations on disk: whole or not there, bounded, checked when read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from localcloud.durability.generations import Generations, StateUnreadable

CODE = os.urandom(50_000)


def refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON")


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    (tmp_path / "state").mkdir()
    return Generations(tmp_path / "state", refuse)


def files(generations: Generations) -> list[str]:
    return sorted(path.name for path in generations.directory.iterdir())


def test_what_is_saved_is_read_again(generations: Generations) -> None:
    saved = generations.save(1, {"port": 4566}, [("s3", {"a": [1, None]}), ("lambda", {"code": CODE})], None)
    found = generations.newest()
    assert found is not None
    assert found.states == {"s3": {"a": [1, None]}, "lambda": {"code": CODE}}
    assert (found.number, found.header["port"], saved.written) == (1, 4566, True)
    assert saved.size > len(CODE)
    assert generations.header()["port"] == 4566


def test_nothing_saved_is_nothing_found(generations: Generations) -> None:
    assert generations.newest() is None
    assert generations.header() == {}


def test_one_generation_stands_and_large_parts_nobody_needs_go(generations: Generations) -> None:
    generations.save(1, {}, [("lambda", {"code": CODE})], None)
    generations.save(2, {}, [("lambda", {"code": CODE, "more": 1})], None)
    assert files(generations) == ["0000000002.generation", "blobs"]
    assert len(list(generations.blobs.iterdir())) == 1
    generations.save(3, {}, [("lambda", {})], None)
    assert list(generations.blobs.iterdir()) == []


def test_same_state_is_not_written_again(generations: Generations) -> None:
    first = generations.save(1, {"taken": "one"}, [("s3", {"a": 1})], None)
    second = generations.save(2, {"taken": "two"}, [("s3", {"a": 1})], first.digest)
    assert (second.written, second.number, second.digest) == (False, 1, first.digest)
    assert files(generations) == ["0000000001.generation", "blobs"]


def test_write_that_was_cut_off_leaves_the_one_before(generations: Generations) -> None:
    generations.save(1, {}, [("s3", {"a": 1})], None)
    whole = (generations.directory / "0000000001.generation").read_bytes()
    (generations.directory / "0000000002.tmp").write_bytes(whole[: len(whole) // 2])
    found = generations.newest()
    assert found is not None
    assert found.number == 1
    generations.save(2, {}, [("s3", {"a": 2})], None)
    assert files(generations) == ["0000000002.generation", "blobs"]


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-20], lambda c: c.replace(b'"a"', b'"b"'), lambda c: b"", lambda c: b"x"]
)
def test_damaged_one_is_left_out_for_the_one_before(generations: Generations, damage: Any) -> None:
    generations.save(1, {}, [("s3", {"a": 1})], None)
    older = generations.directory / "0000000001.generation"
    content = older.read_bytes()
    generations.save(2, {}, [("s3", {"a": 2})], None)
    older.write_bytes(content)
    newest = generations.directory / "0000000002.generation"
    newest.write_bytes(damage(newest.read_bytes()))
    found = generations.newest()
    assert found is not None
    assert found.states == {"s3": {"a": 1}}


def test_nothing_but_damage_says_what_to_do(generations: Generations) -> None:
    generations.save(1, {}, [("s3", {"a": 1})], None)
    (generations.directory / "0000000001.generation").write_bytes(b"half")
    with pytest.raises(StateUnreadable, match=r"0000000001.generation.*remove .*state"):
        generations.newest()


def test_lost_part_is_named(generations: Generations) -> None:
    generations.save(1, {}, [("lambda", {"code": CODE})], None)
    next(generations.blobs.iterdir()).unlink()
    with pytest.raises(StateUnreadable, match="lacks a part"):
        generations.newest()


def test_newer_format_is_refused(generations: Generations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localcloud.durability.generations.FORMAT", 2)
    generations.save(1, {}, [("s3", {})], None)
    monkeypatch.undo()
    with pytest.raises(StateUnreadable, match="format 2"):
        generations.newest()


def test_state_that_is_no_json_names_the_service(generations: Generations) -> None:
    generations.save(1, {}, [("s3", {"a": 1})], None)
    with pytest.raises(StateUnreadable, match="the state of sqs"):
        generations.save(2, {}, [("s3", {}), ("sqs", {"lock": object()})], None)
    found = generations.newest()
    assert found is not None
    assert found.number == 1
