"""localcloud.fidelity.shared_layers: what is asked and taken of a layer's archive, and of a function's."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from localcloud.fidelity.shared_layers import _Layers, shared_zip_file

FILES = ("python/greeting.py", "python/deep/er/module.py", "lib/data.txt")


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[zipfile.ZipFile]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return shared_zip_file(_Layers())


def archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name in FILES:
            packed.writestr(name, name)
    return path


def test_a_layer_names_only_what_is_linked(shared: type[zipfile.ZipFile], tmp_path: Path) -> None:
    folder = tmp_path / "layer_0"
    folder.mkdir()
    with shared(archive(tmp_path / "layer_0.zip")) as layer:
        assert sorted(layer.namelist()) == ["lib", "python"]
        layer.extractall(folder)
    assert sorted(entry.name for entry in folder.iterdir() if entry.is_symlink()) == ["lib", "python"]
    assert [(folder / name).read_text() for name in FILES] == list(FILES)


def test_code_is_named_and_unpacked_as_ever(shared: type[zipfile.ZipFile], tmp_path: Path) -> None:
    folder = tmp_path / "code"
    with shared(archive(tmp_path / "code.zip")) as code:
        assert code.namelist() == list(FILES)
        code.extractall(folder)
    assert not (folder / "python").is_symlink()
    assert (folder / FILES[1]).read_text() == FILES[1]


def test_two_localclouds_may_unpack_a_layer_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = io.BytesIO(archive(tmp_path / "layer.zip").read_bytes())
    extract = zipfile.ZipFile.extractall
    theirs: list[Path] = []

    def slow(self: zipfile.ZipFile, *arguments: Any) -> None:
        extract(self, *arguments)
        if not theirs:  # while this one unpacks, another does all of it
            theirs.append(Path())
            theirs[0] = _Layers().unpacked(io.BytesIO(content.getvalue()))

    monkeypatch.setattr(zipfile.ZipFile, "extractall", slow)
    assert _Layers().unpacked(content) == theirs[0]
    assert (theirs[0] / FILES[0]).read_text() == FILES[0]
    assert not list(tmp_path.glob("layer-unfinished-*"))
