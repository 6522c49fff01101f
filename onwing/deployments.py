"""What serves a fleet, what is being deployed, and what was: the control table's words on deployments. Read only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from onwing import control
from onwing.stack import Stack
from onwing.target import Target

HELD = ("hold", "shadow")  # phases that last until somebody decides


@dataclass(frozen=True)
class Served:
    """A model that serves or served: package version, variant, and what it is made of. Unknown is empty."""

    version: int
    variant: str = ""
    package_arn: str = ""
    model: str = ""
    config: str = ""
    artifact_sha256: str = ""
    dataset_version: str = ""
    probes: str = ""
    backup: str = ""
    since: str = ""


@dataclass(frozen=True)
class UnderWay:
    """A deployment that goes on. `share` is the challenger's part of the traffic, in per cent."""

    execution: str
    version: int
    mode: str
    phase: str
    share: float = 0
    challenger: Served | None = None
    fallback: Served | None = None
    config: str = ""
    started_at: str = ""
    approved_at: str = ""
    request: int = 0

    @property
    def name(self) -> str:
        """The execution's name."""
        return self.execution.rpartition(":")[2]

    @property
    def held(self) -> bool:
        """Whether it waits for a person's decision."""
        return self.phase in HELD


@dataclass(frozen=True)
class Deployment:
    """The state of a fleet's endpoint, as the deployments left it."""

    fleet: str
    champion: Served | None = None
    predecessor: Served | None = None
    under_way: UnderWay | None = None
    monitored: bool = False


@dataclass(frozen=True)
class Approval:
    """What became of the approvals of one package; `approvals` counts the deployments that they started."""

    version: int
    status: str = ""
    approvals: int = 0
    request: int = 0
    execution_arn: str = ""
    state: str = ""


@dataclass(frozen=True)
class Record:
    """A deployment, rollback or recovery that has ended. Times are ISO 8601, or None."""

    kind: str
    fleet: str
    version: int | None = None
    outcome: str = ""
    reason: str = ""
    mode: str | None = None
    execution: str | None = None
    started_at: str | None = None
    approved_at: str | None = None
    first_traffic_at: str | None = None
    promoted_at: str | None = None
    decided_at: str | None = None
    restored_at: str | None = None
    ended_at: str | None = None

    @property
    def deployment_seconds(self) -> float | None:
        """From the approval to the first traffic."""
        return between(self.approved_at, self.first_traffic_at)

    @property
    def rollback_seconds(self) -> float | None:
        """From the decision to all traffic on the model that was there before."""
        return between(self.decided_at, self.restored_at)


def read(target: Target, stack: Stack, fleet: str) -> Deployment:
    """What serves the fleet and what is under way; an empty one when nothing was ever deployed."""
    found: Mapping[str, Any] = next(
        (item for item in control.items(target, stack, partition_key(fleet), prefix="DEPLOYMENT")), {}
    )
    return Deployment(
        fleet,
        champion=_served(control.document(found.get("champion"))),
        predecessor=_served(control.document(found.get("predecessor"))),
        under_way=_under_way(control.document(found.get("under_way"))),
        monitored=bool(found.get("monitored", False)),
    )


def approval(target: Target, stack: Stack, fleet: str, version: int) -> Approval:
    """What became of the package's approvals; an empty one when there was none."""
    found: Mapping[str, Any] = next(
        control.items(target, stack, partition_key(fleet), prefix=approval_key(version)), {}
    )
    return Approval(
        version,
        status=str(found.get("status", "")),
        approvals=int(found.get("approvals", 0)),
        request=int(found.get("request", 0)),
        execution_arn=str(found.get("execution_arn", "")),
        state=str(found.get("state", "")),
    )


def lock_owner(target: Target, stack: Stack, fleet: str) -> str:
    """ARN of the execution that may change the fleet's endpoint; empty when it is free."""
    found: Mapping[str, Any] = next(control.items(target, stack, partition_key(fleet), prefix="LOCK"), {})
    return str(found.get("owner", ""))


def history(target: Target, stack: Stack, fleet: str, *, limit: int = 20) -> list[Record]:
    """The newest `limit` records of a fleet, newest first."""
    found = control.items(target, stack, partition_key(fleet), prefix="HISTORY#", newest_first=True)
    return [record(fleet, control.document(item.get("record")) or {}) for item in islice(found, limit)]


def record(fleet: str, document: Mapping[str, Any]) -> Record:
    """A record out of its document: an item of the history, or the output of a machine."""
    found = {"kind": "deployment", "outcome": "", "reason": "", **document, "fleet": document.get("fleet", fleet)}
    return control.made(Record, found)


def approval_key(version: int) -> str:
    """The sort key of a package's approvals."""
    return f"APPROVAL#{version:06d}"


def between(begin: str | None, end: str | None) -> float | None:
    """Seconds between two moments; None when either is not there."""
    started, ended = moment(begin), moment(end)
    return (ended - started).total_seconds() if started and ended else None


def moment(text: str | None) -> datetime | None:
    """A moment out of ISO 8601; None for nothing and for what is none."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.astimezone()


def partition_key(fleet: str) -> str:
    """The partition of the control table that holds all that is known of a fleet."""
    return f"FLEET#{fleet}"


def _served(document: Mapping[str, Any] | None) -> Served | None:
    return control.made(Served, document) if document and "version" in document else None


def _under_way(document: Mapping[str, Any] | None) -> UnderWay | None:
    if not document or "execution" not in document:
        return None
    nested = {name: _served(document.get(name)) for name in ("challenger", "fallback")}
    return control.made(UnderWay, {"version": 0, "mode": "", "phase": "", **document, **nested})
