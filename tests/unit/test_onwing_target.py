"""Which cloud a command talks to."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from onwing import embedded
from onwing.errors import NotDeployed, UsageError
from onwing.project import Project, find_project
from onwing.target import Options, Target, resolve

SAMCONFIG = """
version = 0.1
[default.global.parameters]
stack_name = "onwing"
[local.deploy.parameters]
stack_name = "here"
parameter_overrides = ["SettleSeconds=3"]
[dev.deploy.parameters]
stack_name = "onwing-dev"
region = "eu-west-1"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    (tmp_path / "samconfig.toml").write_text(SAMCONFIG)
    return Project(tmp_path)


@pytest.fixture
def cloud(project: Project) -> Iterator[str]:
    """Something that looks like a running embedded cloud: this process, and a port that accepts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        write_state(project, endpoint, os.getpid())
        yield endpoint


def write_state(project: Project, endpoint: str, pid: int) -> None:
    project.cloud_dir.mkdir(parents=True, exist_ok=True)
    state = {"endpoint": endpoint, "pid": pid, "account": "000000000000", "region": "us-east-1"}
    (project.cloud_dir / "localcloud.json").write_text(json.dumps(state))


def test_the_embedded_cloud_is_taken_when_it_runs(project: Project, cloud: str) -> None:
    target = resolve(Options(), project)
    assert (target.endpoint_url, target.stack_name, target.env) == (cloud, "here", "local")
    assert str(target) == f"{cloud}, us-east-1, stack here"


def test_real_credentials_are_never_sent_to_the_embedded_cloud(
    project: Project, cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    monkeypatch.setenv("AWS_PROFILE", "real")
    target = resolve(Options(), project)
    credentials = target.session.get_credentials()
    assert credentials is not None
    assert credentials.access_key == "000000000000"
    assert target.command_env["AWS_PROFILE"] is None
    assert target.command_env["AWS_ACCESS_KEY_ID"] == "000000000000"


def test_every_client_goes_to_the_endpoint(project: Project, cloud: str) -> None:
    target = resolve(Options(), project)
    assert target.client("s3").meta.endpoint_url == cloud
    assert target.session.client("sagemaker").meta.endpoint_url == cloud
    assert target.client("s3") is target.client("s3")


@pytest.mark.parametrize(
    "state", ["", "{", '{"endpoint": "http://127.0.0.1:9"}', '{"endpoint":"x","pid":"y","account":"0","region":"r"}']
)
def test_a_state_file_that_makes_no_sense_means_that_none_runs(project: Project, state: str) -> None:
    project.cloud_dir.mkdir(parents=True)
    (project.cloud_dir / "localcloud.json").write_text(state)
    assert embedded.running(project) is None


def test_a_dead_process_or_a_closed_port_means_that_none_runs(project: Project, cloud: str) -> None:
    write_state(project, cloud, 2**22 + 1)
    assert embedded.running(project) is None
    write_state(project, "http://127.0.0.1:9", os.getpid())
    assert embedded.running(project) is None


def test_an_environment_other_than_local_is_aws_also_while_the_embedded_cloud_runs(
    project: Project, cloud: str
) -> None:
    target = resolve(Options(env="dev"), project)
    assert (target.endpoint_url, target.stack_name, target.region) == (None, "onwing-dev", "eu-west-1")


def test_an_explicit_endpoint_wins(project: Project, cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    target = resolve(Options(), project)
    assert target.endpoint_url == "http://127.0.0.1:4566"
    assert target.access_key is not None, "without credentials of one's own, no search for some on the network"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    assert resolve(Options(), project).access_key is None


def test_options_win_over_samconfig_and_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    target = resolve(Options(env="dev", stack="mine", region="ap-south-1"), project)
    assert (target.stack_name, target.region) == ("mine", "ap-south-1")


def test_aws_is_taken_when_no_embedded_cloud_runs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    target = resolve(Options(), project)
    assert (target.endpoint_url, target.stack_name, target.region) == (None, "onwing", "us-west-2")


def test_asking_for_the_embedded_cloud_says_how_to_start_it(project: Project) -> None:
    with pytest.raises(NotDeployed) as caught:
        resolve(Options(env="local"), project)
    assert "onwing up" in caught.value.todo


def test_nothing_at_all_says_both_ways_on(project: Project) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(Options(), project)
    assert "onwing up" in caught.value.todo
    assert "--region" in caught.value.todo


def test_unknown_environment_lists_the_known_ones(project: Project) -> None:
    with pytest.raises(UsageError, match="staging") as caught:
        resolve(Options(env="staging"), project)
    assert "dev" in caught.value.todo


def test_unknown_profile_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="nobody"):
        Target("us-east-1", "onwing", profile="nobody").session  # noqa: B018 - reading it is what fails


def test_the_project_is_found_from_inside_it(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").touch()
    (tmp_path / "statemachines").mkdir()
    deep = tmp_path / "functions" / "x"
    deep.mkdir(parents=True)
    assert find_project(deep).root == tmp_path


def test_outside_of_any_project_the_installed_checkout_is_taken(tmp_path: Path) -> None:
    assert (find_project(tmp_path).root / "template.yaml").is_file()
