"""Processing jobs: inputs brought to their local paths, outputs carried away, the exit message kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from localcloud.containers import container_contract as contract
from localcloud.containers.processes import ContainerSpec, command_for
from localcloud.errors import ValidationException
from localcloud.jobs.job_family import JobFamily, JobNames
from localcloud.jobs.mirror import Folder, Mirror
from localcloud.jobs.platform import End, Live, run_container
from localcloud.monitoring import metrics_file
from localcloud.sagemaker.api import echo
from localcloud.store import Record, Scope, now

NAMES = JobNames(
    kind="processing-job",
    stem="ProcessingJob",
    spoken="processing job",
    end_time="ProcessingEndTime",
    event="SageMaker Processing Job State Change",
)
LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
DEFAULT_RUNTIME = 86_400


class ProcessingJobs(JobFamily):
    """CreateProcessingJob and its family."""

    names = NAMES
    operations = (
        "CreateProcessingJob",
        "DescribeProcessingJob",
        "ListProcessingJobs",
        "StopProcessingJob",
        "DeleteProcessingJob",
    )

    partial: ClassVar[dict[str, str]] = {
        "CreateProcessingJob": "one instance; S3 inputs and outputs (no Redshift or Athena dataset definitions, no "
        "feature store outputs, no Pipe mode). Without effect: NetworkConfig, volumes.",
    }

    # --- operations ---

    def create_processing_job(self, scope: Scope, request: Record) -> Record:
        """Start a processing job."""
        return {"ProcessingJobArn": self.start(scope, request)}

    def start(
        self,
        scope: Scope,
        request: Record,
        monitoring_schedule: str | None = None,
        then: Callable[[], object] | None = None,
    ) -> str:
        """Start a processing job; gives its ARN.

        Args:
            monitoring_schedule: the ARN of the schedule that it is an execution of.
            then: called after its end.
        """
        check_request(request)
        image = self.platform.image(request["AppSpecification"]["ImageUri"])
        record = self.new_record(scope, request["ProcessingJobName"])
        record.update(echo(request, "CreateProcessingJob", "DescribeProcessingJob"))
        record.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": DEFAULT_RUNTIME})
        if monitoring_schedule is not None:
            record["MonitoringScheduleArn"] = monitoring_schedule
        self.register(scope, record, request.get("Tags", []))
        self.launch(scope, record, lambda live: self._run(scope, record, live, image), then)
        return str(record["ProcessingJobArn"])

    describe_processing_job = JobFamily.describe_job
    list_processing_jobs = JobFamily.list_jobs
    stop_processing_job = JobFamily.stop_job
    delete_processing_job = JobFamily.delete_job

    def instances(self, record: Record) -> Counter[str]:
        """Its cluster's."""
        cluster = record["ProcessingResources"]["ClusterConfig"]
        return Counter({f"{cluster['InstanceType']} for processing job usage": cluster["InstanceCount"]})

    # --- the job's thread ---

    def _run(self, scope: Scope, record: Record, live: Live, image: Any) -> None:
        def work(base: Path) -> None:
            end, code = self._run_in(scope, record, live, image, base)
            if not live.forgotten:
                self._finish(scope, record, base, end, code)

        self.run_in_slot(scope, record, live, work)

    def _run_in(self, scope: Scope, record: Record, live: Live, image: Any, base: Path) -> tuple[End, int]:
        with self.store.changing(record):
            record["ProcessingStartTime"] = now()
        contract.prepare_processing(base, describe=self.describe(scope, record))
        transfer = self.platform.transfer(scope, record["RoleArn"])
        for item in record.get("ProcessingInputs", []):
            if not item.get("AppManaged"):  # those the application fetches itself
                source = item["S3Input"]
                directory = contract.local_path(base, source["LocalPath"])
                transfer.download_prefix(source["S3Uri"], directory, source["S3DataType"])
        application = record["AppSpecification"]
        log = self.platform.open_log(scope, LOG_GROUP, record["ProcessingJobName"])
        spec = ContainerSpec(
            image=image,
            command=command_for(
                image, application.get("ContainerEntrypoint"), application.get("ContainerArguments"), []
            ),
            environment={
                **self.platform.environment(scope, record["RoleArn"]),
                **contract.processing_environment(region=scope.region, environment=record.get("Environment", {})),
            },
            base_dir=base,
            name=record["ProcessingJobName"],
            isolated=bool(record.get("NetworkConfig", {}).get("EnableNetworkIsolation")),
        )
        seconds = record["StoppingCondition"]["MaxRuntimeInSeconds"]
        mirror = Mirror(lambda: self.platform.transfer(scope, record["RoleArn"]), _continuous(record, base))
        try:
            with mirror:
                end, code = run_container(self.platform, live, spec, log.write, seconds)
        finally:
            log.close()
        if not live.forgotten:
            mirror.finish()  # Continuous outputs are kept however the job ends
        return end, code

    def _finish(self, scope: Scope, record: Record, base: Path, end: End, code: int) -> None:
        message = contract.read_exit_message(base)
        if message:
            with self.store.changing(record):
                record["ExitMessage"] = message
        if end == "stopped":
            self.end(scope, record, "Stopped")
        elif end == "timed out":
            self.end(
                scope,
                record,
                "Stopped",
                f"The job ran longer than MaxRuntimeInSeconds "
                f"({record['StoppingCondition']['MaxRuntimeInSeconds']} s) and was stopped.",
            )
        elif code != 0:
            self.end(scope, record, "Failed", contract.processing_failure_reason(base, code))
        else:
            self._upload(scope, record, base)
            if _publishes_metrics(record):
                metrics_file.publish(scope, base, record["ProcessingJobName"])
            self.end(scope, record, "Completed")

    def _upload(self, scope: Scope, record: Record, base: Path) -> None:
        """Outputs with EndOfJob to S3: only after success, so that nobody takes half a result for a whole."""
        transfer = self.platform.transfer(scope, record["RoleArn"])
        config = record.get("ProcessingOutputConfig", {})
        for item in config.get("Outputs", []):
            target = item.get("S3Output")
            if target is not None and not item.get("AppManaged") and target["S3UploadMode"] == "EndOfJob":
                transfer.upload_tree(
                    contract.local_path(base, target["LocalPath"]), target["S3Uri"], config.get("KmsKeyId")
                )


