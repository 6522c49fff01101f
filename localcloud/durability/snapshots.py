"""Snapshots of a server that goes on working: a forked child writes what the memory held at one instant.

The server stands still only for the fork itself, on its event loop, between two requests, with the services' locks
held: what the child sees is consistent across services. A snapshot is taken at most every `interval` while something
changes, and a few times after, for what follows late (deliveries, asynchronous invocations); never when nothing
happens. What counts as a change is told by `changed`: requests that are not reads, events, steps of executions, jobs'
records. Looking at the stores themselves would cost as much as writing them.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import ctypes
import gc
import json
import logging
import os
import select
import signal
import sys
import threading
import time
import warnings
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from localcloud.durability.generations import Generations, Saved

logger = logging.getLogger("localcloud.durability.snapshots")

INTERVAL = 1.0
# How long after the last change snapshots go on: asynchronous deliveries come late.
SETTLE_SECONDS = 4.0
# A child that has not written by then is killed.
CHILD_SECONDS = 60.0
# How often the fork is tried while somebody holds a lock, and the pause in between: waiting for one lock while holding
# another would stop both services, and give the interpreter away.
LOCK_TRIES = 500
LOCK_PAUSE = 0.005
RETRY_SECONDS = 10.0
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Lock(Protocol):
    """A threading.Lock or RLock."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...


class _Busy(Exception):
    """Somebody holds a lock."""


@dataclass
class Report:
    """How the last snapshot went, for `localcloud status`."""

    number: int = 0
    taken: float = 0.0  # epoch seconds
    size: int = 0
    seconds: float = 0.0
    forks: int = 0
    failed: str | None = None


