"""A localcloud in the background: start it, find it, stop it, read its log."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud.containers.engine import find as find_engine
from localcloud.errors import LocalcloudError
from localcloud.server import LOCK_FILE, STATE_FILE, STATUS_PATH

LOG_FILE = "localcloud.log"
_COMPLAINT = re.compile(r"(?:^localcloud: | ERROR \[localcloud\] )(.*)$")
# On a machine that has much else to do; a start that fails, and a stop that is done, are seen at once.
START_SECONDS = 180.0
STOP_SECONDS = 60.0
KILL_SECONDS = 30.0
STATUS_SECONDS = 60.0
DIRECTORY_VARIABLE = "LOCALCLOUD_DIR"


def default_directory() -> Path:
    """Where a localcloud keeps everything when nothing else is said: one a project."""
    return Path(os.environ.get(DIRECTORY_VARIABLE) or ".localcloud")


class StartFailed(LocalcloudError):
    """The server did not come up."""


class NotRunning(LocalcloudError):
    """No localcloud runs in this directory."""


@dataclass(frozen=True)
class Running:
    """A localcloud that runs."""

    endpoint: str
    pid: int
    account: str
    region: str
    directory: Path
    docker: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """What a client (boto3, AWS CLI, SAM CLI) needs in its environment to speak to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def start(
    directory: Path,
    *,
    port: int = 0,
    images: Sequence[Path] = (),
    slots: int | None = None,
    instances: int | None = None,
    quotas: Mapping[str, int] | None = None,
    auth: bool = True,
    docker: bool = False,
    keep: bool = True,
    snapshot_seconds: float = 1.0,
    with_me: bool = False,
    log_level: str = "INFO",
) -> Running:
    """Start a localcloud in the background, or give the one that runs in this directory already.

    Args:
        with_me: whether it ends when the calling process does, also when that is killed.

    The other arguments are those of server.Settings.

    Raises:
        StartFailed: with the end of its log.
        EngineMissing: jobs are to run in their images (``docker``), and no container engine answers.
    """
    if (running := find(directory)) is not None:
        if docker and not running.docker:
            raise LocalcloudError(f"the localcloud in {directory} runs without --docker: stop it first.")
        return running
    if docker:
        find_engine()  # says at once what is missing
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "localcloud", "start", "--foreground", "--dir", str(directory)]
    command += ["--port", str(port), "--log-level", log_level]
    for image in images:
        command += ["--image", str(image)]
    if slots is not None:
        command += ["--slots", str(slots)]
    if instances is not None:
        command += ["--instances", str(instances)]
    for name, value in (quotas or {}).items():
        command += ["--quota", f"{name}={value}"]
    if not auth:
        command += ["--no-auth"]
    if docker:
        command += ["--docker"]
    command += ["--snapshot-seconds", str(snapshot_seconds)]
    if with_me:
        command += ["--with-parent", str(os.getpid())]
    if not keep:
        command += ["--forget"]
    with (directory / LOG_FILE).open("ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        running = find(directory)
        if running is not None:
            return running
        if process.poll() is not None:
            if (running := find(directory)) is not None:
                return running  # somebody else was quicker
            raise StartFailed(f"localcloud did not start: {_reason(directory, begin)}")
        time.sleep(0.02)
    process.kill()
    raise StartFailed(f"localcloud was not ready within {START_SECONDS:.0f} s:\n{tail(directory, 30)}")


def _reason(directory: Path, begin: int) -> str:
    """Why a start has failed: what it says itself, or else the end of what it has logged since."""
    lines = (directory / LOG_FILE).read_bytes()[begin:].decode(errors="replace").splitlines()
    said = [match[1] for line in lines if (match := _COMPLAINT.search(line))]
    if said and not any(line.startswith("Traceback") for line in lines):
        return "\n".join(said)
    return "\n".join(["", *lines[-30:]])


def find(directory: Path) -> Running | None:
    """The localcloud that runs in a directory, or None."""
    if not _held(directory / LOCK_FILE):
        return None
    try:
        state = json.loads((directory / STATE_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None  # it is starting, or stopping
    try:
        os.kill(state["pid"], 0)
    except ProcessLookupError:
        return None  # what is left of one that was killed; the one that holds the lock is still starting
    docker = bool(state.get("docker"))
    return Running(state["endpoint"], state["pid"], state["account"], state["region"], directory, docker)


def status(running: Running) -> dict[str, Any]:
    """What it says of itself.

    Returns:
        ``snapshots``: how its state is saved, see `snapshots`; ``variants``: of its endpoints, each with ``endpoint``,
        ``variant``, how many ``servers`` it has, how many of them are ``ready``, and how often one died and was started
        again (``restarts``) since the variant was.

    Raises:
        LocalcloudError: it does not answer.
    """
    try:
        with urllib.request.urlopen(f"{running.endpoint}{STATUS_PATH}", timeout=STATUS_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
    except OSError as error:
        raise LocalcloudError(f"{running.endpoint} does not answer ({error}): see its log.") from error
    return found


def snapshots(running: Running) -> dict[str, Any] | None:
    """How its state is saved: the newest generation, its age and size, the pauses; None when nothing is kept.

    Raises:
        LocalcloudError: it does not answer.
    """
    saved: dict[str, Any] | None = status(running)["snapshots"]
    return saved


def stop(directory: Path) -> bool:
    """Stop it, with every job and process of it; False when none runs.

    Raises:
        LocalcloudError: it could not be stopped.
    """
    running = _settled(directory)
    if running is None:
        return False
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        try:
            os.kill(running.pid, number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not _held(directory / LOCK_FILE):
                return True
            time.sleep(0.02)
    raise LocalcloudError(f"process {running.pid} does not end: look at it with ps, or kill it.")


def _settled(directory: Path) -> Running | None:
    """The localcloud of a directory; one that is just starting is waited for."""
    deadline = time.monotonic() + START_SECONDS
    while (running := find(directory)) is None and _held(directory / LOCK_FILE):
        if time.monotonic() > deadline:
            raise LocalcloudError(f"a localcloud holds {directory / LOCK_FILE}, but does not come up: see its log.")
        time.sleep(0.02)
    return running


def reset(directory: Path) -> None:
    """Empty it: every resource, object and job is gone.

    Raises:
        NotRunning: none runs in this directory.
    """
    running = find(directory)
    if running is None:
        raise NotRunning(f"no localcloud runs in {directory}: start one with localcloud start --dir {directory}")
    request = urllib.request.Request(f"{running.endpoint}/_ministack/reset", method="POST")
    with urllib.request.urlopen(request, timeout=60):
        pass


def tail(directory: Path, lines: int) -> str:
    """The end of the log."""
    try:
        text = (directory / LOG_FILE).read_text(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(_last(text.splitlines(), lines))


def follow(directory: Path, lines: int) -> Iterator[str]:
    """The end of the log, and then each line as it comes, until the caller stops.

    Raises:
        NotRunning: no localcloud has ever run in this directory.
    """
    path = directory / LOG_FILE
    if not path.exists():
        raise NotRunning(f"there is no log in {directory}: no localcloud has run there.")
    with path.open(errors="replace") as log:
        yield from _last(log.read().splitlines(keepends=True), lines)
        while True:
            line = log.readline()
            if line:
                yield line
            else:
                time.sleep(0.2)


def _last(lines: list[str], count: int) -> list[str]:
    return lines[max(0, len(lines) - count) :]


def _held(lock_file: Path) -> bool:
    """Whether a server holds the lock."""
    try:
        with lock_file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
