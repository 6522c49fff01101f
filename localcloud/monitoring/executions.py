"""Executions of monitoring schedules: each is a processing job with Model Monitor's container contract.

docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-contract-inputs.html and …-outputs.html. The names of inputs
and outputs and the local paths of the baseline are those that AWS's own jobs show in DescribeProcessingJob.
"""

from __future__ import annotations

import copy
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from localcloud.containers.container_contract import TransferError
from localcloud.errors import ApiError, ValidationException
from localcloud.jobs.platform import TERMINAL, Live, Platform, limited
from localcloud.jobs.processing_jobs import ProcessingJobs
from localcloud.monitoring.windows import Window
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import project, service_model
from localcloud.store import Record, Scope, now

logger = logging.getLogger("localcloud.monitoring")

KIND = "monitoring-execution"
JOB_KIND = "processing-job"
ENDED = frozenset({"Completed", "CompletedWithViolations", "Failed", "Stopped"})
VIOLATIONS = "CompletedWithViolations"
NO_DATA = "Job inputs had no data"
BASELINE = "/opt/ml/processing/baseline"
DATASET_FORMAT = {"sagemakerCaptureJson": {"captureIndexNames": ["endpointInput", "endpointOutput"]}}

DescribeEndpoint = Callable[[Scope, Record], Record]


