"""The real template on the embedded cloud, with the stub image in place of the training image."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import random
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from localcloud.testing import Cloud, localcloud
from tests.conftest import Trio

ROOT = Path(__file__).parents[1]
SAM = ROOT / ".venvs" / "sam" / "bin" / "sam"
SETTLE_SECONDS = 2
# A busy machine may keep any one request waiting for seconds: a good model must not seem slow because of that, nor may
# a good server that starts slowly be given up.
LATENCY_LIMIT_SECONDS = 8
SLOW: dict[str, Any] = {"mode": "slow", "seconds": LATENCY_LIMIT_SECONDS + 1}  # what is slow even so
PARAMETERS = {
    "PythonRuntime": f"python{sys.version_info.major}.{sys.version_info.minor}",
    "ImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/onwing-turbofan:test",
    "SettleSeconds": SETTLE_SECONDS,
    "Schedules": "DISABLED",
    "MonitoringSchedule": "DISABLED",  # tests run it; the hourly one would come in between
    "TuningMaxJobs": 2,
    "TuningMaxParallelJobs": 2,
    "BakeSeconds": 3,
    "SoakSeconds": 5,
    "AssessSeconds": 1,
    "AlarmPeriodSeconds": 10,
    "MetricDelaySeconds": 1,
    "EndpointPollSeconds": 1,
    "StartupTimeoutSeconds": 120,
    "DeliveryDelaySeconds": 1,
    "RetrainCooldownSeconds": 3600,
    "LatencyLimitMs": LATENCY_LIMIT_SECONDS * 1000,
    "OverheadLimitMs": LATENCY_LIMIT_SECONDS * 1000,
}

T = TypeVar("T")


def until(what: str, probe: Callable[[], T | None], *, seconds: float = 240) -> T:
    """Wait for a probe to answer with something; fails with `what` when it does not.

    A long wait costs nothing where all is well, and a busy machine may need it.
    """
    end = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() >= end
        if (found := probe()) is not None:
            return found
        if is_last:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


@dataclass
class Deployed:
    """The stack, and what a test does with it. Every test has a fleet of its own, so they do not meet."""

    cloud: Cloud
    outputs: dict[str, str]
    plans: Path
    inbox: str
    _received: list[dict[str, Any]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        """A boto3 client."""
        return self.cloud.client(service)

    def plan(self, fleet: str, **plan: Any) -> None:
        """What the stub image is to do for a fleet; put in place as a whole, as jobs that hold read it all the time."""
        written = self.plans / f"{fleet}.new"
        written.write_text(json.dumps(plan))
        written.replace(self.plans / f"{fleet}.json")

    def put(self, name: str, body: bytes, **extra: Any) -> str:
        """Upload one file under data/raw/; returns its version id."""
        response = self.client("s3").put_object(
            Bucket=self.outputs["BucketName"], Key=f"data/raw/{name}", Body=body, **extra
        )
        return str(response["VersionId"])

    def put_trio(self, trio: Trio) -> None:
        """Upload a whole data set."""
        for name, body in trio.files.items():
            self.put(name, body)

    def keys(self, prefix: str) -> list[str]:
        """The keys below a prefix."""
        listed = self.client("s3").list_objects_v2(Bucket=self.outputs["BucketName"], Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def read(self, key: str) -> bytes:
        """An object's content."""
        return bytes(self.client("s3").get_object(Bucket=self.outputs["BucketName"], Key=key)["Body"].read())

    def executions(self, fleet: str) -> list[dict[str, Any]]:
        """The fleet's executions, newest first."""
        pages = self.client("stepfunctions").get_paginator("list_executions")
        listed = pages.paginate(stateMachineArn=self.outputs["TrainingStateMachineArn"])
        return [e for page in listed for e in page["executions"] if e["name"].startswith(f"{fleet}-")]

    def ended(self, fleet: str, *, count: int = 1, seconds: float = 400) -> dict[str, Any]:
        """Wait until the fleet has `count` executions and all have ended; describe the newest, output parsed."""

        def probe() -> str | None:
            found = self.executions(fleet)
            done = len(found) >= count and all(e["status"] != "RUNNING" for e in found)
            return max(found, key=lambda e: e["startDate"])["executionArn"] if done else None

        arn = until(f"{count} executions of {fleet} ended: {self.executions(fleet)}", probe, seconds=seconds)
        described = self.client("stepfunctions").describe_execution(executionArn=arn)
        described["output"] = json.loads(described.get("output") or "null")
        return dict(described)

    def train(self, **request: Any) -> dict[str, Any]:
        """Invoke the start_training function."""
        response = self.client("lambda").invoke(
            FunctionName=self.outputs["StartTrainingFunctionName"], Payload=json.dumps(request)
        )
        answer = json.loads(response["Payload"].read())
        assert "FunctionError" not in response, answer
        return dict(answer)

    def alerts(self, text: str) -> list[dict[str, Any]]:
        """Every alert so far whose subject or message holds `text`."""
        sqs = self.client("sqs")
        while messages := sqs.receive_message(QueueUrl=self.inbox, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                sqs.delete_message(QueueUrl=self.inbox, ReceiptHandle=message["ReceiptHandle"])
                self._received.append(json.loads(message["Body"]))
        return [a for a in self._received if text in (a.get("Subject") or "") + a["Message"]]

    def alert(self, *texts: str) -> dict[str, Any]:
        """Wait for an alert that holds all of `texts`."""
        wanted = f"alert with {texts}"
        return until(
            wanted,
            lambda: next((a for a in self.alerts(texts[0]) if all(t in json.dumps(a) for t in texts[1:])), None),
        )

    def packages(self, fleet: str) -> list[dict[str, Any]]:
        """The fleet's model packages, newest first; none if there is no group."""
        sagemaker = self.client("sagemaker")
        groups = sagemaker.list_model_package_groups(NameContains=f"onwing-{fleet}")["ModelPackageGroupSummaryList"]
        if not groups:
            return []
        listed = sagemaker.list_model_packages(ModelPackageGroupName=f"onwing-{fleet}", SortBy="CreationTime")
        return list(listed["ModelPackageSummaryList"])

    def version(self, fleet: str) -> dict[str, str]:
        """The fleet's only VERSION item in the control table."""
        items = self.client("dynamodb").query(
            TableName=self.outputs["TableName"],
            KeyConditionExpression="pk = :fleet AND begins_with(sk, :version)",
            ExpressionAttributeValues={":fleet": {"S": f"FLEET#{fleet}"}, ":version": {"S": "VERSION#"}},
        )["Items"]
        assert len(items) == 1, items
        return {name: next(iter(value.values())) for name, value in items[0].items()}


_numbers = itertools.count(1)


def new_fleet() -> str:
    """A fleet that no other test uses, in this worker or another."""
    letters = "".join(random.choices(string.ascii_uppercase, k=4))
    return f"T{letters}{next(_numbers)}"


@contextlib.contextmanager
def deploy(directory: Path, shared: Path, keep: bool = False, **parameters: Any) -> Iterator[Deployed]:
    """Start an embedded cloud, deploy the stack, and stop it all at the end.

    Args:
        shared: keeps the workers' one build.
        keep: whether the cloud saves its state, so that it can be killed and started again.
    """
    plans = directory / "plans"
    plans.mkdir()
    image = directory / "image.toml"
    image.write_text(
        f"""[[image]]
match = "*onwing-turbofan*"
base = "{ROOT}"
entrypoint = ["python", "-m", "turbofan"]
pythonpath = ["tests/stub_image"]
env = {{ STUB_PLANS = "{plans}" }}
"""
    )
    with localcloud(directory / "cloud", images=[image], slots=4, keep=keep) as cloud:
        environment = {**os.environ, **cloud.environment, "SAM_CLI_TELEMETRY": "0"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        overrides = [f"{name}={value}" for name, value in {**PARAMETERS, **parameters}.items()]
        _build(shared, overrides, environment)
        command = "deploy --stack-name onwing --resolve-s3 --capabilities CAPABILITY_IAM --no-confirm-changeset"
        template = ["--template-file", str(shared / "build/template.yaml")]
        _sam([*command.split(), *template, "--parameter-overrides", *overrides], environment)
        stack = cloud.client("cloudformation").describe_stacks(StackName="onwing")["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        inbox = cloud.client("sqs").create_queue(QueueName="inbox")["QueueUrl"]
        arn = cloud.client("sqs").get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]
        topics = [outputs["AlertsTopicArn"], outputs["CriticalAlertsTopicArn"]]
        topics_may_send = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn["QueueArn"],
            "Condition": {"ArnEquals": {"aws:SourceArn": topics}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [topics_may_send]})
        cloud.client("sqs").set_queue_attributes(QueueUrl=inbox, Attributes={"Policy": policy})
        for topic in topics:
            cloud.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
        yield Deployed(cloud, outputs, plans, inbox)


def _build(shared: Path, overrides: list[str], environment: dict[str, str]) -> None:
    shared.mkdir(parents=True, exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "built").exists():
            # sam keeps dependencies below the folder that it is started in, and cleans up there: in one folder, two
            # builds at the same time take each other's files away.
            where = ["--template-file", str(ROOT / "template.yaml"), "--build-dir", str(shared / "build")]
            _sam(["build", *where, "--parameter-overrides", *overrides], environment, shared)
            (shared / "built").touch()


def _sam(arguments: list[str], environment: dict[str, str], directory: Path = ROOT) -> None:
    result = subprocess.run(
        [SAM, *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert result.returncode == 0, f"sam {arguments[0]}:\n{result.stdout}\n{result.stderr}"
