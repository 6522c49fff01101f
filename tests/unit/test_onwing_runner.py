"""Running other programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from onwing.embedded import alive
from onwing.errors import CommandFailed
from onwing.runner import Ran, must, run


def test_output_and_exit_code_come_back() -> None:
    ran = run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"])
    assert ran == Ran(3, "out\n", "err\n")


def test_input_is_given_and_environment_added_or_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKEN", "1")
    code = "import os, sys; print(sys.stdin.read(), os.environ.get('ADDED'), os.environ.get('TAKEN'))"
    ran = run([sys.executable, "-c", code], env={"ADDED": "2", "TAKEN": None}, stdin="secret")
    assert ran.stdout.split() == ["secret", "2", "None"]


def test_with_a_log_everything_goes_there_below_the_command(tmp_path: Path) -> None:
    log = tmp_path / "new" / "a.log"
    run([sys.executable, "-c", "print('one')"], log=log)
    run([sys.executable, "-c", "print('two')"], log=log)
    lines = log.read_text().splitlines()
    assert [line for line in lines if not line.startswith("$")] == ["one", "two"]
    assert lines[0].startswith("$ ")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CommandFailed, match="no-such-program"):
        run(["no-such-program"])


def test_a_failure_shows_the_end_of_what_was_said(tmp_path: Path) -> None:
    log = tmp_path / "sam.log"
    earlier = "$ sam build\nBuild Succeeded\n$ sam deploy\n"
    log.write_text(earlier + "\n".join(f"line {number}" for number in range(100)))
    with pytest.raises(CommandFailed) as caught:
        must(Ran(2), "sam deploy", log=log)
    assert "sam deploy failed with exit code 2" in caught.value.what
    assert "line 99" in caught.value.what
    assert "line 10\n" not in caught.value.what
    assert caught.value.where == str(log)
    log.write_text(f"{earlier}no credentials")
    with pytest.raises(CommandFailed) as caught:
        must(Ran(2), "sam deploy", log=log)
    assert "Build Succeeded" not in caught.value.what, "what an earlier command said"


def test_an_interrupt_ends_the_program_and_its_children(tmp_path: Path) -> None:
    grandchild = tmp_path / "pid"
    program = f"import os, subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); \
open({str(grandchild)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    script = textwrap.dedent(f"""
        import sys
        from onwing.runner import run
        try:
            run([sys.executable, "-c", {program!r}])
        except KeyboardInterrupt:
            sys.exit(42)
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (grandchild.is_file() and grandchild.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 42
    deadline = time.monotonic() + 60
    child = int(grandchild.read_text())
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)
