"""Running other programs (sam, docker, git, localcloud), by one interface, so that tests see the exact commands."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from onwing.errors import CommandFailed

TAIL_LINES = 25


@dataclass(frozen=True)
class Ran:
    """What a program left behind. Output is empty when it went to a log file."""

    code: int
    stdout: str = ""
    stderr: str = ""


class Runner(Protocol):
    """Runs a command to its end."""

    def __call__(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        log: Path | None = None,
        stdin: str | None = None,
    ) -> Ran:
        """Run `command`; with `log`, its output is appended there. Does not raise on a non-zero exit code.

        `env` is added to our own environment; None takes a variable away.
        """


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
    log: Path | None = None,
    stdin: str | None = None,
) -> Ran:
    """The real runner: a subprocess in a group of its own, which ends as a whole when we are interrupted."""
    if log is None:
        return _communicate(command, cwd, env, stdin, None)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ {' '.join(command)}\n")
        stream.flush()
        return _communicate(command, cwd, env, stdin, stream)


def _communicate(
    command: Sequence[str],
    cwd: Path | None,
    env: Mapping[str, str | None] | None,
    stdin: str | None,
    log: IO[str] | None,
) -> Ran:
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={name: value for name, value in {**os.environ, **(env or {})}.items() if value is not None},
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=log or subprocess.PIPE,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise CommandFailed(
            f"The program {command[0]} is not there.", where=" ".join(command), todo="Run `onwing doctor`."
        ) from error
    try:
        stdout, stderr = process.communicate(stdin)
    except BaseException:
        # Its children too: sam starts pip and make, docker buildx starts plug-ins.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise
    return Ran(process.returncode, stdout or "", stderr or "")


def must(ran: Ran, what: str, *, log: Path | None = None, todo: str = "") -> Ran:
    """Raise CommandFailed, with the end of what the program said, unless it succeeded."""
    if ran.code == 0:
        return ran
    said = ran.stderr or ran.stdout
    if log is not None and log.is_file():
        # What this program wrote: all after the last command line.
        said = log.read_text(encoding="utf-8", errors="replace").rpartition("\n$ ")[2]
    tail = "\n".join(said.strip().splitlines()[-TAIL_LINES:])
    raise CommandFailed(
        f"{what} failed with exit code {ran.code}.\n{tail}".rstrip(),
        where=str(log) if log else "",
        todo=todo or "Run `onwing doctor` to check the surroundings.",
    )
