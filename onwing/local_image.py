"""The training image on this machine, for jobs in containers: built when it is missing or when its sources changed."""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from localcloud.containers import engine as engines
from localcloud.containers.engine import Engine, EngineError, EngineMissing
from onwing.console import Output, duration
from onwing.errors import OnwingError
from onwing.project import Project
from onwing.runner import Runner, must, run

# As training_image/localcloud.toml names it.
NAME = "onwing-turbofan:local"
# Extra options of the build, say for a base or a package index of one's own.
OPTIONS_VARIABLE = "ONWING_BUILD_OPTIONS"
_LABEL = "onwing.sources"
_DOCKERFILE = "training_image/Dockerfile"
_SOURCES = (_DOCKERFILE, "training_image/requirements.txt", "training_image/turbofan", "layers/control_plane/cmapss")


def ensure(project: Project, out: Output, *, runner: Runner = run) -> bool:
    """Build the image unless the engine has it from these sources; returns whether it was built now.

    Raises:
        OnwingError: there is no engine; says what to install.
        CommandFailed: the build failed, with the end of its log.
    """
    engine = _engine()
    wanted = fingerprint(project)
    if _built_from(engine) == wanted:
        return False
    log = project.state / "image.log"
    began = time.monotonic()
    with out.step(f"Building the training image with {engine.name}: a few minutes and 2 GB the first time"):
        options = shlex.split(os.environ.get(OPTIONS_VARIABLE, ""))
        command = engine.command(
            *("build", *options, "--file", _DOCKERFILE, "--tag", NAME, "--label", f"{_LABEL}={wanted}", ".")
        )
        must(runner(command, cwd=project.root, log=log), "Building the training image", log=log)
    out.ok(f"Built {NAME} in {duration(time.monotonic() - began)}")
    return True


def fingerprint(project: Project) -> str:
    """A digest of everything that goes into the image, and of the options it is built with."""
    digest = hashlib.sha256(os.environ.get(OPTIONS_VARIABLE, "").encode())
    for path in _files(project.root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(project.root).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for source in (root / name for name in _SOURCES):
        found = sorted(source.rglob("*")) if source.is_dir() else [source]
        yield from (path for path in found if path.is_file() and path.suffix != ".pyc")


def _engine() -> Engine:
    try:
        return engines.find()
    except EngineMissing as error:
        raise OnwingError(error.what, todo=error.todo) from error


def _built_from(engine: Engine) -> str | None:
    try:
        found = engine.inspect("image", NAME) or {}
    except EngineError as error:
        raise OnwingError(f"{engine.name} does not say whether it has {NAME}: {error}") from error
    labels = (found.get("Config") or {}).get("Labels") or {}
    return labels.get(_LABEL)
