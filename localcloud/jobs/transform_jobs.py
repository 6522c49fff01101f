"""Batch transform: a model's server for the length of a job, fed with the objects below a prefix.

docs.aws.amazon.com/sagemaker/latest/dg/batch-transform.html: for each input there is an output named ``<input>.out``;
an input that fails has none, and the job is then Failed while the others' outputs stay.
docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html: the server finds SAGEMAKER_BATCH=true, and may
say at /execution-parameters what the request leaves open.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import urllib3

from localcloud.containers.container_contract import ContractError
from localcloud.errors import ResourceInUse, ValidationException
from localcloud.jobs import transform_records as records
from localcloud.jobs.job_family import JobFamily, JobNames
from localcloud.jobs.logs import LogStream
from localcloud.jobs.platform import Live
from localcloud.sagemaker.api import echo
from localcloud.serving import models
from localcloud.serving.model_servers import Fleet, Serving
from localcloud.serving.router import Target
from localcloud.serving.runtime_api import Answer, ask
from localcloud.store import Record, Scope, now

NAMES = JobNames(
    kind="transform-job",
    stem="TransformJob",
    spoken="transform job",
    end_time="TransformEndTime",
    event="SageMaker Transform Job State Change",
)
LOG_GROUP = "/aws/sagemaker/TransformJobs"
MEGABYTE = 2**20
DEFAULT_PAYLOAD = 6
MOST_PAYLOAD = 100  # MaxConcurrentTransforms times MaxPayloadInMB
DEFAULT_SECONDS = 600
DEFAULT_RETRIES = 3
# How long a server that is up may take to say its terms.
TERMS_SECONDS = 30.0


class Stopped(Exception):
    """The job was asked to stop."""


@dataclass(frozen=True)
class Terms:
    """How a job feeds its server: as the request says, or the server, or by default.

    Args:
        concurrent: requests at once for each instance.
        payload: megabytes of one request; 0 for no limit.
        strategy: MultiRecord or SingleRecord.
    """

    concurrent: int
    payload: int
    strategy: str


class TransformJobs(JobFamily):
    """CreateTransformJob and its family."""

    names = NAMES
    operations = ("CreateTransformJob", "DescribeTransformJob", "ListTransformJobs", "StopTransformJob")
    partial: ClassVar[dict[str, str]] = {
        "CreateTransformJob": "SplitType RecordIO and TFRecord and augmented manifests are refused; DataCaptureConfig "
        "is kept without effect. At most as many processes as `localcloud start --instances` says (4) serve a job."
    }

    def create_transform_job(self, scope: Scope, request: Record) -> Record:
        """Start a transform job."""
        _check(request)
        record = self.new_record(scope, request["TransformJobName"])
        record.update(echo(request, "CreateTransformJob", "DescribeTransformJob"))
        with self.store.lock:
            served = dict(models.find(self.platform, scope, request["ModelName"])["_served"])
        self.register(scope, record, request.get("Tags", []))
        self.launch(scope, record, lambda live: self._run(scope, record, live, served))
        return {"TransformJobArn": record["TransformJobArn"]}

    describe_transform_job = JobFamily.describe_job
    list_transform_jobs = JobFamily.list_jobs
    stop_transform_job = JobFamily.stop_job

    def taken(self, record: Record) -> ResourceInUse:
        """AWS's words for a name in use."""
        return ResourceInUse(
            "Job name must be unique within an AWS account and region, and a job with this name already exists "
            f"({record['Arn']})"
        )

    def instances(self, record: Record) -> Counter[str]:
        """Its servers'."""
        resources = record["TransformResources"]
        return Counter({f"{resources['InstanceType']} for transform job usage": resources["InstanceCount"]})

    # --- the job's thread ---

    def _run(self, scope: Scope, record: Record, live: Live, served: Mapping[str, Any]) -> None:
        def work(base: Path) -> None:
            with self.store.changing(record):
                record["TransformStartTime"] = now()
            failure = _Job(self, scope, record, live, served, base).run()
            if live.forgotten:
                return
            if live.cancelled.is_set():
                self.end(scope, record, "Stopped")
            elif failure:
                self.end(scope, record, "Failed", failure)
            else:
                self.end(scope, record, "Completed")

        self.run_in_slot(scope, record, live, work)


