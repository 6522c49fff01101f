"""The control table's APPROVAL items: the last word on each model package, and who deploys it.

Every write is conditional on what was read, so that deliveries at the same time are decided one after the other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from control_plane import clients
from control_plane.datasets import fleet_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

OVERTAKEN = 0  # the request number of an approval that is older than one acted upon: below every real one
NAMES = {"#status": "status", "#state": "state", "#input": "input", "#request": "request"}  # DynamoDB's reserved words


class ChangedMeanwhileError(Exception):
    """Another delivery wrote what this one has read: read it again and decide anew."""


@dataclass(frozen=True)
class Package:
    """A version in a fleet's model package group."""

    fleet: str
    version: int
    arn: str

    def __str__(self) -> str:
        return f"{self.fleet} v{self.version}"

    @property
    def key(self) -> dict[str, dict[str, str]]:
        """The key of its item."""
        return {"pk": {"S": fleet_key(self.fleet)}, "sk": {"S": f"APPROVAL#{self.version:06d}"}}


@dataclass(frozen=True)
class Approval:
    """What a package's item says."""

    status: str | None = None  # the approval status last acted upon
    modified: Decimal | None = None  # LastModifiedTime of the event that brought it, seconds since the epoch
    approvals: int = 0  # deployments that its approvals have started
    state: str = ""  # of the last approval: starting, started, refusing, refused
    input: str = ""  # of its execution, kept so that a repeated event starts the same
    execution_arn: str = ""
    strategy: str | None = None  # asked for, for the next approval
    refusal: str = ""  # why the last approval is refused


def read(table: str, package: Package) -> Approval:
    """Return the package's item, empty if there is none."""
    item = clients.dynamodb().get_item(TableName=table, Key=package.key, ConsistentRead=True).get("Item", {})
    values: dict[str, Any] = {name: next(iter(value.values())) for name, value in item.items()}
    return Approval(
        status=values.get("status"),
        modified=Decimal(values["modified"]) if "modified" in values else None,
        approvals=int(values.get("approvals", 0)),
        state=values.get("state", ""),
        input=values.get("input", ""),
        execution_arn=values.get("execution_arn", ""),
        strategy=values.get("strategy"),
        refusal=values.get("refusal", ""),
    )


def record(table: str, package: Package, seen: Approval, status: str, modified: Decimal) -> None:
    """Write down an event that was acted upon; raises ChangedMeanwhileError."""
    condition, values = _as_seen(seen)
    values |= {":status": {"S": status}, ":modified": {"N": str(modified)}}
    _update(table, package, "SET #status = :status, modified = :modified", condition, values)


def claim(table: str, package: Package, seen: Approval, modified: Decimal, document: dict[str, Any]) -> Approval:
    """Claim an approval with the fleet's next request number; raises ChangedMeanwhileError.

    Claim and number are one transaction, so that no number is lost or given twice. `document` is the execution's input;
    its `request` is added here. An approval whose event comes after that of a newer approval of another version must
    not win over that: its request has no chance, and its execution ends as superseded.
    """
    dynamodb = clients.dynamodb()
    requests_key = {"pk": {"S": fleet_key(package.fleet)}, "sk": {"S": "REQUESTS"}}
    requests = dynamodb.get_item(TableName=table, Key=requests_key, ConsistentRead=True).get("Item", {})
    newest = requests.get("newest")
    overtaken = modified < Decimal(requests.get("approved", {}).get("N", "0"))
    request = OVERTAKEN if overtaken else int(newest["N"] if newest else 0) + 1
    claimed = Approval(
        "Approved", modified, seen.approvals + 1, "starting", json.dumps(document | {"request": request})
    )
    condition, values = _as_seen(seen)
    values |= {
        ":status": {"S": "Approved"},
        ":modified": {"N": str(modified)},
        ":approvals": {"N": str(claimed.approvals)},
        ":request": {"N": str(request)},
        ":state": {"S": claimed.state},
        ":input": {"S": claimed.input},
    }
    writes: list[TransactWriteItemTypeDef] = [
        {
            "Update": {
                "TableName": table,
                "Key": package.key,
                "UpdateExpression": "SET #status = :status, modified = :modified, approvals = :approvals, "
                "#request = :request, #state = :state, #input = :input REMOVE strategy, execution_arn, refusal",
                "ConditionExpression": condition,
                "ExpressionAttributeNames": NAMES,
                "ExpressionAttributeValues": values,
            }
        }
    ]
    if not overtaken:
        numbers = {":next": {"N": str(request)}, ":approved": {"N": str(modified)}}
        writes.append(
            {
                "Update": {
                    "TableName": table,
                    "Key": requests_key,
                    "UpdateExpression": "SET newest = :next, approved = :approved",
                    "ConditionExpression": "newest = :seen" if newest else "attribute_not_exists(newest)",
                    "ExpressionAttributeValues": numbers | ({":seen": newest} if newest else {}),
                }
            }
        )
    try:
        dynamodb.transact_write_items(TransactItems=writes)
    except dynamodb.exceptions.TransactionCanceledException as error:
        codes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
        if codes & {"ConditionalCheckFailed", "TransactionConflict"}:
            raise ChangedMeanwhileError from error
        raise
    return claimed


