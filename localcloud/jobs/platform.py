"""The life of a job: queued for a slot, run in a container, stopped on request or by the clock, always ended once."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from localcloud.containers.container_contract import S3Transfer
from localcloud.containers.images import Image, ImageNotFound
from localcloud.containers.processes import Container, ContainerError, ContainerSpec
from localcloud.errors import ValidationException
from localcloud.jobs.logs import Logs, LogStream
from localcloud.jobs.slots import Slots
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.quotas import Quotas
from localcloud.states.endings import Ending
from localcloud.store import Record, Scope, Store

logger = logging.getLogger("localcloud.jobs.platform")

TERMINAL = frozenset({"Completed", "Failed", "Stopped"})
# SageMaker caps what Describe gives as FailureReason and ExitMessage.
REASON_LIMIT = 1024

# FailureReason of a job that its instance's memory was too small for.
OUT_OF_MEMORY = (
    "ClientError: Please use an instance type with more memory, or reduce the size of job data processed on an "
    "instance."
)

End = Literal["exited", "stopped", "timed out"]


class Images(Protocol):
    """What knows images: images.ImageMap or docker_runtime.DockerImages."""

    def find(self, uri: str) -> Image:
        """The image to run for a URI; raises ImageNotFound."""


class Runtime(Protocol):
    """What runs containers: containers.ProcessRuntime, docker_runtime.DockerRuntime, or a stand-in in tests."""

    def start(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> Container:
        """Start a container; its output comes to ``on_line``."""


class Tracking(Protocol):
    """What follows jobs in Experiments: localcloud.sagemaker.job_tracking.JobTracking."""

    def begin(self, stem: str, scope: Scope, job: Record) -> None:
        """A new job."""

    def follow(self, stem: str, scope: Scope, job: Record) -> None:
        """A job that has changed."""


@dataclass
class Live:
    """A job that has not ended: how to stop it, and how to wait for it."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    finished: threading.Event = field(default_factory=threading.Event)
    container: Container | None = None
    grace: float = 30.0
    forgotten: bool = False  # by a reset: nobody wants its results any more
    end: Ending = field(default_factory=Ending)  # comes with `finished`, and calls whoever waits for several things

    def stop(self, grace: float | None = None) -> None:
        """Ask the job to stop; returns at once."""
        if grace is not None:
            self.grace = grace
        self.cancelled.set()
        if (container := self.container) is not None:
            threading.Thread(target=container.stop, args=(self.grace,), name="localcloud-stop", daemon=True).start()


