"""Jobs and model servers in their real images: each container has its directory as /opt/ml and the host's network.

As SageMaker runs them: `docker run IMAGE train`, with ENTRYPOINT and CMD by Docker's rules, as the image's user; the
first process gets SIGTERM. See your-algorithms-training-algo-dockerfile.html and byoc-run-image.html in
docs.aws.amazon.com/sagemaker/latest/dg.

Containers outlive whoever asked the engine for them. So each carries the labels of its localcloud: a watchdog process
removes them the moment the server is gone, however it went, and the next start in the same directory removes what is
left even so.
"""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import re
import selectors
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from localcloud.containers.engine import Engine, EngineError
from localcloud.containers.images import Image, ImageMap, ImageNotFound
from localcloud.containers.processes import THREADS, Container, ContainerError, ContainerSpec, Lines

logger = logging.getLogger("localcloud.docker")

BASE = "/opt/ml"
DIRECTORY_LABEL = "localcloud.directory"
SERVER_LABEL = "localcloud.server"
# What a container calls this machine where its loopback interface is not the container's own (Docker Desktop).
OUTSIDE = "host.docker.internal"
HOSTNAME = "algo-1"  # as resourceconfig.json names the host
# PyTorch's loaders and others pass data through it; Docker's own default is 64 MB.
SHARED_MEMORY = "2g"
# FailureReason on AWS when an image is not there at the time it is to be run.
CANNOT_PULL = (
    "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect."
)

# Reads until the server has gone and closed the other end; looks twice more, for a container that was being made. What
# containers wrote is given to the server's user ($4), that the next server can remove it.
_WATCHDOG = """
read -r _
for pause in 0 1 3; do
    sleep "$pause"
    for id in $("$1" ps --all --quiet --no-trunc --filter "label=$2"); do
        image=$("$1" container inspect --format '{{.Image}}' "$id")
        "$1" kill "$id"
        "$1" rm --force "$id"
    done
done
case $4 in
0:*) ;;
rootless) "$1" unshare chown -R 0:0 "$3" ;;
*)
    [ -z "$image" ] || "$1" run --rm --pull never --network none --user 0:0 --security-opt label=disable \\
        --volume "$3:/opt/ml" --entrypoint chown "$image" -R "$4" /opt/ml
    ;;
esac
"""


class DockerImages:
    """The images that the engine has: by the URI asked for, else by the name that the image map has for it."""

    def __init__(self, engine: Engine, images: ImageMap) -> None:
        self._engine = engine
        self._map = images

    @property
    def images(self) -> list[Image]:
        """None: containers start from their image each time, nothing is to be warmed."""
        return []

    def find(self, uri: str) -> Image:
        """The image to run for a URI; raises ImageNotFound saying how to build or name it."""
        try:
            mapped: Image | None = self._map.find(uri)
        except ImageNotFound:
            mapped = None
        tag = mapped.docker if mapped else None
        for name in (uri, tag):
            if name and (found := self._engine.inspect("image", name)) is not None:
                config = found.get("Config") or {}
                return Image(
                    name=name,
                    entrypoint=tuple(config.get("Entrypoint") or ()),
                    arguments=tuple(config.get("Cmd") or ()),
                    docker=str(found["Id"]),
                    build=mapped.build if mapped else None,
                )
        raise ImageNotFound(self._what_to_do(uri, tag, mapped))

    def _what_to_do(self, uri: str, tag: str | None, mapped: Image | None) -> str:
        where = (
            f"{self._engine.name} on this machine has neither {uri!r}" if tag else f"{self._engine.name} has no {uri!r}"
        )
        if tag:
            build = (mapped.build if mapped else None) or f"docker build -t {tag} ."
            return f"{where} nor {tag!r}, which the image map names for it. Build it: {build}"
        return (
            f"{where}, and no image map names another for it. Build or tag it by that name, or add "
            f'docker = "name:tag" to its [[image]] table.'
        )


