"""Training jobs: the training container's contract, secondary statuses, metrics and the model artefact."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud import container_contract as contract
from localcloud import listing
from localcloud.api import echo, project, service_model
from localcloud.containers import ContainerError, ContainerSpec, command_for
from localcloud.errors import ResourceInUse, ValidationException
from localcloud.jobs import TERMINAL, End, Live, Platform, limited, run_container, seconds_between
from localcloud.store import Record, Scope, now
from localcloud.tags import Tags

KIND = "training-job"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
DEFAULT_RUNTIME = 86_400

_MESSAGES = {
    "Starting": "Starting the training job",
    "Pending": "Waiting for a free slot on this machine",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}

OnMetric = Callable[[str, float], None]


class TrainingJobs:
    """CreateTrainingJob and its family."""

    operations = (
        "CreateTrainingJob",
        "DescribeTrainingJob",
        "ListTrainingJobs",
        "StopTrainingJob",
        "DeleteTrainingJob",
    )

    def __init__(self, platform: Platform, tags: Tags) -> None:
        self._platform = platform
        self._store = platform.store
        self._tags = tags

    # --- operations ---

    def create_training_job(self, scope: Scope, request: Record) -> Record:
        """Start a training job."""
        record, _ = self.start(scope, request)
        return {"TrainingJobArn": record["TrainingJobArn"]}

    def describe_training_job(self, scope: Scope, request: Record) -> Record:
        """Everything about one job."""
        with self._store.lock:
            return describe(self._find(scope, request["TrainingJobName"]))

    def list_training_jobs(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        with self._store.lock:
            found = listing.select(
                self._store.table(scope, KIND).values(), request, name="TrainingJobName", status="TrainingJobStatus"
            )
            sort = {"Name": "TrainingJobName", "CreationTime": "CreationTime", "Status": "TrainingJobStatus"}
            chosen, token = listing.page(found, request, sort=sort)
            shape = service_model("sagemaker").shape_for("TrainingJobSummary")
            return {
                "TrainingJobSummaries": [copy.deepcopy(project(shape, record)) for record in chosen],  # type: ignore[arg-type]
                "NextToken": token,
            }

    def stop_training_job(self, scope: Scope, request: Record) -> Record:
        """Ask a job to stop; its model so far is kept, as on AWS."""
        with self._store.lock:
            record = self._find(scope, request["TrainingJobName"])
            status = record["TrainingJobStatus"]
            if status in TERMINAL:
                raise ValidationException(f"The request was rejected because the training job is in status {status}.")
            self.stop(scope, record)
        return {}

    def delete_training_job(self, scope: Scope, request: Record) -> Record:
        """Delete a job that has ended."""
        with self._store.lock:
            record = self._find(scope, request["TrainingJobName"])
            if record["TrainingJobStatus"] not in TERMINAL:
                raise ResourceInUse(
                    f"The training job {request['TrainingJobName']} is in status {record['TrainingJobStatus']} and "
                    "cannot be deleted."
                )
            del self._store.table(scope, KIND)[request["TrainingJobName"]]
            self._tags.drop(scope, record["Arn"])
        return {}

    # --- used by tuning jobs and by Step Functions too ---

    def start(
        self,
        scope: Scope,
        request: Mapping[str, Any],
        *,
        on_metric: OnMetric | None = None,
        then: Callable[[], None] | None = None,
        **extra: Any,
    ) -> tuple[Record, Live]:
        """Start a job and give its record and its handle.

        Args:
            request: CreateTrainingJob's.
            on_metric: is told each value of each metric as it appears in the log.
            then: is called when the job has ended.
            extra: further members of the description (TuningJobArn, TunedHyperParameters).
        """
        name = request["TrainingJobName"]
        check_request(request)
        image = self._platform.image(request["AlgorithmSpecification"]["TrainingImage"])
        record = _new_record(scope, request)
        record.update(extra)
        with self._store.lock:
            table = self._store.table(scope, KIND)
            if name in table:
                raise ResourceInUse(
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({table[name]['TrainingJobArn']})"
                )
            self._tags.put(scope, record["Arn"], request.get("Tags", []))
            table[name] = record
            self._transition(record, "Starting")
        self._emit(scope, record)
        live = self._platform.launch(
            scope, KIND, name, lambda live: _Run(self, scope, record, live, on_metric).run(image), then
        )
        return record, live

    def stop(self, scope: Scope, record: Record) -> None:
        """Ask a job to stop; one that has ended or is stopping already is left alone. The caller holds the lock."""
        if record["TrainingJobStatus"] != "InProgress":
            return
        with self._store.changing(record):
            record["TrainingJobStatus"] = "Stopping"
            self._transition(record, "Stopping")
        self._emit(scope, record)
        live = self._platform.live(scope, KIND, record["TrainingJobName"])
        if live is not None:
            live.stop()

    def interrupt(self, reason: str) -> list[tuple[Scope, Record]]:
        """Fail every job that a restart has cut off."""
        interrupted = []
        with self._store.lock:
            for scope, kind, table in self._store.tables():
                for record in table.values() if kind == KIND else ():
                    if record["TrainingJobStatus"] not in TERMINAL:
                        self.end(scope, record, "Failed", "Failed", reason)
                        interrupted.append((scope, record))
        return interrupted

    def end(self, scope: Scope, record: Record, status: str, secondary: str, reason: str | None = None) -> None:
        """Put a job into its final status and tell EventBridge."""
        with self._store.changing(record):
            record["TrainingJobStatus"] = status
            self._transition(record, secondary, message=reason)
            record["SecondaryStatusTransitions"][-1]["EndTime"] = now()
            record["TrainingEndTime"] = now()
            if reason:
                record["FailureReason"] = limited(reason)
            if "TrainingStartTime" in record:
                seconds = seconds_between(record["TrainingStartTime"], record["TrainingEndTime"])
                record["TrainingTimeInSeconds"] = max(1, seconds)
                record["BillableTimeInSeconds"] = max(1, seconds)
        self._emit(scope, record)

    # --- inside ---

    def _find(self, scope: Scope, name: str) -> Record:
        record = self._store.table(scope, KIND).get(name)
        if record is None:
            raise ValidationException("Requested resource not found.")
        return record

    def _transition(self, record: Record, secondary: str, message: str | None = None) -> None:
        present = now()
        transitions = record["SecondaryStatusTransitions"]
        if transitions and "EndTime" not in transitions[-1]:
            transitions[-1]["EndTime"] = present
        transitions.append(
            {"Status": secondary, "StartTime": present, "StatusMessage": message or _MESSAGES.get(secondary, secondary)}
        )
        record["SecondaryStatus"] = secondary
        record["LastModifiedTime"] = present

    def _emit(self, scope: Scope, record: Record) -> None:
        with self._store.lock:
            if self._store.table(scope, KIND).get(record["TrainingJobName"]) is not record:
                return  # forgotten by a reset
            detail = describe(record)
            detail["Tags"] = self._tags.of(scope, record["Arn"])
        self._platform.events.emit(scope, "SageMaker Training Job State Change", record["Arn"], detail)


class _Run:
    """One training job's thread."""

    def __init__(
        self, jobs: TrainingJobs, scope: Scope, record: Record, live: Live, on_metric: OnMetric | None
    ) -> None:
        self._jobs = jobs
        self._platform = jobs._platform
        self._scope = scope
        self._record = record
        self._live = live
        self._on_metric = on_metric
        self._deadline = 0.0

    def run(self, image: Any) -> None:
        """Run to the end; whatever goes wrong ends the job."""
        if self._platform.full:
            self._secondary("Pending")
        if not self._platform.take_slot(self._live):
            self._jobs.end(self._scope, self._record, "Stopped", "Stopped")
            return
        base = self._platform.base_directory(self._record["TrainingJobName"])
        try:
            self._run_in(base, image)
        except (contract.ContractError, ContainerError) as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(f"InternalServerError: {type(error).__name__}: {error}")
            raise
        finally:
            self._platform.give_slot()
            self._platform.discard(base)

    def _run_in(self, base: Path, image: Any) -> None:
        record, scope = self._record, self._scope
        seconds = record["StoppingCondition"].get("MaxRuntimeInSeconds", DEFAULT_RUNTIME)
        self._deadline = time.monotonic() + seconds
        with self._jobs._store.changing(record):
            record["TrainingStartTime"] = now()
        self._secondary("Downloading")
        environment = contract.training_environment(
            job_name=record["TrainingJobName"],
            job_arn=record["TrainingJobArn"],
            region=scope.region,
            environment=record.get("Environment", {}),
        )
        contract.prepare_training(
            base,
            job_name=record["TrainingJobName"],
            hyperparameters=record.get("HyperParameters", {}),
            input_data_config=record.get("InputDataConfig", []),
            resource_config=record["ResourceConfig"],
            environment=environment,
        )
        self._download(base)
        algorithm = record["AlgorithmSpecification"]
        command = command_for(
            image, algorithm.get("ContainerEntrypoint"), algorithm.get("ContainerArguments"), ["train"]
        )
        self._secondary("Training")
        log = self._platform.open_log(scope, LOG_GROUP, record["TrainingJobName"])
        scraper = contract.MetricScraper(algorithm.get("MetricDefinitions", []))

        def on_line(line: str) -> None:
            log.write(line)
            before = len(scraper.history)
            scraper.feed(line, time.time())
            for name, value, _when in scraper.history[before:]:
                if self._on_metric is not None:
                    self._on_metric(name, value)

        spec = ContainerSpec(
            image=image,
            command=command,
            environment={**self._platform.environment(scope, record["RoleArn"]), **environment},
            base_dir=base,
            name=record["TrainingJobName"],
        )
        try:
            end, code = run_container(
                self._platform, self._live, spec, on_line, max(0.0, self._deadline - time.monotonic())
            )
        finally:
            log.close()
        self._finish(base, end, code, scraper)

    def _download(self, base: Path) -> None:
        transfer = self._platform.transfer(self._scope, self._record["RoleArn"])
        for channel in self._record.get("InputDataConfig", []):
            source = channel["DataSource"].get("S3DataSource")
            if source is None:
                raise contract.ContractError(
                    f"ClientError: channel {channel['ChannelName']} has no S3DataSource; localcloud has no other source"
                )
            destination = base / "input" / "data" / channel["ChannelName"]
            transfer.download_prefix(source["S3Uri"], destination, source["S3DataType"])

    def _finish(self, base: Path, end: End, code: int, scraper: contract.MetricScraper) -> None:
        if self._live.forgotten:
            return
        metrics = _final_metrics(scraper)
        with self._jobs._store.changing(self._record):
            if metrics:
                self._record["FinalMetricDataList"] = metrics
        if end == "exited" and code != 0:
            self._upload_output(base)
            self._fail(contract.training_failure_reason(base, code))
            return
        if end == "exited":
            self._secondary("Uploading")
        self._upload_output(base)
        self._upload_model(base)
        if end == "stopped":
            self._jobs.end(self._scope, self._record, "Stopped", "Stopped")
        elif end == "timed out":
            self._jobs.end(self._scope, self._record, "Stopped", "MaxRuntimeExceeded")
        else:
            self._jobs.end(self._scope, self._record, "Completed", "Completed")

    def _upload_model(self, base: Path) -> None:
        output = self._record["OutputDataConfig"]
        prefix = f"{output['S3OutputPath'].rstrip('/')}/{self._record['TrainingJobName']}/output"
        transfer = self._platform.transfer(self._scope, self._record["RoleArn"])
        if output.get("CompressionType") == "NONE":
            uri = f"{prefix}/model/"
            transfer.upload_tree(base / "model", uri, output.get("KmsKeyId"))
        else:
            packed = base / "model.tar.gz"
            uri = f"{prefix}/model.tar.gz"
            if not contract.pack_model(base, packed):
                return
            transfer.upload_file(packed, uri, output.get("KmsKeyId"))
        with self._jobs._store.changing(self._record):
            self._record["ModelArtifacts"] = {"S3ModelArtifacts": uri}

    def _upload_output(self, base: Path) -> None:
        output = self._record["OutputDataConfig"]
        packed = base / "output.tar.gz"
        if contract.pack_output(base, packed):
            uri = f"{output['S3OutputPath'].rstrip('/')}/{self._record['TrainingJobName']}/output/output.tar.gz"
            self._platform.transfer(self._scope, self._record["RoleArn"]).upload_file(packed, uri, output.get("KmsKeyId"))

    def _secondary(self, status: str) -> None:
        with self._jobs._store.lock:
            if self._record["TrainingJobStatus"] != "InProgress":
                return  # Stopping stands until the end
            self._jobs._transition(self._record, status)
        self._jobs._emit(self._scope, self._record)

    def _fail(self, reason: str) -> None:
        if self._live.cancelled.is_set():
            self._jobs.end(self._scope, self._record, "Stopped", "Stopped")
        else:
            self._jobs.end(self._scope, self._record, "Failed", "Failed", reason)


