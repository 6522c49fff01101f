"""Monitoring schedules: Model Monitor's timetable of processing jobs over an endpoint's captured data.

docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateMonitoringSchedule.html. AWS closed Model Monitor to new
customers on 2026-07-30; accounts that have used it before keep it.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from localcloud.errors import ApiError, ResourceInUse, ResourceNotFound, ValidationException
from localcloud.jobs.platform import Platform
from localcloud.jobs.processing_jobs import check_request
from localcloud.monitoring import windows
from localcloud.monitoring.executions import Executions
from localcloud.monitoring.job_definitions import (
    BY_TYPE,
    CLARIFY_IMAGE,
    DATA_QUALITY,
    MERGE_IMAGE,
    as_inline,
    find,
)
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import project, service_model
from localcloud.sagemaker.tags import Tags
from localcloud.store import Record, Scope, now

logger = logging.getLogger("localcloud.monitoring")

KIND = "monitoring-schedule"
TICK_SECONDS = 1.0
# After the hour; AWS takes up to 20 minutes. What was captured in the hour's last seconds is delivered by then.
DELAY = timedelta(seconds=10)
# What was due while the server was down for longer is not made up for.
LATEST = timedelta(hours=1)
AWS_ANALYZERS = ("sagemaker-model-monitor-analyzer", "sagemaker-clarify-processing", "model-monitor-groundtruth-merger")


class Schedules:
    """CreateMonitoringSchedule and its family."""

    operations = (
        "CreateMonitoringSchedule",
        "DescribeMonitoringSchedule",
        "ListMonitoringSchedules",
        "UpdateMonitoringSchedule",
        "StartMonitoringSchedule",
        "StopMonitoringSchedule",
        "DeleteMonitoringSchedule",
    )
    partial: ClassVar[dict[str, str]] = {
        "CreateMonitoringSchedule": "endpoints' captured data, judged by an image of your own (monitoring type "
        "DataQuality, or none): AWS's own analyzer, Clarify and ground truth merge images are refused by name, as are "
        "BatchTransformInput and Pipe mode. RecordPreprocessorSourceUri and PostAnalyticsProcessorSourceUri are for "
        "AWS's analyzer and have no effect. Runs begin 10 s after their hour",
    }

    def __init__(
        self, platform: Platform, tags: Tags, executions: Executions, clock: Callable[[], datetime] = now
    ) -> None:
        """``clock`` gives the present."""
        self._platform = platform
        self._store = platform.store
        self._tags = tags
        self._executions = executions
        self._clock = clock
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    # --- operations ---

    def create_monitoring_schedule(self, scope: Scope, request: Record) -> Record:
        """Begin to monitor."""
        name, config = request["MonitoringScheduleName"], request["MonitoringScheduleConfig"]
        arn = scope.arn(KIND, name)
        endpoint = self._check(scope, config)
        record: Record = {
            "Arn": arn,
            "MonitoringScheduleArn": arn,
            "MonitoringScheduleName": name,
            "CreationTime": now(),
            "LastModifiedTime": now(),
        }
        with self._store.lock:
            table = self._store.table(scope, KIND)
            if name in table:
                raise ResourceInUse(f"Monitoring Schedule {arn} already exists")
            self._tags.put(scope, arn, request.get("Tags", []))
            table[name] = record
            self._configure(scope, record, config, endpoint)
        return {"MonitoringScheduleArn": arn}

    def describe_monitoring_schedule(self, scope: Scope, request: Record) -> Record:
        """Everything about one, with its newest execution."""
        with self._store.lock:
            record = self._find(scope, request["MonitoringScheduleName"])
            shape = service_model("sagemaker").operation_model("DescribeMonitoringSchedule").output_shape
            described = copy.deepcopy(project(shape, record))  # type: ignore[arg-type]
            last = self._executions.last(scope, record["Arn"])
            return {**described, "LastMonitoringExecutionSummary": last} if last else described

    def list_monitoring_schedules(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        extra = {
            "EndpointName": "EndpointName",
            "MonitoringJobDefinitionName": "MonitoringJobDefinitionName",
            "MonitoringTypeEquals": "MonitoringType",
        }
        with self._store.lock:
            found = listing.select(
                self._store.table(scope, KIND).values(),
                request,
                name="MonitoringScheduleName",
                status="MonitoringScheduleStatus",
                extra=extra,
            )
            sort = {
                "Name": "MonitoringScheduleName",
                "CreationTime": "CreationTime",
                "Status": "MonitoringScheduleStatus",
            }
            chosen, token = listing.page(found, request, sort=sort)
            shape: Any = service_model("sagemaker").shape_for("MonitoringScheduleSummary")
            summaries = [copy.deepcopy(project(shape, record)) for record in chosen]
        return {"MonitoringScheduleSummaries": summaries, "NextToken": token}

    def update_monitoring_schedule(self, scope: Scope, request: Record) -> Record:
        """Give it another configuration; with ``NOW`` it runs at once."""
        config = request["MonitoringScheduleConfig"]
        with self._store.lock:
            self._find(scope, request["MonitoringScheduleName"])
        endpoint = self._check(scope, config)
        with self._store.lock:
            record = self._find(scope, request["MonitoringScheduleName"])
            for name in ("EndpointName", "MonitoringType", "MonitoringJobDefinitionName"):
                record.pop(name, None)
            self._configure(scope, record, config, endpoint)
            return {"MonitoringScheduleArn": record["Arn"]}

    def start_monitoring_schedule(self, scope: Scope, request: Record) -> Record:
        """Go on after a stop; one that has not been stopped goes on anyway."""
        with self._store.lock:
            record = self._find(scope, request["MonitoringScheduleName"])
            if record["MonitoringScheduleStatus"] == "Stopped":
                self._configure(scope, record, record["MonitoringScheduleConfig"], record.get("EndpointName"))
        return {}

    def stop_monitoring_schedule(self, scope: Scope, request: Record) -> Record:
        """Begin no more executions; one that runs goes on."""
        with self._store.lock:
            record = self._find(scope, request["MonitoringScheduleName"])
            with self._store.changing(record):
                record["MonitoringScheduleStatus"] = "Stopped"
                record["_due"] = None
        return {}

    def delete_monitoring_schedule(self, scope: Scope, request: Record) -> Record:
        """Delete it; its executions stay in the list."""
        name = request["MonitoringScheduleName"]
        with self._store.lock:
            record = self._find(scope, name)
            if self._executions.running(scope, record["Arn"]):
                raise ValidationException(
                    f"Cannot delete Monitoring Schedule {record['Arn']}: it has an execution in progress."
                )
            del self._store.table(scope, KIND)[name]
            self._tags.drop(scope, record["Arn"])
        self._store.on_change()
        return {}

    # --- time ---

    def restored(self) -> None:
        """After a restart: go on."""
        if any(kind == KIND and table for _, kind, table in self._store.tables()):
            self._wind()

    def close(self) -> None:
        """Begin nothing more."""
        self._closed.set()

    def tick(self) -> None:
        """Begin what is due."""
        present = self._clock()
        with self._store.lock:
            due = [
                (scope, record)
                for scope, kind, table in self._store.tables()
                if kind == KIND
                for record in table.values()
                if record.get("_due") is not None and record["_due"] + DELAY <= present
            ]
            for scope, record in due:
                scheduled = record["_due"]
                config = record["MonitoringScheduleConfig"].get("ScheduleConfig", {})
                with self._store.changing(record):
                    record["_due"] = windows.next_time(
                        record["MonitoringScheduleName"], config.get("ScheduleExpression"), present
                    )
                if present - scheduled < LATEST:
                    self._run(scope, record, scheduled)

    def _wind(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="localcloud-monitoring", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            try:
                self.tick()
            except Exception:
                logger.exception("monitoring schedules failed inside localcloud")

    def _run(self, scope: Scope, record: Record, scheduled: datetime) -> None:
        config = copy.deepcopy(record["MonitoringScheduleConfig"])
        try:
            definition = self._definition(scope, config)
            source = definition["MonitoringInputs"][0].get("EndpointInput", {})
            window = windows.window(config.get("ScheduleConfig", {}), source, scheduled)
        except ApiError:  # the definition was deleted: the execution says so
            window = windows.window(config.get("ScheduleConfig", {}), {}, scheduled)
        self._executions.start(scope, record, lambda: self._definition(scope, config), window, scheduled)

    # --- what it is made of ---

    def _configure(self, scope: Scope, record: Record, config: Record, endpoint: str | None) -> None:
        """Put a configuration in place and let it begin. The caller holds the lock."""
        expression = config.get("ScheduleConfig", {}).get("ScheduleExpression")
        present = self._clock()
        with self._store.changing(record):
            record["MonitoringScheduleStatus"] = "Scheduled"
            record["MonitoringScheduleConfig"] = copy.deepcopy(config)
            if endpoint is not None:
                record["EndpointName"] = endpoint
            for name in ("MonitoringType", "MonitoringJobDefinitionName"):
                if name in config:
                    record[name] = config[name]
            record["_due"] = windows.next_time(record["MonitoringScheduleName"], expression, present)
        if expression == windows.NOW:
            self._run(scope, record, present)
        self._wind()

    def _check(self, scope: Scope, config: Record) -> str:
        """Refuse a configuration that AWS refuses or localcloud cannot run; gives the endpoint's name."""
        kind = config.get("MonitoringType", DATA_QUALITY.type)
        if kind != DATA_QUALITY.type:
            image = MERGE_IMAGE if kind == "ModelQuality" else CLARIFY_IMAGE
            raise ValidationException(
                f"localcloud runs no monitoring schedules of type {kind}, whose jobs are {image}. Give the schedule a "
                "MonitoringJobDefinition with an image of your own, or run a processing job."
            )
        definition = self._definition(scope, config)
        given = definition["MonitoringInputs"][0]
        if "EndpointInput" not in given or "BatchTransformInput" in given:
            raise ValidationException(
                "localcloud monitors endpoints: the monitoring input must be an EndpointInput, and no "
                "BatchTransformInput."
            )
        source = given["EndpointInput"]
        windows.check(config.get("ScheduleConfig", {}), source)
        check_request(_as_processing(definition))
        self._check_image(definition["MonitoringAppSpecification"]["ImageUri"])
        self._executions.check_endpoint(scope, source["EndpointName"])
        return str(source["EndpointName"])

    def _check_image(self, uri: str) -> None:
        try:
            self._platform.image(uri)
        except ValidationException as error:
            if any(name in uri for name in AWS_ANALYZERS):
                raise ValidationException(
                    f"localcloud has no {uri}: AWS's own monitoring images are not rebuilt here. Images of your own "
                    "run, which keep to Model Monitor's container contract (model-monitor-byoc-containers in AWS's "
                    "developer guide); an image map entry names the command that stands for one."
                ) from error
            raise

    def _definition(self, scope: Scope, config: Record) -> Record:
        """The MonitoringJobDefinition of a configuration, its own or that of the job definition it names."""
        inline, name = config.get("MonitoringJobDefinition"), config.get("MonitoringJobDefinitionName")
        if (inline is None) == (name is None):
            raise ValidationException(
                "Exactly one of MonitoringJobDefinition and MonitoringJobDefinitionName must be specified."
            )
        if inline is not None:
            return copy.deepcopy(inline)
        if "MonitoringType" not in config:
            raise ValidationException("MonitoringType is required with MonitoringJobDefinitionName.")
        with self._store.lock:
            return copy.deepcopy(as_inline(find(self._store, scope, BY_TYPE[config["MonitoringType"]], str(name))))

    def _find(self, scope: Scope, name: str) -> Record:
        record = self._store.table(scope, KIND).get(name)
        if record is None:
            raise ResourceNotFound(f"Monitoring Schedule {scope.arn(KIND, name)} was not found.")
        return record


def _as_processing(definition: Record) -> Record:
    """What of a definition a processing job is made of, to be checked as one."""
    source = definition["MonitoringInputs"][0]["EndpointInput"]
    result = definition["MonitoringOutputConfig"]["MonitoringOutputs"][0]["S3Output"]
    return {
        "ProcessingResources": definition["MonitoringResources"],
        "ProcessingInputs": [{"InputName": "EndpointInput", "S3Input": source}],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "MonitoringOutput", "S3Output": result}]},
    }
