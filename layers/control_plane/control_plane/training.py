"""Starting the training state machine: exactly one execution for each attempt at a data set version.

The control table's VERSION item holds the attempt and its status. An attempt's number is in the execution's name, and
Step Functions refuses a second execution of a name, so repeated events and races end in one run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from control_plane import clients, datasets, executions
from control_plane.errors import DatasetNotFoundError, TrainingRequestError
from control_plane.settings import Settings

Trigger = Literal["upload", "schedule", "manual", "violation"]
VERSION_LENGTH_IN_NAMES = 12
SHORTEST_PREFIX = 4


class Overrides(BaseModel):
    """What one execution may set instead of the stack's parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sequence_length: int | None = Field(default=None, ge=2, le=300, description="cycles in a window")
    lstm_units_1: int | None = Field(default=None, ge=4, le=512)
    lstm_units_2: int | None = Field(default=None, ge=4, le=512)
    epochs: int | None = Field(default=None, ge=1, le=1000)
    rmse_threshold: float | None = Field(default=None, gt=0, description="cycles")
    phm08_threshold: float | None = Field(default=None, gt=0)
    max_jobs: int | None = Field(default=None, ge=1, le=500)
    max_parallel_jobs: int | None = Field(default=None, ge=1, le=100)


class TrainingRequest(BaseModel):
    """What the start_training function is invoked with, by EventBridge Scheduler or by a person."""

    model_config = ConfigDict(extra="forbid")

    trigger: Trigger = "manual"
    fleet: str | None = Field(default=None, description="None with trigger schedule: every fleet")
    dataset_version: str | None = Field(default=None, description="or its beginning; None: the fleet's newest")
    again: bool = Field(default=False, description="make a new attempt although the version has been run")
    overrides: Overrides = Overrides()


class StartResult(BaseModel):
    """What became of one request."""

    status: Literal["started", "already", "running"]
    fleet: str
    dataset_version: str
    attempt: int
    execution_arn: str
    message: str


@dataclass(frozen=True)
class _Attempt:
    number: int
    status: str
    execution_arn: str


def start(
    settings: Settings,
    fleet: str,
    version: str,
    *,
    trigger: Trigger,
    again: bool = False,
    overrides: Overrides | None = None,
) -> StartResult:
    """Start an execution for a version that has a manifest, or say why none is needed.

    A version that was superseded before it was trained gets a new attempt when it becomes the newest again; one that
    was run gets one only with `again`, and never while an execution of it is running.
    """
    overrides = overrides or Overrides()
    attempt = _read_attempt(settings.table_name, fleet, version)
    if attempt is None and _claim_first(settings.table_name, fleet, version):
        return _run(settings, fleet, version, 1, trigger, overrides)
    attempt = attempt or _read_attempt(settings.table_name, fleet, version)
    if attempt is None:
        raise DatasetNotFoundError(f"{fleet} {version[:12]}: its record vanished from table {settings.table_name}.")
    if attempt.status == "starting" and not attempt.execution_arn:
        # An earlier delivery claimed the attempt and died before it could start it.
        return _run(settings, fleet, version, attempt.number, trigger, overrides)
    if attempt.status == "superseded":
        if _claim_next(settings.table_name, fleet, version, attempt, status="starting"):
            return _run(settings, fleet, version, attempt.number + 1, trigger, overrides)
        attempt = _read_attempt(settings.table_name, fleet, version) or attempt
    if attempt.execution_arn and executions.describe(attempt.execution_arn).is_running:
        return _result("running", fleet, version, attempt, f"an execution of it is running: {attempt.execution_arn}")
    if again and _claim_next(settings.table_name, fleet, version, attempt, status=None):
        return _run(settings, fleet, version, attempt.number + 1, trigger, overrides)
    message = f"attempt {attempt.number} at it ended as {attempt.status}; nothing was started. "
    return _result("already", fleet, version, attempt, f"{message}To run it again: onwing train {version[:12]} --again")


def start_requested(settings: Settings, request: TrainingRequest) -> StartResult:
    """Start what a person or the violation handler asked for; raises TrainingRequestError or DatasetNotFoundError."""
    fleet, version = _resolve(settings.table_name, request.fleet, request.dataset_version)
    return start(settings, fleet, version, trigger=request.trigger, again=request.again, overrides=request.overrides)


def start_scheduled(settings: Settings, overrides: Overrides | None = None) -> list[StartResult]:
    """Start the newest version of every fleet; the execution itself ends as unchanged where that is so.

    One fleet's failure does not keep the others from starting: all are tried, then the failures are raised together.
    """
    results: list[StartResult] = []
    failures: list[Exception] = []
    for fleet in datasets.list_fleets(settings.table_name):
        version = datasets.read_files(settings.table_name, fleet).dataset_version
        if version is None:
            continue  # its trio is not complete yet
        try:
            results.append(start(settings, fleet, version, trigger="schedule", again=True, overrides=overrides))
        except Exception as error:  # noqa: BLE001 - raised below, with the others
            error.add_note(f"fleet {fleet}, data set version {version[:12]}")
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(failures) + len(results)} fleets did not start", failures)
    return results


