"""The training image on this machine: built when it is missing or its sources changed, and only then."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from localcloud.containers import engine as engines
from localcloud.containers.engine import EngineMissing
from onwing import embedded, local_image, sam, up
from onwing.console import Output
from onwing.embedded import Embedded
from onwing.errors import CommandFailed, OnwingError
from onwing.project import Project
from onwing.runner import Ran
from onwing.target import Options

from .onwing_fakes import FakeRunner


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name in ("training_image/turbofan/train.py", "layers/control_plane/cmapss/reader.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    for name in ("Dockerfile", "requirements.txt"):
        (tmp_path / "training_image" / name).write_text(name)
    return Project(tmp_path)


@pytest.fixture
def out() -> Output:
    return Output(console=Console(file=io.StringIO(), width=100))


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says with which label the engine has the image."""
    label = tmp_path / "label"
    program = tmp_path / "engine"
    program.write_text(f"""#!/bin/sh
if [ -e {label} ]; then cat {label}; else echo 'No such image' >&2; exit 1; fi
""")
    program.chmod(0o755)
    monkeypatch.setattr(engines, "find", lambda: engines.Engine(str(program), {"PATH": "/bin:/usr/bin"}, "Docker 28"))
    monkeypatch.delenv(local_image.OPTIONS_VARIABLE, raising=False)
    return label


def has(label: Path, fingerprint: str) -> None:
    label.write_text(json.dumps([{"Id": "1", "Config": {"Labels": {"onwing.sources": fingerprint}}}]))


def test_a_missing_image_is_built_from_the_root_under_the_name_in_the_image_map(
    project: Project, out: Output, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(local_image.OPTIONS_VARIABLE, "--network host --build-arg 'BASE_IMAGE=my base'")
    runner = FakeRunner({})
    assert local_image.ensure(project, out, runner=runner)
    [command] = runner.commands
    assert command[1:6] == ["build", "--network", "host", "--build-arg", "BASE_IMAGE=my base"]
    assert command[6:] == [
        *("--file", "training_image/Dockerfile", "--tag", "onwing-turbofan:local"),
        *("--label", f"onwing.sources={local_image.fingerprint(project)}", "."),
    ]


def test_an_image_from_the_same_sources_is_left_alone(project: Project, out: Output, engine: Path) -> None:
    has(engine, local_image.fingerprint(project))
    assert not local_image.ensure(project, out, runner=FakeRunner({}))


@pytest.mark.parametrize("name", ["training_image/turbofan/train.py", "layers/control_plane/cmapss/reader.py"])
def test_an_image_from_other_sources_is_built_again(project: Project, out: Output, engine: Path, name: str) -> None:
    has(engine, local_image.fingerprint(project))
    (project.root / name).write_text("changed")
    assert local_image.ensure(project, out, runner=FakeRunner({}))


def test_compiled_files_are_no_sources(project: Project) -> None:
    before = local_image.fingerprint(project)
    (project.root / "training_image/turbofan/train.pyc").write_text("compiled")
    assert local_image.fingerprint(project) == before


def test_a_failed_build_is_told_with_its_log(project: Project, out: Output, engine: Path) -> None:
    with pytest.raises(CommandFailed, match="Building the training image failed"):
        local_image.ensure(project, out, runner=FakeRunner({"engine build": Ran(1, "", "no network")}))


def test_without_an_engine_it_says_what_to_install(
    project: Project, out: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise EngineMissing("No engine.", "Install one.")

    monkeypatch.setattr(engines, "find", missing)
    with pytest.raises(OnwingError) as caught:
        local_image.ensure(project, out, runner=FakeRunner({}))
    assert (caught.value.what, caught.value.todo) == ("No engine.", "Install one.")


def test_a_cloud_that_runs_processes_is_not_taken_for_one_with_containers(
    project: Project, out: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam, "require_sam", lambda project: "sam")
    monkeypatch.setattr(embedded, "running", lambda project: Embedded("http://127.0.0.1:1", 1, "0" * 12, "us-east-1"))
    with pytest.raises(OnwingError, match="runs its jobs as processes"):
        up.start(project, Options(), out, docker=True)


def test_the_image_maps_name_is_the_one_that_is_built() -> None:
    from localcloud.containers.images import ImageMap

    root = Path(__file__).parents[2]
    [image] = ImageMap.load([root / "training_image/localcloud.toml"]).images
    assert image.docker == local_image.NAME
    assert image.build == f"docker build -t {local_image.NAME} -f {root}/training_image/Dockerfile {root}"
