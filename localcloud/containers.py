"""Local processes that stand for containers: started, logged, stopped, never left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localcloud.images import Image


class ContainerError(RuntimeError):
    """A container could not be started; says which and why."""


@dataclass
class ContainerSpec:
    """What to run. `base_dir` becomes SAGEMAKER_BASE_DIR (the container's /opt/ml) and, unless the image names
    a workdir, the current directory."""

    image: Image
    command: tuple[str, ...]  # the full argv, see command_for
    environment: dict[str, str]
    base_dir: Path
    name: str


class Container:
    """One running container."""

    pid: int

    def wait(self, timeout: float | None = None) -> int | None:
        """Exit code once it has ended and all its output was delivered; None on timeout; -N if signal N ended it."""
        raise NotImplementedError

    def stop(self, grace: float = 30.0) -> None:
        """SIGTERM to the whole process group, SIGKILL after `grace` seconds; returns when nothing of it is left."""
        raise NotImplementedError


class ProcessRuntime:
    """Starts containers as processes of this machine. Safe to use from several threads."""

    def __init__(self, log: Callable[[str], None] | None = None) -> None:
        """`log` receives one-line notes on the runtime itself (a preload that failed, a parent that died)."""
        raise NotImplementedError

    def start(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> Container:
        """Start a container; stdout and stderr come merged to `on_line`, a line at a time, from one thread.

        Lines are UTF-8 (wrong bytes replaced) and at most MAX_LINE bytes: longer ones come in pieces.
        Waits while the image's warm parent is still importing. Raises ContainerError when nothing could be started;
        a command that does not exist is, as with Docker, exit code 127.
        """
        raise NotImplementedError

    def warm(self, image: Image) -> None:
        """Start the image's warm parent in the background. Does nothing without preload, or the second time."""
        raise NotImplementedError

    def close(self) -> None:
        """Kill every container and warm parent; returns when nothing is left."""
        raise NotImplementedError


def command_for(
    image: Image, entrypoint: list[str] | None, arguments: list[str] | None, default_arguments: list[str]
) -> tuple[str, ...]:
    """The argv of a container by Docker's rules.

    An entrypoint in the request replaces the image's and drops the defaults; arguments replace the defaults.
    """
    raise NotImplementedError
