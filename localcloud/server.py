"""The server: MiniStack in this process, on loopback only, with localcloud's SageMaker plugged in."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from localcloud.containers.docker_runtime import DockerImages, DockerRuntime, remove_left
from localcloud.containers.engine import Engine
from localcloud.containers.engine import find as find_engine
from localcloud.errors import LocalcloudError

logger = logging.getLogger("localcloud")

HOST = "127.0.0.1"
STATE_FILE = "localcloud.json"
LOCK_FILE = "localcloud.lock"
# How long a stop waits for requests that are being answered, so that their effects are saved.
DRAIN_SECONDS = 1.0
# How often a server that is to end with its parent looks for it.
PARENT_SECONDS = 1.0
# How often the lock is tried while somebody looks whether it is held.
LOOK_SECONDS = 0.005
# Where the server answers about itself.
STATUS_PATH = "/_localcloud/status"
TEMPORARY = "tmp"
JOBS = "jobs"
FRAMEWORK_IMAGES = Path(__file__).parent / "containers" / "frameworks.toml"
CPUS = os.cpu_count() or 1
# What SageMaker projects use; every further service costs memory once it is asked for.
SERVICES = (
    *("s3", "sqs", "sns", "dynamodb", "dynamodbstreams", "lambda", "iam", "sts", "kms", "logs", "monitoring"),
    *("events", "scheduler", "states", "cloudformation", "ssm", "secretsmanager", "ecr", "tagging"),
)


@dataclass(frozen=True)
class Settings:
    """How a localcloud runs.

    Args:
        directory: where everything it keeps stands; one localcloud a directory.
        port: 0 for a free one.
        images: image maps (TOML).
        slots: how many jobs run at once; None for as many as there are CPUs.
        instances: how many processes one variant of an endpoint has at most, however many instances it asks for.
        quotas: service quotas by AWS's names, before AWS's own (localcloud.sagemaker.quotas).
        auth: whether IAM's policies decide who may do what; without it everybody may do everything.
        keep: whether the state is kept on disk, for the next start.
        snapshot_seconds: from one snapshot of the state to the next, at least, while it changes.
        account: the account of callers whose access key is not itself an account.
        region: the region of callers who name none.
        docker: whether jobs run in their images, by the container engine of this machine, and not as processes.
        parent: the process that started this one, when the server is to end with it; None to run on.
        log_level: of the log.
    """

    directory: Path
    port: int = 0
    images: tuple[Path, ...] = ()
    slots: int | None = None
    instances: int = 4
    quotas: Mapping[str, int] = field(default_factory=dict)
    docker: bool = False
    parent: int | None = None
    auth: bool = True
    keep: bool = True
    snapshot_seconds: float = 1.0
    account: str = "000000000000"
    region: str = "us-east-1"
    log_level: str = "INFO"
    services: tuple[str, ...] = SERVICES


class AlreadyRunning(LocalcloudError):
    """Another localcloud has this directory."""


class PortTaken(LocalcloudError):
    """The port is in use."""


def serve(settings: Settings) -> NoReturn:
    """Run until SIGTERM or SIGINT; then stop every job, keep the state and end the process.

    Raises:
        AlreadyRunning: another localcloud has this directory.
        PortTaken: the port is in use.
        EngineMissing: jobs are to run in their images, and no container engine answers.
    """
    # Looked for in the caller's own environment, which MiniStack's settings hide below.
    engine = find_engine() if settings.docker else None
    settings.directory.mkdir(parents=True, exist_ok=True)
    lock = _lock(settings.directory)
    (settings.directory / STATE_FILE).unlink(missing_ok=True)  # of one that was killed
    if engine is not None and (left := remove_left(engine, settings.directory)):
        logger.info("removed %d containers of one that was killed", left)
    listener = _listen_again(settings)
    endpoint = f"http://{HOST}:{listener.getsockname()[1]}"
    os.environ.update(environment(settings, endpoint))
    _own_temporary_directory(settings.directory)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        os.environ.pop(name, None)
    failed = True
    try:
        # Not asyncio.run: at its end it waits for every worker thread, and executions may wait for hours.
        asyncio.new_event_loop().run_until_complete(_Server(settings, listener, endpoint, engine).run())
        failed = False
    except LocalcloudError as error:
        logger.error("%s", error)
    except ModuleNotFoundError as error:
        logger.error("%s: localcloud's requirements are not all installed for %s", error, sys.executable)
    except Exception:
        logger.exception("the server failed")
    finally:
        (settings.directory / STATE_FILE).unlink(missing_ok=True)
        shutil.rmtree(settings.directory / TEMPORARY, ignore_errors=True)
        atexit._run_exitfuncs()
        logging.shutdown()
        # The lock goes with the process itself, so that whoever waits for it finds nothing left.
        assert not lock.closed
        os._exit(1 if failed else 0)


def _own_temporary_directory(directory: Path) -> None:
    """Functions and jobs unpack their code here, and nothing of a server that was killed is left in it."""
    temporary = directory / TEMPORARY
    for left in (temporary, directory / JOBS):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(exist_ok=True)  # its processes may be at their end, and write to the last
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)


def environment(settings: Settings, endpoint: str) -> dict[str, str]:
    """MiniStack's settings, which it reads on import, and credentials that are nobody's.

    The server's environment is inherited by functions and jobs: none of them may find a person's own credentials.
    """
    port = endpoint.rsplit(":", 1)[1]
    home = settings.directory
    return {
        "GATEWAY_PORT": port,
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,
        "MINISTACK_ACCOUNT_ID": settings.account,
        "MINISTACK_REGION": settings.region,
        "SERVICES": ",".join(settings.services),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": settings.log_level,
        "AUTH": "true" if settings.auth else "false",
        # localcloud.durability does both: MiniStack would save on a clean stop only.
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "S3_DATA_DIR": str(home / "s3"),
        # Each function that runs is a process of some 50 MB; AWS gives new accounts 10.
        "LAMBDA_ACCOUNT_CONCURRENCY": os.environ.get("LAMBDA_ACCOUNT_CONCURRENCY", str(max(10, 4 * CPUS))),
        "DOCKER_HOST": f"unix://{home}/no-docker.sock",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


class _Server:
    """One run of the server."""

    def __init__(self, settings: Settings, listener: socket.socket, endpoint: str, engine: Engine | None) -> None:
        self._settings = settings
        self._engine = engine
        self._listener = listener
        self._endpoint = endpoint
        self._durability: Any = None
        self._stopping = False
        self._answering = 0

    async def run(self) -> None:
        """Serve until told to stop."""
        from hypercorn.asyncio import serve as hypercorn_serve  # MiniStack's own server; heavy, so only here
        from hypercorn.config import Config

        from localcloud import hooks
        from localcloud.serving.front_door import FrontDoor

        hooks.leave_out_docker()
        hooks.check()
        plugged = plug_in(self._settings, self._endpoint, self._engine)
        self._durability = plugged.durability
        if self._durability is not None:
            self._durability.restore()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _on_signal, stop)
        if self._settings.parent is not None:
            _end_with(self._settings.parent, loop, stop)

        async def until_stopped() -> None:
            await stop.wait()
            logger.info("stopping")
            await asyncio.to_thread(plugged.sagemaker.endpoints.deliver)  # through the front door, still open
            self._stopping = True
            deadline = asyncio.get_running_loop().time() + DRAIN_SECONDS
            while self._answering and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(plugged.close)

        logging.getLogger("persistence").setLevel(logging.WARNING)  # a line for each of a hundred services
        config = Config()
        config.bind = [f"fd://{self._listener.detach()}"]
        config.keep_alive_timeout = 75
        config.graceful_timeout = 1
        config.loglevel = "WARNING"
        config.accesslog = None
        application = FrontDoor(hooks.application(), plugged.sagemaker.runtime, self._settings.auth)
        await hypercorn_serve(self._announcing(application, plugged), config, shutdown_trigger=until_stopped)

    def _announcing(self, application: Any, plugged: Plugged) -> Any:
        """The application, which writes the state file once it has started, and tells what may change the state."""

        async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] != "lifespan":
                if self._stopping:  # what came after the last snapshot would be lost
                    await _answer(send, 503, {"message": "localcloud is stopping"})
                elif scope.get("path") == STATUS_PATH:
                    await _answer(send, 200, plugged.status())
                elif self._durability is None:
                    await application(scope, receive, send)
                else:
                    # Before, as it may take long, and after, as only then all of it is done.
                    self._durability.on_request(scope.get("method", ""), scope["headers"])
                    self._answering += 1
                    try:
                        await application(scope, receive, send)
                    finally:
                        self._answering -= 1
                        self._durability.on_request(scope.get("method", ""), scope["headers"])
                return

            async def announce(message: Mapping[str, Any]) -> None:
                await send(message)
                if message["type"] == "lifespan.startup.complete":
                    self._write_state()
                    if self._durability is not None:
                        self._durability.start(asyncio.get_running_loop())

            await application(scope, receive, announce)

        return app

    def _write_state(self) -> None:
        state = {
            "endpoint": self._endpoint,
            "pid": os.getpid(),
            "account": self._settings.account,
            "region": self._settings.region,
            "docker": self._settings.docker,
        }
        target = self._settings.directory / STATE_FILE
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(state) + "\n")
        temporary.replace(target)
        logger.info("localcloud is ready at %s", self._endpoint)


def plug_in(settings: Settings, endpoint: str, engine: Engine | None = None) -> Plugged:
    """Build localcloud's SageMaker and put it, its integrations and its corrections into MiniStack.

    Args:
        engine: runs the containers; without one they are processes.
    """
    from localcloud import fidelity, hooks
    from localcloud.clients import Clients
    from localcloud.containers.container_contract import TransferError
    from localcloud.containers.images import ImageMap
    from localcloud.containers.processes import ProcessRuntime
    from localcloud.durability.kept import Durability
    from localcloud.iam.identity import Identity, NotAssumable, Session
    from localcloud.jobs.logs import Logs
    from localcloud.jobs.platform import Images, Platform
    from localcloud.jobs.slots import Slots
    from localcloud.monitoring import resources as monitoring_resources
    from localcloud.sagemaker import cloudformation
    from localcloud.sagemaker.api import service_model
    from localcloud.sagemaker.events import Events
    from localcloud.sagemaker.quotas import Quotas
    from localcloud.sagemaker.service import SageMaker
    from localcloud.serving import resources
    from localcloud.states.awssdk import AwsSdk
    from localcloud.states.sagemaker_tasks import SageMakerTasks, integrations
    from localcloud.states.task_roles import TaskRoles
    from localcloud.store import Scope, Store

    image_map = ImageMap.load(list(settings.images)).before(ImageMap.load([FRAMEWORK_IMAGES]))
    note = logging.getLogger("localcloud.runtime").info
    runtime: ProcessRuntime | DockerRuntime
    images: Images
    if engine is None:
        runtime, images = ProcessRuntime(note), image_map
    else:
        note("jobs run in containers of %s", engine.name)
        runtime = DockerRuntime(engine, settings.directory, jobs=settings.directory / JOBS, log=note)
        images = DockerImages(engine, image_map)
    clients = Clients(endpoint)
    identity = Identity(settings.auth)

    def role_session(scope: Scope, role: str) -> Session:
        try:
            return identity.session(scope, role, "sagemaker.amazonaws.com")
        except NotAssumable as error:  # it went after the job was taken on
            raise TransferError(f"ClientError: {error.message}") from error

    def job_environment(scope: Scope, role: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": scope.region,
            **role_session(scope, role).environment,
        }

    platform = Platform(
        store=Store(),
        images=images,
        runtime=runtime,
        slots=Slots(settings.slots),
        instances=settings.instances,
        quotas=Quotas(settings.quotas),
        logs=Logs(
            lambda scope, operation, request: hooks.call_json_service(
                scope, "logs", f"Logs_20140328.{operation}", request
            )
        ),
        events=Events(hooks.put_event),
        s3=lambda scope, role: clients.get("s3", scope, role_session(scope, role)),
        environment=job_environment,
        directory=settings.directory / JOBS,
        in_alarm=lambda scope, names: [
            alarm["AlarmName"]
            for kind in clients.get("cloudwatch", scope)
            .describe_alarms(AlarmNames=list(names), StateValue="ALARM", AlarmTypes=["MetricAlarm", "CompositeAlarm"])
            .items()
            if kind[0] in ("MetricAlarms", "CompositeAlarms")
            for alarm in kind[1]
        ],
    )
    sagemaker = SageMaker(platform, identity)
    durability = None
    if settings.keep:
        durability = Durability(
            settings.directory,
            platform.store,
            platform.events,
            sagemaker.restored,
            int(endpoint.rsplit(":", 1)[1]),
            settings.snapshot_seconds,
        )
    state = SageMakerState(sagemaker, durability)
    hooks.register_service(
        "sagemaker",
        "SageMaker",
        hooks.by_path(
            sagemaker.runtime.handles,
            hooks.in_thread(
                lambda method, path, headers, body, query: sagemaker.runtime.handle(
                    hooks.current_scope(), method, path, headers, body, hooks.access_key(headers, query)
                ),
                sagemaker.runtime.pool,
            ),
            hooks.by_path(
                sagemaker.metrics.handles,
                hooks.in_thread(
                    lambda _method, path, headers, body, query: sagemaker.metrics.handle(
                        hooks.current_scope(), path, body, hooks.access_key(headers, query)
                    )
                ),
                hooks.in_thread(
                    lambda _method, _path, headers, body, query: sagemaker.handle(
                        hooks.current_scope(), headers.get("x-amz-target", ""), body, hooks.access_key(headers, query)
                    )
                ),
            ),
        ),
        state,
    )
    roles = TaskRoles(identity, hooks.current_scope)
    tasks = SageMakerTasks(sagemaker, hooks.current_scope, roles.session)
    hooks.install_integrations(integrations(tasks, AwsSdk(clients, hooks.current_scope, roles.session)))
    hooks.check_tasks(roles.check)
    fidelity.install(clients, identity, platform.logs)
    cloudformation.install(sagemaker)
    resources.install(sagemaker)
    monitoring_resources.install(sagemaker)
    for image in image_map.images:
        runtime.warm(image)
    # SageMaker's model takes most of a second: load it while the server starts.
    threading.Thread(target=service_model, args=("sagemaker",), name="localcloud-model", daemon=True).start()
    return Plugged(sagemaker, runtime, durability)


@dataclass
class Plugged:
    """What plug_in made."""

    sagemaker: Any
    runtime: Any
    durability: Any = None

    def status(self) -> dict[str, Any]:
        """What `localcloud status` says besides where it runs, as JSON values."""
        return {
            "snapshots": self.durability.snapshots.status() if self.durability is not None else None,
            "variants": [
                {
                    "endpoint": endpoint,
                    "variant": variant,
                    "servers": len(fleet.servers),
                    "ready": fleet.ready,
                    "restarts": fleet.restarts,
                }
                for _, endpoint, variant, fleet in self.sagemaker.endpoints.fleets()
            ],
        }

    def close(self) -> None:
        """Save the state as it is; then stop jobs, what is left of their processes, and the functions' workers."""
        from localcloud import hooks

        if self.durability is not None:
            self.durability.close()
        self.sagemaker.close()
        self.runtime.close()
        hooks.get("lambda.end_workers")()


