"""What the doctor finds, and what it says to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onwing import doctor
from onwing.doctor import MISSING, NOTE, OK, WARNING, Check
from onwing.errors import NotDeployed
from onwing.project import Project
from onwing.runner import Ran
from onwing.target import Options

from .onwing_fakes import FakeClient, FakeRunner, client_error, target_with

TEMPLATE = """Parameters:
  PythonRuntime:
    Type: String
    Default: python3.99
  ProcessingInstanceType:
    Type: String
    Default: ml.m7i.xlarge
  TrainingInstanceType:
    Type: String
    Default: "ml.c7i.xlarge"
  TuningMaxParallelJobs:
    Type: Number
    Default: 4
"""
SAMCONFIG = '[dev.deploy.parameters]\nregion = "us-east-1"\nparameter_overrides = ["TuningMaxParallelJobs=2"]\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    (tmp_path / "samconfig.toml").write_text(SAMCONFIG)
    monkeypatch.setenv("CMAPSS_DIR", "")
    monkeypatch.setenv("ONWING_SAM", "sam")
    return Project(tmp_path)


RUNS = {"docker version": Ran(0, "20.10\n"), "sam --version": Ran(0, "SAM CLI, version 1\n")}


def checks(project: Project, answers: dict[str, Ran] | None = None, env: str | None = None) -> dict[str, Check]:
    found = doctor.examine(project, Options(env=env), runner=FakeRunner(RUNS | (answers or {})))
    return {check.name: check for check in found}


def test_a_machine_with_everything_is_healthy(project: Project) -> None:
    found = checks(project)
    assert doctor.healthy(list(found.values()))
    assert found["SAM CLI"].state == OK
    assert found["Embedded cloud"].state == NOTE


def test_no_sam_is_a_reason_to_stop_and_says_what_to_do(project: Project) -> None:
    found = checks(project, {"sam --version": Ran(1)})
    assert found["SAM CLI"].state == MISSING
    assert "make setup" in found["SAM CLI"].todo
    assert not doctor.healthy(list(found.values()))


def test_docker_is_only_needed_to_deploy(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks(project, {"docker version": Ran(1)})["Docker"].state == NOTE
    monkeypatch.setattr(doctor, "resolve", lambda options, project: account())
    assert checks(project, {"docker version": Ran(1)}, "dev")["Docker"].state == MISSING


def test_podman_will_do_for_jobs_in_containers_but_not_to_deploy(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"docker version": Ran(1), "podman version": Ran(0, "5.4.0\n")}
    found = checks(project, answers)["Docker"]
    assert (found.state, found.found) == (OK, "Podman 5.4.0, which --docker can use")
    monkeypatch.setattr(doctor, "resolve", lambda options, project: account())
    assert checks(project, answers, "dev")["Docker"].state == MISSING


def test_no_data_is_a_warning_that_it_would_be_simulated(project: Project) -> None:
    found = checks(project)["C-MAPSS data"]
    assert found.state == WARNING
    assert "SIMULATED" in found.found
    assert "CMAPSS_DIR" in found.todo


def test_a_data_folder_that_is_not_there_is_missing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAPSS_DIR", str(project.root / "none"))
    assert checks(project)["C-MAPSS data"].state == MISSING


def test_outside_of_a_checkout_nothing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAPSS_DIR", "")
    assert checks(Project(tmp_path))["Project files"].state == MISSING


def account(**more: Any) -> Any:
    quotas = [
        {"QuotaName": "ml.m7i.xlarge for processing job usage", "Value": 1.0},
        {"QuotaName": "ml.c7i.xlarge for training job usage", "Value": 1.0},
    ]
    clients: dict[str, Any] = {
        "sts": FakeClient(get_caller_identity={"Account": "1", "Arn": "arn:me"}),
        "ecr": FakeClient(describe_repositories=client_error("RepositoryNotFoundException")),
        "cloudformation": FakeClient(describe_stacks={"Stacks": []}),
        "service_quotas": FakeClient(list_service_quotas={"Quotas": quotas}),
    }
    return target_with(env="dev", **clients | more)


def on_aws(project: Project, monkeypatch: pytest.MonkeyPatch, **more: Any) -> list[Check]:
    monkeypatch.setattr(doctor, "resolve", lambda options, project: account(**more))
    return list(doctor.examine(project, Options(env="dev"), runner=FakeRunner(RUNS)))


def test_quotas_are_held_against_what_a_run_needs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [check for check in on_aws(project, monkeypatch) if check.name == "Quota"]
    assert [(check.state, check.found) for check in found] == [
        (OK, "ml.m7i.xlarge for processing job usage: 1 (1 needed)"),
        (MISSING, "ml.c7i.xlarge for training job usage: 1, but 2 are needed"),
    ]
    assert "Service Quotas" in found[1].todo


def test_an_instance_type_that_is_not_listed_is_a_warning(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    found = on_aws(project, monkeypatch, service_quotas=FakeClient(list_service_quotas={"Quotas": []}))
    assert [check.state for check in found if check.name == "Quota"] == [WARNING, WARNING]


def test_without_credentials_it_says_so_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    sts = FakeClient(get_caller_identity=client_error("ExpiredToken", "expired"))
    found = on_aws(project, monkeypatch, sts=sts)
    assert found[-1].name == "AWS"
    assert found[-1].state == MISSING
    assert "sign in" in found[-1].todo


def test_an_environment_that_does_not_resolve_is_reported(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(options: Options, project: Project) -> None:
        raise NotDeployed("no such environment", todo="use another")

    monkeypatch.setattr(doctor, "resolve", fail)
    found = list(doctor.examine(project, Options(env="dev"), runner=FakeRunner(RUNS)))
    assert (found[-1].state, found[-1].todo) == (MISSING, "use another")


def test_the_runtime_that_lambda_will_use_has_to_be_here_to_build_for_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {check.name: check for check in on_aws(project, monkeypatch)}
    assert found["Lambda runtime"].state == WARNING
    assert "python3.99" in found["Lambda runtime"].found


def test_a_parameter_is_what_samconfig_sets_or_the_templates_default(project: Project) -> None:
    assert doctor.parameter(project, "dev", "TuningMaxParallelJobs") == "2"
    assert doctor.parameter(project, "dev", "TrainingInstanceType") == "ml.c7i.xlarge"
    assert doctor.parameter(project, "dev", "Unknown") == ""