def describe(record: Record) -> Record:
    """A copy of the record as DescribeTrainingJob gives it."""
    shape = service_model("sagemaker").operation_model("DescribeTrainingJob").output_shape
    described = copy.deepcopy(project(shape, record))  # type: ignore[arg-type]
    # Required in the response, though there is no artefact before the end: SageMaker answers with an empty one.
    described.setdefault("ModelArtifacts", {"S3ModelArtifacts": ""})
    return described


def check_request(request: Mapping[str, Any]) -> None:
    """What the service model leaves open but SageMaker refuses.

    Raises:
        ValidationException: as SageMaker words it, or nearly so.
    """
    algorithm = request.get("AlgorithmSpecification")
    if algorithm is None or not algorithm.get("TrainingImage"):
        raise ValidationException(
            "TrainingImage must be provided in AlgorithmSpecification: localcloud has no built-in or marketplace "
            "algorithms."
        )
    if request.get("ResourceConfig") is None:
        raise ValidationException("ResourceConfig must be provided.")
    check_outputs(request["OutputDataConfig"])
    channels = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(set(channels)) != len(channels):
        raise ValidationException("Duplicate channel names are not allowed in InputDataConfig.")
    try:
        contract.MetricScraper(algorithm.get("MetricDefinitions", []))
    except ValueError as error:
        raise ValidationException(f"Invalid metric definition: {error}") from error