def read_outcome(table: str, fleet: str, version: str) -> tuple[str, str]:
    """Return the status of a version's last attempt and the ARN of the package that was registered from it.

    Either is empty where there is none.
    """
    response = clients.dynamodb().get_item(TableName=table, Key=_version_key(fleet, version), ConsistentRead=True)
    item = response.get("Item", {})
    return item.get("status", {}).get("S", ""), item.get("package_arn", {}).get("S", "")


def execution_name(fleet: str, version: str, attempt: int) -> str:
    """The name of an attempt's execution, at most 80 characters."""
    return f"{fleet}-{version[:VERSION_LENGTH_IN_NAMES]}-{attempt}"


def _resolve(table: str, fleet: str | None, prefix: str | None) -> tuple[str, str]:
    """Find the one data set version that a request means."""
    if prefix is None:
        if fleet is None:
            raise TrainingRequestError("name a fleet or a data set version to train.")
        version = datasets.read_files(table, fleet).dataset_version
        if version is None:
            raise DatasetNotFoundError(f"fleet {fleet}: its data set is not complete. Upload the missing files.")
        return fleet, version
    if len(prefix) < SHORTEST_PREFIX:
        raise TrainingRequestError(f"{prefix!r}: give at least {SHORTEST_PREFIX} characters of the version.")
    found = [
        (candidate, version)
        for candidate in ([fleet] if fleet else datasets.list_fleets(table))
        for version in datasets.list_versions(table, candidate)
        if version.startswith(prefix)
    ]
    if not found:
        raise DatasetNotFoundError(f"no data set version begins with {prefix!r}. See: onwing status")
    if len(found) > 1:
        names = ", ".join(f"{f} {v[:12]}" for f, v in found)
        raise TrainingRequestError(f"{prefix!r} is ambiguous: {names}. Give more characters.")
    return found[0]


def _version_key(fleet: str, version: str) -> dict[str, dict[str, str]]:
    return {"pk": {"S": datasets.fleet_key(fleet)}, "sk": {"S": f"{datasets.VERSION_SORT_PREFIX}{version}"}}


def _read_attempt(table: str, fleet: str, version: str) -> _Attempt | None:
    response = clients.dynamodb().get_item(TableName=table, Key=_version_key(fleet, version), ConsistentRead=True)
    item = response.get("Item")
    if item is None:
        return None
    return _Attempt(int(item["attempt"]["N"]), item["status"]["S"], item.get("execution_arn", {}).get("S", ""))


def _claim_first(table: str, fleet: str, version: str) -> bool:
    dynamodb = clients.dynamodb()
    try:
        dynamodb.put_item(
            TableName=table,
            Item={**_version_key(fleet, version), "attempt": {"N": "1"}, "status": {"S": "starting"}},
            ConditionExpression="attribute_not_exists(pk)",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def _claim_next(table: str, fleet: str, version: str, seen: _Attempt, *, status: str | None) -> bool:
    """Take the next attempt's number, unless somebody else just did. The status stays as it is if None is given."""
    dynamodb = clients.dynamodb()
    values = {":seen": {"N": str(seen.number)}, ":next": {"N": str(seen.number + 1)}, ":before": {"S": seen.status}}
    try:
        dynamodb.update_item(
            TableName=table,
            Key=_version_key(fleet, version),
            UpdateExpression="SET attempt = :next"
            + (", #status = :status REMOVE execution_arn" if status is not None else ""),
            ConditionExpression="attempt = :seen AND #status = :before",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues=values | ({":status": {"S": status}} if status is not None else {}),
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def _run(
    settings: Settings, fleet: str, version: str, attempt: int, trigger: Trigger, overrides: Overrides
) -> StartResult:
    stepfunctions = clients.stepfunctions()
    name = execution_name(fleet, version, attempt)
    document = {
        "fleet": fleet,
        "dataset_version": version,
        "attempt": attempt,
        "trigger": trigger,
        "overrides": overrides.model_dump(exclude_none=True),
    }
    try:
        arn = stepfunctions.start_execution(
            stateMachineArn=settings.training_state_machine_arn, name=name, input=json.dumps(document, sort_keys=True)
        )["executionArn"]
    except stepfunctions.exceptions.ExecutionAlreadyExists:
        # Somebody else's delivery of the same event was first: that is success.
        arn = executions.arn_of(settings.training_state_machine_arn, name)
    clients.dynamodb().update_item(
        TableName=settings.table_name,
        Key=_version_key(fleet, version),
        UpdateExpression="SET execution_arn = :arn",
        ConditionExpression="attempt = :attempt",
        ExpressionAttributeValues={":arn": {"S": arn}, ":attempt": {"N": str(attempt)}},
    )
    return StartResult(
        status="started",
        fleet=fleet,
        dataset_version=version,
        attempt=attempt,
        execution_arn=arn,
        message=f"training of {fleet} {version[:12]} started, attempt {attempt}",
    )


def _result(
    status: Literal["already", "running"], fleet: str, version: str, attempt: _Attempt, message: str
) -> StartResult:
    return StartResult(
        status=status,
        fleet=fleet,
        dataset_version=version,
        attempt=attempt.number,
        execution_arn=attempt.execution_arn,
        message=f"{fleet} {version[:12]}: {message}",
    )
