"""What the embedded cloud costs: its start, its memory, and the pauses in which its state is saved under load.

Prints JSON when run as a script. The load is what clients can make of it: threads that put objects and items and send
messages without a pause, and twenty executions at once, each of which waits for a training job.
"""

import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from localcloud import daemon
from localcloud.testing import Cloud, localcloud

STARTS = 3
THREADS = 6
LOAD_SECONDS = 20.0
EXECUTIONS = 20
IMAGE = "bench/job:1"
ROLE_NAME = "bench"

Figures = dict[str, Any]


def run() -> Figures:
    """Seconds, megabytes (10⁶ bytes; resident memory of the server's process alone), milliseconds of pauses."""
    with tempfile.TemporaryDirectory(prefix="bench-localcloud-") as folder:
        base = Path(folder)
        image = base / "image.toml"
        image.write_text(f'[[image]]\nmatch = "{IMAGE}"\nentrypoint = ["{sys.executable}", "-c", "print(1)"]\n')
        starts = [_start_seconds(base / f"start-{number}") for number in range(STARTS)]
        with localcloud(base / "cloud", images=[image], keep=True) as cloud:
            time.sleep(3)
            figures: Figures = {"start_seconds": starts, "idle_memory_mb": _memory(cloud)}
            figures["requests"] = _under(cloud, _requests(cloud))
            figures["executions"] = _under(cloud, _executions(cloud))
            cloud.kill()
            begin = time.perf_counter()
            cloud.start_again()
            figures["start_restored_seconds"] = round(time.perf_counter() - begin, 2)
            figures["restored_memory_mb"] = _memory(cloud)
    return figures


def _start_seconds(directory: Path) -> float:
    begin = time.perf_counter()
    with localcloud(directory, keep=True):
        return round(time.perf_counter() - begin, 2)


def _memory(cloud: Cloud) -> int:
    """The server's resident memory."""
    lines = Path(f"/proc/{cloud.running.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 // 1_000_000 for line in lines if line.startswith("VmRSS:"))


def _under(cloud: Cloud, load: Callable[[], Figures]) -> Figures:
    """What a load gives, with what the server needed meanwhile."""
    memory, unsaved, delays = [_memory(cloud)], [0.0], []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            memory.append(_memory(cloud))
            begin = time.perf_counter()
            with contextlib.suppress(Exception):
                status = daemon.snapshots(cloud.running)
                delays.append((time.perf_counter() - begin) * 1000)
                if status:
                    unsaved.append(status["unsaved_seconds"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        figures = load()
    finally:
        done.set()
        thread.join()
    status = daemon.snapshots(cloud.running)
    assert status is not None
    return {
        **figures,
        "memory_mb": max(memory),
        "snapshot_pauses_ms": status["pauses_ms"],
        "snapshot_pauses_cpu_ms": status["pauses_cpu_ms"],
        "snapshot_seconds": status["seconds"],
        "snapshot_mb": round(status["bytes"] / 1e6, 2),
        "unsaved_seconds": round(max(unsaved), 2),
        "answer_ms": {"p50": round(statistics.median(delays), 1), "max": round(max(delays), 1)} if delays else None,
        "failed": status["failed"],
    }


def _requests(cloud: Cloud) -> Callable[[], Figures]:
    s3, table, queue = cloud.client("s3"), cloud.client("dynamodb"), cloud.client("sqs")
    s3.create_bucket(Bucket="bench")
    s3.put_bucket_versioning(Bucket="bench", VersioningConfiguration={"Status": "Enabled"})
    table.create_table(
        TableName="bench",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    url = queue.create_queue(QueueName="bench")["QueueUrl"]
    body = os.urandom(100_000)

    def client() -> Iterator[None]:
        for number in itertools.count():
            s3.put_object(Bucket="bench", Key=f"key-{number % 50}", Body=body)
            table.put_item(TableName="bench", Item={"pk": {"S": str(number % 2000)}, "value": {"S": "x" * 200}})
            queue.send_message(QueueUrl=url, MessageBody="x" * 200)
            yield

    def load() -> Figures:
        end = time.monotonic() + LOAD_SECONDS
        counts = [0] * THREADS

        def work(place: int) -> None:
            for _ in client():
                counts[place] += 3
                if time.monotonic() > end:
                    return

        threads = [threading.Thread(target=work, args=(place,)) for place in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"requests_per_second": round(sum(counts) / LOAD_SECONDS)}

    return load


def _executions(cloud: Cloud) -> Callable[[], Figures]:
    role = cloud.role(ROLE_NAME)
    states = cloud.client("stepfunctions")
    job = {
        "TrainingJobName": "{% $states.context.Execution.Name %}",
        "RoleArn": role,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://bench/models"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    train = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
        "Arguments": job,
        "End": True,
    }
    machine = states.create_state_machine(
        name="bench",
        roleArn=role,
        definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "Train", "States": {"Train": train}}),
    )["stateMachineArn"]

    def load() -> Figures:
        begin = time.perf_counter()
        for number in range(EXECUTIONS):
            states.start_execution(stateMachineArn=machine, name=f"run-{number}")
        while states.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]:
            time.sleep(0.2)
        done = states.list_executions(stateMachineArn=machine, statusFilter="SUCCEEDED")["executions"]
        return {"succeeded": len(done), "seconds": round(time.perf_counter() - begin, 1)}

    return load


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
