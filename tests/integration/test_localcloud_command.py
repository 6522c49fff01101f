"""The command as a newcomer meets it: what it prints, its exit codes, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localcloud import daemon
from localcloud.testing import Cloud, wait_for

COMMANDS = ("start", "stop", "status", "env", "logs", "reset")
# What a localcloud that has nothing to do may take; measured: 95 MB with Python 3.11.
IDLE_MEGABYTES = 200

# Each wait has minutes, for a busy machine; several may come together.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "cloud"
    daemon.stop(tmp_path / "cloud")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localcloud", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


# --- help ---


def test_help_lists_every_command_and_a_first_session() -> None:
    told = command("--help")
    assert told.returncode == 0
    assert 'eval "$(localcloud env)"' in told.stdout
    assert all(re.search(rf"^ +{name} ", told.stdout, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    told = command(name, "--help")
    assert told.returncode == 0
    unexplained = re.findall(r"^  (-[^ ]+)(?: [A-Z]+)?(?:, --[a-z-]+(?: [A-Z]+)?)?\n  -", told.stdout, re.MULTILINE)
    assert unexplained == []
    assert "--dir" in told.stdout


@pytest.mark.parametrize("arguments", [(), ("fly",), ("start", "--port", "many"), ("start", "--slots")])
def test_wrong_usage_is_code_2(arguments: tuple[str, ...]) -> None:
    told = command(*arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert "usage: localcloud" in told.stderr


# --- where nothing runs ---


@pytest.mark.parametrize("name", ["env", "reset", "logs"])
def test_where_nothing_runs_it_says_so(tmp_path: Path, name: str) -> None:
    told = command(name, "--dir", str(tmp_path))
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("localcloud: ")
    assert str(tmp_path) in told.stderr
    assert "Traceback" not in told.stderr


def test_status_and_stop_where_nothing_runs(tmp_path: Path) -> None:
    status = command("status", "--dir", str(tmp_path), "--json")
    assert (status.returncode, json.loads(status.stdout)) == (1, {"running": False})
    stop = command("stop", "--dir", str(tmp_path))
    assert (stop.returncode, stop.stdout) == (0, f"no localcloud runs in {tmp_path}\n")
    follow = command("logs", "-f", "--dir", str(tmp_path))
    assert (follow.returncode, "no log" in follow.stderr) == (1, True)


# --- starts that fail ---


def refused(*arguments: str, **environment: str) -> str:
    """What a start says that fails: one plain message."""
    told = command("start", *arguments, **environment)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("localcloud: localcloud did not start: ")
    assert "Traceback" not in told.stderr
    return told.stderr


def test_taken_port_is_named_and_nothing_else_is_said(directory: Path, localcloud: Cloud) -> None:
    port = localcloud.endpoint.rsplit(":", 1)[1]
    told = refused("--dir", str(directory), "--port", port)
    assert told.count("\n") == 1
    assert f"127.0.0.1:{port} is in use: choose another --port, or 0 for a free one." in told


def test_image_map_that_cannot_be_read_is_named(directory: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "images.toml"
    assert f"Image map {wrong} cannot be read" in refused("--dir", str(directory), "--image", str(wrong))
    wrong.write_text("[[image]\n")
    assert f"Image map {wrong} is not TOML" in refused("--dir", str(directory), "--image", str(wrong))
    wrong.write_text('[[image]]\nmatch = "*a*"\n')
    assert "entrypoint is missing" in refused("--dir", str(directory), "--image", str(wrong))


def test_missing_requirement_is_named_with_the_python_that_lacks_it(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking/hypercorn.py").write_text("raise ModuleNotFoundError(\"No module named 'hypercorn'\")\n")
    told = refused("--dir", str(directory), PYTHONPATH=str(tmp_path / "lacking"))
    assert "No module named 'hypercorn'" in told
    assert sys.executable in told


def test_failed_start_tells_of_itself_and_not_of_an_earlier_one(directory: Path, localcloud: Cloud) -> None:
    missing = directory.parent / "none.toml"
    assert "none.toml" in refused("--dir", str(directory), "--image", str(missing))
    port = localcloud.endpoint.rsplit(":", 1)[1]
    assert "none.toml" not in refused("--dir", str(directory), "--port", port)


def test_no_lines_are_no_lines(directory: Path) -> None:
    directory.mkdir()
    (directory / daemon.LOG_FILE).write_text("one\ntwo\n")
    assert daemon.tail(directory, 0) == ""
    assert daemon.tail(directory, 1) == "two"
    assert daemon.tail(directory, 9) == "one\ntwo"


# --- one that runs ---


def test_shell_that_takes_its_env_speaks_to_it(directory: Path) -> None:
    daemon.start(directory, keep=False)
    script = f"""
        export AWS_SESSION_TOKEN=somebodys AWS_PROFILE=somebody
        eval "$({sys.executable} -m localcloud env --dir {directory})"
        {Path(sys.executable).with_name("aws")} s3 mb s3://from-the-shell >/dev/null && echo "token=$AWS_SESSION_TOKEN"
    """
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=240, check=False)
    assert (ran.returncode, ran.stdout) == (0, "token=\n"), ran.stderr
    running = daemon.find(directory)
    assert running is not None
    cloud = Cloud(running)
    assert [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]] == ["from-the-shell"]
    assert json.loads(command("env", "--json", LOCALCLOUD_DIR=str(directory)).stdout) == running.environment


def test_second_start_gives_the_first_and_says_that_its_options_count(directory: Path) -> None:
    first = command("start", "--dir", str(directory), "--forget", "--json")
    second = command("start", "--dir", str(directory), "--forget", "--json", "--port", "1")
    assert second.returncode == 0
    assert json.loads(second.stdout)["pid"] == json.loads(first.stdout)["pid"]
    assert "running already" in second.stderr


def test_log_is_followed(directory: Path) -> None:
    daemon.start(directory, keep=False)
    follower = subprocess.Popen(
        [sys.executable, "-m", "localcloud", "logs", "-f", "-n", "1", "--dir", str(directory)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    assert follower.stdout.readline()  # the last line so far: from here on it follows
    with (directory / daemon.LOG_FILE).open("a") as log:
        log.write("a new line\n")
    assert "a new line\n" in iter(follower.stdout.readline, "")
    follower.send_signal(signal.SIGINT)
    assert follower.wait(120) == 130
    follower.stdout.close()


def test_what_a_kill_left_is_not_taken_for_running(directory: Path) -> None:
    running = daemon.start(directory, keep=False)
    os.kill(running.pid, signal.SIGKILL)
    wait_for(lambda: daemon.find(directory) is None)
    assert (directory / "localcloud.json").exists()
    assert command("status", "--dir", str(directory)).returncode == 1
    again = command("start", "--dir", str(directory), "--forget", "--json")
    assert json.loads(again.stdout)["pid"] != running.pid


def test_several_at_once_have_ports_data_and_ends_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    try:
        with ThreadPoolExecutor(3) as pool:
            running = list(pool.map(lambda folder: daemon.start(folder, keep=False), folders))
        assert len({one.endpoint for one in running}) == 3
        clouds = [Cloud(one) for one in running]
        for cloud, folder in zip(clouds, folders, strict=True):
            cloud.client("s3").create_bucket(Bucket=f"bucket-{folder.name}")
        for cloud, folder in zip(clouds, folders, strict=True):
            names = [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]
            assert names == [f"bucket-{folder.name}"]
        daemon.stop(folders[0])
        assert len(clouds[1].client("s3").list_buckets()["Buckets"]) == 1
    finally:
        for folder in folders:
            daemon.stop(folder)


def test_idle_it_takes_little_memory(directory: Path) -> None:
    running = daemon.start(directory, keep=False)
    # SageMaker's model is loaded in the background; once this is answered it is there.
    Cloud(running).client("sagemaker").list_endpoints()
    used = sum(_resident(pid) for pid in (running.pid, *_descendants(running.pid)))
    print(f"idle: {used:.0f} MB")
    assert used < IDLE_MEGABYTES


def _descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended since it was listed
        return []
    return [found for child in children for found in (int(child), *_descendants(int(child)))]


def _resident(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    # A process that is ending has none any more.
    return sum(int(found) for found in re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)) / 1000