def _publishes_metrics(record: Record) -> bool:
    """Whether the metrics that the container leaves in a file are for CloudWatch: Model Monitor's jobs only."""
    return (
        "MonitoringScheduleArn" in record
        and record.get("Environment", {}).get("publish_cloudwatch_metrics") == "Enabled"
    )


def _continuous(record: Record, base: Path) -> list[Folder]:
    """The outputs that go to S3 while the job runs."""
    config = record.get("ProcessingOutputConfig", {})
    targets = [item["S3Output"] for item in config.get("Outputs", []) if not item.get("AppManaged")]
    return [
        Folder(contract.local_path(base, target["LocalPath"]), target["S3Uri"], config.get("KmsKeyId"))
        for target in targets
        if target["S3UploadMode"] == "Continuous"
    ]


def check_request(request: Mapping[str, Any]) -> None:
    """What the service model leaves open but SageMaker, or localcloud, refuses.

    Raises:
        ValidationException: says which input or output.
    """
    cluster = request["ProcessingResources"]["ClusterConfig"]
    if cluster["InstanceCount"] != 1:
        raise ValidationException(
            f"localcloud is one machine: InstanceCount must be 1, not {cluster['InstanceCount']}."
        )
    inputs = request.get("ProcessingInputs", [])
    for item in inputs:
        _check_input(item)
    if len({item["InputName"] for item in inputs}) != len(inputs):
        raise ValidationException("Processing input names must be unique.")
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for item in outputs:
        target = item.get("S3Output")
        if item.get("AppManaged"):
            continue
        if target is None or not target.get("LocalPath"):
            raise ValidationException(
                f"ProcessingOutput {item['OutputName']} needs an S3Output with a LocalPath (feature store outputs are "
                "not supported by localcloud)."
            )
        _check_path(target["LocalPath"], item["OutputName"])
    if len({item["OutputName"] for item in outputs}) != len(outputs):
        raise ValidationException("Processing output names must be unique.")


def _check_input(item: Mapping[str, Any]) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProcessingS3Input.html"""
    name, source = item["InputName"], item.get("S3Input")
    if item.get("AppManaged"):
        return
    if source is None or not source.get("LocalPath"):
        raise ValidationException(
            f"ProcessingInput {name} needs an S3Input with a LocalPath (dataset definitions are not supported by "
            "localcloud)."
        )
    _check_path(source["LocalPath"], name)
    if source.get("S3InputMode") == "Pipe":
        raise ValidationException(f"localcloud has no Pipe mode for processing jobs: give {name} the S3InputMode File.")
    if source.get("S3CompressionType") == "Gzip":
        raise ValidationException(f"Gzip can only be used in Pipe mode: give {name} the S3CompressionType None.")


def _check_path(path: str, name: str) -> None:
    if not path.startswith("/opt/ml/processing/"):
        raise ValidationException(f"LocalPath {path} of {name} is invalid: it must begin with /opt/ml/processing/.")
