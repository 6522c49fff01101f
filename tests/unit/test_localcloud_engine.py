"""Which container engine is used, and what is said when there is none; the engines are small scripts here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers import engine
from localcloud.containers.docker_runtime import DockerImages, DockerRuntime
from localcloud.containers.engine import Engine, EngineError, EngineMissing
from localcloud.containers.images import Image, ImageMap, ImageNotFound
from localcloud.containers.processes import ContainerSpec, command_for

DOCKER: dict[str, Any] = {"ServerVersion": "28.1", "OperatingSystem": "Debian", "CpuCfsQuota": True}
PODMAN: dict[str, Any] = {
    "version": {"Version": "5.4.0"},
    "host": {"security": {"rootless": True}, "cgroupControllers": ["memory"]},
}


class Machine:
    """A PATH with the programs that a test installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, script: str) -> None:
        program = self.folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def engine(self, name: str, info: dict[str, Any], **answers: str) -> None:
        """An engine that describes itself so; `answers` are its other commands' scripts."""
        cases = "".join(f"{command}) {script} ;;\n" for command, script in answers.items())
        self.install(name, f"case $1 in\ninfo) echo '{json.dumps(info)}' ;;\n{cases}esac")

    def find(self, **environment: str) -> Engine:
        return engine.find({"PATH": f"{self.folder}:/bin:/usr/bin", **environment})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "bin"
    folder.mkdir()
    return Machine(folder)


@pytest.fixture(autouse=True)
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(engine, "PROGRAMS", ("test-docker", "test-podman"))  # not the machine's own


def test_docker_comes_before_podman(machine: Machine) -> None:
    machine.engine("test-docker", DOCKER)
    machine.engine("test-podman", PODMAN)
    found = machine.find()
    assert (found.name, found.host_network, found.rootless, found.cpu_limit) == ("Docker 28.1", True, False, True)


def test_podman_is_used_when_docker_does_not_answer(machine: Machine) -> None:
    machine.install("test-docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    machine.engine("test-podman", PODMAN)
    found = machine.find()
    assert (found.name, found.host_network, found.rootless, found.cpu_limit) == ("Podman 5.4.0", True, True, False)


def test_another_program_can_be_named(machine: Machine) -> None:
    machine.engine("test-docker", DOCKER)
    machine.engine("test-podman", PODMAN)
    assert machine.find(LOCALCLOUD_ENGINE="test-podman").name == "Podman 5.4.0"


def test_without_an_engine_it_is_said_what_was_looked_for_and_what_to_install(machine: Machine) -> None:
    machine.install("test-docker", "echo 'Cannot connect to\nthe Docker daemon' >&2; exit 1")
    with pytest.raises(EngineMissing) as caught:
        machine.find()
    assert "test-docker is installed, but does not answer (Cannot connect to the Docker daemon)" in caught.value.what
    assert "test-podman is not installed" in caught.value.what
    assert caught.value.todo.startswith("Install Docker Engine or Podman")


@pytest.mark.parametrize(
    ("info", "environment", "said"),
    [
        ({**DOCKER, "SecurityOptions": ["name=rootless"]}, {}, "cannot reach this machine's loopback interface"),
        (DOCKER, {"DOCKER_HOST": "ssh://elsewhere"}, "is another machine"),
        ({"ServerVersion": "", "ServerErrors": ["no daemon"]}, {}, "no daemon"),
    ],
)
def test_an_engine_that_could_not_run_jobs_is_refused(
    machine: Machine, info: dict[str, Any], environment: dict[str, str], said: str
) -> None:
    machine.engine("test-docker", info)
    with pytest.raises(EngineMissing, match=said):
        machine.find(**environment)


@pytest.mark.parametrize(("platform", "system"), [("linux", "Docker Desktop"), ("darwin", "Docker Desktop")])
def test_in_docker_desktop_the_machine_goes_by_another_name(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, system: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    calls = tmp_path / "calls"
    machine.engine(
        "test-docker",
        {**DOCKER, "OperatingSystem": system},
        create=f'printf "%s\\n" "$@" > {calls}; echo the-id',
        container="""echo '[{"State": {"Running": false, "ExitCode": 0, "OOMKilled": false}}]'""",
    )
    runtime = DockerRuntime(machine.find(), tmp_path)
    given = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "OTHER": "http://127.0.0.1:1"}
    image = Image("image", ("python",), docker="sha256:1")
    try:
        assert runtime.start(ContainerSpec(image, ("python",), given, tmp_path, "job"), print).wait(30) == 0
    finally:
        runtime.close()
    said = calls.read_text().splitlines()
    assert "AWS_ENDPOINT_URL=http://host.docker.internal:4566" in said
    assert "OTHER=http://127.0.0.1:1" in said
    assert "--network" not in said


def test_a_command_that_fails_is_told_in_the_engines_words(machine: Machine) -> None:
    machine.engine("test-docker", DOCKER, create="echo 'no space left' >&2; exit 125")
    with pytest.raises(EngineError, match="no space left"):
        machine.find().run("create")


def test_an_image_is_found_by_its_uri_before_the_image_maps_name(machine: Machine) -> None:
    described = '[{"Id": "sha256:%s", "Config": {"Entrypoint": ["run"], "Cmd": ["serve"]}}]'
    machine.engine(
        "test-docker",
        DOCKER,
        image=f"case $4 in uri:1) echo '{described % 1}' ;; tag:1) echo '{described % 2}' ;; "
        "*) echo 'Error: No such image' >&2; exit 1 ;; esac",
    )
    mapped = Image("mapped", ("python",), docker="tag:1", build="docker build -t tag:1 .")
    missing = Image("missing", ("python",), docker="tag:0", build="docker build -t tag:0 .")
    images = DockerImages(machine.find(), ImageMap([("uri:*", mapped), ("other:*", missing)]))

    assert images.find("uri:1").docker == "sha256:1"
    found = images.find("uri:2")
    assert (found.docker, found.entrypoint, found.arguments) == ("sha256:2", ("run",), ("serve",))
    with pytest.raises(ImageNotFound, match="docker build -t tag:0"):
        images.find("other:1")
    with pytest.raises(ImageNotFound, match="Build or tag it by that name"):
        images.find("unknown:1")


@pytest.mark.parametrize(
    ("entrypoint", "arguments", "defaults", "command"),
    [
        (None, None, [], ("run", "own")),
        (None, None, ["train"], ("run", "train")),
        (None, ["asked"], ["train"], ("run", "asked")),
        (["other"], None, ["train"], ("other",)),
        (["other"], ["asked"], [], ("other", "asked")),
    ],
)
def test_entry_point_and_arguments_follow_dockers_rules(
    entrypoint: list[str] | None, arguments: list[str] | None, defaults: list[str], command: tuple[str, ...]
) -> None:
    image = Image("image", ("run",), arguments=("own",))
    assert command_for(image, entrypoint, arguments, defaults) == command
