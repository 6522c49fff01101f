"""Local processes that stand for containers: started, logged, stopped, never left behind.

The processes themselves are in warm.py; this is the server's side: it keeps the launchers, hands each container's
output to its listener, and knows how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from localcloud.containers import warm as _warm
from localcloud.containers.images import Image
from localcloud.errors import LocalcloudError

# What CloudWatch Logs took as one event for long (256 KiB less 26 bytes); longer lines come in pieces.
MAX_LINE = 256 * 1024 - 26

# Output may still be in the pipe when a container has ended. All its writers are dead by then, unless one escaped,
# which Linux rules out (see warm.py); elsewhere it is not waited for longer than this. What is in the pipe by then is
# read all the same: it may be this process that was held up. No pipe holds more than so many reads.
_DRAIN_SECONDS = 5.0
_READ = 1 << 16
_LATE_READS = 32

# How long the end of the runtime waits for containers that are just being started.
_STARTING_SECONDS = 30.0

# The server's variables that a container sees; all others would make jobs depend on who started the server.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")

# One compute thread a job: as many jobs as CPUs run side by side, and more threads would only contend.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


_Spawn = Callable[[Callable[[], "subprocess.Popen[bytes]"]], "subprocess.Popen[bytes]"]


class ContainerError(LocalcloudError, RuntimeError):
    """A container could not be started; says which and why."""


@dataclass
class ContainerSpec:
    """What to run. `base_dir` is the container's /opt/ml (see opt_ml.py), also under the name SAGEMAKER_BASE_DIR, and,
    unless the image names a workdir, the current directory."""

    image: Image
    command: tuple[str, ...]  # the full argv, see command_for
    environment: dict[str, str]
    base_dir: Path
    name: str
    isolated: bool = False  # EnableNetworkIsolation: no network; processes have it all the same
    warm: bool = True  # may be forked from its image's warm parent, with everything that has imported


class Container(Protocol):
    """One running container, whatever runs it."""

    @property
    def pid(self) -> int:
        """The process on this machine."""

    @property
    def out_of_memory(self) -> bool:
        """Whether it ended because its memory limit was reached; known once it has ended."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Exit code once it has ended and all its output was delivered; None on timeout; -N if signal N ended it."""

    def stop(self, grace: float = 30.0) -> None:
        """SIGTERM, SIGKILL after `grace` seconds; returns when nothing of it is left."""

    def kill(self) -> None:
        """SIGKILL, without waiting."""


