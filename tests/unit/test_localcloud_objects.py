"""Writes of objects that a kill has cut off: finished when they were committed, otherwise as if they had never been."""

from __future__ import annotations

from pathlib import Path

from localcloud.durability.objects import Part, Parts, recover


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_write_that_was_not_committed_never_was(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"old")
    (tmp_path / "key.meta.json").write_bytes(b"old description")
    (tmp_path / "key.tmp").write_bytes(b"new")
    (tmp_path / "key.meta.json.tmp").write_bytes(b"new descr")
    assert recover(tmp_path) == 0
    assert content(tmp_path) == {"key": b"old", "key.meta.json": b"old description"}


def test_committed_write_is_finished(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    key = tmp_path / "folder/key"
    key.write_bytes(b"old")
    key.with_name("key.meta.json").write_bytes(b"old description")
    key.with_name("key.tmp").write_bytes(b"new")
    key.with_name("key.commit.tmp").write_bytes(b"new description")
    assert recover(tmp_path) == 1
    assert content(tmp_path) == {"folder/key": b"new", "folder/key.meta.json": b"new description"}


def test_committed_write_whose_body_is_in_place_is_finished(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"new")
    (tmp_path / "key.meta.json").write_bytes(b"old description")
    (tmp_path / "key.commit.tmp").write_bytes(b"new description")
    assert recover(tmp_path) == 1
    assert content(tmp_path) == {"key": b"new", "key.meta.json": b"new description"}


def test_nothing_to_recover_where_nothing_is(tmp_path: Path) -> None:
    assert recover(tmp_path / "nowhere") == 0


def test_parts_stand_on_disk_and_come_back(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "upload")
    parts[2] = Part(body=b"second", etag="2")
    assert parts[2]["body"] == b"second"
    assert isinstance(dict(parts[2])["body"], str)  # in memory, and in a snapshot, it is the file's name
    again = Parts(tmp_path / "upload", {"2": dict(parts[2])})
    assert again[2]["body"] == b"second"
    assert again[2]["etag"] == "2"
