"""The deployed stack: its outputs name everything that a command uses (bucket, table, state machine, functions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from onwing.errors import NotDeployed
from onwing.target import Target


@dataclass(frozen=True)
class Stack:
    """A stack as CloudFormation describes it."""

    name: str
    status: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)

    def output(self, key: str) -> str:
        """One output; NotDeployed when the stack does not have it (yet)."""
        try:
            return self.outputs[key]
        except KeyError:
            raise NotDeployed(
                f"Stack {self.name} has no output {key}.",
                where=f"stack {self.name}, {self.status}",
                todo="Deploy the current template: `onwing up` (embedded cloud) or `onwing deploy --env …` (AWS).",
            ) from None

    @property
    def project(self) -> str:
        """The name that the stack gives to what it makes: model package groups are `<project>-<fleet>`."""
        return self.output("ProjectName")

    @property
    def bucket(self) -> str:
        """The data and model bucket."""
        return self.output("BucketName")

    @property
    def table(self) -> str:
        """The control table."""
        return self.output("TableName")

    @property
    def training(self) -> str:
        """ARN of the training state machine."""
        return self.output("TrainingStateMachineArn")


def find(target: Target) -> Stack | None:
    """The stack, or None when there is none of that name."""
    try:
        found = target.client("cloudformation").describe_stacks(StackName=target.stack_name)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    alive = [stack for stack in found if stack["StackStatus"] != "DELETE_COMPLETE"]
    if not alive:
        return None
    stack = alive[0]
    return Stack(
        name=stack["StackName"],
        status=stack["StackStatus"],
        outputs={item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])},
        parameters={item["ParameterKey"]: item.get("ParameterValue", "") for item in stack.get("Parameters", [])},
    )


def get(target: Target) -> Stack:
    """The stack; NotDeployed when there is none of that name."""
    found = find(target)
    if found is None:
        raise NotDeployed(
            f"Stack {target.stack_name} is not deployed.",
            where=str(target),
            todo="Deploy it: `onwing up` on this machine, or `onwing deploy --env dev` on AWS. Another name: --stack.",
        )
    return found


def resources(target: Target, resource_type: str) -> dict[str, str]:
    """Logical name → physical name of the stack's resources of one type ("AWS::SQS::Queue")."""
    pages = target.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=target.stack_name)
    return {
        item["LogicalResourceId"]: item["PhysicalResourceId"]
        for page in pages
        for item in page["StackResourceSummaries"]
        if item["ResourceType"] == resource_type and item.get("PhysicalResourceId")
    }