class Executions:
    """ListMonitoringExecutions."""

    operations = ("ListMonitoringExecutions",)

    def __init__(self, platform: Platform, jobs: ProcessingJobs, describe_endpoint: DescribeEndpoint) -> None:
        self._platform = platform
        self._store = platform.store
        self._jobs = jobs
        self._describe_endpoint = describe_endpoint

    def list_monitoring_executions(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        extra = {
            "MonitoringScheduleName": "MonitoringScheduleName",
            "EndpointName": "EndpointName",
            "MonitoringJobDefinitionName": "MonitoringJobDefinitionName",
            "MonitoringTypeEquals": "MonitoringType",
        }
        after, before = request.get("ScheduledTimeAfter"), request.get("ScheduledTimeBefore")
        with self._store.lock:
            records = [
                self._followed(scope, record)
                for record in self._store.table(scope, KIND).values()
                if (after is None or record["ScheduledTime"] > after)
                and (before is None or record["ScheduledTime"] < before)
            ]
            found = listing.select(
                records, request, name="MonitoringScheduleName", status="MonitoringExecutionStatus", extra=extra
            )
            sort = {
                "CreationTime": "CreationTime",
                "ScheduledTime": "ScheduledTime",
                "Status": "MonitoringExecutionStatus",
            }
            chosen, token = listing.page(found, request, sort=sort)
            return {"MonitoringExecutionSummaries": [_summary(record) for record in chosen], "NextToken": token}

    def last(self, scope: Scope, schedule: str) -> Record | None:
        """The summary of a schedule's newest execution. The caller holds the lock."""
        records = [each for each in self._store.table(scope, KIND).values() if each["_schedule"] == schedule]
        return _summary(self._followed(scope, records[-1])) if records else None

    def running(self, scope: Scope, schedule: str) -> bool:
        """Whether an execution of a schedule has not ended. The caller holds the lock."""
        return any(
            self._followed(scope, record)["MonitoringExecutionStatus"] not in ENDED
            for record in self._store.table(scope, KIND).values()
            if record["_schedule"] == schedule
        )

    def start(
        self, scope: Scope, schedule: Record, definition: Callable[[], Record], window: Window, scheduled: datetime
    ) -> None:
        """Begin an execution; whatever goes wrong ends it as Failed. Returns at once.

        Args:
            schedule: the schedule's record.
            definition: gives its MonitoringJobDefinition; may raise ApiError.
            scheduled: when it was due.
        """
        identity = secrets.token_hex(12)
        config = schedule["MonitoringScheduleConfig"]
        record: Record = {
            "_schedule": schedule["Arn"],
            "MonitoringScheduleName": schedule["MonitoringScheduleName"],
            "ScheduledTime": scheduled,
            "CreationTime": now(),
            "LastModifiedTime": now(),
            "MonitoringExecutionStatus": "Pending",
            **{name: schedule[name] for name in ("EndpointName", "MonitoringType") if name in schedule},
        }
        if "MonitoringJobDefinitionName" in config:
            record["MonitoringJobDefinitionName"] = config["MonitoringJobDefinitionName"]
        with self._store.lock:
            self._store.table(scope, KIND)[identity] = record
        self._store.on_change()
        name = f"model-monitoring-{scheduled:%Y%m%d%H%M}-{identity}"

        def run(live: Live) -> None:
            try:
                self._start_job(scope, schedule, definition(), window, record, name, live)
            except (ApiError, TransferError) as error:
                reason = error.message if isinstance(error, ApiError) else str(error)
                self._end(record, "Failed", reason)
            except Exception as error:
                self._end(record, "Failed", f"InternalServerError: {type(error).__name__}: {error}")
                raise

        self._platform.launch(scope, KIND, identity, run)

    def check_endpoint(self, scope: Scope, name: str) -> None:
        """Refuse an endpoint that nothing can be monitored of.

        Raises:
            ValidationException: there is none, or it captures nothing.
        """
        if not self._capture(scope, name):
            raise ValidationException(f"Data capture is not enabled for endpoint {name}")

    def _capture(self, scope: Scope, endpoint: str) -> str | None:
        """Where an endpoint's captured data goes; None when it captures nothing."""
        config = self._describe_endpoint(scope, {"EndpointName": endpoint}).get("DataCaptureConfig") or {}
        return f"{config['DestinationS3Uri'].rstrip('/')}/{endpoint}" if config.get("EnableCapture") else None

    def restored(self, reason: str) -> None:
        """After a restart: what its job had not begun has failed; what its job has ended in is seen."""
        with self._store.lock:
            for scope, kind, table in self._store.tables():
                for record in table.values() if kind == KIND else ():
                    if record["MonitoringExecutionStatus"] == "Pending":
                        self._end(record, "Failed", reason)
                    else:
                        self._followed(scope, record)

    def _start_job(
        self, scope: Scope, schedule: Record, definition: Record, window: Window, record: Record, name: str, live: Live
    ) -> None:
        source = definition["MonitoringInputs"][0]["EndpointInput"]
        role, endpoint = definition["RoleArn"], source["EndpointName"]
        root = self._capture(scope, endpoint)
        if root is None:
            self._end(record, "Failed", f"Data capture is not enabled for endpoint {endpoint}")
            return
        captured = self._captured(scope, role, root, window)
        if not captured:
            self._end(record, "Failed", NO_DATA)
            return
        inputs = [
            _input(f"input_{number}", uri, f"{source['LocalPath'].rstrip('/')}/{endpoint}/{folder}")
            for number, (uri, folder) in enumerate(captured, 1)
        ]
        baseline = self._baseline(scope, definition.get("BaselineConfig") or {})
        environment = {"publish_cloudwatch_metrics": "Enabled", **definition.get("Environment", {})}
        for resource, named, variable, folder in (
            ("StatisticsResource", "baseline", "baseline_statistics", "stats"),
            ("ConstraintsResource", "constraints", "baseline_constraints", "constraints"),
        ):
            if uri := baseline.get(resource):
                inputs.append(_input(named, uri, f"{BASELINE}/{folder}"))
                environment[variable] = f"{BASELINE}/{folder}/{PurePosixPath(uri).name}"
        result = definition["MonitoringOutputConfig"]["MonitoringOutputs"][0]["S3Output"]
        environment |= {
            "dataset_format": json.dumps(DATASET_FORMAT, separators=(",", ":")),
            "dataset_source": source["LocalPath"],
            "output_path": result["LocalPath"],
            "sagemaker_endpoint_name": endpoint,
            "sagemaker_monitoring_schedule_name": schedule["MonitoringScheduleName"],
            "start_time": f"{window.start:%Y-%m-%dT%H:%M:%SZ}",
            "end_time": f"{window.end:%Y-%m-%dT%H:%M:%SZ}",
        }
        hour = f"{record['ScheduledTime']:%Y/%m/%d/%H}"
        target = f"{result['S3Uri'].rstrip('/')}/{endpoint}/{schedule['MonitoringScheduleName']}/{hour}"
        application = definition["MonitoringAppSpecification"]
        request: Record = {
            "ProcessingJobName": name,
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "result",
                        "S3Output": {
                            "S3Uri": target,
                            "LocalPath": result["LocalPath"],
                            "S3UploadMode": result.get("S3UploadMode", "Continuous"),
                        },
                    }
                ],
            },
            "ProcessingResources": definition["MonitoringResources"],
            "AppSpecification": {
                each: application[each]
                for each in ("ImageUri", "ContainerEntrypoint", "ContainerArguments")
                if each in application
            },
            "Environment": environment,
            "RoleArn": role,
            **{each: definition[each] for each in ("NetworkConfig", "StoppingCondition") if each in definition},
        }
        if key := definition["MonitoringOutputConfig"].get("KmsKeyId"):
            request["ProcessingOutputConfig"]["KmsKeyId"] = key
        if live.forgotten or live.cancelled.is_set():
            return
        # The job first: whoever finds its ARN finds the job, also after a restart from a snapshot taken in between.
        arn = self._jobs.start(
            scope, copy.deepcopy(request), schedule["Arn"], then=lambda: self._followed(scope, record)
        )
        with self._store.changing(record):
            record.update(MonitoringExecutionStatus="InProgress", ProcessingJobArn=arn)
        self._followed(scope, record)  # it may have ended by now

    def _captured(self, scope: Scope, role: str, root: str, window: Window) -> list[tuple[str, str]]:
        """The folders that hold data of a window: S3 URI, and path below the endpoint's. Raises TransferError."""
        transfer = self._platform.transfer(scope, role)
        candidates = [f"{variant}/{hour}" for variant in transfer.folders(root) for hour in window.hours()]
        return [(f"{root}/{folder}", folder) for folder in candidates if transfer.exists(f"{root}/{folder}/")]

    def _baseline(self, scope: Scope, config: Mapping[str, Any]) -> dict[str, str]:
        """The URIs of statistics and constraints; those not given come from the baselining job."""
        found = {
            name: config[name]["S3Uri"]
            for name in ("StatisticsResource", "ConstraintsResource")
            if config.get(name, {}).get("S3Uri")
        }
        if job := config.get("BaseliningJobName"):
            described = self._jobs.describe_processing_job(scope, {"ProcessingJobName": job})
            outputs = described.get("ProcessingOutputConfig", {}).get("Outputs", [])
            made = next((each["S3Output"]["S3Uri"] for each in outputs if "S3Output" in each), None)
            if made is not None:
                found.setdefault("StatisticsResource", f"{made.rstrip('/')}/statistics.json")
                found.setdefault("ConstraintsResource", f"{made.rstrip('/')}/constraints.json")
        return found

    def _followed(self, scope: Scope, record: Record) -> Record:
        """A record, brought up to what its processing job is in by now."""
        arn = record.get("ProcessingJobArn")
        if arn is None or record["MonitoringExecutionStatus"] in ENDED:
            return record
        with self._store.lock:
            job = self._store.table(scope, JOB_KIND).get(arn.rsplit("/", 1)[-1])
            if job is None:
                return record  # deleted
            status = job["ProcessingJobStatus"]
            if status == "Completed" and str(job.get("ExitMessage", "")).startswith(VIOLATIONS):
                status = VIOLATIONS
            if status == record["MonitoringExecutionStatus"]:
                return record
            with self._store.changing(record):
                record["MonitoringExecutionStatus"] = status
                if job["ProcessingJobStatus"] in TERMINAL and "FailureReason" in job:
                    record["FailureReason"] = job["FailureReason"]
        return record

    def _end(self, record: Record, status: str, reason: str) -> None:
        with self._store.changing(record):
            record["MonitoringExecutionStatus"] = status
            record["FailureReason"] = limited(reason)


def _input(name: str, uri: str, path: str) -> Record:
    return {
        "InputName": name,
        "AppManaged": False,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": path,
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
            "S3DataDistributionType": "FullyReplicated",
            "S3CompressionType": "None",
        },
    }


def _summary(record: Record) -> Record:
    shape = service_model("sagemaker").shape_for("MonitoringExecutionSummary")
    return copy.deepcopy(project(shape, record))  # type: ignore[arg-type]
