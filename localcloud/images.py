"""Which local command stands for a container image: the image map, read from TOML.

    base = ".."                              # relative paths below start here; itself relative to this file

    [[image]]
    match = "*my-model*"                     # fnmatch on the whole image URI, first match wins
    entrypoint = ["python", "-m", "my_model"]  # `python` is the interpreter that runs localcloud
    pythonpath = ["src"]
    preload = ["my_model.warm"]              # imported once in a warm parent, which then forks a process for each job
    env = { MODE = "prod" }
    workdir = "."                            # default: the job's own directory
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any


class ImageMapError(ValueError):
    """An image map that cannot be read; says which file, which entry and what is wrong."""


class ImageNotFound(LookupError):
    """No entry of the image map matches an image URI."""


@dataclass(frozen=True)
class Image:
    """What is run locally in place of one container image. All paths are absolute."""

    name: str
    entrypoint: tuple[str, ...]
    pythonpath: tuple[Path, ...] = ()
    preload: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict, hash=False)
    workdir: Path | None = None


class ImageMap:
    """The images known, in the order of their files; the first pattern that matches wins."""

    def __init__(self, entries: Sequence[tuple[str, Image]], sources: Sequence[Path] = ()) -> None:
        """`entries` are (pattern, image) pairs; `sources` the files they came from, for messages."""
        self._entries = list(entries)
        self._sources = list(sources)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> ImageMap:
        """Read image maps (TOML, see the module); raises ImageMapError for a file that is missing or wrong."""
        raise NotImplementedError

    @property
    def images(self) -> list[Image]:
        """Every image, in order (to warm them at the start of the server)."""
        return [image for _, image in self._entries]

    def find(self, uri: str) -> Image:
        """The image that stands for `uri`; raises ImageNotFound naming the patterns known and how to add one."""
        raise NotImplementedError
