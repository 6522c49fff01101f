"""A container engine for tests, and small images for it that need no registry: this machine's Python and a script.

An engine that answers is used as it is. Else root starts a Docker daemon of its own, with no network of containers, in
a temporary directory, and stops it at the end.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from localcloud.containers import engine
from localcloud.containers.engine import Engine, EngineError, EngineMissing
from localcloud.testing import wait_for

SCRIPTS = Path(__file__).with_name("localcloud_images")
_NEEDED = ("dockerd", "docker", "setpriv", "unshare")
_WITHOUT = ("site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "__pycache__")


@contextmanager
def running_engine() -> Iterator[Engine]:
    """An engine; the test is skipped, with the reason, where there is none and none can be started."""
    try:
        yield engine.find({engine.PROGRAM_VARIABLE: "docker", **os.environ})
        return
    except EngineMissing as error:
        missing = str(error)
    if sys.platform == "linux" and os.geteuid() == 0 and all(map(shutil.which, _NEEDED)):
        with _daemon() as host:
            yield engine.find({**os.environ, "DOCKER_HOST": host})
        return
    try:
        yield engine.find()
    except EngineMissing:
        pytest.skip(f"{missing} (Root, where dockerd is installed, gets one for the length of the tests.)")


@contextmanager
def _daemon() -> Iterator[str]:
    home = Path(tempfile.mkdtemp(prefix="onwing-dockerd-"))  # not pytest's: a socket's path must be short
    host = f"unix://{home}/docker.sock"
    # It ends with us, and what it mounts goes with it.
    confined = ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount"]
    command = [
        *("dockerd", "--host", host, "--data-root", f"{home}/data", "--exec-root", f"{home}/exec"),
        *("--pidfile", f"{home}/dockerd.pid", "--bridge", "none", "--iptables=false", "--ip6tables=false"),
        "--ip-forward=false",
    ]
    with (home / "log").open("wb") as log:
        daemon = subprocess.Popen([*confined, *command], stdout=log, stderr=log, start_new_session=True)
    try:
        started = Engine("docker", {**os.environ, "DOCKER_HOST": host})

        def answers() -> bool:
            try:
                return bool(started.run("version", "--format", "{{.Server.Version}}"))
            except EngineError:
                return daemon.poll() is not None

        wait_for(answers, 240, 0.2)
        if daemon.poll() is not None:
            said = (home / "log").read_text(errors="replace").strip().splitlines()
            pytest.skip(f"dockerd does not start here: {said[-1] if said else daemon.returncode}")
        yield host
    finally:
        daemon.terminate()
        try:
            daemon.wait(120)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def small_images(running: Engine, scripts: Mapping[str, str]) -> Iterator[None]:
    """Images for the length of a block: each runs `python` on a script of localcloud_images (CMD: `train`)."""
    if shutil.which("ldd") is None:
        pytest.skip("without ldd no image can be made of this machine's Python")
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        with tarfile.open(fileobj=archive, mode="w") as packed:
            _pack(packed, set(scripts.values()))
        archive.flush()
        for name, script in scripts.items():
            changes = [
                f'ENTRYPOINT ["python", "/{script}"]',
                'CMD ["train"]',
                f"ENV PATH={Path(sys.base_prefix, 'bin')}:/bin",
                "ENV FROM_IMAGE=yes",
            ]
            running.run("import", *(part for change in changes for part in ("--change", change)), archive.name, name)
    try:
        yield
    finally:
        running.run("image", "rm", "--force", *scripts)


def _pack(archive: tarfile.TarFile, scripts: Iterable[str]) -> None:
    """The interpreter, its modules, chown and whatever they are linked to."""
    interpreter = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    chown = Path(shutil.which("chown") or "/bin/chown")
    archive.add(library, arcname=_inside(library), filter=_wanted)
    archive.dereference = True
    for path in _linked([interpreter, chown, *(library / "lib-dynload").glob("*.so")]):
        archive.add(path, arcname=_inside(path))
    archive.add(interpreter, arcname=_inside(interpreter.with_name("python")))
    archive.add(chown, arcname="bin/chown")
    for script in scripts:
        archive.add(SCRIPTS / script, arcname=script)
    for folder, mode in (("tmp", 0o1777), ("etc", 0o755), ("proc", 0o755), ("sys", 0o755), ("dev", 0o755)):
        info = tarfile.TarInfo(folder)
        info.type, info.mode = tarfile.DIRTYPE, mode
        archive.addfile(info)
    accounts = b"root:x:0:0:root:/root:/bin/false\n"
    info = tarfile.TarInfo("etc/passwd")
    info.size = len(accounts)
    archive.addfile(info, io.BytesIO(accounts))


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(info.name).parts
    return None if any(part in _WITHOUT or part.startswith("config-") for part in parts) else info


def _linked(programs: Iterable[Path]) -> set[Path]:
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True).stdout
    words = {word for line in said.splitlines() if "=>" in line or "ld-" in line for word in line.split()}
    return {Path(word) for word in words if word.startswith("/") and not word.endswith(":")}


def _inside(path: Path) -> str:
    return str(path).lstrip("/")