class _Job:
    """One transform job's work."""

    def __init__(
        self,
        family: TransformJobs,
        scope: Scope,
        record: Record,
        live: Live,
        served: Mapping[str, Any],
        base: Path,
    ) -> None:
        self._platform = family.platform
        self._scope, self._record, self._live, self._served, self._base = scope, record, live, served, base
        self._input = record["TransformInput"]
        self._output = record["TransformOutput"]
        self._processing = records.Processing.of(record)
        client = record.get("ModelClientConfig", {})
        self._seconds = client.get("InvocationsTimeoutInSeconds", DEFAULT_SECONDS)
        self._retries = client.get("InvocationsMaxRetries", DEFAULT_RETRIES)
        self._terms = Terms(1, DEFAULT_PAYLOAD, "MultiRecord")
        self._processes = min(record["TransformResources"]["InstanceCount"], self._platform.instances)
        self._failures: list[str] = []
        self._lock = threading.Lock()

    def run(self) -> str | None:
        """Transform every input; None, or why the job has failed."""
        name = self._record["TransformJobName"]
        transfer = self._platform.transfer(self._scope, self._served["RoleArn"])
        source = self._input["DataSource"]["S3DataSource"]
        inputs = self._base / "input"
        transfer.download_prefix(source["S3Uri"], inputs, source["S3DataType"])
        log = self._platform.logs.open(self._scope, LOG_GROUP, f"{name}/data-log")
        fleet = Fleet(self._platform, self._scope, self._serving(), lambda _code: None)
        watching = threading.Thread(target=self._end_when_stopped, args=(fleet,), daemon=True)
        try:
            fleet.start(self._processes)
            watching.start()
            failure = fleet.wait_healthy(time.monotonic() + fleet.serving.startup_seconds)
            if self._live.cancelled.is_set():
                return None
            if failure:
                log.write(f"[sagemaker logs]: the model server is not healthy: {failure}")
                return "AlgorithmError: See job logs for more information"
            self._terms = self._agreed(fleet)
            log.write(
                f"[sagemaker logs]: MaxConcurrentTransforms={self._terms.concurrent}, "
                f"MaxPayloadInMB={self._terms.payload}, BatchStrategy={_spelled(self._terms.strategy)}"
            )
            self._transform_all(inputs, fleet, log)
        finally:
            fleet.stop()
            log.close()
        return self._failures[0] if self._failures else None

    def _transform_all(self, inputs: Path, fleet: Fleet, log: LogStream) -> None:
        target = Target("transform", fleet, 1.0)
        with ThreadPoolExecutor(self._terms.concurrent * self._processes, "localcloud-transform") as pool:
            for path in sorted(inputs.rglob("*")):
                if path.is_file() and not self._live.cancelled.is_set():
                    self._transform(path, path.relative_to(inputs).as_posix(), target, pool, log)

    def _transform(self, path: Path, key: str, target: Target, pool: ThreadPoolExecutor, log: LogStream) -> None:
        """One object; what goes wrong is logged, and the next one is tried."""
        try:
            data = path.read_bytes()
            if self._input.get("CompressionType", "None") == "Gzip":
                data = gzip.decompress(data)
            found = records.split(data, self._input.get("SplitType", "None"))
            requests = list(records.batches(found, self._terms.strategy, self._terms.payload * MEGABYTE))
            answers = list(pool.map(lambda batch: self._ask(batch, target, key, log), requests))
            result = self._base / "result"
            result.write_bytes(records.assemble(answers, self._output.get("AssembleWith", "None")))
            uri = f"{self._output['S3OutputPath'].rstrip('/')}/{key}.out"
            transfer = self._platform.transfer(self._scope, self._served["RoleArn"])
            transfer.upload_file(result, uri, self._output.get("KmsKeyId"))
        except Stopped:
            return
        except (ContractError, OSError, EOFError) as error:
            log.write(f"[sagemaker logs]: {key}: {error}")
            with self._lock:
                self._failures.append(str(error))

    def _ask(self, batch: list[bytes], target: Target, key: str, log: LogStream) -> bytes:
        """The answer to one request; raises ContractError with the job's FailureReason."""
        processing = self._processing
        sent = [processing.filtered(record) for record in batch] if processing else batch
        body = b"\n".join(sent) + (b"\n" if self._input.get("SplitType", "None") == "Line" else b"")
        headers = {"Accept": self._output.get("Accept"), "Content-Type": self._input.get("ContentType")}
        answer = self._answered(target, {name: value for name, value in headers.items() if value}, body)
        if not 200 <= answer.status < 300:
            text = answer.body.decode("utf-8", "replace")[:1024]
            log.write(f"[sagemaker logs]: {key}: Bad HTTP status received from algorithm: {answer.status}")
            log.write(f"[sagemaker logs]: {key}: {text}")
            kind = "ClientError" if 400 <= answer.status < 500 else "AlgorithmError"
            raise ContractError(f"{kind}: See job logs for more information")
        if processing is None:
            return answer.body
        return processing.finished(batch, answer.body, answer.headers.get("content-type"))

    def _answered(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        pause = 0.2
        for attempt in range(self._retries + 1):
            if self._live.cancelled.is_set():
                raise Stopped
            answer, _ = ask(target, headers, body, self._seconds)
            if self._live.cancelled.is_set():
                raise Stopped
            if answer is not None and 0 < answer.status < 500:
                return answer
            if attempt < self._retries:
                self._live.cancelled.wait(pause)
                pause *= 2
        return answer or Answer(503, {}, b"no instance of the model server is up", 0.0)

    def _serving(self) -> Serving:
        record = self._record
        asked = {
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(record.get("MaxConcurrentTransforms") or 1),
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(record.get("MaxPayloadInMB", DEFAULT_PAYLOAD)),
            "SAGEMAKER_BATCH_STRATEGY": _spelled(record.get("BatchStrategy", "MultiRecord")),
        }
        return Serving(
            name=record["TransformJobName"],
            served=self._served,
            log_group=LOG_GROUP,
            log_prefix=record["TransformJobName"],
            environment={**record.get("Environment", {}), **asked},
        )

    def _agreed(self, fleet: Fleet) -> Terms:
        """The terms: the request's, else what the server says at /execution-parameters, else AWS's defaults."""
        said: dict[str, Any] = {}
        server = fleet.take()
        if server is not None:
            with contextlib.suppress(urllib3.exceptions.HTTPError, ValueError):
                response = server.request("GET", "/execution-parameters", None, {}, TERMS_SECONDS)
                if response.status == 200:
                    loaded = json.loads(response.data)
                    said = loaded if isinstance(loaded, dict) else {}
            fleet.give_back(server)
        strategy = str(said.get("BatchStrategy", "MULTI_RECORD")).upper().replace("_", "")
        default = "SingleRecord" if strategy == "SINGLERECORD" else "MultiRecord"
        return Terms(
            concurrent=max(
                1, int(self._record.get("MaxConcurrentTransforms") or said.get("MaxConcurrentTransforms", 1))
            ),
            payload=int(self._record.get("MaxPayloadInMB", said.get("MaxPayloadInMB", DEFAULT_PAYLOAD))),
            strategy=self._record.get("BatchStrategy", default),
        )

    def _end_when_stopped(self, fleet: Fleet) -> None:
        """End the servers as soon as the job is asked to stop, so that nobody waits for an answer."""
        while not self._live.finished.is_set():
            if self._live.cancelled.wait(0.2):
                fleet.stop(self._live.grace)
                return


def _check(request: Mapping[str, Any]) -> None:
    source, split = request["TransformInput"], request["TransformInput"].get("SplitType", "None")
    if split in ("RecordIO", "TFRecord"):
        raise ValidationException(f"localcloud does not implement SplitType {split}: use Line or None.")
    s3 = source["DataSource"].get("S3DataSource")
    if s3 is None:
        raise ValidationException("TransformInput.DataSource must have an S3DataSource.")
    if s3["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise ValidationException(f"Batch transform does not support S3DataType {s3['S3DataType']}.")
    if request.get("BatchStrategy") == "SingleRecord" and split == "None":
        raise ValidationException("BatchStrategy SingleRecord requires a SplitType of Line, RecordIO or TFRecord.")
    concurrent, payload = request.get("MaxConcurrentTransforms") or 1, request.get("MaxPayloadInMB", DEFAULT_PAYLOAD)
    if concurrent * payload > MOST_PAYLOAD:
        raise ValidationException(
            f"The product of MaxConcurrentTransforms ({concurrent}) and MaxPayloadInMB ({payload}) must not exceed "
            f"{MOST_PAYLOAD} MB."
        )
    records.Processing.of(request)


def _spelled(strategy: str) -> str:
    return {"MultiRecord": "MULTI_RECORD", "SingleRecord": "SINGLE_RECORD"}[strategy]