def renumber(table: str, package: Package, claimed: Approval) -> None:
    """Give a claim that was not started the next number; raises ChangedMeanwhileError."""
    values = _as_claimed(claimed) | {":next": {"N": str(claimed.approvals + 1)}}
    _update(table, package, "SET approvals = :next", "approvals = :claimed AND #state = :starting", values)


def mark_started(table: str, package: Package, claimed: Approval, execution_arn: str) -> None:
    """Write down the claim's execution; raises ChangedMeanwhileError."""
    values = _as_claimed(claimed) | {":arn": {"S": execution_arn}, ":started": {"S": "started"}}
    condition = "approvals = :claimed AND #state = :starting"
    _update(table, package, "SET execution_arn = :arn, #state = :started", condition, values)


def mark_refusing(table: str, package: Package, seen: Approval, modified: Decimal, reason: str) -> None:
    """Claim the refusal of an approval, whose strategy is used up by it; raises ChangedMeanwhileError."""
    condition, values = _as_seen(seen)
    values |= {":rejected": {"S": "Rejected"}, ":modified": {"N": str(modified)}}
    values |= {":refusing": {"S": "refusing"}, ":reason": {"S": reason}}
    change = "SET #status = :rejected, modified = :modified, #state = :refusing, refusal = :reason REMOVE strategy"
    _update(table, package, change, condition, values)


def mark_refused(table: str, package: Package) -> None:
    """Write down that a refusal is complete; raises ChangedMeanwhileError."""
    values = {":refusing": {"S": "refusing"}, ":refused": {"S": "refused"}}
    _update(table, package, "SET #state = :refused", "#state = :refusing", values)


def _as_seen(seen: Approval) -> tuple[str, dict[str, Any]]:
    """The condition that nobody has acted upon another event since, and its values."""
    parts: list[str] = []
    values: dict[str, Any] = {}
    for name, value in (
        ("#status", seen.status and {"S": seen.status}),
        ("modified", None if seen.modified is None else {"N": str(seen.modified)}),
    ):
        if value is None:
            parts.append(f"attribute_not_exists({name})")
        else:
            placeholder = f":seen_{name.lstrip('#')}"
            parts.append(f"{name} = {placeholder}")
            values[placeholder] = value
    return " AND ".join(parts), values


def _as_claimed(claimed: Approval) -> dict[str, Any]:
    return {":claimed": {"N": str(claimed.approvals)}, ":starting": {"S": "starting"}}


def _update(table: str, package: Package, change: str, condition: str, values: dict[str, Any]) -> None:
    dynamodb = clients.dynamodb()
    try:
        dynamodb.update_item(
            TableName=table,
            Key=package.key,
            UpdateExpression=change,
            ConditionExpression=condition,
            ExpressionAttributeNames={alias: name for alias, name in NAMES.items() if alias in change + condition},
            ExpressionAttributeValues=values,
        )
    except dynamodb.exceptions.ConditionalCheckFailedException as error:
        raise ChangedMeanwhileError from error
