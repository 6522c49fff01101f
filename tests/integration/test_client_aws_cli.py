"""The AWS CLI: calls, waiters, paginators and high-level commands, by AWS_ENDPOINT_URL alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ROLE, ended, training, unique

AWS = Path(sys.executable).with_name("aws")

Aws = Callable[..., Any]

pytestmark = pytest.mark.timeout(900)  # each command takes a second of the processor


@pytest.fixture
def aws(localcloud: Cloud, tmp_path: Path) -> Aws:
    """Runs a command; gives its output, as JSON where it is that."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= localcloud.environment | {"HOME": str(tmp_path), "AWS_PAGER": ""}

    def run(*arguments: str, code: int = 0) -> Any:
        ran = subprocess.run(
            [AWS, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert ran.returncode == code, f"aws {' '.join(arguments)}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        if code:
            return ran.stderr
        try:
            return json.loads(ran.stdout)
        except ValueError:
            return ran.stdout

    return run


def test_files_go_to_s3_and_back(aws: Aws, tmp_path: Path) -> None:
    bucket = unique("cli")
    (tmp_path / "data/deep").mkdir(parents=True)
    (tmp_path / "data/a.csv").write_text("1,2\n")
    (tmp_path / "data/deep/b c.csv").write_text("3,4\n")
    aws("s3", "mb", f"s3://{bucket}")
    aws("s3", "sync", "data", f"s3://{bucket}/data", "--only-show-errors")
    listed = aws("s3", "ls", f"s3://{bucket}/data/", "--recursive")
    assert [line.split(maxsplit=3)[3] for line in listed.splitlines()] == ["data/a.csv", "data/deep/b c.csv"]
    aws("s3", "cp", f"s3://{bucket}/data/deep/b c.csv", "back.csv", "--only-show-errors")
    assert (tmp_path / "back.csv").read_text() == "3,4\n"
    aws("s3", "rb", f"s3://{bucket}", "--force")


def test_training_job_is_started_waited_for_and_read(aws: Aws, localcloud: Cloud, bucket: str) -> None:
    name = unique("cli")
    aws("sagemaker", "create-training-job", "--cli-input-json", json.dumps(training(name, bucket)))
    ended(localcloud, "Training", name)  # the command looks every two minutes, and cannot be told otherwise
    aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", name)
    status = ("--query", "TrainingJobStatus", "--output", "text")
    assert aws("sagemaker", "describe-training-job", "--training-job-name", name, *status) == "Completed\n"
    lines = aws(
        "logs", "filter-log-events", "--log-group-name", "/aws/sagemaker/TrainingJobs", "--log-stream-name-prefix", name
    )
    assert any(event["message"].startswith("Val RMSE") for event in lines["events"])


def test_pages_are_put_together(aws: Aws) -> None:
    prefix = unique("pages")
    for number in range(5):
        aws("sagemaker", "create-model-package-group", "--model-package-group-name", f"{prefix}-{number}")
    listed = aws("sagemaker", "list-model-package-groups", "--name-contains", prefix, "--page-size", "2")
    assert len(listed["ModelPackageGroupSummaryList"]) == 5
    first = aws("sagemaker", "list-model-package-groups", "--name-contains", prefix, "--max-items", "3")
    assert len(first["ModelPackageGroupSummaryList"]) == 3
    rest = aws(
        "sagemaker", "list-model-package-groups", "--name-contains", prefix, "--starting-token", first["NextToken"]
    )
    assert len(rest["ModelPackageGroupSummaryList"]) == 2


def test_state_machine_is_made_run_and_read(aws: Aws, tmp_path: Path) -> None:
    definition = {"StartAt": "Done", "States": {"Done": {"Type": "Pass", "Result": {"made": "here"}, "End": True}}}
    (tmp_path / "machine.json").write_text(json.dumps(definition))
    made = ("--name", unique("cli"), "--role-arn", ROLE, "--definition", "file://machine.json")
    arn = aws("stepfunctions", "create-state-machine", *made)["stateMachineArn"]
    execution = aws("stepfunctions", "start-execution", "--state-machine-arn", arn)["executionArn"]

    def over() -> Any:
        described = aws("stepfunctions", "describe-execution", "--execution-arn", execution)
        return described if described["status"] != "RUNNING" else None

    described = wait_for(over)
    assert (described["status"], json.loads(described["output"])) == ("SUCCEEDED", {"made": "here"})


def test_refusals_read_as_on_aws(aws: Aws) -> None:
    told = aws("sagemaker", "describe-model-package-group", "--model-package-group-name", "never-made", code=255)
    assert "An error occurred (ValidationException) when calling the DescribeModelPackageGroup operation" in told
    told = aws(
        "sagemaker",
        "create-notebook-instance-lifecycle-config",
        "--notebook-instance-lifecycle-config-name",
        "a",
        code=255,
    )
    assert "localcloud does not implement SageMaker's CreateNotebookInstanceLifecycleConfig" in told


def test_who_is_asking_has_an_answer(aws: Aws, localcloud: Cloud) -> None:
    assert aws("sts", "get-caller-identity")["Account"] == localcloud.account
