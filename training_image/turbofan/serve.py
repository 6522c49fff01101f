"""The model server: `python -m turbofan serve` loads /opt/ml/model and answers until it is told to stop.

TensorFlow is not in this process. Environment, all optional: SAGEMAKER_BIND_TO_PORT (8080), SERVE_HOST (every
interface), SAGEMAKER_MAX_PAYLOAD_IN_MB (25; set by SageMaker in batch jobs), OMP_NUM_THREADS (every core) and
SERVE_UID (a user to become, when started as root).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import uvicorn

from turbofan.artifact import Artifact
from turbofan.container import Paths, compute_threads, setting
from turbofan.serving.app import MIB, App

DEFAULT_MIB = 25  # what InvokeEndpoint takes
MOST_MIB = 1024  # also for 0, which batch jobs set for "no limit"
# Longer than whoever holds connections open: SageMaker, or a proxy with nginx's 75 s.
KEEP_ALIVE_SECONDS = 90
# SageMaker kills a container 30 s after its SIGTERM.
STOP_SECONDS = 25
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 32 << 20  # the most that M_MMAP_THRESHOLD takes


def serve(paths: Paths) -> None:
    """Run until SIGTERM or SIGINT; requests that are under way are answered first. Raises TurbofanError."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # Before the server runs, and again when it has shut down: to be told to stop is no failure.
        signal.signal(number, lambda *_: sys.exit(0))
    limit = setting("SAGEMAKER_MAX_PAYLOAD_IN_MB", DEFAULT_MIB, 0, MOST_MIB) or MOST_MIB
    user = int(setting("SERVE_UID", 0, 0, 2**31, whole=True))
    artifact = Artifact.open(paths.model)
    artifact.check()
    if user and os.geteuid() == 0:
        become(user)
    keep_memory()
    listen(App(artifact, int(limit * MIB), compute_threads()))


def listen(app: App) -> None:
    """Answer with `app` on the port that the environment names. Raises SettingError; exits if the port is taken."""
    config = uvicorn.Config(
        app,
        host=os.environ.get("SERVE_HOST") or "0.0.0.0",
        port=int(setting("SAGEMAKER_BIND_TO_PORT", 8080, 1, 65535, whole=True)),
        http="httptools",
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run()


def keep_memory() -> None:
    """Have glibc, where it is the C library, keep what large requests free for the next one.

    By default it returns blocks of some megabytes to the kernel and gets them anew, page by page: about a tenth of the
    processor time of a large request.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in M_TRIM_THRESHOLD, M_MMAP_THRESHOLD:
            mallopt(parameter, KEPT_BYTES)


def become(user: int) -> None:
    """Give up root for good; all that needed it is done: the model is in memory, and the port is above 1023."""
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    except OSError as error:  # a namespace that does not know the user
        print(f"Serving as root: user {user} cannot be taken ({error.strerror}).", file=sys.stderr, flush=True)
