"""Taking everything down: first a plan that says what will go, then the deed. The stack goes last."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from rich.markup import escape

from onwing import embedded, jobs
from onwing import stack as stacks
from onwing.command import Context
from onwing.errors import CommandFailed, Exit, UsageError, error_code
from onwing.image import REPOSITORY
from onwing.stack import Stack
from onwing.target import LOCAL, Target

TAG = "onwing:project"
BATCH = 1000  # keys in one DeleteObjects
GONE = (
    "ValidationException",
    "ValidationError",
    "ResourceNotFound",
    "ResourceNotFoundException",
    "ExecutionDoesNotExist",
)
BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")  # an endpoint that takes no order
# What is made outside the stack, in the order in which it can go: SageMaker SDK resource, attribute that names it.
JOBS = (
    ("HyperParameterTuningJob", "hyper_parameter_tuning_job_name", "tuning"),
    ("TrainingJob", "training_job_name", "training"),
    ("ProcessingJob", "processing_job_name", "processing"),
)
ENDPOINTS = (
    ("Endpoint", "endpoint_name"),
    ("EndpointConfig", "endpoint_config_name"),
    ("Model", "model_name"),
)


def run(context: Context, *, yes: bool, purge: bool, with_models: bool, with_image: bool) -> Exit:
    """Take down the embedded cloud; or, where an environment or an endpoint is named, what belongs to the stack there.

    Without a name it is never AWS, whatever credentials are at hand: nothing that costs a day to rebuild goes by habit.
    """
    if context.options.env in (None, LOCAL) and not os.environ.get("AWS_ENDPOINT_URL"):
        return _down_here(context, purge=purge)
    return _down_there(context, context.target, yes=yes, with_models=with_models, with_image=with_image)


def _down_here(context: Context, *, purge: bool) -> Exit:
    out, folder = context.out, context.project.cloud_dir
    context.announce(f"the embedded cloud of {context.project.root}")
    with out.step("Stopping the embedded cloud and its jobs"):
        stopped = embedded.stop(context.project)
    out.ok("It has stopped." if stopped else "It did not run.")
    if purge:
        shutil.rmtree(folder, ignore_errors=True)
        out.ok(f"Removed its state: {folder}")
    elif folder.exists():
        out.line(f"Its state stays in {folder} (--purge removes it).")
    out.document({"stopped": stopped, "purged": purge})
    out.next("onwing up   (starts it again)")
    return Exit.OK


def _down_there(context: Context, target: Target, *, yes: bool, with_models: bool, with_image: bool) -> Exit:
    out = context.out
    with out.step("Looking for what belongs to the stack"):
        found = plan(target, context.stack, with_models=with_models, with_image=with_image)
    out.line("[bold]This will go:[/]")
    for item in found.items:
        out.line(f"  {item.kind}: {escape(item.name)}")
    out.line("[bold]This stays:[/]")
    for text in found.kept:
        out.line(f"  {escape(text)}")
    if not yes and not out.confirm("Remove all of it?"):
        raise UsageError("Nothing was removed.", where=str(target))
    for item in found.items:
        with out.step(f"Removing {item.kind} {escape(item.name)}"):
            remove(item)
    out.document({"removed": [{"kind": item.kind, "name": item.name} for item in found.items], "kept": found.kept})
    out.next("onwing deploy --env …   (to deploy it again)")
    return Exit.OK


@dataclass(frozen=True)
class Item:
    """One thing that will go: what it is, its name, and how it goes."""

    kind: str
    name: str
    remove: Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """Everything that will go, in order, and what stays."""

    items: Sequence[Item]
    kept: Sequence[str]


def plan(target: Target, stack: Stack, *, with_models: bool, with_image: bool) -> Plan:
    """Look for everything that belongs to the stack, without touching it."""
    items = [*_executions(target), *_sagemaker(target, stack), *_alarms(target, stack)]
    kept = ["log groups of SageMaker's jobs (/aws/sagemaker/…)", "SAM's own bucket (stack aws-sam-cli-managed-default)"]
    groups = list(_package_groups(target, stack))
    if with_models:
        items += groups
    elif groups:
        kept.insert(0, f"{len(groups)} model package groups; their artefacts go with the bucket (--models)")
    if "BucketName" in stack.outputs:
        items.append(Item("bucket contents", stack.bucket, lambda: empty_bucket(target, stack.bucket)))
    items.append(Item("stack", stack.name, lambda: delete_stack(target)))
    if with_image:
        items.append(Item("ECR repository", REPOSITORY, lambda: _delete_repository(target)))
    else:
        kept.append(f"ECR repository {REPOSITORY}, if there is one (--image removes it)")
    return Plan(items, kept)


def _executions(target: Target) -> Iterator[Item]:
    running = list(_running(target))
    for name, arn in running:
        yield Item("running execution", name, _bound(_stop, target=target, arn=arn))
    if running:
        # A deployment that is stopped starts a rollback, which would make again what goes here.
        yield Item("executions that these start", "until none runs", lambda: stop_executions(target))


def _running(target: Target) -> Iterator[tuple[str, str]]:
    """Name and ARN of each running execution of the stack's state machines."""
    stepfunctions = target.client("stepfunctions")
    for machine in stacks.resources(target, "AWS::StepFunctions::StateMachine").values():
        pages = stepfunctions.get_paginator("list_executions").paginate(stateMachineArn=machine, statusFilter="RUNNING")
        for page in pages:
            for execution in page["executions"]:
                yield execution["name"], execution["executionArn"]