class ProcessContainer:
    """A container that is a process of this machine. Made by ProcessRuntime.start."""

    out_of_memory = False  # there are no limits

    def __init__(
        self, pid: int, orders: socket.socket, output: int, on_line: Callable[[str], None], log: Callable[[str], None]
    ) -> None:
        """`orders` is the socket to the container's init, `output` the reading end of its output."""
        self.pid = pid
        self._orders = orders
        self._output = output
        self._lines = Lines(
            on_line, lambda trouble: log(f"The listener of container {pid} failed on a line:\n{trouble}")
        )
        self._sending = threading.Lock()
        self._done = threading.Event()
        self._code: int | None = None
        threading.Thread(target=self._follow, name=f"container-{pid}", daemon=True).start()

    def wait(self, timeout: float | None = None) -> int | None:
        """Exit code once it has ended and all its output was delivered; None on timeout; -N if signal N ended it."""
        return self._code if self._done.wait(timeout) else None

    def stop(self, grace: float = 30.0) -> None:
        """SIGTERM to the whole process group, SIGKILL after `grace` seconds; returns when nothing of it is left."""
        self._order(_warm.TERMINATE)
        if not self._done.wait(grace):
            self.kill()
        self._done.wait()

    def kill(self) -> None:
        """SIGKILL to the whole process group, without waiting."""
        self._order(_warm.KILL)

    def _order(self, order: bytes) -> None:
        with self._sending:
            if not self._done.is_set():
                with contextlib.suppress(OSError):  # it has just ended
                    self._orders.sendall(order)

    def _follow(self) -> None:
        """Read output and news of the end, until both are through."""
        lines = self._lines
        news = b""
        ended = None
        late = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            selector.register(self._orders, selectors.EVENT_READ)
            while selector.get_map() and late < _LATE_READS:
                left = None if ended is None else max(0.0, ended + _DRAIN_SECONDS - time.monotonic())
                ready = selector.select(left)
                if left == 0.0:
                    late += 1
                    if not ready:
                        break
                for key, _ in ready:
                    if key.fileobj is self._orders:
                        try:
                            part = self._orders.recv(256)
                        except ConnectionResetError:
                            part = b""
                        news += part
                        if not part:
                            selector.unregister(self._orders)
                            ended = time.monotonic()
                            if not news:
                                self._init_died()
                    elif data := os.read(self._output, _READ):
                        lines.feed(data)
                    else:
                        selector.unregister(self._output)
        lines.end()
        self._code = int(news.split()[1]) if news.startswith(b"exit ") else -signal.SIGKILL
        with self._sending:
            self._done.set()
            self._orders.close()
        os.close(self._output)

    def _init_died(self) -> None:
        """Somebody killed the container's init: the job died with it (PR_SET_PDEATHSIG), its group may not have."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class Lines:
    """Cuts a stream of bytes into lines of at most MAX_LINE bytes."""

    def __init__(self, on_line: Callable[[str], None], complain: Callable[[str], None]) -> None:
        """`on_line` gets each line; `complain` the traceback of its first failure."""
        self._on_line = on_line
        self._complain = complain
        self._failed = False
        self._rest = bytearray()

    def feed(self, data: bytes) -> None:
        self._rest += data
        *whole, self._rest = self._rest.split(b"\n") if b"\n" in data else [self._rest]
        for line in whole:
            self._emit(line)
        if len(self._rest) > MAX_LINE:
            self._rest = self._pieces(self._rest)

    def end(self) -> None:
        if self._rest:
            self._emit(self._rest)
            self._rest = bytearray()

    def _emit(self, line: bytearray) -> None:
        last = self._pieces(line)
        self._deliver(last.removesuffix(b"\r").decode("utf-8", "replace"))

    def _pieces(self, line: bytearray) -> bytearray:
        """Deliver all but the last MAX_LINE bytes or fewer, which are returned."""
        begin = 0
        while len(line) - begin > MAX_LINE:
            end = begin + MAX_LINE
            while end > begin + MAX_LINE - 4 and line[end] & 0xC0 == 0x80:  # not within a character
                end -= 1
            self._deliver(line[begin:end].decode("utf-8", "replace"))
            begin = end
        return line[begin:]

    def _deliver(self, line: str) -> None:
        try:
            self._on_line(line)
        except Exception:  # noqa: BLE001 - a listener's fault must not block the container on a full pipe
            if not self._failed:
                self._failed = True  # said once: it may well fail on every line
                self._complain(traceback.format_exc())


class _Launcher:
    """The server's handle of one launcher process (see warm.py)."""

    def __init__(self, name: str, image: Image | None, spawn: _Spawn) -> None:
        """`image`: whose modules to preload; None for the launcher of plain commands."""
        self.name = name
        self.environment = _base_environment(image)
        self.error: str | None = None
        self.traceback = ""
        self.seconds = 0.0
        self._gone = False
        self._answered = threading.Event()  # ready, failed, or dead
        self._sending = threading.Lock()
        self._control, theirs = socket.socketpair()
        settings = {
            "server": os.getpid(),
            "control": theirs.fileno(),
            "preload": list(image.preload) if image else [],
            "watch": [str(path) for path in image.pythonpath] if image else [],
        }
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with theirs:
            self._process = spawn(
                lambda: subprocess.Popen(
                    [sys.executable, "-P", _warm.__file__, json.dumps(settings)],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=self._errors,
                    stderr=self._errors,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    cwd="/",
                )
            )

    @property
    def alive(self) -> bool:
        return not self._gone and self._process.poll() is None

    def follow(self, log: Callable[[str], None]) -> None:
        """Read what the launcher says until it ends; runs in a thread of its own."""
        with contextlib.suppress(OSError), self._control.makefile("r", encoding="utf-8") as news:
            for line in news:
                message = json.loads(line)
                if message["event"] == "ready":
                    self.seconds = message["seconds"]
                    if self.name:
                        log(f"Warm parent of {self.name} is ready after {self.seconds:.1f} s")
                else:
                    self.error, self.traceback = message["error"], message["traceback"]
                self._answered.set()
        if not self._answered.is_set():
            self.error = f"it ended while importing. {self._last_words()}"
        self._answered.set()

    def wait_ready(self) -> bool:
        """Wait for the imports; False when they failed (see `error`)."""
        self._answered.wait()
        return self.error is None

    def start(self, request: dict[str, object]) -> tuple[int, socket.socket, int]:
        """Have a container started; returns its pid, the socket to its init and its output. Raises ContainerError."""
        orders, their_orders = socket.socketpair()
        output, their_output = os.pipe()
        started = False
        try:
            body = json.dumps(request).encode()
            with their_orders, self._sending:
                try:
                    socket.send_fds(
                        self._control, [struct.pack("!I", len(body))], [their_output, their_orders.fileno()]
                    )
                    self._control.sendall(body)
                except OSError as error:
                    self._gone = True
                    raise _LauncherGone from error
                finally:
                    os.close(their_output)
            answer = _read_line(orders)
            if answer.startswith(b"error "):
                raise ContainerError(answer.removeprefix(b"error ").decode())
            if not answer.startswith(b"pid "):
                self._gone = True  # or as good as: it closed the socket without a word
                raise _LauncherGone
            started = True
            return int(answer.split()[1]), orders, output
        finally:
            if not started:
                orders.close()
                os.close(output)

    def close(self) -> None:
        """Kill the launcher (not its containers) and reap it."""
        self._process.kill()
        self._process.wait()
        self._answered.wait()
        self._control.close()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 2000))
        return f"Exit code {code}. {self._errors.read().decode('utf-8', 'replace').strip()}"


