"""Unpacking an archive that somebody else made: nothing in it may land outside its folder."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpack(archive: tarfile.TarFile, target: Path) -> None:
    """Unpack into `target`.

    Raises:
        tarfile.TarError: a member would leave the folder, or is a device.
    """
    if not hasattr(tarfile, "data_filter"):  # Python before 3.11.4, as Debian 12 has it
        for member in archive:
            _refuse_unsafe(member, target)
        archive.extractall(target)
        return
    archive.extractall(target, filter="data")


def _refuse_unsafe(member: tarfile.TarInfo, target: Path) -> None:
    """What the standard library's filter `data` refuses, and links: models and sources have none."""
    path = (target / member.name).resolve()
    if not path.is_relative_to(target.resolve()):
        raise tarfile.ExtractError(
            f"{member.name!r} would be extracted to {str(path)!r}, which is outside the destination"
        )
    if not (member.isreg() or member.isdir()):
        raise tarfile.ExtractError(f"{member.name!r} is no file and no folder")
