"""Which local command stands for a container image: the image map, read from TOML.

base = ".."                                # where relative paths begin; itself relative to this file (default: ".")

[[image]]
match = "*my-model*"                       # fnmatch on the whole image URI; the first match wins
entrypoint = ["python", "-m", "my_model"]  # `python` is the interpreter that runs localcloud
pythonpath = ["src"]
preload = ["my_model.warm"]                # imported once in a warm parent, which then forks a process for each job
env = { MODE = "prod" }
workdir = "."                              # default: the job's own directory
docker = "my-model:local"                  # with --docker: what the engine has, if it has nothing by the URI itself
dockerfile = "Dockerfile"                  # for the message that says how to build that, from the base directory
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from localcloud.errors import LocalcloudError

_KEYS = {"match", "name", "base", "entrypoint", "pythonpath", "preload", "env", "workdir", "docker", "dockerfile"}


class ImageMapError(LocalcloudError, ValueError):
    """An image map that cannot be read; says which file, which entry and what is wrong."""


class ImageNotFound(LocalcloudError, LookupError):
    """No entry of the image map matches an image URI."""


@dataclass(frozen=True)
class Image:
    """What is run locally in place of one container image. All paths are absolute.

    `docker` is what a container engine knows the image by, `build` the command that makes it; `arguments` are its CMD.
    """

    name: str
    entrypoint: tuple[str, ...]
    pythonpath: tuple[Path, ...] = ()
    preload: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict, hash=False)
    workdir: Path | None = None
    arguments: tuple[str, ...] = ()
    docker: str | None = None
    build: str | None = None


class ImageMap:
    """The images known, in the order of their files; the first pattern that matches wins."""

    def __init__(self, entries: Iterable[tuple[str, Image]], sources: Iterable[Path] = ()) -> None:
        """`entries` are (pattern, image) pairs; `sources` the files they came from, for messages."""
        self._entries = list(entries)
        self._sources = list(sources)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> ImageMap:
        """Read image maps (TOML, see the module); raises ImageMapError for a file that is missing or wrong."""
        entries: list[tuple[str, Image]] = []
        for path in paths:
            entries.extend(_read(path))
        return cls(entries, paths)

    def before(self, other: ImageMap) -> ImageMap:
        """Both maps, this one first; messages go on to name this one's files only."""
        return ImageMap([*self._entries, *other._entries], self._sources)

    @property
    def images(self) -> list[Image]:
        """Every image, in order (to warm them at the start of the server)."""
        return [image for _, image in self._entries]

    def find(self, uri: str) -> Image:
        """The image that stands for `uri`; raises ImageNotFound naming the patterns known and how to add one."""
        for pattern, image in self._entries:
            if fnmatchcase(uri, pattern):
                return image
        known = ", ".join(pattern for pattern, _ in self._entries) or "none"
        files = ", ".join(str(path) for path in self._sources) or "a TOML file given with --image"
        raise ImageNotFound(
            f"No local command stands for the image {uri!r}. Patterns known: {known}. "
            f'To add one, write to {files}:\n[[image]]\nmatch = "{uri}"\nentrypoint = ["python", "-m", "your_package"]'
        )


def _read(path: Path) -> list[tuple[str, Image]]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ImageMapError(f"Image map {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ImageMapError(f"Image map {path} is not TOML: {error}") from error
    if unknown := document.keys() - {"base", "image"}:
        raise ImageMapError(f"Image map {path}: unknown {_listed(unknown)}; expected base and [[image]] tables")
    tables = document.get("image", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ImageMapError(f"Image map {path} has no [[image]] table")
    base = _text(document, "base", f"Image map {path}", default=".")
    return [_entry(table, path, base, f"Image map {path}, image {number}") for number, table in enumerate(tables, 1)]


def _entry(table: dict[str, Any], path: Path, base: str, where: str) -> tuple[str, Image]:
    if unknown := table.keys() - _KEYS:
        raise ImageMapError(f"{where}: unknown {_listed(unknown)}; known are {_listed(_KEYS)}")
    match = _text(table, "match", where)
    entrypoint = _texts(table, "entrypoint", where)
    if not entrypoint:
        raise ImageMapError(f'{where}: entrypoint is missing or empty, e.g. ["python", "-m", "your_package"]')
    root = path.resolve().parent / _text(table, "base", where, default=base)

    def directory(text: str, key: str) -> Path:
        found = (root / text).resolve()
        if not found.is_dir():
            raise ImageMapError(f"{where}: {key} {text!r} is no directory ({found})")
        return found

    env = table.get("env", {})
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise ImageMapError(f"{where}: env must be a table of strings")
    image = Image(
        name=_text(table, "name", where, default=match),
        entrypoint=entrypoint,
        pythonpath=tuple(directory(text, "pythonpath") for text in _texts(table, "pythonpath", where)),
        preload=_texts(table, "preload", where),
        env=env,
        workdir=directory(_text(table, "workdir", where), "workdir") if "workdir" in table else None,
        docker=_text(table, "docker", where) if "docker" in table else None,
        build=_build(table, root, where) if "dockerfile" in table else None,
    )
    return match, image


def _build(table: dict[str, Any], root: Path, where: str) -> str:
    tag, file = _text(table, "docker", where), root / _text(table, "dockerfile", where)
    if not file.is_file():
        raise ImageMapError(f"{where}: dockerfile {table['dockerfile']!r} is no file ({file.resolve()})")
    return f"docker build -t {tag} -f {file.resolve()} {root.resolve()}"


def _text(table: dict[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or not value:
        raise ImageMapError(f"{where}: {key} must be a string that is not empty")
    return value


def _texts(table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ImageMapError(f"{where}: {key} must be a list of strings")
    return tuple(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