def _stop(target: Target, arn: str) -> None:
    target.client("stepfunctions").stop_execution(executionArn=arn, cause="onwing down")


def stop_executions(target: Target, *, quiet: int = 5, most: int = 120) -> None:
    """Stop whatever runs until nothing has run for `quiet` seconds. Raises CommandFailed when that does not come."""
    silent = 0
    for _ in range(most):
        running = list(_running(target))
        for _, arn in running:
            _stop(target, arn)
        silent = 0 if running else silent + 1
        if silent > quiet:
            return
        time.sleep(1)
    raise CommandFailed(
        "Executions are started again and again.",
        where=str(target),
        todo="Find out what starts them (`onwing status`), then run `onwing down` again.",
    )


def _sagemaker(target: Target, stack: Stack) -> Iterator[Item]:
    """Running jobs, endpoints, configurations and models of this project: named after it, and tagged by it."""
    own: dict[str, Any] = {"session": target.session, "region": target.region}
    prefix = f"{stack.project}-"
    stopped: list[tuple[str, str]] = []
    for kind, attribute, short in JOBS:
        for job in sdk_resource(kind).get_all(name_contains=prefix, status_equals="InProgress", **own):
            name = getattr(job, attribute)
            if name.startswith(prefix):
                stopped.append((short, name))
                yield Item(f"running {kind}", name, job.stop)
    if stopped:
        # Else their last outputs would come into the bucket after it was emptied.
        yield Item("what these jobs still do", "until they have ended", lambda: wait_for_jobs(target, stopped))
    for kind, attribute in ENDPOINTS:
        for resource in sdk_resource(kind).get_all(name_contains=prefix, **own):
            name = getattr(resource, attribute)
            arn = getattr(resource, attribute.replace("_name", "_arn"))
            if name.startswith(prefix) and _tagged(target, stack, arn):
                delete = _bound(delete_endpoint, target=target, name=name) if kind == "Endpoint" else resource.delete
                yield Item(kind, name, delete)


def delete_endpoint(target: Target, name: str, *, timeout: float = 1800) -> None:
    """Delete an endpoint, after what it is in the middle of, and wait until it has gone with all that it captures."""
    sagemaker = target.client("sagemaker")
    deadline = time.monotonic() + timeout
    deleted = False
    try:
        while True:
            status = sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
            if not deleted and status not in BUSY:
                sagemaker.delete_endpoint(EndpointName=name)
                deleted = True
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"Endpoint {name} does not go: {status}.", where=str(target), todo="Run `onwing down` again."
                )
            time.sleep(2)
    except ClientError as error:
        if error_code(error) not in GONE:
            raise


