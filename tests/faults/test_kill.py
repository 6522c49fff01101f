"""kill -9 in the middle of everything: what was acknowledged is there, what was interrupted says so and can go on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from localcloud import daemon
from localcloud.errors import LocalcloudError
from tests.conftest import make_trio
from tests.deployed import Deployed, until
from tests.processes import processes_of

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)


def wait_until_saved(stack: Deployed) -> None:
    """Wait until all that services other than S3 have answered so far is on disk.

    That takes seconds, more of them on a busy machine; what is younger may be lost by a kill.
    """
    begin = time.monotonic()

    def saved() -> bool | None:
        asked = time.monotonic()
        with contextlib.suppress(LocalcloudError):  # too busy to answer in time
            figures = daemon.snapshots(stack.cloud.running)
            if figures is not None and figures["unsaved_seconds"] < asked - begin:
                return True
        return None

    until("the state is saved", saved)


def assert_no_orphans(directory: Path) -> None:
    """Jobs, launchers, functions' workers, model servers, snapshots: all are gone with the server."""
    until("no process is left", lambda: None if processes_of(directory) else True)


def tuning_job_of(stack: Deployed, fleet: str) -> dict[str, Any] | None:
    """The fleet's tuning job."""
    found = stack.client("sagemaker").list_hyper_parameter_tuning_jobs(NameContains=fleet.lower())
    jobs = found["HyperParameterTuningJobSummaries"]
    return dict(jobs[0]) if jobs else None


def training_jobs_of(stack: Deployed, fleet: str) -> list[dict[str, Any]]:
    """The fleet's training jobs."""
    pages = stack.client("sagemaker").get_paginator("list_training_jobs").paginate()
    listed = [job for page in pages for job in page["TrainingJobSummaries"]]
    return [job for job in listed if fleet.lower() in job["TrainingJobName"].lower()]


class Writer:
    """Puts objects all the time and remembers what was acknowledged when."""

    def __init__(self, stack: Deployed) -> None:
        self._s3 = stack.client("s3")
        self._bucket = stack.outputs["BucketName"]
        self.acknowledged: list[tuple[str, str, str]] = []  # key, version, digest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Write no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            # Two keys of three are overwritten again and again.
            key = f"written/{number}" if number % 3 == 0 else f"written/over-{number % 3}"
            body = os.urandom(20_000)
            try:
                version = self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, Tagging=f"n={number}")[
                    "VersionId"
                ]
            except Exception:  # noqa: BLE001 - the server was killed
                return
            self.acknowledged.append((key, version, hashlib.sha256(body).hexdigest()))


def test_kill_in_the_middle_of_a_tuning_job(mortal: Deployed, fleet: str) -> None:
    cloud = mortal.cloud
    mortal.plan(fleet, hold="train")
    mortal.put_trio(make_trio(fleet))
    until("the tuning job is there", lambda: tuning_job_of(mortal, fleet), seconds=600)
    until("a training job runs", lambda: training_jobs_of(mortal, fleet) or None)
    writer = Writer(mortal)
    until("objects are written", lambda: True if len(writer.acknowledged) > 20 else None)
    wait_until_saved(mortal)
    endpoint = cloud.endpoint
    cloud.kill()
    writer.end()
    assert_no_orphans(cloud.running.directory)

    mortal.plan(fleet)
    cloud.start_again()

    assert cloud.endpoint == endpoint  # addresses of queues in the state stay true
    execution = mortal.ended(fleet)
    assert (execution["status"], execution["error"]) == ("FAILED", "Localcloud.Interrupted")
    assert "redrive" in execution["cause"]
    assert mortal.alert(fleet, "ended FAILED")
    tuning = tuning_job_of(mortal, fleet)
    assert tuning is not None
    described = mortal.client("sagemaker").describe_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=tuning["HyperParameterTuningJobName"]
    )
    assert described["HyperParameterTuningJobStatus"] == "Failed"
    assert "localcloud was stopped" in described["FailureReason"]
    assert {job["TrainingJobStatus"] for job in training_jobs_of(mortal, fleet)} <= {"Failed", "Completed"}

    s3, bucket = mortal.client("s3"), mortal.outputs["BucketName"]
    assert len(writer.acknowledged) > 20
    for key, version, digest in writer.acknowledged:  # to the last: objects do not wait for a snapshot
        body = s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
        assert hashlib.sha256(body).hexdigest() == digest, (key, version)
        assert s3.get_object_tagging(Bucket=bucket, Key=key, VersionId=version)["TagSet"]
    versions = s3.list_object_versions(Bucket=bucket, Prefix="written/")["Versions"]
    for version in versions:  # whatever is listed is whole
        answer = s3.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
        body = answer["Body"].read()
        assert len(body) == version["Size"] == 20_000
        assert hashlib.md5(body, usedforsecurity=False).hexdigest() == answer["ETag"].strip('"')

    mortal.client("stepfunctions").redrive_execution(executionArn=execution["executionArn"])
    finished = mortal.ended(fleet, seconds=600)
    assert finished["status"] == "SUCCEEDED", finished
    assert finished["redriveCount"] == 1
    assert finished["output"]["outcome"] == "registered"
    assert len(mortal.packages(fleet)) == 1


