"""What the control table says: the fleets, the files each has, and what became of each data set version. Read only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from onwing.stack import Stack
from onwing.target import Target

ROLES = ("train", "test", "RUL")
SHORT = 12  # characters of a data set version that people use


@dataclass(frozen=True)
class AcceptedFile:
    """One file of a fleet that passed its checks."""

    role: str
    name: str
    key: str
    version_id: str
    sha256: str
    simulated: bool
    rows: int | None = None
    engines: int | None = None


@dataclass(frozen=True)
class VersionRecord:
    """One data set version that training was started for."""

    version: str
    attempt: int
    status: str
    execution_arn: str


@dataclass(frozen=True)
class FleetRecord:
    """A fleet: its files, its newest complete data set version, and every version tried so far."""

    fleet: str
    files: Mapping[str, AcceptedFile] = field(default_factory=dict)
    dataset_version: str | None = None
    settled: bool = True  # dataset_version belongs to the files above, not to an earlier state of them
    versions: Mapping[str, VersionRecord] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Roles that have no accepted file yet."""
        return [role for role in ROLES if role not in self.files]

    @property
    def simulated(self) -> bool:
        """Whether any of the files is simulated."""
        return any(file.simulated for file in self.files.values())

    @property
    def newest(self) -> VersionRecord | None:
        """What became of the newest data set version; None when nothing was started for it yet."""
        return self.versions.get(self.dataset_version or "")


def fleets(target: Target, stack: Stack) -> list[str]:
    """Names of all fleets, sorted."""
    return sorted(str(item["sk"]) for item in items(target, stack, "FLEETS"))


def fleet(target: Target, stack: Stack, name: str) -> FleetRecord:
    """All that is known of one fleet; an empty record when nothing was ever accepted for it."""
    files: dict[str, AcceptedFile] = {}
    versions: dict[str, VersionRecord] = {}
    dataset: Mapping[str, Any] = {}
    for item in items(target, stack, f"FLEET#{name}"):
        sort_key = str(item["sk"])
        if sort_key == "DATASET":
            dataset = item
            files = {role: _file(role, item[f"{role}_file"]) for role in ROLES if f"{role}_file" in item}
        elif sort_key.startswith("VERSION#"):
            version = sort_key.removeprefix("VERSION#")
            versions[version] = VersionRecord(
                version, int(item.get("attempt", 0)), str(item.get("status", "")), str(item.get("execution_arn", ""))
            )
    return FleetRecord(
        fleet=name,
        files=files,
        dataset_version=dataset.get("dataset_version"),
        settled=dataset.get("revision") == dataset.get("version_revision"),
        versions=versions,
    )


def _file(role: str, text: str) -> AcceptedFile:
    found = json.loads(text)
    return AcceptedFile(
        role=role,
        name=found["name"],
        key=found["key"],
        version_id=found["version_id"],
        sha256=found["sha256"],
        simulated=bool(found.get("simulated", False)),
        rows=found.get("rows"),
        engines=found.get("engines"),
    )


Made = TypeVar("Made")


def made(kind: type[Made], document: Mapping[str, Any]) -> Made:
    """A dataclass out of those members of a document that it knows."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in document.items() if name in names})


def document(text: Any) -> dict[str, Any] | None:
    """A document out of an attribute that holds JSON text; None where there is none."""
    found = json.loads(text) if isinstance(text, str) and text else None
    return found if isinstance(found, dict) else None


def items(
    target: Target, stack: Stack, partition: str, *, prefix: str = "", after: str = "", newest_first: bool = False
) -> Iterator[dict[str, Any]]:
    """The items of a partition in the order of their sort keys, or the other way.

    Of all of them: those whose keys begin with `prefix`, or come `after` a key.
    """
    from boto3.dynamodb.types import TypeDeserializer

    decode = TypeDeserializer().deserialize
    condition, values = "pk = :partition", {":partition": {"S": partition}}
    if prefix:
        condition += " AND begins_with(sk, :prefix)"
        values[":prefix"] = {"S": prefix}
    elif after:
        condition += " AND sk > :after"
        values[":after"] = {"S": after}
    pages = (
        target.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=stack.table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ScanIndexForward=not newest_first,
            ConsistentRead=True,
        )
    )
    for page in pages:
        for item in page["Items"]:
            yield {key: decode(value) for key, value in item.items()}