def wait_for_jobs(
    target: Target,
    stopped: Sequence[tuple[str, str]],
    *,
    timeout: float = 600,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until jobs (kind, name) that were told to stop have ended. Raises CommandFailed when they do not."""
    deadline = time.monotonic() + timeout
    left = list(stopped)
    while True:
        left = [(kind, name) for kind, name in left if (found := jobs.facts(target, kind, name)) and not found.over]
        if not left:
            return
        if time.monotonic() > deadline:
            names = ", ".join(name for _, name in left)
            raise CommandFailed(f"These jobs do not end: {names}.", where=str(target), todo="Run `onwing down` again.")
        sleep(2)


def sdk_resource(kind: str) -> Any:
    """A typed resource of the SageMaker SDK, imported here because that takes seconds."""
    from sagemaker.core import resources

    return getattr(resources, kind)


def _tagged(target: Target, stack: Stack, arn: str) -> bool:
    pages = target.client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
    return any((tag["Key"], tag["Value"]) == (TAG, stack.project) for page in pages for tag in page["Tags"])


def _alarms(target: Target, stack: Stack) -> Iterator[Item]:
    """Alarms that deployments made; the stack's own go with the stack."""
    cloudwatch = target.client("cloudwatch")
    own = set(stacks.resources(target, "AWS::CloudWatch::Alarm").values())
    for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack.project}-"):
        for alarm in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]:
            name = alarm["AlarmName"]
            if name in own:
                continue
            tags = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
            if {"Key": TAG, "Value": stack.project} in tags:
                yield Item("alarm", name, _bound(cloudwatch.delete_alarms, AlarmNames=[name]))


def _package_groups(target: Target, stack: Stack) -> Iterator[Item]:
    prefix = f"{stack.project}-"
    pages = target.client("sagemaker").get_paginator("list_model_package_groups").paginate(NameContains=prefix)
    for page in pages:
        for group in page["ModelPackageGroupSummaryList"]:
            name = group["ModelPackageGroupName"]
            if name.startswith(prefix) and _tagged(target, stack, group["ModelPackageGroupArn"]):
                yield Item(
                    "model package group and its packages", name, _bound(_delete_group, target=target, name=name)
                )


def _delete_group(target: Target, name: str) -> None:
    sagemaker = target.client("sagemaker")
    # Gathered first: deleting while paging skips packages.
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=name)
    for arn in [package["ModelPackageArn"] for page in pages for package in page["ModelPackageSummaryList"]]:
        sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName=name)


def _delete_repository(target: Target) -> None:
    try:
        target.client("ecr").delete_repository(repositoryName=REPOSITORY, force=True)
    except ClientError as error:
        if error_code(error) != "RepositoryNotFoundException":
            raise


def _bound(call: Callable[..., object], **arguments: Any) -> Callable[[], object]:
    return lambda: call(**arguments)


def remove(item: Item) -> bool:
    """Remove one thing; False when it had gone meanwhile."""
    try:
        item.remove()
    except ClientError as error:
        if error_code(error) not in GONE:
            raise
        return False
    return True


def empty_bucket(target: Target, bucket: str) -> int:
    """Delete every version and delete marker of every object; returns how many."""
    s3 = target.client("s3")
    count = 0
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            ]
            for start in range(0, len(found), BATCH):
                batch = found[start : start + BATCH]
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
                _check(answer.get("Errors", []), bucket)
                count += len(batch)
    except ClientError as error:
        if error_code(error) != "NoSuchBucket":
            raise
    return count


def _check(errors: Sequence[Any], bucket: str) -> None:
    if errors:
        first = errors[0]
        raise CommandFailed(
            f"{len(errors)} objects could not be deleted; the first: {first['Key']}: {first.get('Message', '')}",
            where=f"s3://{bucket}",
            todo="Look at the bucket's policy and your permissions, then run `onwing down` again.",
        )


def delete_stack(target: Target, *, timeout: float = 1800, sleep: Callable[[float], None] = time.sleep) -> None:
    """Delete the stack and wait until it is gone. Raises CommandFailed with CloudFormation's reasons."""
    cloudformation = target.client("cloudformation")
    cloudformation.delete_stack(StackName=target.stack_name)
    deadline = time.monotonic() + timeout
    while True:
        stack = stacks.find(target)
        if stack is None:
            return
        if stack.status == "DELETE_FAILED" or time.monotonic() > deadline:
            events = cloudformation.describe_stack_events(StackName=target.stack_name)["StackEvents"]
            reasons = [
                f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
                for event in events
                if event["ResourceStatus"] == "DELETE_FAILED"
            ]
            raise CommandFailed(
                f"The stack could not be deleted ({stack.status}).\n" + "\n".join(reasons[:5]),
                where=str(target),
                todo="Remove what is named, then run `onwing down` again.",
            )
        sleep(2)
