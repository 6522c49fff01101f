"""Training jobs: the training container's contract, secondary statuses, metrics and the model artefact."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud import container_contract as contract
from localcloud.api import echo
from localcloud.containers import ContainerSpec, command_for
from localcloud.errors import ApiError, ResourceInUse, ValidationException
from localcloud.job_family import JobFamily, JobNames
from localcloud.jobs import End, Live, run_container, seconds_between
from localcloud.store import Record, Scope, now
from localcloud.training_request import DEFAULT_RUNTIME, check_request

NAMES = JobNames(
    kind="training-job",
    stem="TrainingJob",
    spoken="training job",
    end_time="TrainingEndTime",
    event="SageMaker Training Job State Change",
)
LOG_GROUP = "/aws/sagemaker/TrainingJobs"

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


class TrainingJobs(JobFamily):
    """CreateTrainingJob and its family."""

    names = NAMES
    operations = (
        "CreateTrainingJob",
        "DescribeTrainingJob",
        "ListTrainingJobs",
        "StopTrainingJob",
        "DeleteTrainingJob",
    )

    # --- operations ---

    def create_training_job(self, scope: Scope, request: Record) -> Record:
        """Start a training job."""
        record, _ = self.start(scope, request)
        return {"TrainingJobArn": record["TrainingJobArn"]}

    describe_training_job = JobFamily.describe_job
    list_training_jobs = JobFamily.list_jobs
    stop_training_job = JobFamily.stop_job  # its model so far is kept, as on AWS
    delete_training_job = JobFamily.delete_job

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
        check_request(request)
        image = self.platform.image(request["AlgorithmSpecification"]["TrainingImage"])
        record = _complete(self.new_record(scope, request["TrainingJobName"]), request)
        record.update(extra)
        self.transition(record, "Starting")
        self.register(scope, record, request.get("Tags", []))
        live = self.launch(scope, record, lambda live: _Run(self, scope, record, live, on_metric).run(image), then)
        return record, live

    def end(
        self, scope: Scope, record: Record, status: str, reason: str | None = None, secondary: str | None = None
    ) -> None:
        """Put a job into its final status and tell EventBridge; its secondary status is the same unless given."""
        with self.store.changing(record):
            self.transition(record, secondary or status, message=reason)
            record["SecondaryStatusTransitions"][-1]["EndTime"] = now()
            if "TrainingStartTime" in record:
                seconds = max(1, seconds_between(record["TrainingStartTime"], now()))
                record["TrainingTimeInSeconds"] = record["BillableTimeInSeconds"] = seconds
            super().end(scope, record, status, reason)

    def stopping(self, record: Record) -> None:
        """The secondary status follows."""
        self.transition(record, "Stopping")

    def transition(self, record: Record, secondary: str, message: str | None = None) -> None:
        """Go on to the next secondary status; the caller holds the lock."""
        present = now()
        transitions = record["SecondaryStatusTransitions"]
        if transitions and "EndTime" not in transitions[-1]:
            transitions[-1]["EndTime"] = present
        transitions.append(
            {"Status": secondary, "StartTime": present, "StatusMessage": message or _MESSAGES.get(secondary, secondary)}
        )
        record["SecondaryStatus"] = secondary
        record["LastModifiedTime"] = present

    # --- in a training job's own words ---

    def describe(self, scope: Scope, record: Record) -> Record:
        """A copy of the record as DescribeTrainingJob gives it. The caller holds the lock."""
        described = super().describe(scope, record)
        # Required in the response, though there is no artefact before the end: SageMaker answers with an empty one.
        described.setdefault("ModelArtifacts", {"S3ModelArtifacts": ""})
        return described

    def instances(self, record: Record) -> Counter[str]:
        """Those of its cluster, or of each group of it; spot instances have a quota of their own."""
        kind = "spot training job" if record.get("EnableManagedSpotTraining") else "training job"
        used: Counter[str] = Counter()
        for group in record["ResourceConfig"].get("InstanceGroups") or [record["ResourceConfig"]]:
            used[f"{group['InstanceType']} for {kind} usage"] += group["InstanceCount"]
        return used

    def check_quotas(self, scope: Scope, record: Record) -> None:
        """A tuning job's training jobs were checked together with it."""
        if "TuningJobArn" not in record:
            super().check_quotas(scope, record)

    def unknown(self, name: str) -> ApiError:
        """SageMaker does not name it."""
        return ValidationException("Requested resource not found.")

    def taken(self, record: Record) -> ApiError:
        """The error for a name that a job has already."""
        return ResourceInUse(
            "Training job names must be unique within an AWS account and region, and a training job with this name "
            f"already exists ({record['Arn']})"
        )


class _Run:
    """One training job's thread."""

    def __init__(
        self, jobs: TrainingJobs, scope: Scope, record: Record, live: Live, on_metric: OnMetric | None
    ) -> None:
        self._jobs = jobs
        self._platform = jobs.platform
        self._scope = scope
        self._record = record
        self._live = live
        self._on_metric = on_metric
        self._deadline = 0.0

    def run(self, image: Any) -> None:
        """Run to the end; whatever goes wrong ends the job."""
        if self._platform.full:
            self._secondary("Pending")
        self._jobs.run_in_slot(self._scope, self._record, self._live, lambda base: self._run_in(base, image))

    def _run_in(self, base: Path, image: Any) -> None:
        record, scope = self._record, self._scope
        seconds = record["StoppingCondition"].get("MaxRuntimeInSeconds", DEFAULT_RUNTIME)
        self._deadline = time.monotonic() + seconds
        with self._jobs.store.changing(record):
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
        with self._jobs.store.changing(self._record):
            if metrics:
                self._record["FinalMetricDataList"] = metrics
        if end == "exited" and code != 0:
            self._upload_output(base)
            reason = contract.training_failure_reason(base, code)
            self._jobs.fail(self._scope, self._record, self._live, reason)
            return
        if end == "exited":
            self._secondary("Uploading")
        self._upload_output(base)
        self._upload_model(base)
        if end == "stopped":
            self._jobs.end(self._scope, self._record, "Stopped")
        elif end == "timed out":
            self._jobs.end(self._scope, self._record, "Stopped", secondary="MaxRuntimeExceeded")
        else:
            self._jobs.end(self._scope, self._record, "Completed")

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
        with self._jobs.store.changing(self._record):
            self._record["ModelArtifacts"] = {"S3ModelArtifacts": uri}

    def _upload_output(self, base: Path) -> None:
        output = self._record["OutputDataConfig"]
        packed = base / "output.tar.gz"
        if contract.pack_output(base, packed):
            uri = f"{output['S3OutputPath'].rstrip('/')}/{self._record['TrainingJobName']}/output/output.tar.gz"
            self._platform.transfer(self._scope, self._record["RoleArn"]).upload_file(
                packed, uri, output.get("KmsKeyId")
            )

    def _secondary(self, status: str) -> None:
        with self._jobs.store.lock:
            if self._record["TrainingJobStatus"] != "InProgress":
                return  # Stopping stands until the end
            self._jobs.transition(self._record, status)
        self._jobs.emit(self._scope, self._record)


def _complete(record: Record, request: Mapping[str, Any]) -> Record:
    """A new record with what the request says and what SageMaker adds."""
    record.update({"SecondaryStatus": "Starting", "SecondaryStatusTransitions": []})
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
