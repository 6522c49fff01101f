"""Starting, stopping and finding a localcloud, as the command does it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud import daemon
from localcloud.daemon import StartFailed
from localcloud.testing import Cloud, wait_for
from tests.processes import processes_of

from .localcloud_requests import training, unique

STUB = Path(__file__).parent / "localcloud_images/stub.toml"

# Each wait has minutes, for a busy machine; several may come together.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "cloud"
    daemon.stop(tmp_path / "cloud")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localcloud", *arguments], capture_output=True, text=True, timeout=240, check=False
    )


def jobs_of(directory: Path) -> list[str]:
    """Those of them that are containers."""
    return [line for line in processes_of(directory) if "stub.py" in line]


def test_command_starts_finds_resets_and_stops(directory: Path) -> None:
    started = command("start", "--dir", str(directory), "--image", str(STUB), "--json")
    assert started.returncode == 0, started.stderr
    state = json.loads(started.stdout)
    written = json.loads((directory / "localcloud.json").read_text())
    on_disk = {key: written[key] for key in ("endpoint", "pid", "account", "region")}
    assert on_disk == {key: state[key] for key in on_disk}
    assert on_disk["endpoint"].startswith("http://127.0.0.1:")
    again = command("start", "--dir", str(directory), "--json")
    assert json.loads(again.stdout) == state  # one a directory: the running one is given

    cloud = Cloud(daemon.Running(**on_disk, directory=directory))
    cloud.client("s3").create_bucket(Bucket="some-bucket")
    cloud.role("job-role")
    cloud.client("sagemaker").create_training_job(**training("long", "some-bucket", hyperparameters={"sleep": "600"}))
    assert command("status", "--dir", str(directory)).returncode == 0
    assert command("reset", "--dir", str(directory)).returncode == 0
    assert cloud.client("s3").list_buckets()["Buckets"] == []
    assert cloud.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []

    assert "ready" in command("logs", "--dir", str(directory), "-n", "1000").stdout
    stopped = command("stop", "--dir", str(directory))
    assert (stopped.returncode, stopped.stdout) == (0, "stopped\n")
    assert not (directory / "localcloud.json").exists()
    assert command("status", "--dir", str(directory)).returncode == 1
    wait_for(lambda: not processes_of(directory), 120)  # those that were killed are gone when the kernel says so


def test_it_listens_on_loopback_and_nothing_else(directory: Path) -> None:
    running = daemon.start(directory, keep=False)
    inodes = set()
    for link in Path(f"/proc/{running.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed; what listens stays open
            inodes.add(os.readlink(link).removeprefix("socket:[").rstrip("]"))
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{running.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                listening.append((address, int(port, 16)))
    assert listening == [("0100007F", int(running.endpoint.rsplit(":", 1)[1]))]


def test_stop_ends_jobs_and_leaves_no_process(directory: Path) -> None:
    running = daemon.start(directory, images=[STUB], keep=False)
    cloud = Cloud(running)
    cloud.client("s3").create_bucket(Bucket="some-bucket")
    cloud.role("job-role")
    for number in range(3):
        cloud.client("sagemaker").create_training_job(
            **training(f"long-{number}", "some-bucket", hyperparameters={"sleep": "600"})
        )
    wait_for(lambda: jobs_of(directory), 120)
    daemon.stop(directory)
    # A server that must be killed, because it waits for its jobs, leaves this behind.
    assert not (directory / "localcloud.json").exists()
    wait_for(lambda: not processes_of(directory), 120)


def test_killed_server_takes_its_jobs_along_and_can_be_started_again(directory: Path) -> None:
    running = daemon.start(directory, images=[STUB], keep=False)
    cloud = Cloud(running)
    cloud.client("s3").create_bucket(Bucket="some-bucket")
    cloud.role("job-role")
    cloud.client("sagemaker").create_training_job(**training("long", "some-bucket", hyperparameters={"sleep": "600"}))
    wait_for(lambda: jobs_of(directory), 120)
    os.kill(running.pid, signal.SIGKILL)
    wait_for(lambda: not processes_of(directory), 120)
    wait_for(lambda: daemon.find(directory) is None, 60)
    assert daemon.start(directory, keep=False).pid != running.pid


def test_state_is_kept_over_a_clean_stop(directory: Path) -> None:
    cloud = Cloud(daemon.start(directory, images=[STUB]))
    cloud.client("s3").create_bucket(Bucket="kept-bucket")
    cloud.client("s3").put_object(Bucket="kept-bucket", Key="a", Body=b"still here")
    name = unique("kept")
    cloud.client("sagemaker").create_model_package_group(ModelPackageGroupName=name)
    daemon.stop(directory)
    again = Cloud(daemon.start(directory, images=[STUB]))
    assert again.client("s3").get_object(Bucket="kept-bucket", Key="a")["Body"].read() == b"still here"
    group = again.client("sagemaker").describe_model_package_group(ModelPackageGroupName=name)
    assert group["ModelPackageGroupName"] == name


def test_interrupt_in_the_foreground_stops_everything(directory: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "localcloud", "start", "--foreground", "--dir", str(directory), "--forget"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: daemon.find(directory), 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 0
    wait_for(lambda: not processes_of(directory), 60)


def test_taken_port_is_named(directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"127.0.0.1:{port} is in use"):
            daemon.start(directory, port=port)


def test_two_localclouds_side_by_side_know_nothing_of_each_other(directory: Path, localcloud: Cloud) -> None:
    other = Cloud(daemon.start(directory, keep=False))
    other.client("s3").create_bucket(Bucket="only-there")
    names = [bucket["Name"] for bucket in localcloud.client("s3").list_buckets()["Buckets"]]
    assert "only-there" not in names


def test_start_is_quick(directory: Path) -> None:
    """By the processor's time, which other processes change little; it takes 1.2 s of it on a quiet machine."""
    start = time.monotonic()
    running = daemon.start(directory, images=[STUB], keep=False)
    seconds = time.monotonic() - start
    fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
    processor = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    print(f"started in {seconds:.2f} s, {processor:.2f} s of the processor")
    assert processor < 6


def test_a_test_run_that_is_killed_leaves_no_localcloud(directory: Path) -> None:
    code = "import pathlib, sys, time\nfrom localcloud.testing import localcloud\n"
    code += "with localcloud(pathlib.Path(sys.argv[1])):\n    print('ready', flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        assert daemon.find(directory) is not None
        run.kill()
    wait_for(lambda: not processes_of(directory), 120)
