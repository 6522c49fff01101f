"""Building and deploying: the exact commands, without SAM, Docker or AWS."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from onwing import deploy, image, sam, up
from onwing.console import Output
from onwing.errors import CommandFailed, OnwingError, UsageError
from onwing.project import Project
from onwing.runner import Ran
from onwing.sam import Sam
from onwing.stack import Stack
from onwing.target import Options, Target

from .onwing_fakes import FakeClient, FakeRunner, client_error, target_with

SAMCONFIG = """
version = 0.1
[local.deploy.parameters]
stack_name = "onwing"
parameter_overrides = ["SettleSeconds=3", "FleetGates={'FD002': {'phm08': 2500}}"]
[dev.deploy.parameters]
stack_name = "onwing-dev"
parameter_overrides = "ProjectName=onwdev TuningMaxParallelJobs=2"
"""
TEMPLATE = """
Parameters:
  PythonRuntime:
    Type: String
    Default: python3.13
  ProcessingInstanceType:
    Type: String
    Default: ml.m7i.xlarge
  TrainingInstanceType:
    Type: String
    Default: "ml.c7i.xlarge"
"""
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/onwing-turbofan"
LOCAL = Target("us-east-1", "onwing", "http://127.0.0.1:1", None, "local", "000000000000")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "samconfig.toml").write_text(SAMCONFIG)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    (tmp_path / "functions" / "ingest_dataset").mkdir(parents=True)
    (tmp_path / "functions" / "ingest_dataset" / "app.py").write_text("pass")
    monkeypatch.setenv("ONWING_SAM", "sam")
    return Project(tmp_path)


@pytest.fixture
def out() -> Output:
    return Output(console=Console(file=io.StringIO(), width=200))


def built(project: Project, runner: FakeRunner) -> Sam:
    """A Sam whose build leaves what the real one leaves."""
    (project.root / ".aws-sam" / "build").mkdir(parents=True, exist_ok=True)
    (project.root / ".aws-sam" / "build" / "template.yaml").touch()
    return Sam("sam", project, project.state / "x.log", runner)


def test_build_runs_once_for_the_same_sources_and_again_when_one_changes(project: Project) -> None:
    runner = FakeRunner()
    tool = built(project, runner)
    parameters = {"PythonRuntime": "python3.11"}
    assert tool.build(LOCAL, parameters)
    assert not tool.build(LOCAL, parameters)
    (project.root / "functions" / "ingest_dataset" / "app.py").write_text("changed")
    assert tool.build(LOCAL, parameters)
    assert tool.build(LOCAL, {"PythonRuntime": "python3.12"})
    assert runner.commands[0] == [
        "sam",
        "build",
        "--config-env",
        "local",
        "--parameter-overrides",
        "PythonRuntime=python3.11",
    ]


def test_a_build_that_failed_is_done_again(project: Project) -> None:
    tool = built(project, FakeRunner({"sam build": Ran(1, "", "no pip")}))
    with pytest.raises(CommandFailed, match="sam build failed"):
        tool.build(LOCAL, {})
    assert Sam("sam", project, project.state / "x.log", FakeRunner()).build(LOCAL, {})


def test_caches_of_python_are_no_sources(project: Project) -> None:
    before = sam.digest(project.root, sam.SOURCES)
    cache = project.root / "functions" / "__pycache__"
    cache.mkdir()
    (cache / "app.pyc").write_text("x")
    assert sam.digest(project.root, sam.SOURCES) == before


def test_deploy_names_stack_region_and_every_parameter_and_asks_nothing(project: Project) -> None:
    runner = FakeRunner()
    built(project, runner).deploy(LOCAL, {"B": "two words", "A": "{'x': 1}", "C": ""})
    command = runner.commands[0]
    assert command[:2] == ["sam", "deploy"]
    assert command[4:9] == ["--stack-name", "onwing", "--region", "us-east-1", "--no-confirm-changeset"]
    assert command[-3:] == ["A=\"{'x': 1}\"", 'B="two words"', 'C=""']
    env = runner.environments[0]
    assert env["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert env["SAM_CLI_TELEMETRY"] == "0"
    assert env["AWS_EC2_METADATA_DISABLED"] == "true"


def test_parameters_of_an_environment_are_read_in_both_notations(project: Project) -> None:
    assert sam.parameters_of(project, "local") == {"SettleSeconds": "3", "FleetGates": "{'FD002': {'phm08': 2500}}"}
    assert sam.parameters_of(project, "dev") == {"ProjectName": "onwdev", "TuningMaxParallelJobs": "2"}


def test_the_revision_is_gits_unless_something_differs_from_it(project: Project) -> None:
    clean = {"git rev-parse": Ran(0, "abc\n"), "git status": Ran(0, "")}
    assert sam.revision(project, FakeRunner(clean)) == "abc"
    changed = sam.revision(project, FakeRunner(clean | {"git status": Ran(0, " M template.yaml")}))
    assert changed.startswith("abc-changed-")
    assert sam.revision(project, FakeRunner({"git rev-parse": Ran(128)})).startswith("sources-")


@pytest.mark.parametrize(
    ("status", "parameters", "needed"),
    [
        ("UPDATE_COMPLETE", {"SettleSeconds": "3"}, False),
        ("UPDATE_COMPLETE", {"SettleSeconds": "4"}, True),
        ("UPDATE_COMPLETE", {"New": "1"}, True),
        ("ROLLBACK_COMPLETE", {"SettleSeconds": "3"}, True),
    ],
)
def test_a_stack_is_deployed_again_when_it_differs_or_is_broken(
    status: str, parameters: dict[str, str], needed: bool
) -> None:
    assert sam.needs_deploy(Stack("onwing", status, {}, {"SettleSeconds": "3"}), parameters) is needed
    assert sam.needs_deploy(None, parameters)


def test_up_leaves_a_stack_alone_that_is_up_to_date(project: Project, out: Output) -> None:
    runner = FakeRunner({"git rev-parse": Ran(0, "abc\n")})
    parameters = sam.parameters_of(project, "local") | {"PythonRuntime": sam.local_runtime(), "SourceRevision": "abc"}
    described = {
        "Stacks": [
            {
                "StackName": "onwing",
                "StackStatus": "CREATE_COMPLETE",
                "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            }
        ]
    }
    target = target_with(env="local", cloudformation=FakeClient(describe_stacks=described))
    _, was_built, was_deployed = up.deploy(project, target, out, runner=runner)
    assert (was_built, was_deployed) == (False, False)
    assert not any(command[0] == "sam" for command in runner.commands)
    built(project, runner)
    up.deploy(project, target, out, parameters={"SettleSeconds": "9"}, runner=runner)
    assert [command[1] for command in runner.commands if command[0] == "sam"] == ["build", "deploy"]


def test_without_sam_nothing_is_started(project: Project, out: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONWING_SAM")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CommandFailed) as caught:
        up.start(project, Options(), out)
    assert "make setup" in caught.value.todo
    assert not project.cloud_dir.exists()


# --- the training image ---------------------------------------------------------------------------------------------


def registry(*digests: str | None) -> FakeClient:
    """ECR: each look for an image finds the next digest, None for no image."""
    found = iter(digests)

    def describe_images(**_: Any) -> Any:
        digest = next(found)
        return {"imageDetails": [{"imageDigest": digest}]} if digest else client_error("ImageNotFoundException")

    return FakeClient(
        describe_repositories={"repositories": [{"repositoryUri": REPOSITORY}]},
        describe_images=describe_images,
        get_authorization_token={
            "authorizationData": [{"authorizationToken": base64.b64encode(b"AWS:secret").decode()}]
        },
    )


def test_a_new_image_is_built_pushed_and_used_by_digest(project: Project) -> None:
    runner = FakeRunner()
    target = target_with(ecr=registry(None, "sha256:1"))
    published = image.publish(target, project, "abc", log=project.state / "x.log", runner=runner)
    assert published.uri == f"{REPOSITORY}@sha256:1"
    assert runner.commands == [
        [
            "docker",
            "build",
            "--platform",
            "linux/amd64",
            "--file",
            "training_image/Dockerfile",
            "--tag",
            f"{REPOSITORY}:abc",
            ".",
        ],
        ["docker", "login", "--username", "AWS", "--password-stdin", REPOSITORY.partition("/")[0]],
        ["docker", "push", f"{REPOSITORY}:abc"],
    ]
    assert runner.inputs[1] == "secret", "the token goes by stdin, where no process list shows it"
    assert runner.environments[0]["BUILDX_NO_DEFAULT_ATTESTATIONS"] == "1"


def test_an_image_of_this_revision_is_not_built_again(project: Project) -> None:
    runner = FakeRunner()
    image.publish(target_with(ecr=registry("sha256:1")), project, "abc", log=project.state / "x.log", runner=runner)
    assert runner.commands == []


def test_a_build_that_fails_pushes_nothing(project: Project) -> None:
    runner = FakeRunner({"docker build": Ran(1, "", "no space left")})
    with pytest.raises(CommandFailed, match="docker build failed"):
        image.publish(target_with(ecr=registry(None)), project, "abc", log=project.state / "x.log", runner=runner)
    assert len(runner.commands) == 1


def test_the_repository_is_made_with_tags_that_cannot_move() -> None:
    ecr = FakeClient(
        describe_repositories=client_error("RepositoryNotFoundException"),
        create_repository={"repository": {"repositoryUri": REPOSITORY}},
    )
    assert image.ensure_repository(target_with(ecr=ecr)) == REPOSITORY
    assert ecr.called("create_repository")[0]["imageTagMutability"] == "IMMUTABLE"


# --- deploy ----------------------------------------------------------------------------------------------------------


def account(**more: Any) -> Target:
    quotas = [
        {"QuotaName": "ml.m7i.xlarge for processing job usage", "Value": 4.0},
        {"QuotaName": "ml.c7i.xlarge for training job usage", "Value": 4.0},
    ]
    described = {"Stacks": [{"StackName": "onwing-dev", "StackStatus": "UPDATE_COMPLETE", "Outputs": []}]}
    clients: dict[str, Any] = {
        "sts": FakeClient(get_caller_identity={"Account": "123456789012", "Arn": "arn:me"}),
        "ecr": registry(None, "sha256:1"),
        "cloudformation": FakeClient(describe_stacks=described),
        "service_quotas": FakeClient(list_service_quotas={"Quotas": quotas}),
    }
    return target_with(env="dev", **clients | more)


@pytest.fixture
def on_aws(monkeypatch: pytest.MonkeyPatch, project: Project) -> Options:
    monkeypatch.setenv("CMAPSS_DIR", "")
    monkeypatch.setattr("onwing.doctor.resolve", lambda options, project: account())
    return Options(env="dev")


DOCKER_RUNS = {"docker version": Ran(0, "20.10"), "sam --version": Ran(0, "SAM CLI"), "git rev-parse": Ran(0, "abc\n")}


def test_a_deployment_says_what_it_will_do_and_then_does_that(project: Project, out: Output, on_aws: Options) -> None:
    runner = FakeRunner(DOCKER_RUNS)
    target = account()
    prepared = deploy.prepare(project, on_aws, target, runner=runner)
    said: list[str] = []
    deploy.describe(prepared, said.append)
    assert "Account 123456789012, region us-east-1" in said[0]
    built(project, runner)
    _, published = deploy.carry_out(project, prepared, out, runner=runner)
    assert published.digest == "sha256:1"
    done = [" ".join(command[:2]) for command in runner.commands if command[0] in ("docker", "sam")]
    assert done[-5:] == ["docker build", "docker login", "docker push", "sam build", "sam deploy"]
    command = runner.commands[-1]
    assert f"ImageUri={REPOSITORY}@sha256:1" in command
    assert "SourceRevision=abc" in command
    assert "ProjectName=onwdev" in command
    assert command[2:4] == ["--config-env", "dev"]


def test_without_docker_nothing_is_made_on_aws(project: Project, on_aws: Options) -> None:
    runner = FakeRunner(DOCKER_RUNS | {"docker version": Ran(1)})
    with pytest.raises(OnwingError, match="Docker"):
        deploy.prepare(project, on_aws, account(), runner=runner)


@pytest.mark.parametrize("env", [None, "local"])
def test_deploy_is_not_for_this_machine(project: Project, env: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        deploy.prepare(project, Options(env=env), account(), runner=FakeRunner())
    assert "onwing up" in caught.value.todo


def test_the_stamp_of_a_build_is_readable(project: Project) -> None:
    built(project, FakeRunner()).build(LOCAL, {"PythonRuntime": "python3.11"})
    stamp = json.loads((project.root / ".aws-sam" / "onwing-build.json").read_text())
    assert stamp["runtime"] == "python3.11"
