"""SageMaker on stand-ins for the container runtime, S3, CloudWatch Logs and EventBridge."""

import io
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from localcloud.containers.images import Image, ImageMap
from localcloud.containers.processes import ContainerSpec
from localcloud.jobs.logs import Logs
from localcloud.jobs.platform import Platform
from localcloud.jobs.slots import Slots
from localcloud.sagemaker.events import Events
from localcloud.sagemaker.quotas import Quotas
from localcloud.sagemaker.service import SageMaker
from localcloud.store import Scope, Store

SCOPE = Scope("123456789012", "eu-west-1")
ROLE = "arn:aws:iam::123456789012:role/job-role"
RESOURCES = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}


class FakeContainer:
    """Ends when it is told to, or when it is stopped."""

    def __init__(self, code: int | None) -> None:
        self.pid = 1
        self.out_of_memory = False
        self.code = code
        self.grace: float | None = None  # with which it was asked to stop
        self.over = threading.Event()
        if code is not None:
            self.over.set()

    def wait(self, timeout: float | None = None) -> int | None:
        return self.code if self.over.wait(timeout) else None

    def stop(self, grace: float = 30.0) -> None:
        self.grace = grace
        self.code = -15 if self.code is None else self.code
        self.over.set()


class FakeRuntime:
    """Runs ``act`` in place of a container."""

    def __init__(self) -> None:
        self.act: Callable[[ContainerSpec, Callable[[str], None]], int | None] = lambda spec, say: 0
        self.specs: list[ContainerSpec] = []
        self.containers: list[FakeContainer] = []

    def start(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> Any:
        self.specs.append(spec)
        self.containers.append(FakeContainer(self.act(spec, on_line)))
        return self.containers[-1]


class FakeS3:
    """An S3 in a dictionary; what was there before the test is not among the uploads."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}

    def upload_file(self, name: str, bucket: str, key: str, **_: Any) -> None:
        self.objects[f"s3://{bucket}/{key}"] = self.uploads[f"s3://{bucket}/{key}"] = Path(name).read_bytes()

    def download_file(self, bucket: str, key: str, name: str) -> None:
        Path(name).write_bytes(self.objects[f"s3://{bucket}/{key}"])

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.objects[f"s3://{Bucket}/{Key}"])}

    def list_objects_v2(self, Bucket: str, Prefix: str, Delimiter: str = "", **_: Any) -> dict[str, Any]:
        start = f"s3://{Bucket}/"
        found = [uri.removeprefix(start) for uri in sorted(self.objects) if uri.startswith(start + Prefix)]
        if Delimiter:
            below = {key[len(Prefix) :].partition(Delimiter)[0] for key in found if Delimiter in key[len(Prefix) :]}
            return {"CommonPrefixes": [{"Prefix": f"{Prefix}{name}{Delimiter}"} for name in sorted(below)]}
        return {"Contents": [{"Key": key} for key in found]} if found else {}

    def get_paginator(self, _operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **request: [self.list_objects_v2(**request)])


class Bench:
    """SageMaker on stand-ins."""

    def __init__(self, directory: Path, slots: int = 2, quotas: Mapping[str, int] | None = None) -> None:
        self.runtime, self.s3 = FakeRuntime(), FakeS3()
        self.events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.lines: list[str] = []
        self.sagemaker = SageMaker(
            Platform(
                store=Store(),
                images=ImageMap([("stub*", Image("stub", ("run",)))]),
                runtime=self.runtime,
                slots=Slots(slots),
                logs=Logs(self._log),
                events=Events(lambda scope, entry: self.events.put(dict(entry))),
                s3=lambda scope, role: self.s3,
                environment=lambda scope, role: {"AWS_ENDPOINT_URL": "http://localhost"},
                directory=directory,
                quotas=Quotas(quotas),
            )
        )

    def _log(self, scope: Scope, operation: str, request: Any) -> dict[str, Any]:
        self.lines += [event["message"] for event in request.get("logEvents", [])]
        return {}

    def call(self, operation: str, **request: Any) -> Any:
        return self.sagemaker.call(SCOPE, operation, request)

    def train(self, name: str = "job", **more: Any) -> None:
        self.call("CreateTrainingJob", **{"TrainingJobName": name, **definition(), **more})

    def process(self, name: str = "job", **more: Any) -> None:
        self.call(
            "CreateProcessingJob",
            **{
                "ProcessingJobName": name,
                "RoleArn": ROLE,
                "AppSpecification": {"ImageUri": "stub:1"},
                "ProcessingResources": {"ClusterConfig": RESOURCES},
                **more,
            },
        )

    def tune(self, name: str = "tune", config: Mapping[str, Any] | None = None, **more: Any) -> None:
        self.call(
            "CreateHyperParameterTuningJob",
            **{
                "HyperParameterTuningJobName": name,
                "HyperParameterTuningJobConfig": {
                    "Strategy": "Random",
                    "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
                    "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1},
                    "ParameterRanges": {"IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "99"}]},
                    **(config or {}),
                },
                **({} if "TrainingJobDefinitions" in more else {"TrainingJobDefinition": definition()}),
                **more,
            },
        )

    def ended(self, name: str = "job", kind: str = "Training") -> Any:
        """The description of a job that has ended; kind: Training, Processing or HyperParameterTuning."""
        in_arns = {"Training": "training-job", "Processing": "processing-job"}.get(kind, "hyper-parameter-tuning-job")
        live = self.sagemaker.platform.live(SCOPE, in_arns, name)
        if live is not None:
            assert live.finished.wait(60)
        return self.call(f"Describe{kind}Job", **{f"{kind}JobName": name})


def definition(**more: Any) -> dict[str, Any]:
    """What of a training job a tuning job's definition has too."""
    return {
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "stub:1",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        },
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models/"},
        "ResourceConfig": RESOURCES,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **more,
    }


def channel(uri: str, name: str = "train", **more: Any) -> dict[str, Any]:
    """A channel of InputDataConfig."""
    return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}, **more}
