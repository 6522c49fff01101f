"""Snapshots by a forked child: at one instant, one at a time, never idle, never in the way."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.durability import snapshots
from localcloud.durability.generations import Generations
from localcloud.durability.snapshots import SETTLE_SECONDS, Snapshots
from localcloud.testing import wait_for

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """An event loop that runs; in a thread, where the server has it in the main one."""
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever, daemon=True)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join()


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child puts them back, which only a main thread can; here the loop's is another."""
    monkeypatch.setattr(signal, "set_wakeup_fd", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


class Server:
    """Something whose state changes."""

    def __init__(self, directory: Path, loop: Loop) -> None:
        directory.mkdir(exist_ok=True)
        self.generations = Generations(directory, lambda value: value)
        self.state: dict[str, Any] = {"left": 0, "right": 0}
        self.lock: Any = threading.RLock()
        self.read: Any = lambda: dict(self.state)
        self.snapshots = Snapshots(
            self.generations, lambda: [("service", self.read())], lambda: [self.lock], {}, interval=0.05
        )
        self.snapshots.start(loop)

    def saved(self) -> Any:
        """What stands on disk. The next save may remove what is being read: only a test reads while a server writes."""
        while True:
            try:
                found = self.generations.newest()
            except FileNotFoundError:
                continue
            return found and found.states["service"]


@pytest.fixture
def server(tmp_path: Path, loop: Loop) -> Iterator[Server]:
    running = Server(tmp_path / "state", loop)
    yield running
    running.read = dict
    running.snapshots.close()


def test_change_is_on_disk_soon(server: Server) -> None:
    server.state["left"] = 7
    server.snapshots.changed()
    wait_for(lambda: (server.saved() or {}).get("left") == 7)
    wait_for(lambda: server.snapshots.status()["generation"] >= 1)
    status = server.snapshots.status()
    assert status["failed"] is None
    assert status["pauses_ms"]["max"] > 0


def test_state_is_of_one_instant(server: Server) -> None:
    """Two stores that change together under the lock are never seen apart."""
    stop = threading.Event()

    def change() -> None:
        for number in itertools.count(1):
            if stop.is_set():
                return
            with server.lock:
                server.state["left"] = number
                time.sleep(0.0005)
                server.state["right"] = number
            time.sleep(0.0005)
            server.snapshots.changed()

    thread = threading.Thread(target=change)
    thread.start()
    seen = set()

    def look() -> bool:
        saved = server.saved()
        if saved:
            assert saved["left"] == saved["right"]
            seen.add(saved["left"])
        return len(seen) > 9

    try:
        wait_for(look, 120)
    finally:
        stop.set()
        thread.join()


def test_idle_server_is_left_alone(server: Server) -> None:
    server.snapshots.changed()
    wait_for(lambda: server.snapshots.status()["current"], 60)
    time.sleep(SETTLE_SECONDS)

    def rests() -> bool:
        """A second long; the last snapshot may begin in time and end late."""
        forks = server.snapshots.status()["forks"]
        time.sleep(1)
        return bool(server.snapshots.status()["forks"] == forks)

    wait_for(rests, 60)
    assert server.snapshots.status()["generation"] == 1  # nothing has changed since the first


def test_change_during_a_long_snapshot_is_saved_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot takes longer than changes are followed for."""
    monkeypatch.setattr(snapshots, "SETTLE_SECONDS", 0.01)

    def slow() -> Any:
        time.sleep(1)
        return dict(server.state)

    wait_for(lambda: server.snapshots.status()["current"])
    server.read = slow
    forks = server.snapshots.status()["forks"]
    server.snapshots.changed()
    wait_for(lambda: server.snapshots.status()["forks"] > forks)
    server.state["left"] = 7
    server.snapshots.changed()
    wait_for(lambda: (server.saved() or {}).get("left") == 7)


def test_end_that_comes_while_a_server_goes_idle_is_heard(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SETTLE_SECONDS", 0.01)
    taking, wanted = server.snapshots, server.snapshots._wanted
    clear = wanted.clear

    def closed_just_before() -> None:
        taking._closing.set()
        wanted.set()
        clear()

    monkeypatch.setattr(wanted, "clear", closed_just_before)
    taking.changed()
    taking._thread.join(60)
    assert not taking._thread.is_alive()


def test_failure_is_told_and_mended(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wait_for(server.saved)

    def full() -> Any:
        raise OSError(28, "No space left on device")

    server.read = full
    server.snapshots.changed()
    wait_for(lambda: server.snapshots.status()["failed"])
    assert "No space left on device" in server.snapshots.status()["failed"]
    assert server.saved() == {"left": 0, "right": 0}
    server.state["left"] = 1
    server.read = lambda: dict(server.state)
    wait_for(lambda: (server.saved() or {}).get("left") == 1, 60)
    wait_for(lambda: server.snapshots.status()["failed"] is None)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] != []
    assert "the state is saved again" in caplog.text


def test_child_that_is_killed_is_a_failure_and_no_more(server: Server) -> None:
    wait_for(server.saved)
    server.read = lambda: os.kill(os.getpid(), signal.SIGKILL)
    server.snapshots.changed()
    wait_for(lambda: server.snapshots.status()["failed"])
    assert "killed" in server.snapshots.status()["failed"]


def test_last_snapshot_is_taken_on_close(tmp_path: Path, loop: Loop) -> None:
    server = Server(tmp_path / "state", loop)
    wait_for(server.saved)
    server.state["left"] = "last"  # nobody was told
    server.snapshots.close()
    assert server.saved()["left"] == "last"


def test_reset_in_the_middle_of_a_snapshot_wins(server: Server, loop: Loop) -> None:
    wait_for(server.saved)
    begun = server.generations.directory / "begun"

    def slow() -> Any:
        begun.touch()
        time.sleep(2)
        return {"left": "before the reset"}

    server.read = slow
    server.snapshots.changed()
    wait_for(begun.exists)
    server.read = lambda: {"left": "after"}
    done = threading.Event()

    def forget() -> None:
        server.snapshots.forget()
        done.set()

    loop.call_soon_threadsafe(forget)
    assert done.wait(60)
    wait_for(lambda: server.saved() == {"left": "after"})
    assert server.snapshots.status()["failed"] is None


def test_lock_that_is_never_free_does_not_hang_the_loop(server: Server, loop: Loop) -> None:
    wait_for(server.saved)
    held, tried = threading.Lock(), threading.Event()

    class Watched:
        """Says that somebody wants it."""

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            tried.set()
            return held.acquire(blocking, timeout)

        def release(self) -> None:
            held.release()

    server.lock = Watched()
    with held:
        server.snapshots.changed()
        assert tried.wait(60)
        answered = threading.Event()
        loop.call_soon_threadsafe(answered.set)
        assert answered.wait(60)  # a loop that waited for the lock never would