def check_outputs(output: Mapping[str, Any]) -> None:
    """The output path must be in S3."""
    if not output["S3OutputPath"].startswith("s3://"):
        raise ValidationException(f"Invalid S3OutputPath: {output['S3OutputPath']} is not an S3 URI.")


def _new_record(scope: Scope, request: Mapping[str, Any]) -> Record:
    arn = scope.arn(KIND, request["TrainingJobName"])
    record: Record = {
        "Arn": arn,
        "TrainingJobName": request["TrainingJobName"],
        "TrainingJobArn": arn,
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [],
        "CreationTime": now(),
        "LastModifiedTime": now(),
    }
    record.update(echo(request, "CreateTrainingJob", "DescribeTrainingJob"))
    for flag in (
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
        "EnableManagedSpotTraining",
    ):
        record.setdefault(flag, False)
    record["StoppingCondition"] = dict(request.get("StoppingCondition", {}))
    record["StoppingCondition"].setdefault("MaxRuntimeInSeconds", DEFAULT_RUNTIME)
    record["OutputDataConfig"].setdefault("KmsKeyId", "")
    return record


def _final_metrics(scraper: contract.MetricScraper) -> list[dict[str, Any]]:
    last: dict[str, tuple[float, float]] = {}
    for name, value, when in scraper.history:
        last[name] = (value, when)
    return [
        {"MetricName": name, "Value": value, "Timestamp": datetime.fromtimestamp(int(when), UTC)}
        for name, (value, when) in last.items()
    ]