def test_function_that_is_busy_does_not_outlive_the_server(mortal: Deployed, tmp_path: Path) -> None:
    """Its worker is a process of its own, which nobody reads from any more."""
    cloud = mortal.cloud
    begun = tmp_path / "pid"
    code = b"""
import os, pathlib, time
def handler(event, context):
    target = pathlib.Path(event["begun"])
    target.with_suffix(".new").write_text(str(os.getpid()))
    target.with_suffix(".new").rename(target)
    time.sleep(600)
"""
    function = mortal.client("lambda").create_function(
        FunctionName="sleeper",
        Runtime=f"python3.{sys.version_info.minor}",
        Role=cloud.role("sleeper"),
        Handler="main.handler",
        Timeout=900,
        Code={"ZipFile": zipped("main.py", code)},
    )["FunctionName"]
    event = json.dumps({"begun": str(begun)}).encode()
    mortal.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=event)
    worker = int(until("it is busy", lambda: begun.read_text() if begun.exists() else None))
    assert worker != cloud.running.pid
    assert lives(worker)
    assert len(processes_of(cloud.running.directory)) > 1
    cloud.kill()
    until("the worker is gone", lambda: None if lives(worker) else True)
    assert_no_orphans(cloud.running.directory)
    cloud.start_again()


def lives(pid: int) -> bool:
    """Whether a process does something yet; one that has ended and that nobody asked about has no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def zipped(name: str, content: bytes) -> bytes:
    """A function's code."""
    import io
    import zipfile

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content)
    return target.getvalue()


def test_stack_works_after_a_clean_stop_and_its_runs_are_interrupted(mortal: Deployed, fleet: str) -> None:
    """A stop is a kill with a fresh snapshot: nothing that was answered is lost."""
    mortal.plan(fleet, hold=True)
    mortal.put_trio(make_trio(fleet))
    until("a run", lambda: mortal.executions(fleet) or None)
    mortal.client("ssm").put_parameter(Name="/last", Value="word", Type="String")
    daemon.stop(mortal.cloud.running.directory)
    assert_no_orphans(mortal.cloud.running.directory)
    mortal.plan(fleet)
    mortal.cloud.start_again()

    assert mortal.client("ssm").get_parameter(Name="/last")["Parameter"]["Value"] == "word"
    assert mortal.ended(fleet)["error"] == "Localcloud.Interrupted"
    assert mortal.alert(fleet, "ended FAILED")
    answer = mortal.train(fleet=fleet, again=True)
    assert answer["status"] == "started", json.dumps(answer)
    assert mortal.ended(fleet, count=2, seconds=600)["output"]["outcome"] == "registered"
