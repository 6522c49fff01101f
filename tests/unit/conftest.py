"""Fixtures of the unit tests: AWS by moto, with the control plane's stack in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from control_plane import clients
from control_plane.settings import (
    DeploymentSettings,
    Settings,
    load_deployment_settings,
    load_settings,
    load_violation_settings,
)
from hypothesis import HealthCheck
from hypothesis import settings as examples
from moto import mock_aws

from .localcloud_bench import Bench

ACCOUNT = "123456789012"

# The same examples each time, and no limit on what one takes: a busy machine makes no sound example fail.
examples.register_profile("unit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
examples.load_profile("unit")


@dataclass
class Stack:
    """What template.yaml makes, as far as the functions see it."""

    settings: Settings
    deploying: DeploymentSettings
    s3: Any
    dynamodb: Any
    stepfunctions: Any
    sagemaker: Any
    sqs: Any
    queue_url: str

    def upload(self, name: str, body: bytes, **extra: Any) -> str:
        """Put an object under data/raw/; returns its version id."""
        response = self.s3.put_object(Bucket=self.settings.bucket_name, Key=f"data/raw/{name}", Body=body, **extra)
        return str(response["VersionId"])

    def keys(self, prefix: str) -> list[str]:
        """The keys below a prefix."""
        listed = self.s3.list_objects_v2(Bucket=self.settings.bucket_name, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def read(self, key: str) -> bytes:
        """An object's content."""
        return bytes(self.s3.get_object(Bucket=self.settings.bucket_name, Key=key)["Body"].read())

    def executions(self, machine: str | None = None) -> list[dict[str, Any]]:
        """All executions of a state machine, training by default, newest first."""
        arn = machine or self.settings.training_state_machine_arn
        return list(self.stepfunctions.list_executions(stateMachineArn=arn)["executions"])

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts sent since the last call."""
        found: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
        return found


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        for cached in (clients.s3, clients.dynamodb, clients.sns, clients.stepfunctions, clients.sagemaker):
            cached.cache_clear()
        for load in (load_settings, load_deployment_settings, load_violation_settings):
            load.cache_clear()
        s3, dynamodb, sns, sqs, stepfunctions, sagemaker = (
            boto3.client(name) for name in ("s3", "dynamodb", "sns", "sqs", "stepfunctions", "sagemaker")
        )
        s3.create_bucket(Bucket="onwing-bucket")
        s3.put_bucket_versioning(Bucket="onwing-bucket", VersioningConfiguration={"Status": "Enabled"})
        dynamodb.create_table(
            TableName="onwing-table",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
        topic, critical = (sns.create_topic(Name=f"onwing-{name}")["TopicArn"] for name in ("alerts", "critical"))
        queue_url = sqs.create_queue(QueueName="onwing-inbox")["QueueUrl"]
        for each in (topic, critical):
            sns.subscribe(TopicArn=each, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:onwing-inbox")
        training, deployment, rollback = (
            stepfunctions.create_state_machine(
                name=f"onwing-{name}",
                definition=json.dumps(
                    {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 1, "End": True}}}
                ),
                roleArn=f"arn:aws:iam::{ACCOUNT}:role/onwing",
            )["stateMachineArn"]
            for name in ("training", "deployment", "rollback")
        )
        settings = Settings(
            project_name="onwing",
            bucket_name="onwing-bucket",
            table_name="onwing-table",
            alerts_topic_arn=topic,
            critical_topic_arn=critical,
            training_state_machine_arn=training,
        )
        deploying = DeploymentSettings(deployment_state_machine_arn=deployment, rollback_state_machine_arn=rollback)
        machines = deploying.model_dump(include={"deployment_state_machine_arn", "rollback_state_machine_arn"})
        for name, value in (settings.model_dump() | machines).items():
            monkeypatch.setenv(name.upper(), str(value))
        yield Stack(settings, deploying, s3, dynamodb, stepfunctions, sagemaker, sqs, queue_url)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """SageMaker on stand-ins, empty."""
    bench = Bench(tmp_path)
    yield bench
    bench.sagemaker.close()
