"""Stand-ins for what the command line talks to: AWS clients, other programs, an execution's history."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from rich.console import Console

from onwing.command import Context
from onwing.console import Output
from onwing.project import find_project
from onwing.runner import Ran
from onwing.stack import Stack
from onwing.target import Options, Target

START = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:onwing-training"
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:onwing-training:FD001-0123456789ab-1"
VERSION = "0123456789ab" + "c" * 52
STACK = Stack(
    "onwing",
    "CREATE_COMPLETE",
    {
        "BucketName": "onwing-bucket",
        "TableName": "onwing-table",
        "TrainingStateMachineArn": MACHINE,
        "StartTrainingFunctionName": "onwing-start",
        "ProjectName": "onwing",
        **{
            f"{kind.capitalize()}StateMachineArn": MACHINE.replace("training", kind)
            for kind in ("deployment", "rollback", "backup", "recovery", "monitoring")
        },
        "ReconcileFunctionName": "onwing-reconcile",
    },
    {
        "DeploymentStrategy": "canary",
        "CanaryStages": "10,50",
        "BakeSeconds": "300",
        "SoakSeconds": "3600",
    },
)
GROUP = "arn:aws:sagemaker:us-east-1:123456789012:model-package/onwing-FD001"


def at(seconds: float) -> datetime:
    """So many seconds after the start of every story told here."""
    return START + timedelta(seconds=seconds)


def client_error(code: str, message: str = "", operation: str = "Operation") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class FakeClient:
    """An AWS client: each keyword is an operation, its value the answer, a function that gives it, or an error."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Any:
        if operation.startswith("_") or operation not in self.answers:
            raise AttributeError(operation)

        def call(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            answer = self.answers[operation]
            if callable(answer):
                answer = answer(**arguments)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def get_paginator(self, operation: str) -> Any:
        outer = self

        class Paginator:
            def paginate(self, **arguments: Any) -> Iterator[Any]:
                answer = getattr(outer, operation)(**arguments)
                yield from answer if isinstance(answer, list) else [answer]

        return Paginator()

    def called(self, operation: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == operation]


def target_with(*, env: str | None = None, **clients: Any) -> Target:
    """A target on AWS whose clients are the given ones; a dash in a service's name is written as an underscore."""
    target = Target("us-east-1", "onwing", None, None, env)
    target.__dict__["_clients"] = {name.replace("_", "-"): client for name, client in clients.items()}
    return target


def execution_of(kind: str, name: str) -> str:
    """ARN of an execution of one of the machines."""
    return f"{MACHINE.replace('training', kind).replace(':stateMachine:', ':execution:')}:{name}"


def served(version: int, **more: Any) -> dict[str, Any]:
    """What the control table says of a model that serves."""
    return {"version": version, "variant": f"v{version}", "package_arn": f"{GROUP}/{version}", **more}


def under_way(version: int = 8, phase: str = "canary", share: float = 10, **more: Any) -> dict[str, Any]:
    """What the control table says of a deployment that goes on."""
    return {
        "execution": execution_of("deployment", f"FD001-v{version}-1"),
        "version": version,
        "mode": "canary",
        "phase": phase,
        "share": share,
        "challenger": served(version),
        "fallback": served(version - 1),
        "started_at": "2026-11-23T08:00:00Z",
        "approved_at": "2026-11-23T07:59:50Z",
        "request": 12,
        **more,
    }


def control_table(*items: tuple[str, dict[str, Any]], fleet: str = "FD001", **others: Any) -> FakeClient:
    """The control table with these items (sort key, attributes) of one fleet; documents become JSON text.

    `others`: partition → items of it.
    """
    from boto3.dynamodb.types import TypeSerializer

    encode = TypeSerializer().serialize
    partitions = {f"FLEET#{fleet}": items, **others}

    def query(**request: Any) -> dict[str, Any]:
        values = request["ExpressionAttributeValues"]
        prefix = values.get(":prefix", {"S": ""})["S"]
        after = values.get(":after", {"S": ""})["S"]
        found = [
            {
                "sk": {"S": key},
                **{name: encode(json.dumps(v) if isinstance(v, dict) else v) for name, v in attributes.items()},
            }
            for key, attributes in sorted(
                partitions.get(values[":partition"]["S"], ()),
                key=lambda item: item[0],
                reverse=not request.get("ScanIndexForward", True),
            )
            if key.startswith(prefix) and key > after
        ]
        return {"Items": found}

    return FakeClient(query=query, update_item={}, put_item={})


def context_with(*, as_json: bool = False, **clients: Any) -> Context:
    """A command's context on such a target; its output is a wide page that `text` reads."""
    console = None if as_json else Console(file=io.StringIO(), width=200, record=True)
    context = Context(Output(as_json=as_json, console=console), Options(), find_project())
    context.__dict__.update(target=target_with(**clients), stack=STACK)
    return context


def text(context: Context) -> str:
    """What a command has printed since this was asked last."""
    return context.out.console.export_text()


class FakeRunner:
    """Runs nothing: remembers every command, and answers by how it begins (success without output otherwise)."""

    def __init__(self, answers: Mapping[str, Ran] | None = None) -> None:
        self.answers = dict(answers or {})
        self.commands: list[list[str]] = []
        self.environments: list[Mapping[str, str | None]] = []
        self.inputs: list[str | None] = []

    def __call__(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        log: Path | None = None,
        stdin: str | None = None,
    ) -> Ran:
        self.commands.append(list(command))
        self.environments.append(env or {})
        self.inputs.append(stdin)
        line = " ".join([Path(command[0]).name, *command[1:]])
        for beginning, ran in self.answers.items():
            if line.startswith(beginning):
                return ran
        return Ran(0)


class History:
    """Writes an execution's history, event by event, as Step Functions does."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def add(self, seconds: float, kind: str, details: str = "", **values: Any) -> History:
        number = len(self.events) + 1
        event: dict[str, Any] = {"id": number, "previousEventId": number - 1, "type": kind, "timestamp": at(seconds)}
        if details:
            event[details] = values
        self.events.append(event)
        return self

    def entered(self, seconds: float, state: str, kind: str = "Task") -> History:
        return self.add(seconds, f"{kind}StateEntered", "stateEnteredEventDetails", name=state, input="{}")

    def exited(self, seconds: float, state: str, kind: str = "Task") -> History:
        return self.add(seconds, f"{kind}StateExited", "stateExitedEventDetails", name=state, output="{}")

    def scheduled(self, seconds: float, action: str, **parameters: Any) -> History:
        return self.add(
            seconds,
            "TaskScheduled",
            "taskScheduledEventDetails",
            resourceType="sagemaker",
            resource=f"{action}.sync",
            region="us-east-1",
            parameters=json.dumps(parameters),
        )

    def failed(self, seconds: float, error: str, cause: str) -> History:
        return self.add(seconds, "TaskFailed", "taskFailedEventDetails", error=error, cause=cause, resource="x")


def description(status: str = "RUNNING", stopped: float | None = None, **more: Any) -> dict[str, Any]:
    """DescribeExecution's answer."""
    found: dict[str, Any] = {
        "executionArn": EXECUTION,
        "name": EXECUTION.rpartition(":")[2],
        "stateMachineArn": MACHINE,
        "status": status,
        "startDate": at(0),
        "input": json.dumps({"fleet": "FD001", "dataset_version": VERSION, "attempt": 1}),
        **more,
    }
    if stopped is not None:
        found["stopDate"] = at(stopped)
    return found


def training_history() -> History:
    """A run up to the tuning job: settled, processed, tuning."""
    return (
        History()
        .add(0, "ExecutionStarted", "executionStartedEventDetails", input="{}")
        .entered(0, "Prepare", "Pass")
        .exited(0, "Prepare", "Pass")
        .entered(0, "Settle", "Wait")
        .exited(3, "Settle", "Wait")
        .entered(3, "Process")
        .scheduled(3, "createProcessingJob", ProcessingJobName="onwing-FD001-ab-process-00")
        .exited(10, "Process")
        .entered(10, "Tune")
        .scheduled(10, "createHyperParameterTuningJob", HyperParameterTuningJobName="onwing-FD001-ab-00")
    )
