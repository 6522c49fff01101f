"""Somebody else's project (tests/other_project), built, deployed, run and deleted by SAM on a localcloud of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for
from localcloud.testing import localcloud as running_localcloud

ROOT = Path(__file__).parents[2]
SAM = ROOT / ".venvs/sam/bin/sam"
STACK = "theirs"
OPTIONS = ["--stack-name", STACK, "--region", "us-east-1"]
SECONDS = 600  # for whatever starts processes, which import scikit-learn beside whatever else the machine does
pytestmark = pytest.mark.timeout(2400)


@dataclass
class Project:
    """The project, deployed."""

    cloud: Cloud
    folder: Path
    outputs: dict[str, str]
    inbox: str

    def sam(self, *arguments: str) -> str:
        """Run a command of SAM's in the project's folder; its output."""
        return sam(self.cloud, self.folder, *arguments)

    def upload(self, name: str, text: str) -> None:
        self.cloud.client("s3").put_object(
            Bucket=self.outputs["Bucket"], Key=f"incoming/{name}.csv", Body=text.encode()
        )

    def ended(self, name: str) -> dict[str, Any]:
        """The execution that a file has started, once it has ended and its job's report is written.

        Nothing is on its way then: what came later would fill the bucket that a later test empties and deletes.
        """
        states = self.cloud.client("stepfunctions")

        def look() -> dict[str, Any] | None:
            found = states.list_executions(stateMachineArn=self.outputs["Workflow"])["executions"]
            for execution in found:
                if execution["name"].startswith(f"{name}-") and execution["status"] != "RUNNING":
                    described: dict[str, Any] = states.describe_execution(executionArn=execution["executionArn"])
                    return described
            return None

        execution = wait_for(look, SECONDS)
        self.report(f"iris-{execution['name']}")
        return execution

    def message(self, subject: str) -> str:
        """What the topic has said under this subject."""
        sqs, found = self.cloud.client("sqs"), []

        def look() -> str | None:
            for message in sqs.receive_message(QueueUrl=self.inbox, MaxNumberOfMessages=10).get("Messages", []):
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.inbox, ReceiptHandle=message["ReceiptHandle"])
            return next((message["Message"] for message in found if message["Subject"] == subject), None)

        return wait_for(look, SECONDS)

    def report(self, job: str) -> dict[str, Any]:
        """What the report function has written about a job."""
        s3 = self.cloud.client("s3")

        def look() -> dict[str, Any] | None:
            try:
                answer = s3.get_object(Bucket=self.outputs["Bucket"], Key=f"reports/{job}.json")
            except s3.exceptions.NoSuchKey:
                return None
            report: dict[str, Any] = json.loads(answer["Body"].read())
            return report

        return wait_for(look, SECONDS)


def sam(cloud: Cloud, folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= cloud.environment | {"SAM_CLI_TELEMETRY": "0"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    ran = subprocess.run(
        [SAM, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert ran.returncode == 0, f"sam {arguments[0]}:\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("theirs") / "project"
    shutil.copytree(ROOT / "tests/other_project", folder)
    with running_localcloud(folder.parent / "cloud", images=[folder / "images.toml"]) as cloud:
        sam(cloud, folder, "build")
        overrides = ["TrainingImage=registry.example/iris-trainer:1"]
        overrides += [f"PythonRuntime=python{sys.version_info.major}.{sys.version_info.minor}"]
        deploy = ["deploy", *OPTIONS, "--resolve-s3", "--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset"]
        sam(cloud, folder, *deploy, "--parameter-overrides", *overrides)
        stack = cloud.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        inbox = cloud.client("sqs").create_queue(QueueName="inbox")["QueueUrl"]
        attributes = cloud.client("sqs").get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]
        arn = attributes["QueueArn"]
        allow = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        cloud.client("sqs").set_queue_attributes(QueueUrl=inbox, Attributes={"Policy": policy})
        cloud.client("sns").subscribe(TopicArn=outputs["Topic"], Protocol="sqs", Endpoint=arn)
        yield Project(cloud, folder, outputs, inbox)


def flowers(count: int = 60, confused: bool = False) -> str:
    """Three species whose petals differ, or, confused, do not."""
    chance = random.Random(3)
    lines = []
    for number in range(count):
        kind = number % 3
        size = chance.gauss(0, 0.3) if confused else 2.0 * kind + chance.gauss(0, 0.2)
        petals = [round(size + 1 + chance.gauss(0, 0.1), 2), round(size / 2 + 0.5, 2)]
        sepals = [round(chance.gauss(5.8, 0.8), 2), round(chance.gauss(3.0, 0.4), 2)]
        lines.append(",".join(map(str, [*sepals, *petals, ("setosa", "versicolor", "virginica")[kind]])))
    return "\n".join(lines) + "\n"


def test_upload_trains_registers_and_deploys(project: Project) -> None:
    project.upload("may flowers", flowers())
    execution = project.ended("may-flowers")
    assert execution["status"] == "SUCCEEDED", execution
    output = json.loads(execution["output"])
    name = output["training"]["name"]
    assert output["training"]["accuracy"] >= 0.9
    assert project.message("iris: deployed").startswith(f"{name} is deployed, accuracy ")
    assert project.report(name) == {"job": name, "status": "Completed", "reason": None}

    sagemaker = project.cloud.client("sagemaker")
    [package] = sagemaker.list_model_packages(ModelPackageGroupName=project.outputs["Group"])["ModelPackageSummaryList"]
    assert package["ModelPackageArn"] == output["package"]["ModelPackageArn"]
    wait_for(lambda: sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService", SECONDS)
    invoke = project.cloud.client("sagemaker-runtime").invoke_endpoint
    answer = invoke(EndpointName=name, ContentType="text/csv", Body="5.8,3.0,1.0,0.5\n5.8,3.0,5.0,2.5\n")
    assert json.loads(answer["Body"].read()) == {"species": ["setosa", "virginica"]}
    sagemaker.delete_endpoint(EndpointName=name)


def test_poor_model_is_not_registered(project: Project) -> None:
    project.upload("confused", flowers(confused=True))
    execution = project.ended("confused")
    assert execution["status"] == "SUCCEEDED", execution
    assert "package" not in json.loads(execution["output"])
    assert "is below 0.9" in project.message("iris: rejected")


def test_bad_data_is_told_in_the_scripts_own_words(project: Project) -> None:
    project.upload("short", "1,2,3\n4,5,6\n")
    execution = project.ended("short")
    assert (execution["status"], execution["error"]) == ("FAILED", "TrainingFailed")
    told = project.message("iris: training failed")
    assert "ValueError: four measurements and a species are expected in a line, found 3 values" in told
    job = json.loads(told)["TrainingJobName"]
    assert project.report(job)["status"] == "Failed"


def test_sam_lists_and_reads_what_runs(project: Project) -> None:
    listed = json.loads(project.sam("list", "stack-outputs", "--stack-name", STACK, "--output", "json"))
    assert {output["OutputKey"]: output["OutputValue"] for output in listed} == project.outputs
    resources = json.loads(project.sam("list", "resources", "--stack-name", STACK, "--output", "json"))
    assert {"Bucket", "StartTraining", "Workflow", "Models"} <= {entry["LogicalResourceId"] for entry in resources}
    project.upload("logged", "1\n")
    project.ended("logged")
    assert "START RequestId" in project.sam("logs", "--stack-name", STACK, "--name", "StartTraining")


def test_sam_delete_leaves_nothing(project: Project) -> None:
    """The last test: the stack goes, once the bucket and the group are empty, as on AWS."""
    s3, sagemaker = project.cloud.client("s3"), project.cloud.client("sagemaker")
    for item in s3.list_objects_v2(Bucket=project.outputs["Bucket"]).get("Contents", []):
        s3.delete_object(Bucket=project.outputs["Bucket"], Key=item["Key"])
    listed = sagemaker.list_model_packages(ModelPackageGroupName=project.outputs["Group"])["ModelPackageSummaryList"]
    for package in listed:
        sagemaker.delete_model_package(ModelPackageName=package["ModelPackageArn"])
    project.sam("delete", *OPTIONS, "--no-prompts")
    stacks = project.cloud.client("cloudformation").list_stacks(
        StackStatusFilter=["CREATE_COMPLETE", "UPDATE_COMPLETE"]
    )
    assert STACK not in [stack["StackName"] for stack in stacks["StackSummaries"]]
    assert project.cloud.client("stepfunctions").list_state_machines()["stateMachines"] == []
    assert project.outputs["Bucket"] not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