class DockerRuntime:
    """Starts containers in an engine. Safe to use from several threads."""

    def __init__(
        self,
        engine: Engine,
        directory: Path,
        *,
        jobs: Path | None = None,
        log: Callable[[str], None] | None = None,
        owner: tuple[int, int] | None = None,
        memory: str | None = None,
    ) -> None:
        """Starts the watchdog.

        Args:
            directory: of the localcloud; containers are labelled with it.
            jobs: where the containers' directories are, if not directly in it.
            log: receives notes on the runtime itself.
            owner: user and group that files are given to when a container has ended (default: this process's).
            memory: limit of each container, as the engine writes it; None for none.
        """
        self.engine = engine
        self._directory = directory
        self._log = log or logger.info
        self._owner = owner or (os.geteuid(), os.getegid())
        self._memory = memory
        self._server = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._closed = False
        self._containers: set[DockerContainer] = set()
        self._watchdog = subprocess.Popen(
            [
                *("/bin/sh", "-c", _WATCHDOG, "localcloud-watchdog", engine.program, f"{SERVER_LABEL}={self._server}"),
                *(str(jobs or directory), "rootless" if engine.rootless else "{}:{}".format(*self._owner)),
            ],
            env=dict(engine.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def start(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> Container:
        """Start a container; its output, standard error included, comes to `on_line` line by line.

        Raises:
            ContainerError: the image is gone, has no command, or the engine refuses to make a container.
        """
        if not spec.command:
            raise ContainerError(f"Container {spec.name}: the image {spec.image.name} has no command to run")
        with self._lock:
            if self._closed:
                raise ContainerError("The runtime is closed")
        try:
            identity = self.engine.run(*self._create(spec)).splitlines()[-1]
        except EngineError as error:
            raise ContainerError(self._refusal(spec, str(error))) from error
        container = DockerContainer(self, identity, spec, on_line)
        with self._lock:
            self._containers = {other for other in self._containers if other.wait(0) is None} | {container}
            closed = self._closed
        if closed:
            container.stop(grace=0)
            raise ContainerError("The runtime is closed")
        return container

    def warm(self, image: Image) -> None:
        """Nothing: see DockerImages.images."""

    def close(self) -> None:
        """Kill and remove every container; returns when nothing is left."""
        with self._lock:
            self._closed = True
            containers = [container for container in self._containers if container.wait(0) is None]
        for container in containers:
            container.kill()
        for container in containers:
            container.wait()
        self._watchdog.kill()  # before it reads the end of its input
        self._watchdog.communicate()

    def reclaim(self, base: Path, image: str) -> None:
        """Give what a container's user left behind to this process's user, who is to read and to remove it."""
        try:
            reclaim(self.engine, base, image, self._owner)
        except EngineError as error:
            self._log(f"Files of another user stay in {base}, and the engine cannot give them to this one: {error}")

    def note(self, message: str) -> None:
        """Say something about the runtime itself."""
        self._log(message)

    def _create(self, spec: ContainerSpec) -> list[str]:
        """The command that makes a container. It is removed after its end has been looked at, hence not by --rm."""
        environment = {name: "1" for name in THREADS} | self._seen_from_inside(spec.environment)
        arguments = [
            "create",
            *("--pull", "never"),
            *("--name", f"localcloud-{_slug(spec.name)}-{uuid.uuid4().hex[:8]}"),
            *("--label", f"{DIRECTORY_LABEL}={self._directory}"),
            *("--label", f"{SERVER_LABEL}={self._server}"),
            *("--mount", _mount(spec.base_dir)),
            *("--security-opt", "label=disable"),  # SELinux would refuse the directory
            *("--hostname", HOSTNAME),
            *("--shm-size", SHARED_MEMORY),
            *("--log-driver", "none"),  # the output comes by --attach, and is kept in CloudWatch Logs
            *("--add-host", f"{HOSTNAME}:127.0.0.1"),
        ]
        if spec.isolated:
            arguments += ["--network", "none"]
        elif self.engine.host_network:
            arguments += ["--network", "host"]
        if self.engine.cpu_limit:
            arguments += ["--cpus", "1"]  # jobs share the machine: one CPU each, as many jobs as there are CPUs
        if self._memory:
            arguments += ["--memory", self._memory, "--memory-swap", self._memory]
        for name, value in environment.items():
            arguments += ["--env", f"{name}={value}"]
        program, *rest = spec.command
        return [*arguments, "--entrypoint", program, str(spec.image.docker), *rest]

    def _seen_from_inside(self, environment: dict[str, str]) -> dict[str, str]:
        """The variables with localcloud's address as a container has it."""
        if self.engine.host_network:
            return dict(environment)
        return {
            name: value.replace("//127.0.0.1:", f"//{OUTSIDE}:") if name.startswith("AWS_ENDPOINT_URL") else value
            for name, value in environment.items()
        }

    def _refusal(self, spec: ContainerSpec, said: str) -> str:
        if "no such image" in said.lower() or "image not known" in said.lower():
            how = f" Build it: {spec.image.build}" if spec.image.build else ""
            return f"{CANNOT_PULL} {self.engine.name} no longer has {spec.image.name}.{how}"
        return f"InternalServerError: {self.engine.name} could not make a container of {spec.image.name}: {said}"


class DockerContainer:
    """One container of an engine. Made by DockerRuntime.start."""

    def __init__(
        self, runtime: DockerRuntime, identity: str, spec: ContainerSpec, on_line: Callable[[str], None]
    ) -> None:
        self.out_of_memory = False
        self._runtime = runtime
        self._engine = runtime.engine
        self._id = identity
        self._base = spec.base_dir
        self._image = str(spec.image.docker)
        self._on_line = on_line
        self._name = spec.name
        self._last_error = ""
        self._done = threading.Event()
        self._code: int | None = None
        # The output from its beginning, and with it the start: there is no moment between the two.
        self._attached = subprocess.Popen(
            self._engine.command("start", "--attach", identity),
            env=dict(self._engine.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        threading.Thread(target=self._follow, name=f"container-{identity[:12]}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its first process on this machine; 0 when it does not run, or runs in the engine's virtual machine."""
        return int(self._state().get("Pid") or 0)

    def wait(self, timeout: float | None = None) -> int | None:
        """Exit code once it has ended, its output was delivered and it is removed; None on timeout."""
        return self._code if self._done.wait(timeout) else None

    def stop(self, grace: float = 30.0) -> None:
        """SIGTERM to its first process, SIGKILL to all after `grace` seconds; returns when nothing of it is left."""
        deadline = time.monotonic() + grace
        self._signal("TERM", deadline)
        if not self._done.wait(max(0.0, deadline - time.monotonic())):
            self.kill()
        self._done.wait()

    def kill(self) -> None:
        """SIGKILL to all its processes, without waiting for their end."""
        self._signal("KILL", time.monotonic() + 60)

    def _signal(self, name: str, deadline: float) -> None:
        """Send a signal; while the engine is still starting the container it is tried again."""
        while not self._done.is_set():
            with contextlib.suppress(EngineError):
                self._engine.run("kill", "--signal", name, self._id)
                return
            if time.monotonic() >= deadline:
                return
            self._done.wait(0.05)

    def _follow(self) -> None:
        """Deliver the output; at its end learn the exit code, remove the container and take its files over."""
        code = -1
        try:
            self._deliver()
            code = self._attached.wait()
            state = self._state()
            if state.get("Running"):
                self._runtime.note(f"Lost sight of container {self._id}, which runs on: the rest of its output is lost")
                self._engine.run("wait", self._id, seconds=10**7)
                state = self._state()
            code = int(state["ExitCode"]) if _ran(state) else self._not_started(code)
            self.out_of_memory = bool(state.get("OOMKilled"))
        except EngineError as error:
            self._runtime.note(f"The engine does not tell how container {self._id} ended: {error}")
        finally:
            with contextlib.suppress(EngineError):
                self._engine.run("rm", "--force", self._id)
            self._runtime.reclaim(self._base, self._image)
            self._code = code
            self._done.set()

    def _deliver(self) -> None:
        """The output to its end. Its two streams have a pipe each: in one, one's lines would break into the other's."""
        assert self._attached.stdout is not None
        assert self._attached.stderr is not None

        def on_error(line: str) -> None:
            self._last_error = line
            self._on_line(line)

        with selectors.DefaultSelector() as selector, self._attached.stdout as stdout, self._attached.stderr as stderr:
            selector.register(stdout, selectors.EVENT_READ, Lines(self._on_line, self._complain))
            selector.register(stderr, selectors.EVENT_READ, Lines(on_error, self._complain))
            while selector.get_map():
                for key, _ in selector.select():
                    if data := os.read(key.fd, 1 << 16):
                        key.data.feed(data)
                    else:
                        key.data.end()
                        selector.unregister(key.fileobj)

    def _complain(self, trouble: str) -> None:
        self._runtime.note(f"The listener of container {self._name} failed on a line:\n{trouble}")

    def _not_started(self, code: int) -> int:
        """Docker's exit code for a command that could not be run, which Podman's `start` does not give."""
        said = self._last_error.lower()
        return 127 if "not found" in said else 126 if "permission denied" in said else code

    def _state(self) -> dict[str, Any]:
        found = self._engine.inspect("container", self._id)
        return dict(found["State"]) if found else {}


def _ran(state: Mapping[str, Any]) -> bool:
    """Whether a container has ever run, or Docker says with which code it did not."""
    return bool(state) and (bool(state.get("ExitCode")) or not str(state.get("StartedAt", "")).startswith("0001-"))


def remove_left(engine: Engine, directory: Path) -> int:
    """Remove the containers of a localcloud that was killed in this directory, and its watchdog with it.

    Returns:
        How many there were.
    """
    left = engine.containers(f"{DIRECTORY_LABEL}={directory}")
    for identity in left:
        found = engine.inspect("container", identity)
        with contextlib.suppress(EngineError):  # it may be on its way out
            engine.run("kill", identity)
        with contextlib.suppress(EngineError):
            engine.run("rm", "--force", identity)
        for mount in (found or {}).get("Mounts", []):
            if mount.get("Destination") == BASE:
                with contextlib.suppress(EngineError):
                    reclaim(engine, Path(mount["Source"]), str(found and found["Image"]), (os.geteuid(), os.getegid()))
    return len(left)


def reclaim(engine: Engine, base: Path, image: str, owner: tuple[int, int]) -> None:
    """Change the owner of all under a directory, by the means of who owns it: rootless Podman's, or a container's.

    Raises:
        EngineError: the engine cannot, say because the image has no chown.
    """
    if not _has_others(base, owner[0]):
        return
    if engine.rootless:
        engine.run("unshare", "chown", "--recursive", "0:0", str(base))
        return
    engine.run(
        *("run", "--rm", "--pull", "never", "--network", "none", "--user", "0:0", "--security-opt", "label=disable"),
        *("--mount", _mount(base), "--entrypoint", "chown", image, "-R", f"{owner[0]}:{owner[1]}", BASE),
    )


def _has_others(base: Path, user: int) -> bool:
    """Whether anything under a directory is not this user's. Root, who may do all, is not asked."""
    if user == 0 and os.geteuid() == 0:
        return False
    try:
        for folder, folders, files in os.walk(base, onerror=_raise):
            for name in (*folders, *files):
                if os.lstat(os.path.join(folder, name)).st_uid != user:
                    return True
    except OSError:
        return base.exists()  # a folder that may not be looked into is another's
    return False


def _raise(error: OSError) -> None:
    raise error


def _mount(source: Path) -> str:
    """The value of --mount, which engines read as a line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={source}", f"target={BASE}"])
    return line.getvalue()


def _slug(name: str) -> str:
    """A name as engines allow them."""
    return re.sub(r"[^a-zA-Z0-9_.-]", "-", name)[:60].strip("-.") or "container"
