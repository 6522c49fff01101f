"""The process that turns into containers: it imports an image's heavy modules once and forks for each job.

Run as a script by localcloud.containers, with nothing but the standard library, so that a job's process holds what
the image asks for and no more. Three kinds of process share this file:

- the *launcher*, one for each image with preload and one for all other commands: single-threaded, so that forking is
  safe. It reads requests from a socket and forks an init for each.
- the *init* of one container, like PID 1 in Docker: it forks the job, passes on orders to stop, and when the job ends
  or the server disappears it kills everything that the job left running.
- the *job*: it runs `python -m module` with runpy in the process that has the imports already, or execs a command.

Nothing outlives the server, even after kill -9: the kernel closes the server's end of each init's socket, and the init
ends the job; PR_SET_PDEATHSIG (Linux) covers the launcher while it imports, and a job whose init is killed.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from types import FrameType, ModuleType, TracebackType
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# What the server sends to an init.
TERMINATE = b"T"
KILL = b"K"

# On AWS a container has a machine of its own: here the server, which stands for all of AWS, and functions are not to
# wait for it.
NICENESS = 10
# Docker's exit codes for a container that could not be started, a command that cannot be run or is not there.
CANNOT_START = 125
CANNOT_RUN = 126
NOT_FOUND = 127

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _neighbour(name: str) -> ModuleType:
    """A module of this folder, which is not on the path."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(os.path.dirname(__file__), f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_opt_ml = _neighbour("opt_ml")


@dataclass
class Request:
    """One container to start, as the server sends it; the output and control descriptors come with it."""

    argv: list[str]
    module: bool  # argv is [module, arguments…], to be run in this process; otherwise a command to exec
    environment: dict[str, str]
    workdir: str
    base: str  # becomes the job's /opt/ml


def launch(control: socket.socket, preload: list[str], watch: list[str]) -> Request:
    """Be a launcher until the server closes `control`; returns in a forked process that is to run a module."""
    environment = dict(os.environ)
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a re-executed launcher inherits SIG_IGN
    begin = time.monotonic()
    try:
        _import(preload)
    except BaseException as error:  # noqa: BLE001 - an import may raise anything, SystemExit too; the server is told
        _tell(control, {"event": "failed", "error": _last_line(error), "traceback": traceback.format_exc()})
        sys.exit(1)
    sources = _sources(watch)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # inits are reaped by the kernel …
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # … except those that ended before
            pass
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages shared with the jobs
    _tell(control, {"event": "ready", "seconds": time.monotonic() - begin})

    poller = select.poll()
    poller.register(control, select.POLLIN)
    while True:
        poller.poll()
        if any(_modified(path) != modified for path, modified in sources.items()):
            # Jobs must run the code as it is now: import it afresh, and leave the request in the socket meanwhile.
            os.execve(sys.executable, [sys.executable, "-P", __file__, *sys.argv[1:]], environment)
        received = _receive(control)
        if received is None:
            sys.exit(0)
        request, output, orders = received
        try:
            child = os.fork()
        except OSError as error:
            orders.sendall(f"error cannot fork: {error.strerror}\n".encode())
        else:
            if child == 0:
                control.close()
                return _init(request, output, orders)
        os.close(output)
        orders.close()


def _import(preload: list[str]) -> None:
    """Import the modules; raises RuntimeError naming the first import that leaves a thread running.

    A forked process has only the thread that forked. Whoever counts on another waits for ever, or aborts at exit, as
    onnxruntime 1.32 does.
    """
    culprits: list[str] = []
    genuine = builtins.__import__

    def watched(name: str, *arguments: Any, **options: Any) -> ModuleType:
        known = name in sys.modules
        module = genuine(name, *arguments, **options)
        if not known and not culprits and _thread_count() > 1:
            culprits.append(name)  # imports are nested: the innermost returns first
        return module

    builtins.__import__ = watched
    try:
        for name in preload:
            importlib.import_module(name)
    finally:
        builtins.__import__ = genuine
    if (threads := _thread_count()) > 1:
        first = culprits[0] if culprits else ", ".join(preload)
        raise RuntimeError(
            f"{threads - 1} thread(s) run after the imports, the first since `import {first}`. Threads do not survive "
            "a fork: leave that import to the jobs"
        )


