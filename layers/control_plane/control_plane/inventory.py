"""What there is of the project now: fleets, endpoints, what the control table says of each, alarms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from control_plane import clients, executions, schedules
from control_plane.datasets import fleet_key
from control_plane.schedules import Schedule

FLEET = re.compile(r"[A-Za-z0-9]{1,10}")
PAGE = 100  # SageMaker's largest


@dataclass(frozen=True)
class Endpoint:
    """One of the project's endpoints, as ListEndpoints gives it."""

    name: str
    fleet: str
    status: str
    modified: datetime


@dataclass(frozen=True)
class Record:
    """What the control table says of a fleet's endpoint: the DEPLOYMENT and LOCK items."""

    champion: Mapping[str, Any] | None = None
    predecessor: Mapping[str, Any] | None = None
    under_way: Mapping[str, Any] | None = None
    monitored: bool = False
    lock_owner: str = ""  # an execution's ARN
    lock_since: str = ""  # ISO time

    @property
    def is_changing(self) -> bool:
        """Whether an execution works on the endpoint at this moment: what looks wrong may be half-way."""
        return bool(self.lock_owner) and executions.describe(self.lock_owner).is_running


class Inventory:
    """What there is, listed once, when it is first asked for."""

    def __init__(self, project: str, table: str) -> None:
        self.project = project
        self.table = table

    @cached_property
    def endpoints(self) -> dict[str, Endpoint]:
        """The project's endpoints by fleet."""
        return {endpoint.fleet: endpoint for endpoint in list_endpoints(self.project)}

    @cached_property
    def groups(self) -> set[str]:
        """The fleets that have a model package group."""
        pages = (
            clients.sagemaker()
            .get_paginator("list_model_package_groups")
            .paginate(NameContains=f"{self.project}-", PaginationConfig={"PageSize": PAGE})
        )
        names = [each["ModelPackageGroupName"] for page in pages for each in page["ModelPackageGroupSummaryList"]]
        return {fleet for name in names if (fleet := fleet_of(self.project, name))}

    @cached_property
    def alarms(self) -> list[dict[str, Any]]:
        """The metric alarms whose names begin with the project's."""
        return list_alarms(f"{self.project}-")

    @cached_property
    def models(self) -> dict[str, datetime]:
        """When each model of the project was made, by name."""
        pages = (
            clients.sagemaker()
            .get_paginator("list_models")
            .paginate(NameContains=f"{self.project}-", PaginationConfig={"PageSize": PAGE})
        )
        return {each["ModelName"]: each["CreationTime"] for page in pages for each in page["Models"]}

    @cached_property
    def configs(self) -> dict[str, datetime]:
        """When each endpoint configuration of the project was made, by name."""
        pages = (
            clients.sagemaker()
            .get_paginator("list_endpoint_configs")
            .paginate(NameContains=f"{self.project}-", PaginationConfig={"PageSize": PAGE})
        )
        return {each["EndpointConfigName"]: each["CreationTime"] for page in pages for each in page["EndpointConfigs"]}

    @cached_property
    def monitoring(self) -> Schedule:
        """The schedule of monitoring."""
        return schedules.read(schedules.monitoring(self.project))

    def record(self, fleet: str) -> Record:
        """What the control table says of a fleet's endpoint at this moment."""
        return read_record(self.table, fleet)


def list_endpoints(project: str) -> list[Endpoint]:
    """Every endpoint that is named as the project names them."""
    pages = (
        clients.sagemaker()
        .get_paginator("list_endpoints")
        .paginate(NameContains=f"{project}-", PaginationConfig={"PageSize": PAGE})
    )
    return [
        Endpoint(each["EndpointName"], fleet, each["EndpointStatus"], each["LastModifiedTime"])
        for page in pages
        for each in page["Endpoints"]
        if (fleet := fleet_of(project, each["EndpointName"]))
    ]


def fleet_of(project: str, name: str) -> str:
    """The fleet that an endpoint or a model package group belongs to; empty if it is not the project's."""
    fleet = name.removeprefix(f"{project}-")
    return fleet if fleet != name and FLEET.fullmatch(fleet) else ""


def read_record(table: str, fleet: str) -> Record:
    """The fleet's DEPLOYMENT and LOCK items; an empty record if there are none."""
    deployment, lock = (read_item(table, fleet, sort_key) for sort_key in ("DEPLOYMENT", "LOCK"))
    return Record(
        champion=_document(deployment.get("champion")),
        predecessor=_document(deployment.get("predecessor")),
        under_way=_document(deployment.get("under_way")),
        monitored=bool(deployment.get("monitored", False)),
        lock_owner=lock.get("owner", ""),
        lock_since=lock.get("since", ""),
    )


def read_item(table: str, fleet: str, sort_key: str) -> dict[str, Any]:
    """One of the fleet's items, attributes without their types; empty if it is not there."""
    key = {"pk": {"S": fleet_key(fleet)}, "sk": {"S": sort_key}}
    return _plain(clients.dynamodb().get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


def read_items(table: str, fleet: str, prefix: str) -> Iterator[dict[str, Any]]:
    """The fleet's items whose sort key begins so, oldest page first, however many pages there are."""
    pages = (
        clients.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=table,
            KeyConditionExpression="pk = :fleet AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":fleet": {"S": fleet_key(fleet)}, ":prefix": {"S": prefix}},
            ConsistentRead=True,
        )
    )
    for page in pages:
        yield from map(_plain, page["Items"])


def list_alarms(prefix: str) -> list[dict[str, Any]]:
    """The metric alarms whose names begin so."""
    pages = clients.cloudwatch().get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix)
    return [dict(alarm) for page in pages for alarm in page.get("MetricAlarms", [])]


def _plain(item: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: next(iter(value.values())) for name, value in item.items()}


def _document(text: str | None) -> dict[str, Any] | None:
    return json.loads(text) if text else None