@dataclass
class Platform:
    """What every kind of job is built upon.

    Args:
        store: where descriptions stand.
        images: which command stands for an image.
        runtime: what runs containers.
        slots: how many run at once.
        logs: CloudWatch Logs.
        events: EventBridge.
        s3: makes a client for S3 that acts under a job's role (its ARN).
        environment: by which a container reaches the same account, under its job's role.
        directory: where containers get their base directories.
        quotas: how much of what an account may have at once.
        tracking: keeps jobs' trial components.
        stop_grace: seconds between SIGTERM and SIGKILL, as many as on AWS.
        instances: how many processes one variant of an endpoint, or one transform job, has at most.
        in_alarm: which of an account's CloudWatch alarms, given by name, are in ALARM.
    """

    store: Store
    images: Images
    runtime: Runtime
    slots: Slots
    logs: Logs
    events: Events
    s3: Callable[[Scope, str], Any]
    environment: Callable[[Scope, str], dict[str, str]]
    directory: Path
    quotas: Quotas = field(default_factory=Quotas)
    tracking: Tracking | None = None
    stop_grace: float = 120.0
    instances: int = 4
    in_alarm: Callable[[Scope, Sequence[str]], list[str]] = field(default=lambda _scope, _names: [])
    _live: dict[tuple[Scope, str, str], Live] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closing: threading.Event = field(default_factory=threading.Event)

    def image(self, uri: str) -> Image:
        """The image behind a URI; raises ValidationException, as SageMaker does for a repository it cannot find."""
        try:
            return self.images.find(uri)
        except ImageNotFound as error:
            raise ValidationException(f"Cannot find repository for image {uri}. {error}") from error

    def launch(
        self, scope: Scope, kind: str, name: str, run: Callable[[Live], None], then: Callable[[], object] | None = None
    ) -> Live:
        """Run a job in a thread of its own; ``run`` must end the job whatever happens; ``then`` is called after it."""
        live = Live(grace=self.stop_grace)
        with self._lock:
            if self._closing.is_set():
                raise ValidationException("localcloud is shutting down")
            self._live[scope, kind, name] = live

        def guarded() -> None:
            try:
                run(live)
            except Exception:
                logger.exception("%s %s ended in an error of localcloud itself", kind, name)
            finally:
                with self._lock:
                    if self._live.get((scope, kind, name)) is live:  # after a reset the name may be another job's
                        del self._live[scope, kind, name]
                live.finished.set()
                live.end.end()
                if then is not None:
                    then()

        threading.Thread(target=guarded, name=f"{kind}-{name}", daemon=True).start()
        return live

    def live(self, scope: Scope, kind: str, name: str) -> Live | None:
        """The running job, or None when it has ended."""
        with self._lock:
            return self._live.get((scope, kind, name))

    def close(self, grace: float = 1.0) -> None:
        """Stop every job and wait until they have ended; no job can be launched afterwards."""
        with self._lock:
            self._closing.set()
            jobs = list(self._live.values())
        for job in jobs:
            job.stop(grace)
        deadline = time.monotonic() + grace + 5
        for job in jobs:
            job.finished.wait(max(0.0, deadline - time.monotonic()))

    def forget_all(self) -> None:
        """Stop every job and want nothing of it any more (a reset); returns at once."""
        with self._lock:
            jobs = list(self._live.values())
            self._live.clear()
        for job in jobs:
            job.forgotten = True
            job.stop(0.5)

    @property
    def full(self) -> bool:
        """Whether a job would have to wait for a slot now."""
        return self.slots.full

    def take_slot(self, live: Live) -> bool:
        """Wait for a slot; False when the job was stopped first."""
        return self.slots.acquire(live.cancelled)

    def give_slot(self) -> None:
        """Let the next job run."""
        self.slots.release()

    def transfer(self, scope: Scope, role: str) -> S3Transfer:
        """S3 as a job's role sees it."""
        return S3Transfer(self.s3(scope, role))

    def base_directory(self, name: str) -> Path:
        """A new directory that is a container's /opt/ml."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{name[:40]}-", dir=self.directory))

    def discard(self, base: Path) -> None:
        """Remove a base directory."""
        shutil.rmtree(base, ignore_errors=True)

    def open_log(self, scope: Scope, group: str, job: str) -> LogStream:
        """The stream of a job's container, named as SageMaker names it."""
        return self.logs.open(scope, group, f"{job}/algo-1-{int(time.time())}")


def run_container(
    platform: Platform, live: Live, spec: ContainerSpec, on_line: Callable[[str], None], seconds: float
) -> tuple[End, int]:
    """Run one container to its end.

    Args:
        seconds: how long it may run.

    Returns:
        How it ended, and its exit code.

    Raises:
        ContainerError: it could not be started, or it ran out of memory.
    """
    container = platform.runtime.start(spec, on_line)
    live.container = container
    end: End = "exited"
    if live.cancelled.is_set():
        container.stop(live.grace)
    code = container.wait(seconds)
    if code is None:
        end = "timed out"
        container.stop(live.grace)
        code = container.wait(None)
    elif live.cancelled.is_set():
        end = "stopped"
    elif container.out_of_memory:
        raise ContainerError(OUT_OF_MEMORY)
    return end, code if code is not None else -9


def limited(reason: str) -> str:
    """A reason in the length that SageMaker allows."""
    return reason if len(reason) <= REASON_LIMIT else reason[: REASON_LIMIT - 3] + "..."


def seconds_between(start: Any, end: Any) -> int:
    """Whole seconds between two times, at least 0."""
    return max(0, int((end - start).total_seconds()))
