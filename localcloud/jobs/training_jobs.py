"""Training jobs: the training container's contract, secondary statuses, metrics and the model artefact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from localcloud.errors import ApiError, ResourceInUse, ValidationException
from localcloud.jobs.job_family import JobFamily, JobNames
from localcloud.jobs.platform import TERMINAL, Live, seconds_between
from localcloud.jobs.training_request import DEFAULT_RUNTIME, check_request, check_rules
from localcloud.jobs.training_run import OnMetric, TrainingRun
from localcloud.sagemaker.api import echo
from localcloud.store import Record, Scope, now

NAMES = JobNames(
    kind="training-job",
    stem="TrainingJob",
    spoken="training job",
    end_time="TrainingEndTime",
    event="SageMaker Training Job State Change",
)

_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Pending": "Waiting for a free slot on this machine",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Restarting": "Restarting the training job after an internal error",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}


class TrainingJobs(JobFamily):
    """CreateTrainingJob and its family."""

    names = NAMES
    filters: ClassVar[dict[str, str]] = {"TrainingPlanArnEquals": "TrainingPlanArn", "WarmPoolStatusEquals": "_warm"}
    operations = (
        "CreateTrainingJob",
        "DescribeTrainingJob",
        "ListTrainingJobs",
        "UpdateTrainingJob",
        "StopTrainingJob",
        "DeleteTrainingJob",
    )

    partial: ClassVar[dict[str, str]] = {
        "CreateTrainingJob": "one instance; S3 data as S3Prefix or ManifestFile; images of one's own (no built-in or "
        "marketplace algorithms, no serverless jobs). Refused: debugger and profiler rules, AugmentedManifestFile, "
        "file systems. Without effect: VpcConfig, EnableNetworkIsolation, volumes, spot interruptions, "
        "KeepAlivePeriodInSeconds, profiling, InfraCheckConfig. FastFile downloads like File.",
        "UpdateTrainingJob": "what it changes is described and has no effect.",
    }

    # --- operations ---

    def create_training_job(self, scope: Scope, request: Record) -> Record:
        """Start a training job."""
        record, _ = self.start(scope, request)
        return {"TrainingJobArn": record["TrainingJobArn"]}

    describe_training_job = JobFamily.describe_job
    list_training_jobs = JobFamily.list_jobs
    stop_training_job = JobFamily.stop_job  # its model so far is kept, as on AWS
    delete_training_job = JobFamily.delete_job

    def update_training_job(self, scope: Scope, request: Record) -> Record:
        """Change the profiler, remote debugging or the warm pool of a running job; none of them has an effect here."""
        check_rules(request)
        with self.store.lock:
            record = self.find(scope, request["TrainingJobName"])
            if record["TrainingJobStatus"] in TERMINAL and set(request) - {"TrainingJobName", "ResourceConfig"}:
                raise self.not_in_this_status(record)
            with self.store.changing(record):
                for member in ("ProfilerConfig", "ResourceConfig", "RemoteDebugConfig"):
                    if member in request:
                        record[member] = {**record.get(member, {}), **request[member]}
        return {"TrainingJobArn": record["Arn"]}

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
        live = self.launch(
            scope, record, lambda live: TrainingRun(self, scope, record, live, on_metric).run(image), then
        )
        return record, live

    def end(
        self, scope: Scope, record: Record, status: str, reason: str | None = None, secondary: str | None = None
    ) -> None:
        """Put a job into its final status and tell EventBridge; its secondary status is the same unless given."""
        with self.store.changing(record):
            self.transition(record, secondary or record.pop("_gave_up", status))
            record["SecondaryStatusTransitions"][-1]["EndTime"] = now()
            if "TrainingStartTime" in record:
                seconds = max(1, seconds_between(record["TrainingStartTime"], now()))
                record["TrainingTimeInSeconds"] = record["BillableTimeInSeconds"] = seconds
            super().end(scope, record, status, reason)

    def stopping(self, record: Record) -> None:
        """The secondary status follows."""
        self.transition(record, "Stopping")

    def transition(self, record: Record, secondary: str) -> None:
        """Go on to the next secondary status; the caller holds the lock."""
        present = now()
        transitions = record["SecondaryStatusTransitions"]
        if transitions and "EndTime" not in transitions[-1]:
            transitions[-1]["EndTime"] = present
        transitions.append({"Status": secondary, "StartTime": present, "StatusMessage": _MESSAGES[secondary]})
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
            instance = group.get("InstanceType", "ml.m5.large")
            used[f"{instance} for {kind} usage"] += group.get("InstanceCount", 1)
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
