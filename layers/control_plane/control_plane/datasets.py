"""Which files each fleet has: the control table's DATASET item, changed atomically by every upload.

One item a fleet holds its three files and a revision that every change increments. Each change returns the whole item
as it was at that revision, so the version computed from it belongs to one moment, and the newest revision wins however
uploads interleave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cmapss import ROLES, Role

from control_plane import clients
from control_plane.errors import DatasetNotFoundError
from control_plane.manifest import DatasetFile

if TYPE_CHECKING:
    from collections.abc import Mapping

FLEETS_KEY = "FLEETS"
DATASET_SORT_KEY = "DATASET"
VERSION_SORT_PREFIX = "VERSION#"
SEQUENCER_WIDTH = 64


def fleet_key(fleet: str) -> str:
    """The partition key of everything that belongs to a fleet."""
    return f"FLEET#{fleet}"


class FleetFiles:
    """A snapshot of a fleet's DATASET item."""

    def __init__(self, fleet: str, attributes: Mapping[str, Any]) -> None:
        self.fleet = fleet
        self.revision = int(attributes.get("revision", {}).get("N", "0"))
        self.dataset_version: str | None = attributes.get("dataset_version", {}).get("S")
        self.files: dict[Role, DatasetFile] = {
            role: DatasetFile.model_validate_json(attributes[f"{role}_file"]["S"])
            for role in ROLES
            if f"{role}_file" in attributes
        }
        # Of each role's file: when it was uploaded, in seconds since the epoch, and its event's sequencer, padded.
        self.modified = {role: float(attributes[f"{role}_modified"]["N"]) for role in self.files}
        self.sequencers = {role: attributes[f"{role}_sequencer"]["S"] for role in self.files}

    @property
    def missing(self) -> list[Role]:
        """The roles that nobody has uploaded yet."""
        return [role for role in ROLES if role not in self.files]


def record_file(table: str, file: DatasetFile, *, sequencer: str, last_modified: float) -> FleetFiles:
    """Record an accepted file, unless a newer upload of it is recorded already; return the fleet's files as they stand.

    S3's sequencers order the events of one key only (right-padded with zeros, then compared as text); between the two
    keys that a role may have (.txt and .txt.gz) the time of the upload decides, in seconds since the epoch.
    """
    dynamodb = clients.dynamodb()
    dynamodb.put_item(TableName=table, Item={"pk": {"S": FLEETS_KEY}, "sk": {"S": file.fleet}})
    key = {"pk": {"S": fleet_key(file.fleet)}, "sk": {"S": DATASET_SORT_KEY}}
    try:
        response = dynamodb.update_item(
            TableName=table,
            Key=key,
            UpdateExpression="SET #file = :file, #key = :key, #sequencer = :sequencer, #modified = :modified "
            "ADD revision :one",
            ConditionExpression="attribute_not_exists(#key) OR (#key = :key AND #sequencer < :sequencer) "
            "OR (#key <> :key AND #modified <= :modified)",
            ExpressionAttributeNames={
                "#file": f"{file.role}_file",
                "#key": f"{file.role}_key",
                "#sequencer": f"{file.role}_sequencer",
                "#modified": f"{file.role}_modified",
            },
            ExpressionAttributeValues={
                ":file": {"S": file.model_dump_json()},
                ":key": {"S": file.key},
                ":sequencer": {"S": sequencer.ljust(SEQUENCER_WIDTH, "0")},
                ":modified": {"N": repr(last_modified)},
                ":one": {"N": "1"},
            },
            ReturnValues="ALL_NEW",
        )
        return FleetFiles(file.fleet, response["Attributes"])
    except dynamodb.exceptions.ConditionalCheckFailedException:
        # A repeated or late event. Go on with what is recorded: an earlier delivery may have failed after this step.
        return read_files(table, file.fleet)


def read_files(table: str, fleet: str) -> FleetFiles:
    """Return the fleet's files; raises DatasetNotFoundError when nothing was ever uploaded for it."""
    response = clients.dynamodb().get_item(
        TableName=table,
        Key={"pk": {"S": fleet_key(fleet)}, "sk": {"S": DATASET_SORT_KEY}},
        ConsistentRead=True,
    )
    if "Item" not in response:
        raise DatasetNotFoundError(
            f"fleet {fleet}: no file of it has been accepted. Upload train_{fleet}.txt, test_{fleet}.txt and "
            f"RUL_{fleet}.txt to data/raw/."
        )
    return FleetFiles(fleet, response["Item"])


def make_current(table: str, fleet: str, *, version: str, revision: int) -> str | None:
    """Make `version` the fleet's newest data set, unless a later revision has done so already.

    Returns the version that was the newest before, None if there was none or if this one is not the newest.
    """
    dynamodb = clients.dynamodb()
    try:
        response = dynamodb.update_item(
            TableName=table,
            Key={"pk": {"S": fleet_key(fleet)}, "sk": {"S": DATASET_SORT_KEY}},
            UpdateExpression="SET dataset_version = :version, version_revision = :revision",
            ConditionExpression="attribute_not_exists(version_revision) OR version_revision <= :revision",
            ExpressionAttributeValues={":version": {"S": version}, ":revision": {"N": str(revision)}},
            ReturnValues="UPDATED_OLD",
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return None
    return response.get("Attributes", {}).get("dataset_version", {}).get("S")


def list_fleets(table: str) -> list[str]:
    """Return the names of all fleets that have had a file accepted."""
    return _sort_keys(table, "pk = :fleets", {":fleets": FLEETS_KEY})


def list_versions(table: str, fleet: str) -> list[str]:
    """Return the fleet's data set versions for which training was ever started."""
    values = {":fleet": fleet_key(fleet), ":version": VERSION_SORT_PREFIX}
    found = _sort_keys(table, "pk = :fleet AND begins_with(sk, :version)", values)
    return [key.removeprefix(VERSION_SORT_PREFIX) for key in found]


def version_statuses(table: str, fleet: str) -> dict[str, str]:
    """Return what became of each of the fleet's data set versions for which training was ever started."""
    values = {":fleet": fleet_key(fleet), ":version": VERSION_SORT_PREFIX}
    found = _items(table, "pk = :fleet AND begins_with(sk, :version)", values)
    return {item["sk"]["S"].removeprefix(VERSION_SORT_PREFIX): item["status"]["S"] for item in found}


def _sort_keys(table: str, condition: str, values: Mapping[str, str]) -> list[str]:
    """The sort keys of all items that a key condition matches."""
    return [item["sk"]["S"] for item in _items(table, condition, values)]


def _items(table: str, condition: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """All items that a key condition matches, read consistently, however many pages there are."""
    pages = (
        clients.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
            ConsistentRead=True,
        )
    )
    return [item for page in pages for item in page["Items"]]
