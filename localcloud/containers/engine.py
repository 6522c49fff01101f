"""The container engine of this machine, Docker or Podman, spoken to by its command line.

The command line, not an SDK: one set of commands serves both engines, it knows the user's contexts, and rootless Podman
has no service that an SDK could speak to. Both engines' references:
docs.docker.com/reference/cli/docker and docs.podman.io/en/latest/Commands.html.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.errors import LocalcloudError

PROGRAMS = ("docker", "podman")
# Names another program of the same command line (nerdctl, finch, a path).
PROGRAM_VARIABLE = "LOCALCLOUD_ENGINE"
# The engine answers within a second; one whose disk is busy, or whose machine has just been started, takes longer.
SECONDS = 120.0


class EngineMissing(LocalcloudError, RuntimeError):
    """No container engine that could run jobs; `what` says which were looked for and what they said."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(f"{what} {todo}")
        self.what = what
        self.todo = todo


class EngineError(LocalcloudError, RuntimeError):
    """The engine refused a command; str() is what it said."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    Args:
        program: its command.
        environment: the environment of its commands.
        name: what it is, for messages ("Docker 28.2.2").
        host_network: whether a container on the host's network reaches this machine's loopback interface.
        rootless: whether it is Podman run by an ordinary user.
        cpu_limit: whether it can limit the CPUs of a container.
    """

    program: str
    environment: Mapping[str, str]
    name: str = ""
    host_network: bool = True
    rootless: bool = False
    cpu_limit: bool = True

    def command(self, *arguments: str) -> list[str]:
        """The argv of one of its commands."""
        return [self.program, *arguments]

    def run(self, *arguments: str, seconds: float = SECONDS) -> str:
        """What a command prints; raises EngineError when it fails."""
        try:
            ran = subprocess.run(
                self.command(*arguments),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=seconds,
                start_new_session=True,  # not to be interrupted with the server
            )
        except OSError as error:
            raise EngineError(f"{self.program} does not run: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"`{self.program} {arguments[0]}` gave no answer within {seconds:.0f} s") from error
        if ran.returncode != 0:
            raise EngineError(ran.stderr.strip() or f"`{self.program} {arguments[0]}` failed: code {ran.returncode}")
        return ran.stdout.strip()

    def inspect(self, kind: str, name: str) -> dict[str, Any] | None:
        """The engine's description of an "image" or a "container"; None when it has none of that name."""
        try:
            # Without a format, on which the engines differ.
            found: list[dict[str, Any]] = json.loads(self.run(kind, "inspect", "--", name))
        except EngineError as error:
            if f"no such {kind}" in str(error).lower() or "not known" in str(error).lower():
                return None
            raise
        return found[0] if found else None

    def containers(self, label: str) -> list[str]:
        """The ids of all containers, running or not, with a label ("key=value")."""
        return self.run("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}").split()


def find(environment: Mapping[str, str] | None = None) -> Engine:
    """The engine that answers: Docker, else Podman, else another one that LOCALCLOUD_ENGINE names.

    Raises:
        EngineMissing: there is none, it does not run, or it could not run jobs for a localcloud on this machine.
    """
    environment = dict(os.environ if environment is None else environment)
    chosen = environment.get(PROGRAM_VARIABLE)
    trouble = []
    for program in (chosen,) if chosen else PROGRAMS:
        path = shutil.which(program, path=environment.get("PATH"))
        if path is None:
            trouble.append(f"{program} is not installed")
            continue
        engine = Engine(path, environment)
        try:
            return _described(engine, json.loads(engine.run("info", "--format", "{{json .}}", seconds=30)))
        except (EngineError, ValueError) as error:
            trouble.append(f"{program} is installed, but does not answer ({_one_line(str(error))})")
    raise EngineMissing(
        f"No container engine to run jobs in their images: {'; '.join(trouble)}.",
        "Install Docker Engine or Podman and start it, or leave --docker out: then jobs run as processes.",
    )


def _described(engine: Engine, info: dict[str, Any]) -> Engine:
    """The engine with what `info` says of it, which Docker and Podman say in different words."""
    if "host" in info:
        host = info["host"]
        return Engine(
            engine.program,
            engine.environment,
            name=f"Podman {info['version']['Version']}",
            host_network=sys.platform == "linux",
            rootless=bool(host["security"]["rootless"]),
            cpu_limit="cpu" in (host.get("cgroupControllers") or ()),
        )
    if not info.get("ServerVersion"):
        raise EngineError("; ".join(info.get("ServerErrors") or ["it has no server"]))
    in_a_machine = sys.platform != "linux" or info.get("OperatingSystem") == "Docker Desktop"
    host = engine.environment.get("DOCKER_HOST", "")
    if host.startswith(("tcp:", "ssh:", "http:", "https:")):
        raise EngineError(f"DOCKER_HOST={host} is another machine: this one's directories cannot be mounted there")
    if not in_a_machine and any("rootless" in option for option in info.get("SecurityOptions") or ()):
        raise EngineError("rootless Docker cannot reach this machine's loopback interface: use rootless Podman")
    return Engine(
        engine.program,
        engine.environment,
        name=f"Docker {info['ServerVersion']}",
        host_network=not in_a_machine,
        cpu_limit=bool(info.get("CpuCfsQuota")),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
