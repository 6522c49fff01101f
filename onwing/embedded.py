"""The embedded cloud seen from outside: is one running, start it, stop it. It is the command `localcloud`, no more."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from onwing.errors import CommandFailed
from onwing.project import Project
from onwing.runner import Runner, must, run

STOP_SECONDS = 20.0
# The access key is the account that resources are made in: the embedded cloud takes it for the account's root.
ACCOUNT = "000000000000"


@dataclass(frozen=True)
class Embedded:
    """A running embedded cloud."""

    endpoint: str
    pid: int
    account: str
    region: str
    docker: bool = False  # jobs run in containers of their images


def running(project: Project) -> Embedded | None:
    """The embedded cloud of this checkout, if its process is alive and its port answers; else None."""
    found = _state(project)
    return found if found is not None and alive(found.pid) and answers(found.endpoint) else None


def _state(project: Project) -> Embedded | None:
    try:
        state = json.loads((project.cloud_dir / "localcloud.json").read_text(encoding="utf-8"))
        return Embedded(
            str(state["endpoint"]),
            int(state["pid"]),
            str(state["account"]),
            str(state["region"]),
            bool(state.get("docker")),
        )
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError, TypeError, ValueError):
        return None  # none was started here, or its file is being written


def alive(pid: int) -> bool:
    """Whether a process of that number exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, IndexError):
        return True  # no /proc on this system


def answers(endpoint: str, timeout: float = 2.0) -> bool:
    """Whether something accepts connections at the endpoint's address."""
    parts = urlsplit(endpoint)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=timeout):
            return True
    except OSError:
        return False


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "localcloud", *arguments]


def start(project: Project, *, port: int = 0, docker: bool = False, runner: Runner = run) -> Embedded:
    """Start it unless it runs; returns when it answers. Port 0 takes a free one; `docker`: jobs run in containers."""
    already = running(project)
    if already is not None:
        return already
    log = project.state / "up.log"
    image = project.root / "training_image" / "localcloud.toml"
    command = _command("start", "--port", str(port), "--dir", str(project.cloud_dir), "--image", str(image))
    if docker:
        command.append("--docker")
    ran = runner(command, cwd=project.root, log=log)
    must(ran, "Starting the embedded cloud", log=log, todo="Look at the log, and run `onwing doctor`.")
    started = running(project)
    if started is None:
        raise CommandFailed(
            "The embedded cloud says that it started, but does not answer.",
            where=str(project.cloud_dir / "localcloud.json"),
            todo=f"Look at the log: {log}; then `onwing down --purge` and `onwing up`.",
        )
    return started


def stop(project: Project, *, runner: Runner = run) -> bool:
    """Stop it and all its processes; returns whether there was one. Returns when its process is gone."""
    state = _state(project)
    if state is None or not alive(state.pid):
        return False
    ran = runner(_command("stop", "--dir", str(project.cloud_dir)), cwd=project.root)
    must(ran, "Stopping the embedded cloud")
    deadline = time.monotonic() + STOP_SECONDS
    while alive(state.pid):
        if time.monotonic() > deadline:
            raise CommandFailed(
                f"The embedded cloud (process {state.pid}) does not end.",
                where=str(project.cloud_dir),
                todo=f"End it yourself: kill {state.pid}",
            )
        time.sleep(0.1)
    return True
