"""Containers as local processes: output, exit codes, stopping, and that nothing outlives anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers.images import Image
from localcloud.containers.processes import (
    MAX_LINE,
    Container,
    ContainerError,
    ContainerSpec,
    ProcessRuntime,
    command_for,
)

PLAIN = Image("plain", ())

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and needs prctl")


class Runs:
    """Starts containers in one runtime and keeps their output."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.notes: list[str] = []
        self.lines: list[str] = []
        self.runtime = ProcessRuntime(log=self.notes.append)

    def start(self, *command: str, image: Image = PLAIN, **environment: str) -> Container:
        spec = ContainerSpec(image, command, environment, self.base, "test")
        return self.runtime.start(spec, self.lines.append)

    def run(self, *command: str, image: Image = PLAIN, **environment: str) -> tuple[int | None, list[str]]:
        self.lines.clear()
        code = self.start(*command, image=image, **environment).wait(60)
        return code, list(self.lines)

    def seen(self, text: str) -> str:
        """Wait for a line that begins with `text`; returns the rest of it."""
        return until(lambda: next((line[len(text) :].strip() for line in self.lines if line.startswith(text)), None))


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    started = Runs(tmp_path)
    yield started
    started.runtime.close()


def until(probe: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = probe()
        if found is not None and found is not False:
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def running(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid: int) -> bool:
    return not running(pid)


# --- plain commands ---


def test_output_comes_merged_and_in_order(runs: Runs) -> None:
    code, lines = runs.run("sh", "-c", "for i in 1 2 3; do echo out$i; echo err$i >&2; done")
    assert code == 0
    assert lines == ["out1", "err1", "out2", "err2", "out3", "err3"]


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_code_is_the_commands(runs: Runs, code: int) -> None:
    assert runs.run("sh", "-c", f"exit {code}")[0] == code


def test_death_by_signal_is_a_negative_code(runs: Runs) -> None:
    assert runs.run("sh", "-c", "kill -SEGV $$")[0] == -signal.SIGSEGV


def test_unknown_command_is_code_127_and_says_so(runs: Runs) -> None:
    code, lines = runs.run("no-such-command")
    assert code == 127
    assert "no-such-command" in lines[0]


def test_command_that_is_no_program_is_code_126(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("just text")
    assert runs.run(str(tmp_path / "text"))[0] == 126


def test_workdir_that_is_gone_is_code_125_and_says_so(runs: Runs, tmp_path: Path) -> None:
    code, lines = runs.run("true", image=Image("plain", (), workdir=tmp_path / "gone"))
    assert code == 125
    assert "gone" in lines[0]


def test_no_command_is_an_error(runs: Runs) -> None:
    with pytest.raises(ContainerError, match="no command"):
        runs.start()


def test_last_line_without_newline_is_delivered(runs: Runs) -> None:
    assert runs.run("printf", "a\\nb")[1] == ["a", "b"]


def test_carriage_return_at_the_end_of_a_line_is_dropped(runs: Runs) -> None:
    assert runs.run("printf", "a\\r\\n\\nb\\n")[1] == ["a", "", "b"]


def test_bytes_that_are_not_utf8_are_replaced(runs: Runs) -> None:
    assert runs.run("printf", "caf\\351\\n")[1] == ["caf\N{REPLACEMENT CHARACTER}"]


def test_huge_line_comes_in_bounded_pieces_and_nothing_is_lost(runs: Runs) -> None:
    write = "import sys; sys.stdout.write('é' * 400_000 + '\\nend\\n')"
    code, lines = runs.run("python", "-c", write)
    assert code == 0
    assert lines.pop() == "end"
    assert "".join(lines) == "é" * 400_000
    assert all(len(line.encode()) <= MAX_LINE for line in lines)


def test_listener_that_fails_does_not_block_the_container(runs: Runs) -> None:
    def fail(line: str) -> None:
        raise RuntimeError(f"cannot take {line}")

    spec = ContainerSpec(PLAIN, ("sh", "-c", "yes | head -100000"), {}, runs.base, "test")
    assert runs.runtime.start(spec, fail).wait(60) == 0
    assert "cannot take y" in runs.notes[0]


def test_environment_is_clean_and_complete(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVERS_OWN_SECRET", "x")
    image = Image("plain", (), pythonpath=(runs.base,), env={"FROM_IMAGE": "1", "BOTH": "image"})
    _, lines = runs.run("env", image=image, BOTH="job")
    seen = dict(line.split("=", 1) for line in lines)
    assert "SERVERS_OWN_SECRET" not in seen
    assert seen["FROM_IMAGE"] == "1"
    assert seen["BOTH"] == "job"
    assert seen["SAGEMAKER_BASE_DIR"] == str(runs.base)
    assert seen["PYTHONPATH"] == str(runs.base)
    assert seen["OMP_NUM_THREADS"] == "1"
    assert "HOME" in seen
    assert "PATH" in seen


def test_python_is_the_interpreter_that_runs_localcloud(runs: Runs) -> None:
    assert runs.run("python", "-c", "import sys; print(sys.executable)")[1] == [sys.executable]


def test_current_directory_is_the_jobs_own_or_the_images(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert runs.run("pwd")[1] == [str(tmp_path)]
    assert runs.run("pwd", image=Image("plain", (), workdir=tmp_path / "sub"))[1] == [str(tmp_path / "sub")]


def test_wait_returns_none_on_timeout(runs: Runs) -> None:
    container = runs.start("sleep", "60")
    assert container.wait(0.05) is None
    container.stop(grace=0)
    assert container.wait(0) in (-signal.SIGTERM, -signal.SIGKILL)  # whichever it dies of first


def test_stop_is_sigterm_first(runs: Runs) -> None:
    container = runs.start("sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done")
    runs.seen("up")
    container.stop()
    assert container.wait(0) == 5
    assert runs.lines[-1] == "bye"


def test_stop_kills_after_the_grace(runs: Runs) -> None:
    container = runs.start("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done")
    runs.seen("up")
    begin = time.monotonic()
    container.stop(grace=0.3)
    assert container.wait(0) == -signal.SIGKILL  # it would have gone on for ever
    assert time.monotonic() - begin >= 0.3


def test_stop_of_an_ended_container_does_nothing(runs: Runs) -> None:
    container = runs.start("true")
    container.wait(60)
    container.stop()
    assert container.wait(0) == 0


def test_container_outlives_the_thread_that_started_it(runs: Runs) -> None:
    started: list[Container] = []
    thread = threading.Thread(target=lambda: started.append(runs.start("sh", "-c", "sleep 0.3; echo done")))
    thread.start()
    thread.join()
    assert started[0].wait(60) == 0
    assert runs.lines == ["done"]


def test_many_containers_at_once(runs: Runs) -> None:
    codes: dict[int, int | None] = {}

    def run(number: int) -> None:
        spec = ContainerSpec(PLAIN, ("sh", "-c", f"sleep 0.05; exit {number}"), {}, runs.base, "test")
        codes[number] = runs.runtime.start(spec, runs.lines.append).wait(60)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(16)}


# --- nothing outlives anything ---

ORPHANS = """
    sleep 600 & echo "child $!"
    setsid sh -c 'echo "daemon $$"; exec sleep 600' &
    while [ ! -e go ]; do sleep 0.01; done
"""


@linux_only
def test_what_a_command_leaves_running_ends_with_it(runs: Runs, tmp_path: Path) -> None:
    container = runs.start("sh", "-c", ORPHANS)
    left = [int(runs.seen("child")), int(runs.seen("daemon"))]
    (tmp_path / "go").touch()
    assert container.wait(60) == 0  # though they still hold the output
    assert all(gone(pid) for pid in left)


@linux_only
def test_stop_reaches_grandchildren_and_daemons(runs: Runs) -> None:
    container = runs.start("sh", "-c", ORPHANS)
    left = [container.pid, int(runs.seen("child")), int(runs.seen("daemon"))]
    assert all(running(pid) for pid in left)
    container.stop(grace=60)
    assert container.wait(0) == -signal.SIGTERM
    assert all(gone(pid) for pid in left)


@linux_only
def test_close_leaves_nothing(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    container = runs.start("sh", "-c", "trap '' TERM;" + ORPHANS)
    left = [container.pid, int(runs.seen("child")), int(runs.seen("daemon")), *family(os.getpid(), "warm.py")]
    runs.runtime.close()
    assert container.wait(0) == -signal.SIGKILL
    until(lambda: all(gone(pid) for pid in left))
    with pytest.raises(ContainerError, match="closed"):
        runs.start("true")


@linux_only
def test_death_of_the_init_ends_the_container(runs: Runs) -> None:
    container = runs.start("sh", "-c", "sleep 600 & echo child $!; wait")
    child = int(runs.seen("child"))
    init = int(Path(f"/proc/{container.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(init, signal.SIGKILL)
    assert container.wait(60) == -signal.SIGKILL
    until(lambda: gone(container.pid) and gone(child))


@linux_only
def test_death_of_a_launcher_harms_no_container_and_is_made_good(runs: Runs) -> None:
    container = runs.start("sh", "-c", "while [ ! -e go ]; do sleep 0.01; done; exit 7")
    (launcher,) = [pid for pid in family(os.getpid(), "warm.py") if parent(pid) == os.getpid()]
    os.kill(launcher, signal.SIGKILL)
    assert runs.run("echo", "again") == (0, ["again"])
    (runs.base / "go").touch()
    assert container.wait(60) == 7


SERVER = """
    import sys, threading, time
    from pathlib import Path
    from localcloud.containers.processes import ContainerSpec, ProcessRuntime
    from localcloud.containers.images import Image

    base, mark = Path(sys.argv[1]), sys.argv[2]
    runtime = ProcessRuntime()
    environment = {"MARK": mark}
    quick = Image("quick", (), (base,), ("quick",), environment)
    runtime.warm(Image("slow", (), (base,), ("slow",), environment))
    def start(image, *command):
        # from a thread that ends, as in a server
        spec = ContainerSpec(image, command, environment, base, "job")
        thread = threading.Thread(target=runtime.start, args=(spec, lambda line: print(line, flush=True)))
        thread.start()
        thread.join()
    start(quick, "python", "-m", "job")
    start(quick, "sh", "-c", "trap '' TERM HUP; setsid sleep 600 & echo plain; wait")
    time.sleep(600)
"""


@linux_only
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_killed_server(tmp_path: Path, number: signal.Signals) -> None:
    # given a server with a warm job, a plain one, both with children, and a warm parent that is still importing
    (tmp_path / "quick.py").write_text("")
    (tmp_path / "slow.py").write_text("import time; time.sleep(600)")
    (tmp_path / "job.py").write_text(
        "import subprocess, time; subprocess.Popen(['sleep', '600']); print('warm', flush=True); time.sleep(600)"
    )
    mark = uuid.uuid4().hex
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER), str(tmp_path), mark], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert sorted([server.stdout.readline(), server.stdout.readline()]) == ["plain\n", "warm\n"]
        # three launchers, two inits and the warm job; the mark is not on the plain launcher and its init
        until(lambda: len(family(server.pid, "warm.py")) == 6 and len(marked(mark)) == 7)
        begun = {*marked(mark), *family(server.pid, "warm.py")}
        # when it is killed
        server.send_signal(number)
        server.wait(60)
        # then all of them end
        until(lambda: all(gone(pid) for pid in begun) and not marked(mark))
    finally:
        server.kill()
        server.communicate()


def marked(mark: str) -> list[int]:
    """Processes that were started with MARK in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"MARK={mark}".encode() in environment and running(int(entry.name)):
                found.append(int(entry.name))
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def family(ancestor: int, command: str) -> list[int]:
    """Living descendants of a process whose command line holds `command`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = parent(int(entry.name))
            except (OSError, IndexError):
                continue
    found = []
    for pid in parents:
        above = parents.get(pid)
        while above is not None and above != ancestor:
            above = parents.get(above)
        try:
            if above == ancestor and command in Path(f"/proc/{pid}/cmdline").read_text() and running(pid):
                found.append(pid)
        except OSError:
            continue
    return found


# --- Docker's rules ---


@pytest.mark.parametrize(
    ("entrypoint", "arguments", "expected"),
    [
        (None, None, ("python", "-m", "app", "train")),
        (None, [], ("python", "-m", "app", "train")),
        (None, ["process"], ("python", "-m", "app", "process")),
        (["sh", "-c"], None, ("sh", "-c")),
        (["sh", "-c"], ["true"], ("sh", "-c", "true")),
    ],
)
def test_command_for_follows_docker(
    entrypoint: list[str] | None, arguments: list[str] | None, expected: tuple[str, ...]
) -> None:
    assert command_for(Image("app", ("python", "-m", "app")), entrypoint, arguments, ["train"]) == expected


def test_each_container_has_a_temporary_folder_of_its_own(runs: Runs) -> None:
    container = runs.start("python", "-c", "import tempfile; print(tempfile.gettempdir())")
    assert container.wait(60) == 0
    assert runs.lines == [str(runs.base / "tmp")]


def test_containers_step_back_behind_the_server(runs: Runs) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    _, lines = runs.run("python", "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))")
    assert lines == [str(max(10, own))]
