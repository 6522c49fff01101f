"""A checkout of its own for each test, so that nothing it does meets the one that is worked in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import checkout as checkouts  # the fixture has that name

COMMAND_SECONDS = 2400  # minutes on a quiet machine, but most of it computes
# The machine may be busy: a good model must not seem slow, nor its server dead.
SAMCONFIG = '"StartupTimeoutSeconds=60"', '"StartupTimeoutSeconds=300", "LatencyLimitMs=5000", "OverheadLimitMs=5000"'


@dataclass
class Checkout:
    """A copy of what `onwing` works on."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """As a newcomer has it: no AWS settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "ONWING_", "PYTEST_"))}
        return {**kept, "ONWING_SAM": str(checkouts.ROOT / ".venvs/sam/bin/sam"), "COLUMNS": "100"}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `onwing` with its output in a file."""
        log = (self.folder / "screen.txt").open("w")
        return subprocess.Popen(
            [Path(sys.executable).with_name("onwing"), *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def onwing(self, *arguments: str, timeout: float = COMMAND_SECONDS, **environment: str) -> str:
        """Run `onwing` to its end; it must succeed. Returns what it printed."""
        process = self.start(*arguments, **environment)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait(300)
            code = None
        assert code == 0, f"onwing {' '.join(arguments)} ended with {code}:\n{self.screen}"
        return self.screen

    @property
    def screen(self) -> str:
        """What the last command has printed so far."""
        return (self.folder / "screen.txt").read_text()

    @property
    def report(self) -> dict[str, Any]:
        """The demo's report."""
        return dict(json.loads((self.folder / ".onwing/demo-report.json").read_text()))

    def processes(self) -> list[str]:
        """The command lines of all processes that belong to this checkout, by their folder or their arguments."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                folder = os.readlink(entry / "cwd")
            except OSError:
                continue  # it ended meanwhile
            if str(self.folder) in command or folder.startswith(str(self.folder)):
                found.append(command)
        return found

    def assert_nothing_runs(self) -> None:
        """Every process ends by itself."""
        end = time.monotonic() + 120
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.2)
        assert left == []


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    checkouts.copy(tmp_path)
    samconfig = tmp_path / "samconfig.toml"
    assert samconfig.read_text().count(SAMCONFIG[0]) == 1
    samconfig.write_text(samconfig.read_text().replace(*SAMCONFIG))
    copy = Checkout(tmp_path)
    yield copy
    if copy.processes():
        copy.start("down", "--yes").wait(300)
