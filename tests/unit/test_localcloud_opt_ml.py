"""Every container has an /opt/ml of its own, and the machine has none of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers import opt_ml, warm
from localcloud.containers.images import Image
from localcloud.containers.processes import ContainerSpec, ProcessRuntime

MOUNT = f"import runpy, sys; runpy.run_path({opt_ml.__file__!r})['mount'](sys.argv[1])"


def mounted(base: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process whose /opt/ml is `base`."""
    script = f"{MOUNT}; import os; os.execvp(sys.argv[2], sys.argv[2:])"
    return subprocess.run(
        [sys.executable, "-c", script, str(base), *command], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    if mounted(tmp_path, "true").returncode:
        pytest.skip("this system lets nobody have mounts of their own")
    return tmp_path


def test_two_containers_at_once_have_their_own_files_there(base: Path) -> None:
    runtime = ProcessRuntime()
    runs = []
    for name in ("one", "two"):
        folder = base / name
        folder.mkdir()
        (folder / "input").write_text(name)
        lines: list[str] = []
        script = "sleep 0.3; cat /opt/ml/input; echo; echo from-$(cat /opt/ml/input) > /opt/ml/output"
        spec = ContainerSpec(Image("plain", ()), ("sh", "-c", script), {}, folder, name)
        runs.append((name, folder, lines, runtime.start(spec, lines.append)))
    for name, folder, lines, container in runs:
        assert container.wait(30) == 0
        assert lines == [name]
        assert (folder / "output").read_text() == f"from-{name}\n"
    runtime.close()
    assert not (base / "one" / ".opt").exists()


def test_preloaded_module_sees_it_too(base: Path) -> None:
    (base / "reads_it.py").write_text("print(open('/opt/ml/input').read())\n")
    (base / "input").write_text("here")
    image = Image("warm", ("python", "-m", "reads_it"), (base,), preload=("json",))
    runtime = ProcessRuntime()
    lines: list[str] = []
    container = runtime.start(ContainerSpec(image, image.entrypoint, {}, base, "warm"), lines.append)
    assert container.wait(30) == 0
    assert lines == ["here"]
    runtime.close()


def test_the_rest_of_opt_is_as_it_was(base: Path) -> None:
    before = sorted(os.listdir("/opt"))
    assert mounted(base, "ls", "/opt").stdout.split() == sorted({*before, "ml"})
    assert sorted(os.listdir("/opt")) == before


NOBODY: dict[str, Any] = {
    "user": 65534,
    "group": 65534,
    "extra_groups": [],
    "cwd": "/",
    "env": {"PATH": "/usr/bin:/bin"},
}


def test_it_takes_no_privileges() -> None:
    """A person on a laptop is not root: the process then gets a user namespace, and stays who it is."""
    if os.geteuid() != 0 or not Path("/usr/bin/python3").exists():
        pytest.skip("only root can become somebody else, and the tests' own Python is root's")
    if subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "x", "/mnt"], **NOBODY, check=False).returncode:
        pytest.skip("this system lets nobody have mounts of their own")
    with tempfile.TemporaryDirectory() as name:  # the test's own folder is closed to others
        folder = Path(name)
        (folder / "input").write_text("open")
        (folder / "opt_ml.py").write_text(Path(opt_ml.__file__).read_text())
        os.chown(folder, 65534, 65534)
        script = "id -u; cat /opt/ml/input; echo made > /opt/ml/output"
        code = f"import os, opt_ml; opt_ml.mount({name!r}); os.execvp('sh', ['sh', '-c', {script!r}])"
        command = ["/usr/bin/python3", "-c", f"import sys; sys.path.insert(0, {name!r}); {code}"]
        ran = subprocess.run(command, **NOBODY, capture_output=True, text=True, check=False, timeout=60)
        assert (ran.returncode, ran.stdout) == (0, "65534\nopen"), ran.stderr
        assert (folder / "output").read_text() == "made\n"
        assert (folder / "output").stat().st_uid == 65534


def test_container_is_told_where_its_files_are_when_the_system_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a Mac, or where the administrator forbids it: SAGEMAKER_BASE_DIR still leads to them."""

    def refused(_base: str) -> None:
        raise PermissionError(1, "unshare: Operation not permitted")

    monkeypatch.setattr(warm._opt_ml, "mount", refused)
    warm._mount_opt_ml("/jobs/one")
    told = capsys.readouterr().err
    assert "Operation not permitted" in told
    assert "/jobs/one" in told