class Snapshots:
    """Takes them, one at a time, in the background.

    Args:
        generations: where they go.
        states: services and their states; called in the child.
        locks: what the fork is taken under.
        header: JSON values to write with each.
        interval: seconds from one snapshot to the next, at least.
        before: called on the event loop before each snapshot, to prune.
    """

    def __init__(
        self,
        generations: Generations,
        states: Callable[[], Iterable[tuple[str, Any]]],
        locks: Callable[[], Sequence[Lock]],
        header: Mapping[str, Any],
        interval: float = INTERVAL,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._generations = generations
        self._states = states
        self._locks = locks
        self._header = header
        self._interval = interval
        self._before = before
        self._loop: AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="localcloud-snapshots", daemon=True)
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._active_until = 0.0
        # When the oldest change came that is not on disk yet: before the last fork, and after it.
        self._saving_since: float | None = None
        self._unsaved_since: float | None = None
        self._digest: str | None = None
        self._child: int | None = None
        self._resets = 0
        self._report = Report()
        self._pauses: deque[float] = deque(maxlen=10_000)
        self._costs: deque[float] = deque(maxlen=10_000)
        # CPython warns of forking with threads; the child is written for it.
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)

    def goes_on_from(self, number: int) -> None:
        """This is the generation that was restored; the next is one more."""
        self._report.number = number

    def start(self, loop: AbstractEventLoop) -> None:
        """Begin, with the loop that serves requests."""
        self._loop = loop
        self._thread.start()
        self.changed()

    def changed(self) -> None:
        """Something has changed, or is about to; cheap, from any thread."""
        now = time.monotonic()
        self._active_until = now + SETTLE_SECONDS
        if self._unsaved_since is None:
            self._unsaved_since = now
        if not self._wanted.is_set():
            self._wanted.set()

    def close(self) -> None:
        """Take a last snapshot and no more. From a thread other than the event loop's.

        Failures are logged: the generation before stands.
        """
        self._closing.set()
        self._wanted.set()
        self._thread.join()
        self._take()

    def forget(self) -> None:
        """Remove every generation, also one that is being written; on the event loop (a reset)."""
        self._resets += 1  # first: whoever waits for the child is to know why it ends
        if (child := self._child) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        self._digest = None
        self._generations.clear()
        self.changed()

    def status(self) -> dict[str, Any]:
        """The newest generation and the pauses so far, as JSON values; sizes in bytes, pauses in milliseconds.

        ``age_seconds`` is how long ago the state was what is on disk; ``unsaved_seconds`` how long the oldest change
        has waited that is not on disk yet; ``current`` that there is none.
        ``pauses_ms`` is how long requests waited; ``pauses_cpu_ms`` what of it was the fork's own work, and would be
        there on a machine that has nothing else to do.
        """
        report = self._report
        waiting = self._saving_since or self._unsaved_since
        return {
            "generation": report.number,
            "taken": datetime.fromtimestamp(report.taken, UTC).isoformat() if report.taken else None,
            "age_seconds": round(time.time() - report.taken, 3) if report.taken else None,
            "unsaved_seconds": round(time.monotonic() - waiting, 3) if waiting is not None else 0.0,
            "current": waiting is None,
            "bytes": report.size,
            "seconds": round(report.seconds, 3),
            "forks": report.forks,
            "failed": report.failed,
            "pauses_ms": _summary(self._pauses),
            "pauses_cpu_ms": _summary(self._costs),
        }

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while True:
            self._wanted.wait()
            if self._closing.is_set():
                return
            begin = time.monotonic()
            failures = 0 if self._take() else failures + 1
            if self._settled() and not failures:
                self._wanted.clear()
                if not self._settled() or self._closing.is_set():  # a change came in between, or the end
                    self._wanted.set()
            pause = min(self._interval * 2**failures, RETRY_SECONDS) if failures else self._interval
            self._closing.wait(max(0.0, begin + pause - time.monotonic()))

    def _settled(self) -> bool:
        """Whether nothing is to be saved: no change has come since the last fork, and none follows late."""
        return self._unsaved_since is None and time.monotonic() > self._active_until

    def _take(self) -> bool:
        """Take one snapshot; tells whether it went well."""
        taken = time.time()
        begin = time.monotonic()
        resets = self._resets
        try:
            child, answer = self._fork()
            saved = self._answer(child, answer)
        except Exception as error:  # noqa: BLE001 - the server goes on, whatever it is; the generation before stands
            if resets != self._resets:
                return True
            if str(error) != self._report.failed:
                logger.error("the state could not be saved: %s. The generation before stands; trying again", error)
            self._report.failed = str(error) or type(error).__name__
            return False
        if resets != self._resets:  # what was written is of the time before the reset, and gone
            return True
        if self._report.failed is not None:
            logger.info("the state is saved again")
        self._digest = saved.digest
        self._saving_since = None
        self._report = Report(
            number=saved.number,
            taken=taken,  # also when nothing was written: what stands on disk is true of this instant
            size=saved.size,
            seconds=time.monotonic() - begin,
            forks=self._report.forks,
        )
        return True

    def _fork(self) -> tuple[int, int]:
        """Have the event loop fork; gives the child and the descriptor that it answers to."""
        assert self._loop is not None
        for _ in range(LOCK_TRIES):
            forked: concurrent.futures.Future[tuple[int, int]] = concurrent.futures.Future()
            self._loop.call_soon_threadsafe(self._fork_into, forked)
            try:
                return forked.result(CHILD_SECONDS)
            except _Busy:
                time.sleep(LOCK_PAUSE)
        raise TimeoutError("the services' locks were always held by somebody")

    def _answer(self, child: int, answer: int) -> Saved:
        """Wait for the child's answer, and for its end."""
        text = b""
        deadline = time.monotonic() + CHILD_SECONDS
        try:
            while True:
                ready, _, _ = select.select([answer], [], [], max(0.0, deadline - time.monotonic()))
                if not ready:
                    os.kill(child, signal.SIGKILL)
                    raise TimeoutError(f"the snapshot was not written within {CHILD_SECONDS:.0f} s")
                part = os.read(answer, 65536)
                if not part:
                    break
                text += part
        finally:
            os.close(answer)
            with contextlib.suppress(ChildProcessError):  # a reset has waited for it
                os.waitpid(child, 0)
            self._child = None
        if not text:
            raise RuntimeError("the process that wrote the snapshot was killed")
        said = json.loads(text)
        if "error" in said:
            raise RuntimeError(said["error"])
        return Saved(**said)

    # --- the event loop -----------------------------------------------------------------------------------------------

    def _fork_into(self, forked: concurrent.futures.Future[tuple[int, int]]) -> None:
        try:
            self._before()
            forked.set_result(self._fork_now())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            forked.set_exception(error)

    def _fork_now(self) -> tuple[int, int]:
        read, write = os.pipe()
        try:
            with contextlib.ExitStack() as held:
                begin, cpu = time.perf_counter(), time.thread_time()
                for lock in self._locks():
                    if not lock.acquire(blocking=False):
                        raise _Busy
                    held.callback(lock.release)
                self._saving_since = self._saving_since or self._unsaved_since
                self._unsaved_since = None
                server = os.getpid()
                child = os.fork()
                if child == 0:
                    self._be_child(server, write)
            self._pauses.append(time.perf_counter() - begin)
            self._costs.append(time.thread_time() - cpu)
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._child = child
        self._report.forks += 1
        return child, read

    # --- the child ----------------------------------------------------------------------------------------------------

    def _be_child(self, server: int, answer: int) -> NoReturn:
        """Write the generation and end, without ever returning into the server's code."""
        try:
            _cut_loose(server, answer)
            # Nobody changes anything here: copies would only cost time and memory.
            copy.deepcopy = lambda value, *_: value
            number = self._report.number + 1
            header = {**self._header, "taken": datetime.now(UTC).isoformat()}
            saved = self._generations.save(number, header, self._states(), self._digest)
            said: dict[str, Any] = vars(saved)
        except BaseException as error:  # noqa: BLE001 - a forked process must not go on in its parent's code
            said = {"error": f"{type(error).__name__}: {error}"}
        try:
            os.write(answer, json.dumps(said).encode())
        finally:
            os._exit(0)


def _summary(seconds: Iterable[float]) -> dict[str, float] | None:
    """How long something took, in milliseconds."""
    values = sorted(value * 1000 for value in list(seconds))
    if not values:
        return None
    points = {f"p{percent}": values[min(len(values) - 1, len(values) * percent // 100)] for percent in (50, 95, 99)}
    return {"count": len(values), **{name: round(value, 2) for name, value in (points | {"max": values[-1]}).items()}}


def _cut_loose(server: int, answer: int) -> None:
    """Die with the server, and hold none of its sockets, locks and signals."""
    gc.disable()  # a collection would touch, and so copy, every page
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)
    signal.set_wakeup_fd(-1)  # it is the server's: a signal here would stop the server
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    try:
        inherited = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        inherited = list(range(3, 4096))
    for descriptor in inherited:
        if descriptor > 2 and descriptor != answer:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("700")  # short of memory, this is to die rather than the server
