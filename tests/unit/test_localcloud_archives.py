"""Unpacking what somebody else packed, on every Python that is supported."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from localcloud.containers.archives import unpack


@pytest.fixture(params=["with filters", "before filters"], autouse=True)
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.4 and later have filters; Debian 12's Python has not."""
    if request.param == "before filters":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    elif not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no filters")


def archive(*members: tarfile.TarInfo) -> tarfile.TarFile:
    """An archive of these members, each file with the content `model`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        for member in members:
            member.size = 5 if member.isreg() else 0
            made.addfile(member, io.BytesIO(b"model"))
    return tarfile.open(fileobj=io.BytesIO(buffer.getvalue()))


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("code")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    unpack(archive(folder, tarfile.TarInfo("code/run.sh")), tmp_path)
    assert (tmp_path / "code/run.sh").read_bytes() == b"model"


@pytest.mark.parametrize("name", ["../escaped", "code/../../escaped"])
def test_members_that_would_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(tarfile.TarError, match="escaped"):
        unpack(archive(tarfile.TarInfo(name)), tmp_path / "in")
    assert not (tmp_path / "escaped").exists()


def test_links_to_outside_are_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(tarfile.TarError, match="link"):
        unpack(archive(link), tmp_path)
    assert not (tmp_path / "link").exists()


def test_devices_are_refused(tmp_path: Path) -> None:
    device = tarfile.TarInfo("device")
    device.type = tarfile.CHRTYPE
    with pytest.raises(tarfile.TarError, match="device"):
        unpack(archive(device), tmp_path)