class SageMakerState:
    """SageMaker's part in MiniStack's saving, restoring and resetting."""

    def __init__(self, sagemaker: Any, durability: Any = None) -> None:
        self._sagemaker = sagemaker
        self._durability = durability

    def get_state(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {"rows": self._sagemaker.platform.store.snapshot()}

    def load_persisted_state(self, data: Mapping[str, Any]) -> None:
        """Everything back."""
        self._sagemaker.platform.store.restore(data["rows"])

    def reset(self) -> None:
        """Stop every job and forget everything."""
        self._sagemaker.endpoints.forget_all()
        self._sagemaker.platform.forget_all()
        self._sagemaker.platform.store.clear()
        if self._durability is not None:
            self._durability.snapshots.forget()


async def _answer(send: Any, status: int, content: Any) -> None:
    """A response of localcloud's own, as JSON."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def _end_with(parent: int, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop once the process that started this one is gone, and so cannot stop it any more."""
    if os.getppid() != parent:
        stop.set()
    else:
        loop.call_later(PARENT_SECONDS, _end_with, parent, loop, stop)


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(130)  # asked twice: at once
    stop.set()


def _lock(directory: Path) -> Any:
    """Hold the directory for as long as the process lives."""
    lock = (directory / LOCK_FILE).open("w")
    while True:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise AlreadyRunning(
                f"a localcloud is running in {directory}: use it (localcloud status --dir {directory}), stop it "
                f"(localcloud stop --dir {directory}), or name another --dir."
            ) from error
        # Nobody runs: somebody has only looked whether one does (daemon.find), which shares the lock for an instant.
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(LOOK_SECONDS)


def _listen_again(settings: Settings) -> socket.socket:
    """Listen; without a port asked for, where the kept state was served last, as addresses in it name that port."""
    if settings.port == 0 and settings.keep:
        from localcloud.durability.kept import kept_port

        if port := kept_port(settings.directory):
            with contextlib.suppress(PortTaken):
                return _listen(port)
    return _listen(settings.port)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"{HOST}:{port} is in use: choose another --port, or 0 for a free one.") from error
    listener.listen(1024)
    return listener


def configure_logging(level: str) -> None:
    """One line a record, to standard error, before MiniStack configures its own."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s [%(name)s] %(message)s", force=True
    )
