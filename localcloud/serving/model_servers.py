"""Model servers: real processes under SageMaker's serving contract, restarted when they die.

docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html: the container is started with the argument
``serve``, finds its model in /opt/ml/model, answers GET /ping with 200 once it is ready, and POST /invocations. On AWS
it listens on 8080; here several share one machine, so each is told a loopback port of its own in
SAGEMAKER_BIND_TO_PORT, the variable that AWS itself uses for multi-container endpoints.
"""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from localcloud.cloudwatch.metrics import STANDARD
from localcloud.containers.images import Image
from localcloud.containers.processes import Container, ContainerError, ContainerSpec, command_for
from localcloud.jobs.platform import Platform
from localcloud.serving import model_artefact
from localcloud.store import Scope

logger = logging.getLogger("localcloud.serving")

HOST = "127.0.0.1"
PING_SECONDS = 2.0  # AWS's limit for one answer to /ping
STARTUP_SECONDS = 480.0  # AWS: "must respond to requests … within 8 minutes"
# A server that ends so often before it was ever healthy never will be; AWS goes on until the time is up.
MOST_FAILED_STARTS = 3
FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0
STOP_GRACE = 5.0
# How long a server that has closed a connection is asked whether it still lives; one that does answers at once.
SURVIVAL_SECONDS = 30.0
# Below the range from which Linux takes ports of outgoing connections: nobody takes one between choice and use.
_PORTS = range(18_000, 31_000)


@dataclass(frozen=True)
class Serving:
    """What one variant, or one batch job, has served.

    Args:
        name: of the process, for messages.
        served: the model: Image, Artefact, Environment, RoleArn.
        log_group: of CloudWatch Logs.
        log_prefix: the stream's name up to the instance.
        environment: more variables.
        startup_seconds: how long a server may take until it answers /ping.
        invocations_every: how far apart the datapoints of its invocations' metrics are, in seconds.
        utilization_every: the same of what its instances use.
    """

    name: str
    served: Mapping[str, Any]
    log_group: str
    log_prefix: str
    environment: Mapping[str, str] = field(default_factory=dict)
    startup_seconds: float = STARTUP_SECONDS
    invocations_every: int = STANDARD
    utilization_every: int = STANDARD


class Process:
    """One life of a model server: the process, and the door to it."""

    def __init__(self, container: Container, port: int) -> None:
        self.container = container
        self._port = port
        self._pool = _pool(port)

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> urllib3.BaseHTTPResponse:
        """One request, answered in full.

        Raises:
            urllib3.exceptions.HTTPError: no answer, or none in time.
        """
        return _ask(self._pool, method, path, body, headers, seconds)

    def survived(self) -> bool:
        """Whether it lives on, after it has closed a connection without an answer.

        On a busy machine it is learnt late that a process has ended. So it is asked itself, by a connection of its
        own: only one that lives can answer, and where nobody listens there is none.
        """
        deadline = time.monotonic() + SURVIVAL_SECONDS
        while self.container.wait(0) is None and time.monotonic() < deadline:
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError), _pool(self._port) as door:
                try:
                    _ask(door, "GET", "/ping", None, {}, PING_SECONDS)
                except urllib3.exceptions.NewConnectionError:
                    return False
                return True
            self.container.wait(0.02)  # it is busy, or it ends
        return self.container.wait(0) is None


