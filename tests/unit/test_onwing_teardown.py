"""Taking down: what is found, what is left alone, in which order it goes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws
from rich.console import Console

from onwing import stack as stacks
from onwing import teardown
from onwing.command import Context
from onwing.console import Output
from onwing.errors import CommandFailed, Exit, UsageError
from onwing.project import Project
from onwing.stack import Stack
from onwing.target import Options, Target

from .onwing_fakes import MACHINE, STACK, FakeClient, client_error, target_with

OWN = {"Tags": [{"Key": "onwing:project", "Value": "onwing"}]}
RESOURCES = {
    "StackResourceSummaries": [
        {
            "LogicalResourceId": "Machine",
            "PhysicalResourceId": MACHINE,
            "ResourceType": "AWS::StepFunctions::StateMachine",
        },
        {"LogicalResourceId": "Alarm", "PhysicalResourceId": "onwing-own", "ResourceType": "AWS::CloudWatch::Alarm"},
    ]
}


class Kind:
    """A resource class of the SageMaker SDK."""

    def __init__(self, log: list[str], attribute: str, names: list[str]) -> None:
        self.log, self.attribute, self.names = log, attribute, names
        self.asked: dict[str, Any] = {}

    def get_all(self, **arguments: Any) -> Iterator[Any]:
        self.asked = arguments
        for name in self.names:
            yield SimpleNamespace(
                **{
                    self.attribute: name,
                    self.attribute.replace("_name", "_arn"): f"arn:{name}",
                    "stop": self._note("stop", name),
                    "delete": self._note("delete", name),
                }
            )

    def _note(self, verb: str, name: str) -> Callable[[], None]:
        return lambda: self.log.append(f"{verb} {name}")


def _endpoint(done: list[str], name: str) -> Any:
    """Being updated at the first look, in service at the second, gone once it was deleted."""
    if f"delete {name}" in done:
        return client_error("ValidationException", "Could not find endpoint")
    done.append(f"look at {name}")
    return {"EndpointStatus": "Updating" if done.count(f"look at {name}") == 1 else "InService"}


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, done: list[str]) -> Target:
    kinds = {
        "HyperParameterTuningJob": Kind(done, "hyper_parameter_tuning_job_name", ["onwing-FD001-x"]),
        "TrainingJob": Kind(done, "training_job_name", []),
        "ProcessingJob": Kind(done, "processing_job_name", ["my-onwing-job"]),
        "Endpoint": Kind(done, "endpoint_name", ["onwing-FD001", "onwing-somebody-elses"]),
        "EndpointConfig": Kind(done, "endpoint_config_name", []),
        "Model": Kind(done, "model_name", []),
    }
    monkeypatch.setattr("onwing.teardown.sdk_resource", kinds.__getitem__)
    statuses = iter(["Stopping", "Stopped"])
    sagemaker = FakeClient(
        describe_endpoint=lambda EndpointName: _endpoint(done, EndpointName),
        delete_endpoint=lambda EndpointName: done.append(f"delete {EndpointName}"),
        describe_hyper_parameter_tuning_job=lambda **_: {"HyperParameterTuningJobStatus": next(statuses)},
        list_tags=lambda ResourceArn: {"Tags": []} if "elses" in ResourceArn else OWN,
        list_model_package_groups={
            "ModelPackageGroupSummaryList": [
                {"ModelPackageGroupName": "onwing-FD001", "ModelPackageGroupArn": "arn:group"}
            ]
        },
        list_model_packages={"ModelPackageSummaryList": [{"ModelPackageArn": "arn:package/1"}]},
        delete_model_package=lambda ModelPackageName: done.append(f"delete {ModelPackageName}"),
        delete_model_package_group=lambda ModelPackageGroupName: done.append(f"delete {ModelPackageGroupName}"),
    )
    alarms = [{"AlarmName": name, "AlarmArn": f"arn:{name}"} for name in ("onwing-own", "onwing-v1", "onwing-elses")]
    gone = iter([False, True])
    # What is stopped starts another, a moment later.
    run = [{"executionArn": "arn:run", "name": "FD001-x-1"}]
    running = iter([run, [], [{"executionArn": "arn:rollback", "name": "rollback"}]])
    return target_with(
        sagemaker=sagemaker,
        stepfunctions=FakeClient(
            list_executions=lambda **_: {"executions": next(running, [])},
            stop_execution=lambda executionArn, **_: done.append(f"stop {executionArn}"),
        ),
        cloudwatch=FakeClient(
            describe_alarms={"MetricAlarms": alarms},
            list_tags_for_resource=lambda ResourceARN: {"Tags": []} if "elses" in ResourceARN else OWN,
            delete_alarms=lambda AlarmNames: done.append(f"delete alarm {AlarmNames[0]}"),
        ),
        cloudformation=FakeClient(
            list_stack_resources=RESOURCES,
            delete_stack=lambda **_: done.append("delete stack"),
            describe_stacks=lambda **_: {"Stacks": [] if next(gone) else [STILL_THERE]},
        ),
        s3=FakeClient(list_object_versions={}),
        ecr=FakeClient(delete_repository=lambda **_: done.append("delete repository")),
    )


STILL_THERE = {"StackName": "onwing", "StackStatus": "DELETE_IN_PROGRESS"}


def names(plan: teardown.Plan) -> list[tuple[str, str]]:
    return [(item.kind, item.name) for item in plan.items]


def test_only_what_is_the_projects_own_goes_and_the_stack_last(target: Target) -> None:
    plan = teardown.plan(target, STACK, with_models=False, with_image=False)
    assert names(plan) == [
        ("running execution", "FD001-x-1"),
        ("executions that these start", "until none runs"),
        ("running HyperParameterTuningJob", "onwing-FD001-x"),
        ("what these jobs still do", "until they have ended"),
        ("Endpoint", "onwing-FD001"),
        ("alarm", "onwing-v1"),
        ("bucket contents", "onwing-bucket"),
        ("stack", "onwing"),
    ]
    assert any("model package group" in text for text in plan.kept)
    assert any("ECR" in text for text in plan.kept)


def test_planning_touches_nothing(target: Target, done: list[str]) -> None:
    teardown.plan(target, STACK, with_models=True, with_image=True)
    assert done == []


def test_everything_goes_in_order(target: Target, done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onwing.teardown.time.sleep", lambda _: None)
    for item in teardown.plan(target, STACK, with_models=True, with_image=True).items:
        teardown.remove(item)
    assert done == [
        "stop arn:run",
        "stop arn:rollback",
        "stop onwing-FD001-x",
        "look at onwing-FD001",
        "look at onwing-FD001",
        "delete onwing-FD001",
        "delete alarm onwing-v1",
        "delete arn:package/1",
        "delete onwing-FD001",
        "delete stack",
        "delete repository",
    ]


def test_executions_that_start_again_and_again_end_the_teardown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onwing.teardown.time.sleep", lambda _: None)
    target = target_with(
        cloudformation=FakeClient(list_stack_resources=RESOURCES),
        stepfunctions=FakeClient(
            list_executions={"executions": [{"executionArn": "arn:again", "name": "again"}]}, stop_execution={}
        ),
    )
    with pytest.raises(CommandFailed, match="again and again"):
        teardown.stop_executions(target)


def test_jobs_that_do_not_end_are_named() -> None:
    sagemaker = FakeClient(describe_training_job={"TrainingJobStatus": "Stopping"})
    with pytest.raises(CommandFailed, match="t-1"):
        teardown.wait_for_jobs(target_with(sagemaker=sagemaker), [("training", "t-1")], timeout=0)


def test_what_has_gone_meanwhile_is_no_failure() -> None:
    def gone() -> None:
        raise client_error("ValidationException", "does not exist")

    def denied() -> None:
        raise client_error("AccessDeniedException")

    assert not teardown.remove(teardown.Item("Endpoint", "x", gone))
    with pytest.raises(Exception, match="AccessDenied"):
        teardown.remove(teardown.Item("Endpoint", "x", denied))


def test_a_versioned_bucket_is_emptied_of_all_versions_and_markers() -> None:
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        s3.create_bucket(Bucket="a-bucket")
        s3.put_bucket_versioning(Bucket="a-bucket", VersioningConfiguration={"Status": "Enabled"})
        for number in range(5):
            s3.put_object(Bucket="a-bucket", Key="same", Body=str(number).encode())
        s3.delete_object(Bucket="a-bucket", Key="same")
        s3.put_object(Bucket="a-bucket", Key="other", Body=b"")
        target = target_with(s3=s3)
        assert teardown.empty_bucket(target, "a-bucket") == 7
        s3.delete_bucket(Bucket="a-bucket")
        assert teardown.empty_bucket(target, "a-bucket") == 0, "a bucket that has gone is empty"


def test_objects_that_may_not_be_deleted_stop_the_teardown() -> None:
    s3 = FakeClient(
        list_object_versions={"Versions": [{"Key": "k", "VersionId": "1"}]},
        delete_objects={"Errors": [{"Key": "k", "Message": "Access Denied"}]},
    )
    with pytest.raises(CommandFailed, match="Access Denied"):
        teardown.empty_bucket(target_with(s3=s3), "a-bucket")


def test_a_stack_that_cannot_be_deleted_says_why() -> None:
    failed = {"Stacks": [{"StackName": "onwing", "StackStatus": "DELETE_FAILED"}]}
    events = [
        {"ResourceStatus": "DELETE_FAILED", "LogicalResourceId": "Bucket", "ResourceStatusReason": "not empty"},
        {"ResourceStatus": "DELETE_COMPLETE", "LogicalResourceId": "Topic"},
    ]
    cloudformation = FakeClient(delete_stack={}, describe_stacks=failed, describe_stack_events={"StackEvents": events})
    with pytest.raises(CommandFailed, match="Bucket: not empty"):
        teardown.delete_stack(target_with(cloudformation=cloudformation), sleep=lambda _: None)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Output(console=Console(file=io.StringIO(), width=160, record=True)), Options(), Project(tmp_path))


def test_nothing_goes_without_a_yes_where_nobody_can_be_asked(
    context: Context, target: Target, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context.options = Options(env="dev")
    context.__dict__["target"] = target
    monkeypatch.setattr(stacks, "get", lambda target: STACK)
    with pytest.raises(UsageError, match="Nobody can be asked"):
        teardown.run(context, yes=False, purge=False, with_models=False, with_image=False)
    text = context.out.console.export_text()
    assert "This will go:" in text
    assert "Endpoint: onwing-FD001" in text
    assert done == []


@pytest.mark.parametrize("purge", [False, True])
def test_without_an_environment_only_the_embedded_cloud_goes_and_its_state_on_request(
    context: Context, monkeypatch: pytest.MonkeyPatch, purge: bool
) -> None:
    context.project.cloud_dir.mkdir(parents=True)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr("onwing.embedded.stop", lambda project: True)
    assert teardown.run(context, yes=False, purge=purge, with_models=False, with_image=False) is Exit.OK
    assert context.project.cloud_dir.exists() is not purge


def test_a_stack_without_a_bucket_can_be_taken_down(target: Target) -> None:
    broken = Stack("onwing", "ROLLBACK_COMPLETE", {"ProjectName": "onwing"})
    plan = teardown.plan(target, broken, with_models=False, with_image=False)
    assert plan.items[-1].kind == "stack"
    assert "bucket contents" not in [item.kind for item in plan.items]