class _LauncherGone(Exception):
    """A launcher died before it had started a container."""


class ProcessRuntime:
    """Starts containers as processes of this machine. Safe to use from several threads."""

    def __init__(self, log: Callable[[str], None] | None = None) -> None:
        """`log` receives notes on the runtime itself (a preload that failed, a parent that died)."""
        self._log = log or (lambda message: None)
        self._lock = threading.Lock()
        self._closed = False
        self._starting = 0
        self._started = threading.Condition(self._lock)
        self._launchers: dict[Image | None, _Launcher] = {}
        self._containers: set[ProcessContainer] = set()
        # PR_SET_PDEATHSIG fires when the *thread* that forked dies: launchers are spawned by one that lives as long
        # as this runtime.
        self._spawner = ThreadPoolExecutor(1, "localcloud-spawner")

    def start(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> Container:
        """Start a container; stdout and stderr come merged to `on_line`, a line at a time, from one thread.

        Lines are UTF-8 (wrong bytes replaced) and at most MAX_LINE bytes: longer ones come in pieces.
        Waits while the image's warm parent is still importing. Raises ContainerError when nothing could be started;
        a command that does not exist is, as with Docker, exit code 127.
        """
        if not spec.command:
            raise ContainerError(f"Container {spec.name}: the image {spec.image.name} has no command to run")
        # A container has a /tmp of its own; what a job leaves in its goes with its folder.
        temporary = spec.base_dir / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        environment = _base_environment(spec.image) | {"TMPDIR": str(temporary)} | spec.environment
        environment["SAGEMAKER_BASE_DIR"] = str(spec.base_dir)
        request: dict[str, object] = {
            "environment": environment,
            "workdir": str(spec.image.workdir or spec.base_dir),
            "base": str(spec.base_dir),
        }
        module = _module_command(spec.command)
        if module and self._is_warm(spec, environment):
            try:
                return self._launch(spec.image, {**request, "argv": module, "module": True}, on_line)
            except _LauncherGone:
                self._log(f"The warm parent of {spec.image.name} died; container {spec.name} starts without it")
        command = [sys.executable if spec.command[0] in ("python", "python3") else spec.command[0], *spec.command[1:]]
        for _ in range(2):  # the plain launcher may have been killed; a new one is quick
            with contextlib.suppress(_LauncherGone):
                return self._launch(None, {**request, "argv": command, "module": False}, on_line)
        raise ContainerError(f"Container {spec.name} could not be started: its launcher process dies each time")

    def warm(self, image: Image) -> None:
        """Start the image's warm parent in the background. Does nothing without preload, or the second time."""
        if image.preload:
            self._launcher(image)

    def close(self) -> None:
        """Kill every container and warm parent; returns when nothing is left."""
        with self._lock:
            self._closed = True
            launchers, containers = list(self._launchers.values()), list(self._containers)
            self._launchers.clear()
        for container in containers:
            container.kill()
        for launcher in launchers:
            launcher.close()
        for container in containers:
            container.wait()
        with self._started:  # what was being started meanwhile ends as soon as it has begun
            self._started.wait_for(lambda: not self._starting, _STARTING_SECONDS)
        self._spawner.shutdown()

    def _is_warm(self, spec: ContainerSpec, environment: dict[str, str]) -> bool:
        """Whether the image's warm parent can run this container; waits for its imports."""
        if not (spec.image.preload and spec.warm):
            return False
        launcher = self._launcher(spec.image)
        for name in sorted(environment.keys() | launcher.environment.keys()):
            if _read_at_start(name) and environment.get(name) != launcher.environment.get(name):
                self._log(f"Container {spec.name} sets {name}, which only a fresh interpreter reads: no warm start")
                return False
        return launcher.wait_ready()

    def _launch(
        self, image: Image | None, request: dict[str, object], on_line: Callable[[str], None]
    ) -> ProcessContainer:
        with self._lock:
            if self._closed:
                raise ContainerError("The runtime is closed")
            self._starting += 1
        try:
            pid, orders, output = self._launcher(image).start(request)
            with self._lock:
                container = ProcessContainer(pid, orders, output, on_line, self._log)
                self._containers = {other for other in self._containers if other.wait(0) is None} | {container}
                closed = self._closed
            if closed:
                container.stop(grace=0)
                raise ContainerError("The runtime is closed")
            return container
        finally:
            with self._started:
                self._starting -= 1
                self._started.notify_all()

    def _launcher(self, image: Image | None) -> _Launcher:
        """The launcher of an image, started when there is none; one whose imports failed is kept, and not used."""
        with self._lock:
            if self._closed:
                raise ContainerError("The runtime is closed")
            launcher = self._launchers.get(image)
            if launcher and (launcher.alive or launcher.error):
                return launcher
            if launcher:
                launcher.close()
            launcher = _Launcher(image.name if image else "", image, self._spawn)
            self._launchers[image] = launcher
        threading.Thread(target=self._follow, args=(launcher,), name="localcloud-launcher", daemon=True).start()
        return launcher

    def _follow(self, launcher: _Launcher) -> None:
        launcher.follow(self._log)
        if launcher.error and not self._closed:
            self._log(
                f"The warm parent of {launcher.name} could not import its modules: {launcher.error}. Its jobs start "
                f"without it, each with its own imports, until localcloud is restarted.\n{launcher.traceback}".rstrip()
            )

    def _spawn(self, popen: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        return self._spawner.submit(popen).result()


def command_for(
    image: Image, entrypoint: list[str] | None, arguments: list[str] | None, default_arguments: list[str]
) -> tuple[str, ...]:
    """The argv of a container by Docker's rules.

    An entrypoint in the request replaces the image's and drops the defaults; arguments replace the defaults, which
    replace the image's own (its CMD).
    """
    if entrypoint:
        return (*entrypoint, *(arguments or ()))
    return (*image.entrypoint, *(arguments or default_arguments or image.arguments))


def _base_environment(image: Image | None) -> dict[str, str]:
    """What every container of an image has in its environment."""
    environment = {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    environment |= {name: "1" for name in THREADS}
    environment |= {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")]
    )
    if image:
        if image.pythonpath:
            environment["PYTHONPATH"] = os.pathsep.join(str(path) for path in image.pythonpath)
        environment |= image.env
    return environment


def _read_at_start(name: str) -> bool:
    """Whether a variable is read once, by the interpreter, the loader or a library being imported."""
    return name.startswith(("PYTHON", "LD_")) or name.endswith("_NUM_THREADS")


def _module_command(command: tuple[str, ...]) -> list[str] | None:
    """[module, arguments…] of `python -m module arguments…`, else None."""
    if len(command) > 2 and command[0] in ("python", "python3", sys.executable) and command[1] == "-m":
        return list(command[2:])
    return None


def _read_line(connection: socket.socket) -> bytes:
    """One line, byte by byte so as not to read into what follows; less when the other side closed."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            byte = connection.recv(1)
        except ConnectionResetError:
            break
        if not byte:
            break
        line += byte
    return line.rstrip()