class ModelServer:
    """One instance: a process that serves a model for as long as this object is not stopped."""

    def __init__(
        self,
        platform: Platform,
        scope: Scope,
        serving: Serving,
        fetched: Path | None,
        on_death: Callable[[ModelServer, int], None],
    ) -> None:
        """``fetched``: the artefact, see model_artefact; ``on_death``: is told each death and its exit code."""
        self.instance = f"i-{secrets.token_hex(9)[:17]}"
        self.ready = False
        self.in_flight = 0  # counted by the fleet
        self.deaths = 0
        self.failure: str | None = None
        self.stopped = threading.Event()
        self._settled = threading.Event()  # healthy for the first time, or never going to be
        self._platform, self._scope, self._serving = platform, scope, serving
        self._image: Image = platform.image(serving.served["Image"])
        self._on_death = on_death
        self.process: Process | None = None  # the present one, or the last
        self._base = platform.base_directory(serving.name)
        try:
            uri = serving.served.get("Artefact", {}).get("S3Uri", "")
            model_artefact.unpack(fetched, self._base / "model", uri)
        except Exception:
            platform.discard(self._base)
            raise
        self._log = platform.logs.open(scope, serving.log_group, f"{serving.log_prefix}/{self.instance}")
        self._thread = threading.Thread(target=self._run, name=f"serving-{serving.name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process's id, while it runs."""
        process = self.process
        return process.container.pid if process is not None and process.container.wait(0) is None else None

    @property
    def stream(self) -> str:
        """The name of its log stream."""
        return f"{self._serving.log_prefix}/{self.instance}"

    def wait_healthy(self, deadline: float) -> bool:
        """Wait until it answered /ping with 200 for the first time; False when it did not by ``deadline``."""
        self._settled.wait(max(0.0, deadline - time.monotonic()))
        return self._settled.is_set() and self.failure is None

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> urllib3.BaseHTTPResponse:
        """One request to the server, answered in full.

        Raises:
            urllib3.exceptions.HTTPError: no answer, or none in time.
        """
        process = self.process
        if process is None:
            raise urllib3.exceptions.HTTPError(f"{self._serving.name} has no server at present")
        return process.request(method, path, body, headers, seconds)

    def stop(self, grace: float = STOP_GRACE) -> None:
        """End the process for good; returns when nothing of it is left."""
        self.stopped.set()
        self.ready = False
        if not self._settled.is_set():
            self.failure = "it was stopped"
        if (process := self.process) is not None:
            process.container.stop(grace)
        self._thread.join(grace + 5)
        self._settled.set()
        self._log.close()
        self._platform.discard(self._base)

    def _run(self) -> None:
        delay = FIRST_DELAY
        was_healthy = False
        while not self.stopped.is_set():
            code = -1
            try:
                with reserved_port() as port:
                    process = self._start(port)
                    if self._wait_for_ping(process):
                        was_healthy = True
                        delay = FIRST_DELAY
                        self.ready = True
                        self._settled.set()
                    code = process.container.wait(None) or 0
            except ContainerError as error:
                self._log.write(f"localcloud: {error}")
            except Exception as error:
                logger.exception("the server of %s could not be started", self._serving.name)
                self._log.write(f"localcloud: {type(error).__name__}: {error}")
            self.ready = False
            if self.stopped.is_set():
                return
            self.deaths += 1
            self._log.write(f"localcloud: the model server ended with exit code {code}; it is started again.")
            self._on_death(self, code)
            if not was_healthy and self.failure is None and self.deaths >= MOST_FAILED_STARTS:
                self.failure = f"it ended {self.deaths} times, the last time with exit code {code}"
            if not was_healthy and self.failure is not None:
                self._settled.set()
                return
            self.stopped.wait(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def _start(self, port: int) -> Process:
        serving = self._serving
        shutil.rmtree(self._base / "tmp", ignore_errors=True)
        spec = ContainerSpec(
            image=self._image,
            command=command_for(self._image, None, None, ["serve"]),
            environment={
                **self._platform.environment(self._scope, serving.served["RoleArn"]),
                "AWS_REGION": self._scope.region,
                **serving.served.get("Environment", {}),
                **serving.environment,
                "SAGEMAKER_BIND_TO_PORT": str(port),
                "SAGEMAKER_SAFE_PORT_RANGE": f"{port}-{port}",
            },
            base_dir=self._base,
            name=serving.name,
            # A server imports what it needs and stays; what jobs preload (a whole training framework) is not for it.
            warm=False,
        )
        process = Process(self._platform.runtime.start(spec, self._log.write), port)
        self.process = process
        if self.stopped.is_set():
            process.container.kill()
        return process

    def _wait_for_ping(self, process: Process) -> bool:
        """Wait until /ping answers 200; False when the process has ended, or was ended because its time is up."""
        deadline = time.monotonic() + self._serving.startup_seconds
        pause = 0.02
        while process.container.wait(pause) is None:
            if self.stopped.is_set():
                return False
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
                if process.request("GET", "/ping", None, {}, PING_SECONDS).status == 200:
                    return True
            if time.monotonic() > deadline:
                if not self._settled.is_set():
                    self.failure = f"it did not answer /ping with 200 within {self._serving.startup_seconds:.0f} s"
                process.container.stop(1)
                return False
            pause = min(pause * 1.2, 0.25)
        return False


class Fleet:
    """The instances of one variant, behind one door."""

    def __init__(self, platform: Platform, scope: Scope, serving: Serving, on_death: Callable[[int], None]) -> None:
        self.serving = serving
        self._platform, self._scope = platform, scope
        self._on_death = on_death
        self._servers: list[ModelServer] = []
        self._directory: Path | None = None
        self._fetched: Path | None = None
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._in_flight = 0
        self._stopped = False
        self._turn = 0

    @property
    def servers(self) -> list[ModelServer]:
        """The instances there are."""
        with self._lock:
            return list(self._servers)

    @property
    def ready(self) -> int:
        """How many instances can answer."""
        return sum(server.ready for server in self.servers)

    @property
    def restarts(self) -> int:
        """How often one of them died and was started again."""
        return sum(server.deaths for server in self.servers)

    def start(self, count: int) -> None:
        """Fetch the model and start the instances, without waiting for them.

        Raises:
            ArtefactError: the model is not there, or may not be read.
        """
        self._directory = self._platform.base_directory(f"{self.serving.name}-model")
        s3 = self._platform.s3(self._scope, self.serving.served["RoleArn"])
        self._fetched = model_artefact.fetch(s3, self.serving.served.get("Artefact"), self._directory)
        self._grow(count)

    def wait_healthy(self, deadline: float) -> str | None:
        """Wait until every instance is healthy; None, or why one is not."""
        for server in self.servers:
            if not server.wait_healthy(deadline):
                return server.failure or "it did not answer /ping with 200 in time"
        return None

    def resize(self, count: int, deadline: float) -> str | None:
        """Change the number of instances; waits for new ones, drains superfluous ones. None, or why it failed."""
        servers = self.servers
        if count > len(servers):
            self._grow(count - len(servers))
            failure = self.wait_healthy(deadline)
            if failure:
                self._shrink(len(servers))
            return failure
        self._shrink(count)
        return None

    def take(self, failed: Sequence[ModelServer] = ()) -> ModelServer | None:
        """An instance for one request, the one with the fewest in flight; None when none is ready. Give it back.

        Args:
            failed: instances to be asked only when there is no other.
        """
        with self._lock:
            ready = [server for server in self._servers if server.ready]
            if not ready:
                return None
            ready = [server for server in ready if server not in failed] or ready
            self._turn += 1
            offset = self._turn % len(ready)
            server = min(ready[offset:] + ready[:offset], key=lambda each: each.in_flight)
            server.in_flight += 1
            return server

    def give_back(self, server: ModelServer) -> None:
        """The request is answered."""
        with self._idle:
            server.in_flight -= 1
            self._idle.notify_all()

    def enter(self) -> None:
        """A request is on its way to this fleet: it must not be stopped before the request has left."""
        with self._lock:
            self._in_flight += 1

    def leave(self) -> None:
        """The request is through."""
        with self._idle:
            self._in_flight -= 1
            self._idle.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until no request is in flight; nobody may send it new ones."""
        with self._idle:
            return self._idle.wait_for(lambda: self._in_flight == 0, seconds)

    def stop(self, grace: float = STOP_GRACE) -> None:
        """End every instance, all at once."""
        with self._lock:
            servers, self._servers = self._servers, []
            self._stopped = True
        _stop_all(servers, grace)
        if self._directory is not None:
            self._platform.discard(self._directory)

    def _grow(self, count: int) -> None:
        for _ in range(count):
            server = ModelServer(
                self._platform, self._scope, self.serving, self._fetched, lambda _server, code: self._on_death(code)
            )
            with self._lock:
                if not self._stopped:
                    self._servers.append(server)
                    continue
            server.stop(0)

    def _shrink(self, count: int) -> None:
        with self._idle:
            leaving, self._servers = self._servers[count:], self._servers[:count]
            self._idle.wait_for(lambda: all(server.in_flight == 0 for server in leaving), 65)
        _stop_all(leaving, STOP_GRACE)


def _stop_all(servers: list[ModelServer], grace: float) -> None:
    threads = [threading.Thread(target=server.stop, args=(grace,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(grace + 10)


def _pool(port: int) -> urllib3.HTTPConnectionPool:
    # block=False: as many connections as requests at once; maxsize of them are kept alive.
    return urllib3.HTTPConnectionPool(HOST, port, maxsize=64, block=False)


def _ask(
    pool: urllib3.HTTPConnectionPool,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    seconds: float,
) -> urllib3.BaseHTTPResponse:
    return pool.urlopen(
        method,
        path,
        body=body,
        headers=headers,
        retries=False,
        redirect=False,
        # A server with more connections than it takes at once lets a new one wait: that is time for the answer too.
        timeout=urllib3.Timeout(connect=seconds, read=seconds),
        preload_content=True,
        decode_content=False,
    )


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A loopback port on which nobody listens, and which no other model server of this machine is given meanwhile.

    From the choice until the server listens nothing would tell another localcloud, or another thread of this one, that
    the port is taken: the second server could not listen, and the first would answer its /ping.

    Raises:
        ContainerError: there is none.
    """
    for _ in range(200):
        port = random.choice(_PORTS)
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as claim:
            if _claimed(claim, port) and _is_free(port):
                yield port
                return
    raise ContainerError("no free port for a model server on the loopback interface")


def _claimed(claim: socket.socket, port: int) -> bool:
    """Claim a port for as long as the socket is open: a name of Linux's own, which goes with whoever has it."""
    if sys.platform != "linux":
        return True
    try:
        claim.bind(f"\0localcloud-model-server-{port}")
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