def _init(request: Request, output: int, orders: socket.socket) -> Request:
    """Be the init of one container and exit; returns in the job's process, when that is to run a module."""
    try:
        me = os.getpid()
        signal.signal(signal.SIGCHLD, _wake)
        wakeup, wakeup_write = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(wakeup_write, False)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the job leaves behind becomes this process's child
        job = os.fork()
        if job == 0:
            signal.set_wakeup_fd(-1)
            os.close(wakeup)
            os.close(wakeup_write)
            orders.close()
            return _become(request, output, init=me)
        with contextlib.suppress(PermissionError, ProcessLookupError):  # both sides do it: no order can come too early
            os.setpgid(job, job)
        os.close(output)
        orders.sendall(f"pid {job}\n".encode())
        code = _watch(job, orders, wakeup)
        _kill_rest(job)
        with contextlib.suppress(OSError):  # the server may be gone
            orders.sendall(f"exit {code}\n".encode())
    except BaseException:  # noqa: BLE001 - a forked process must not go on in its parent's code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _watch(job: int, orders: socket.socket, wakeup: int) -> int:
    """Pass on orders until the job ends; returns its exit code (-N for signal N)."""
    poller = select.poll()
    poller.register(orders, select.POLLIN)
    poller.register(wakeup, select.POLLIN)
    while True:
        for ready, _ in poller.poll():
            if ready == wakeup:
                with contextlib.suppress(BlockingIOError):
                    os.read(wakeup, 4096)
                continue
            try:
                order = orders.recv(64)
            except ConnectionResetError:
                order = b""
            if not order:  # the server is gone
                poller.unregister(orders)
            _kill_group(job, signal.SIGTERM if order and KILL not in order else signal.SIGKILL)
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == job:
                return os.waitstatus_to_exitcode(status)
            if child == 0:
                break


def _kill_rest(job: int) -> None:
    """Kill what the job left running: its group, and all that has been handed to this process."""
    _kill_group(job, signal.SIGKILL)
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as listing:
                children = [int(child) for child in listing.read().split()]
        except OSError:  # not on this system: the group was all that could be found
            return
        for child in children:
            os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)  # its children, if any, are handed over with its death: look again
        except ChildProcessError:
            return


def _become(request: Request, output: int, init: int) -> Request:
    """Turn this process into the job: exec the command, or return to run a module."""
    try:
        devnull = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((devnull, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.close(devnull)
        os.close(output)
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        _mount_opt_ml(request.base)  # before the next line, which a change of namespaces undoes
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != init:
            os._exit(CANNOT_START)
        _reset_signals(request.module)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
            score.write("500")  # short of memory, a job is to die rather than the server
        os.chdir(request.workdir)
        os.environ.clear()
        os.environ.update(request.environment)
        tempfile.tempdir = None  # the imports may have asked for the parent's
    except Exception as error:  # noqa: BLE001 - a forked process must not go on in its parent's code
        _refuse(CANNOT_START, f"cannot start the container: {error}")
    if request.module:
        return request
    command = request.argv[0]
    try:
        os.execvpe(command, request.argv, request.environment)
    except (FileNotFoundError, NotADirectoryError):
        _refuse(NOT_FOUND, f"exec: {command!r}: not found (PATH={request.environment.get('PATH', '')})")
    except (OSError, ValueError) as error:
        _refuse(CANNOT_RUN, f"exec: {command!r}: {error}")


def _mount_opt_ml(base: str) -> None:
    try:
        _opt_ml.mount(base)
    except OSError as error:
        print(
            f"localcloud: no /opt/ml here ({error}): the container's files are in {base}", file=sys.stderr, flush=True
        )


def run(request: Request) -> None:
    """Run `python -m module arguments…` in this process; what it raises is left to the interpreter, as there."""
    module, *arguments = request.argv
    time.tzset()
    sys.path.insert(0, os.getcwd())  # as -m does
    sys.argv = [module, *arguments]
    sys.orig_argv = [sys.executable, "-m", module, *arguments]
    # A fresh process has a fresh seed: Python's own generator sees to that after a fork, NumPy's does not.
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    sys.excepthook = _hide_launcher
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _hide_launcher(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    first = trace
    while first and first.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
        first = first.tb_next
    sys.__excepthook__(kind, error.with_traceback(first), first)


def _receive(control: socket.socket) -> tuple[Request, int, socket.socket] | None:
    """The next request with its output and control descriptors; None when the server closed the socket."""
    try:
        header, descriptors, _, _ = socket.recv_fds(control, 4, 2)
        if len(header) < 4:
            return None
        (size,) = struct.unpack("!I", header)
        body = bytearray()
        while len(body) < size:
            part = control.recv(min(size - len(body), 1 << 16))
            if not part:
                return None
            body += part
    except ConnectionResetError:
        return None
    output, orders = descriptors
    return Request(**json.loads(body)), output, socket.socket(fileno=orders)


def _tell(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        control.sendall(json.dumps(message).encode() + b"\n")


def _sources(watch: list[str]) -> dict[str, int]:
    """Source files of the imported modules that lie under the image's own directories, with their times."""
    prefixes = tuple(os.path.join(directory, "") for directory in watch)
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {file: _modified(file) for file in files if file and prefixes and file.startswith(prefixes)}


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1


def _thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # native threads too
    except OSError:
        import threading

        return threading.active_count()


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)


def _reset_signals(python: bool) -> None:
    """As in a fresh process: what the launcher and the preloaded modules set does not count."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):  # a few belong to the C library
            signal.signal(number, signal.SIG_DFL)
    if python:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _kill_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Nothing: the wake-up descriptor has been written to."""


def _refuse(code: int, message: str) -> NoReturn:
    os.write(2, f"localcloud: {message}\n".encode(errors="replace"))
    os._exit(code)


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != settings["server"]:
        sys.exit(1)
    run(launch(socket.socket(fileno=settings["control"]), settings["preload"], settings["watch"]))
