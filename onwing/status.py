"""The state of everything at a glance: fleets, runs, packages to approve, endpoints, alarms, what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import ClientError

from onwing import control, endpoints, executions, models, monitoring, overdue_windows
from onwing import stack as stacks
from onwing.control import FleetRecord
from onwing.endpoints import Alarm, Endpoint
from onwing.errors import OnwingError
from onwing.executions import Execution
from onwing.ingest import QUARANTINE
from onwing.models import PENDING, Package
from onwing.monitoring import Coverage, Monitored
from onwing.stack import Stack
from onwing.target import Target

REPORT = ".report.json"


@dataclass(frozen=True)
class Quarantined:
    """A file that was not accepted, and the report that says why."""

    name: str
    at: datetime
    report: str


@dataclass(frozen=True)
class Queue:
    """A dead-letter queue. `waiting` counts events that nobody could handle."""

    name: str
    waiting: int


@dataclass(frozen=True)
class Status:
    """All of it, at one moment. `coverage` is None where it is not known: `coverage_problem` then says why."""

    stack: Stack
    fleets: Sequence[FleetRecord]
    executions: Sequence[Execution]
    pending: Sequence[Package]
    endpoints: Sequence[Endpoint]
    monitored: Sequence[Monitored]
    coverage: Coverage | None
    coverage_problem: str
    alarms: Sequence[Alarm]
    quarantined: Sequence[Quarantined]
    dead_letters: Sequence[Queue]


def read(target: Target, stack: Stack, *, limit: int = 5) -> Status:
    """Ask for everything; the newest `limit` executions and quarantined files."""
    firing = endpoints.alarms(target, stack)
    served = endpoints.all_of(target, stack, firing=firing)
    schedule = overdue_windows.schedule(target, stack)
    coverage, problem = _coverage(target, stack)
    return Status(
        stack=stack,
        fleets=[control.fleet(target, stack, name) for name in control.fleets(target, stack)],
        executions=executions.recent(target, stack, limit=limit),
        pending=[package for package in models.packages(target, stack) if package.status == PENDING],
        endpoints=served,
        monitored=[item for endpoint in served for item in monitoring.of_endpoint(target, stack, endpoint, schedule)],
        coverage=coverage,
        coverage_problem=problem,
        alarms=firing,
        quarantined=quarantined(target, stack)[:limit],
        dead_letters=dead_letters(target),
    )


def _coverage(target: Target, stack: Stack) -> tuple[Coverage | None, str]:
    """Coverage; or, as the rest of the status is of use without it, why it is not known."""
    try:
        return monitoring.coverage(target, stack), ""
    except OnwingError as error:
        return None, f"{error.what} ({error.where})"
    except ClientError as error:
        return None, f"Monitoring coverage is not known: {error}"


def quarantined(target: Target, stack: Stack) -> list[Quarantined]:
    """Quarantined files, newest first."""
    pages = target.client("s3").get_paginator("list_objects_v2").paginate(Bucket=stack.bucket, Prefix=QUARANTINE)
    found = [
        Quarantined(
            item["Key"].removeprefix(QUARANTINE).removesuffix(REPORT),
            item["LastModified"],
            f"s3://{stack.bucket}/{item['Key']}",
        )
        for page in pages
        for item in page.get("Contents", [])
        if item["Key"].endswith(REPORT)
    ]
    return sorted(found, key=lambda item: item.at, reverse=True)


def dead_letters(target: Target) -> list[Queue]:
    """The stack's queues and what waits in them. All its queues are dead-letter queues."""
    sqs = target.client("sqs")
    wanted = "ApproximateNumberOfMessages"
    return [
        Queue(name, int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[wanted])["Attributes"][wanted]))
        for name, url in sorted(stacks.resources(target, "AWS::SQS::Queue").items())
    ]
