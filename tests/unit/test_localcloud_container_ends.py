"""The end of a container as the server sees it, when its threads are held up at the worst moment."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers import processes
from localcloud.containers.images import Image
from localcloud.containers.processes import ContainerError, ContainerSpec, ProcessContainer, ProcessRuntime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sizes a pipe, and reads /proc")


def test_output_is_whole_though_its_reader_came_after_the_time_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_DRAIN_SECONDS", -1.0)  # over before it has begun
    written = [f"line {number}" for number in range(40_000)]  # several reads
    orders, init = socket.socketpair()
    output, container = os.pipe()
    fcntl.fcntl(container, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(container, "".join(f"{line}\n" for line in written).encode())
    os.close(container)
    init.sendall(b"exit 0\n")
    init.close()
    lines: list[str] = []
    assert ProcessContainer(0, orders, output, lines.append, print).wait(60) == 0
    assert lines == written


def test_closing_waits_for_a_container_that_is_just_being_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    pids: list[int] = []
    start = processes._Launcher.start

    def held_up(launcher: Any, request: dict[str, object]) -> tuple[int, socket.socket, int]:
        started = start(launcher, request)
        pids.append(started[0])
        begun.set()
        assert go_on.wait(60)
        return started

    monkeypatch.setattr(processes._Launcher, "start", held_up)
    runtime = ProcessRuntime()
    spec = ContainerSpec(Image("plain", ()), ("sleep", "600"), {}, tmp_path, "test")
    with ThreadPoolExecutor(2) as pool:
        starting = pool.submit(runtime.start, spec, print)
        assert begun.wait(60)
        closing = pool.submit(runtime.close)
        with pytest.raises(TimeoutError):
            closing.result(0.2)
        go_on.set()
        closing.result(60)
        assert not Path(f"/proc/{pids[0]}").exists()  # its init has reaped it
        with pytest.raises(ContainerError, match="closed"):
            starting.result(60)
