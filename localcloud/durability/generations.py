"""Generations of the whole state on disk: one file each, whole or not there at all.

A generation is a file of JSON lines: a header, a line for each service, and a last line with the digest of what comes
before it. Large byte strings (functions' code, layers) stand beside it, named by their digest, and are written once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud.errors import LocalcloudError

logger = logging.getLogger("localcloud.durability.generations")

FORMAT = 1
SUFFIX = ".generation"
BLOBS = "blobs"
BLOB = "$blob"  # no member of AWS's or MiniStack's is named so
# Shorter byte strings stand in the file itself.
BLOB_BYTES = 1024


class StateUnreadable(LocalcloudError):
    """The kept state cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Generation:
    """What was read.

    Args:
        number: which one it is, counted from 1.
        header: what was written with it.
        states: every service's state by name.
    """

    number: int
    header: dict[str, Any]
    states: dict[str, Any]


@dataclass(frozen=True)
class Saved:
    """What was written.

    Args:
        number: which generation; the former one when nothing had changed.
        size: bytes on disk, blobs included.
        digest: of the services' states.
        written: whether there was anything to write.
    """

    number: int
    size: int
    digest: str
    written: bool


class Generations:
    """The generations in one directory; one process writes at a time.

    Args:
        directory: where they stand.
        encode: JSON values for what json does not know; bytes never get there.
        decode: the same backwards, for every JSON object.
    """

    def __init__(
        self, directory: Path, encode: Callable[[Any], Any], decode: Callable[[dict[str, Any]], Any] = lambda item: item
    ) -> None:
        self.directory = directory
        self._encode = encode
        self._decode = decode
        self.blobs = directory / BLOBS

    def save(
        self, number: int, header: Mapping[str, Any], states: Iterable[tuple[str, Any]], former: str | None
    ) -> Saved:
        """Write a generation, and remove the older ones once it stands.

        Args:
            number: its number, above every older one's.
            header: JSON values to go with it.
            states: services by name.
            former: the digest of the newest generation; nothing is written when the states are the same.

        Raises:
            OSError: the disk is full, or not writable; the older generation stands.
            StateUnreadable: a service's state is no JSON; the message names it.
        """
        self.blobs.mkdir(parents=True, exist_ok=True)
        referenced: dict[str, int] = {}

        def encode(value: Any) -> Any:
            if isinstance(value, bytes | bytearray) and len(value) >= BLOB_BYTES:
                return {BLOB: self._put_blob(bytes(value), referenced)}
            return self._encode(value)

        lines = []
        for name, state in states:
            try:
                lines.append(json.dumps({"service": name, "state": state}, default=encode).encode() + b"\n")
            except (TypeError, ValueError) as error:
                raise StateUnreadable(f"the state of {name} cannot be written as JSON: {error}") from error
        digest = hashlib.sha256(b"".join(lines)).hexdigest()
        blobs = sum(referenced.values())
        if digest == former:
            return Saved(number - 1, sum(map(len, lines)) + blobs, digest, written=False)
        first = json.dumps({"localcloud": FORMAT, "number": number, **header}).encode() + b"\n"
        whole = hashlib.sha256(first + b"".join(lines)).hexdigest()
        target = self.directory / f"{number:010d}{SUFFIX}"
        temporary = target.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(first)
                file.writelines(lines)
                file.write(json.dumps({"digest": whole}).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(self.directory)
        self._remove_older(target, referenced)
        return Saved(number, target.stat().st_size + blobs, digest, written=True)

    def newest(self) -> Generation | None:
        """The newest whole generation; None when there is none at all.

        Raises:
            StateUnreadable: there are generations, but none is whole; or the newest is of another version.
        """
        damaged = []
        for path in sorted(self.directory.glob(f"*{SUFFIX}"), reverse=True):
            try:
                lines = _checked(path)
            except ValueError as error:
                logger.error("%s is damaged (%s): it is left out", path, error)
                damaged.append(path)
                continue
            header = json.loads(lines[0])
            if header["localcloud"] != FORMAT:
                raise StateUnreadable(
                    f"{path} is of format {header['localcloud']} (localcloud's is {FORMAT}): start the localcloud that "
                    f"wrote it, or remove {self.directory} to start empty."
                )
            states = {}
            for line in lines[1:]:
                item = json.loads(line, object_hook=self._decoded)
                states[item["service"]] = item["state"]
            return Generation(header["number"], header, states)
        if damaged:
            raise StateUnreadable(
                f"the kept state is damaged: {', '.join(map(str, damaged))}. Put a copy of it back, or remove "
                f"{self.directory} to start without resources (objects in S3 stay)."
            )
        return None

    def header(self) -> dict[str, Any]:
        """The header of the newest generation, unchecked; empty when there is none."""
        for path in sorted(self.directory.glob(f"*{SUFFIX}"), reverse=True):
            with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
                header: dict[str, Any] = json.loads(file.readline())
                return header
        return {}

    def clear(self) -> None:
        """Remove every generation (a reset)."""
        for path in self.directory.glob(f"*{SUFFIX}"):
            path.unlink(missing_ok=True)

    def _put_blob(self, content: bytes, referenced: dict[str, int]) -> str:
        name = hashlib.sha256(content).hexdigest()
        target = self.blobs / name
        if not target.exists():
            temporary = target.with_suffix(".tmp")
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        referenced[name] = len(content)
        return name

    def _decoded(self, item: dict[str, Any]) -> Any:
        if set(item) == {BLOB}:
            try:
                return (self.blobs / item[BLOB]).read_bytes()
            except OSError as error:
                raise StateUnreadable(
                    f"the kept state lacks a part of it: {error}. Put it back, or remove {self.directory} to start "
                    "without resources (objects in S3 stay)."
                ) from error
        return self._decode(item)

    def _remove_older(self, newest: Path, referenced: Mapping[str, int]) -> None:
        for path in self.directory.iterdir():
            if path != newest and path.suffix in (SUFFIX, ".tmp"):
                path.unlink(missing_ok=True)
        for path in self.blobs.iterdir():
            if path.name not in referenced:
                path.unlink(missing_ok=True)


def _checked(path: Path) -> list[bytes]:
    """The header's and the services' lines of a generation; raises ValueError when it is not whole."""
    content = path.read_bytes()
    end = content.rfind(b"\n", 0, len(content) - 1) + 1
    last = json.loads(content[end:])
    if not isinstance(last, dict) or last.get("digest") != hashlib.sha256(content[:end]).hexdigest():
        raise ValueError("its digest is another")
    return content[:end].splitlines()


def _sync(directory: Path) -> None:
    """Make a rename outlast a loss of power too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
