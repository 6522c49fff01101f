"""Processing jobs: inputs brought to their local paths, outputs carried away, the exit message kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcloud import container_contract as contract
from localcloud import listing
from localcloud.api import echo, project, service_model
from localcloud.containers import ContainerError, ContainerSpec, command_for
from localcloud.errors import ResourceInUse, ValidationException
from localcloud.jobs import TERMINAL, End, Live, Platform, limited, run_container
from localcloud.store import Record, Scope, now
from localcloud.tags import Tags

KIND = "processing-job"
LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
DEFAULT_RUNTIME = 86_400


class ProcessingJobs:
    """CreateProcessingJob and its family."""

    operations = (
        "CreateProcessingJob",
        "DescribeProcessingJob",
        "ListProcessingJobs",
        "StopProcessingJob",
        "DeleteProcessingJob",
    )

    def __init__(self, platform: Platform, tags: Tags) -> None:
        self._platform = platform
        self._store = platform.store
        self._tags = tags

    # --- operations ---

    def create_processing_job(self, scope: Scope, request: Record) -> Record:
        """Start a processing job."""
        name = request["ProcessingJobName"]
        check_request(request)
        image = self._platform.image(request["AppSpecification"]["ImageUri"])
        record = _new_record(scope, request)
        with self._store.lock:
            table = self._store.table(scope, KIND)
            if name in table:
                raise ResourceInUse(
                    "Job name must be unique within an AWS account and region, and a job with this name already exists "
                    f"({table[name]['ProcessingJobArn']})"
                )
            self._tags.put(scope, record["Arn"], request.get("Tags", []))
            table[name] = record
        self._emit(scope, record)
        self._platform.launch(scope, KIND, name, lambda live: self._run(scope, record, live, image))
        return {"ProcessingJobArn": record["ProcessingJobArn"]}

    def describe_processing_job(self, scope: Scope, request: Record) -> Record:
        """Everything about one job."""
        with self._store.lock:
            return describe(self._find(scope, request["ProcessingJobName"]))

    def list_processing_jobs(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        with self._store.lock:
            found = listing.select(
                self._store.table(scope, KIND).values(),
                request,
                name="ProcessingJobName",
                status="ProcessingJobStatus",
            )
            sort = {"Name": "ProcessingJobName", "CreationTime": "CreationTime", "Status": "ProcessingJobStatus"}
            chosen, token = listing.page(found, request, sort=sort)
            shape = service_model("sagemaker").shape_for("ProcessingJobSummary")
            return {
                "ProcessingJobSummaries": [copy.deepcopy(project(shape, record)) for record in chosen],  # type: ignore[arg-type]
                "NextToken": token,
            }

    def stop_processing_job(self, scope: Scope, request: Record) -> Record:
        """Ask a job to stop."""
        with self._store.lock:
            record = self._find(scope, request["ProcessingJobName"])
            status = record["ProcessingJobStatus"]
            if status in TERMINAL:
                raise ValidationException(f"The request was rejected because the processing job is in status {status}.")
            self.stop(scope, record)
        return {}

    def delete_processing_job(self, scope: Scope, request: Record) -> Record:
        """Delete a job that has ended."""
        with self._store.lock:
            record = self._find(scope, request["ProcessingJobName"])
            if record["ProcessingJobStatus"] not in TERMINAL:
                raise ResourceInUse(
                    f"The processing job {request['ProcessingJobName']} is in status {record['ProcessingJobStatus']} "
                    "and cannot be deleted."
                )
            del self._store.table(scope, KIND)[request["ProcessingJobName"]]
            self._tags.drop(scope, record["Arn"])
        return {}

    def stop(self, scope: Scope, record: Record) -> None:
        """Ask a job to stop; one that has ended or is stopping already is left alone. The caller holds the lock."""
        if record["ProcessingJobStatus"] != "InProgress":
            return
        with self._store.changing(record):
            record["ProcessingJobStatus"] = "Stopping"
        self._emit(scope, record)
        live = self._platform.live(scope, KIND, record["ProcessingJobName"])
        if live is not None:
            live.stop()

    def interrupt(self, reason: str) -> list[tuple[Scope, Record]]:
        """Fail every job that a restart has cut off."""
        interrupted = []
        with self._store.lock:
            for scope, kind, table in self._store.tables():
                for record in table.values() if kind == KIND else ():
                    if record["ProcessingJobStatus"] not in TERMINAL:
                        self._end(scope, record, "Failed", reason)
                        interrupted.append((scope, record))
        return interrupted

    # --- the job's thread ---

    def _run(self, scope: Scope, record: Record, live: Live, image: Any) -> None:
        if not self._platform.take_slot(live):
            self._end(scope, record, "Stopped")
            return
        base = self._platform.base_directory(record["ProcessingJobName"])
        try:
            end, code = self._run_in(scope, record, live, image, base)
            if live.forgotten:
                return
            self._finish(scope, record, base, end, code)
        except (contract.ContractError, ContainerError) as error:
            self._fail(scope, record, live, str(error))
        except Exception as error:
            self._fail(scope, record, live, f"InternalServerError: {type(error).__name__}: {error}")
            raise
        finally:
            self._platform.give_slot()
            self._platform.discard(base)

    def _run_in(self, scope: Scope, record: Record, live: Live, image: Any, base: Path) -> tuple[End, int]:
        with self._store.changing(record):
            record["ProcessingStartTime"] = now()
        contract.prepare_processing(base, describe=describe(record))
        transfer = self._platform.transfer(scope, record["RoleArn"])
        for item in record.get("ProcessingInputs", []):
            source = item["S3Input"]
            transfer.download_prefix(
                source["S3Uri"], contract.local_path(base, source["LocalPath"]), source["S3DataType"]
            )
        application = record["AppSpecification"]
        log = self._platform.open_log(scope, LOG_GROUP, record["ProcessingJobName"])
        spec = ContainerSpec(
            image=image,
            command=command_for(
                image, application.get("ContainerEntrypoint"), application.get("ContainerArguments"), []
            ),
            environment={
                **self._platform.environment(scope, record["RoleArn"]),
                **contract.processing_environment(region=scope.region, environment=record.get("Environment", {})),
            },
            base_dir=base,
            name=record["ProcessingJobName"],
        )
        seconds = record["StoppingCondition"]["MaxRuntimeInSeconds"]
        try:
            return run_container(self._platform, live, spec, log.write, seconds)
        finally:
            log.close()

    def _finish(self, scope: Scope, record: Record, base: Path, end: End, code: int) -> None:
        message = contract.read_exit_message(base)
        if message:
            with self._store.changing(record):
                record["ExitMessage"] = message
        if end == "stopped":
            self._upload(scope, record, base, only="Continuous")
            self._end(scope, record, "Stopped")
        elif end == "timed out":
            self._upload(scope, record, base, only="Continuous")
            self._end(
                scope,
                record,
                "Stopped",
                f"The job ran longer than MaxRuntimeInSeconds "
                f"({record['StoppingCondition']['MaxRuntimeInSeconds']} s) and was stopped.",
            )
        elif code != 0:
            self._upload(scope, record, base, only="Continuous")
            self._end(scope, record, "Failed", contract.processing_failure_reason(base, code))
        else:
            self._upload(scope, record, base)
            self._end(scope, record, "Completed")

    def _upload(self, scope: Scope, record: Record, base: Path, only: str | None = None) -> None:
        """Outputs to S3; those with EndOfJob only after success, so that nobody takes half a result for a whole."""
        transfer = self._platform.transfer(scope, record["RoleArn"])
        config = record.get("ProcessingOutputConfig", {})
        for item in config.get("Outputs", []):
            target = item["S3Output"]
            if only is None or target["S3UploadMode"] == only:
                transfer.upload_tree(
                    contract.local_path(base, target["LocalPath"]), target["S3Uri"], config.get("KmsKeyId")
                )

    # --- inside ---

    def _find(self, scope: Scope, name: str) -> Record:
        record = self._store.table(scope, KIND).get(name)
        if record is None:
            raise ValidationException(f"Could not find requested job with name: {name}")
        return record

    def _fail(self, scope: Scope, record: Record, live: Live, reason: str) -> None:
        if live.cancelled.is_set():
            self._end(scope, record, "Stopped")
        else:
            self._end(scope, record, "Failed", reason)

    def _end(self, scope: Scope, record: Record, status: str, reason: str | None = None) -> None:
        with self._store.changing(record):
            record["ProcessingJobStatus"] = status
            record["ProcessingEndTime"] = now()
            if reason:
                record["FailureReason"] = limited(reason)
        self._emit(scope, record)

    def _emit(self, scope: Scope, record: Record) -> None:
        with self._store.lock:
            if self._store.table(scope, KIND).get(record["ProcessingJobName"]) is not record:
                return  # forgotten by a reset
            detail = describe(record)
            detail["Tags"] = self._tags.of(scope, record["Arn"])
        self._platform.events.emit(scope, "SageMaker Processing Job State Change", record["Arn"], detail)


def describe(record: Record) -> Record:
    """A copy of the record as DescribeProcessingJob gives it."""
    shape = service_model("sagemaker").operation_model("DescribeProcessingJob").output_shape
    return copy.deepcopy(project(shape, record))  # type: ignore[arg-type]


def check_request(request: Mapping[str, Any]) -> None:
    """What the service model leaves open but SageMaker, or localcloud, refuses.

    Raises:
        ValidationException: says which input or output.
    """
    names: set[str] = set()
    for item in request.get("ProcessingInputs", []):
        source = item.get("S3Input")
        if source is None or not source.get("LocalPath"):
            raise ValidationException(
                f"ProcessingInput {item['InputName']} needs an S3Input with a LocalPath (dataset definitions are not "
                "supported by localcloud)."
            )
        _check_path(source["LocalPath"], item["InputName"])
        names.add(item["InputName"])
    if len(names) != len(request.get("ProcessingInputs", [])):
        raise ValidationException("Processing input names must be unique.")
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for item in outputs:
        target = item.get("S3Output")
        if target is None or not target.get("LocalPath"):
            raise ValidationException(
                f"ProcessingOutput {item['OutputName']} needs an S3Output with a LocalPath (feature store outputs are "
                "not supported by localcloud)."
            )
        _check_path(target["LocalPath"], item["OutputName"])
    if len({item["OutputName"] for item in outputs}) != len(outputs):
        raise ValidationException("Processing output names must be unique.")


def _check_path(path: str, name: str) -> None:
    if not path.startswith("/opt/ml/"):
        raise ValidationException(f"LocalPath {path} of {name} is invalid: LocalPath must begin with /opt/ml/.")


def _new_record(scope: Scope, request: Mapping[str, Any]) -> Record:
    arn = scope.arn(KIND, request["ProcessingJobName"])
    record: Record = {
        "Arn": arn,
        "ProcessingJobName": request["ProcessingJobName"],
        "ProcessingJobArn": arn,
        "ProcessingJobStatus": "InProgress",
        "CreationTime": now(),
        "LastModifiedTime": now(),
    }
    record.update(echo(request, "CreateProcessingJob", "DescribeProcessingJob"))
    record.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": DEFAULT_RUNTIME})
    return record
