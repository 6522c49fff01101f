"""Backups of endpoints: what there is, writing one, and rebuilding an endpoint from one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onwing import endpoints, operations
from onwing.errors import NotFound
from onwing.operations import Run
from onwing.stack import Stack
from onwing.target import Target

PREFIX = "backups/"


@dataclass(frozen=True)
class Backup:
    """One backup: where it is, and which model is the champion in it."""

    key: str
    fleet: str
    written: datetime
    champion: int | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The last part of the key: when it was written."""
        return _name(self.key)


def write(target: Target, stack: Stack, fleet: str | None, *, timeout: float | None = None) -> Run:
    """Back up a fleet's endpoint, or every endpoint of the project."""
    request = {"reason": "asked for with onwing backup", **({"fleets": [fleet]} if fleet else {})}
    arn = operations.start(target, stack, "backup", fleet or "all", request)
    return operations.wait(target, arn, timeout=timeout)


def newest(target: Target, stack: Stack, fleet: str, *, limit: int = 20) -> list[Backup]:
    """The newest backups of a fleet's endpoint, newest first."""
    target.client("s3")  # made before the threads share it
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="backup") as pool:
        return list(pool.map(lambda found: _read(target, stack, fleet, *found), _keys(target, stack, fleet)[:limit]))


def _keys(target: Target, stack: Stack, fleet: str) -> list[tuple[str, datetime]]:
    """Key and time of each backup, newest first: the names are times."""
    prefix = f"{PREFIX}{endpoints.name_of(stack, fleet)}/"
    pages = target.client("s3").get_paginator("list_objects_v2").paginate(Bucket=stack.bucket, Prefix=prefix)
    found = [(item["Key"], item["LastModified"]) for page in pages for item in page.get("Contents", [])]
    return sorted((item for item in found if item[0].endswith(".json")), reverse=True)


def key_of(target: Target, stack: Stack, fleet: str, named: str | None) -> str:
    """The key of the backup meant by its key, by its name or the beginning of it; the newest one for None.

    Raises NotFound.
    """
    for key, _ in _keys(target, stack, fleet):
        if named is None or key == named or _name(key).startswith(named):
            return key
    raise NotFound(
        f"Fleet {fleet} has no backup{f' {named}' if named else ''}.",
        where=f"s3://{stack.bucket}/{PREFIX}{endpoints.name_of(stack, fleet)}/",
        todo=f"See what there is: `onwing restore {fleet} --list`. Write one: `onwing backup --fleet {fleet}`.",
    )


def restore(
    target: Target, stack: Stack, fleet: str, key: str, *, plan_only: bool, timeout: float | None = None
) -> Run:
    """Run the recovery machine: what it would do, or the deed."""
    request = {"fleet": fleet, "backup": key, "plan_only": plan_only, "reason": "asked for with onwing restore"}
    arn = operations.start(target, stack, "recovery", fleet, request)
    return operations.wait(target, arn, timeout=timeout)


def written(run: Run) -> Sequence[Mapping[str, Any]]:
    """What a backup run wrote: fleet, endpoint, key of each."""
    found: Sequence[Mapping[str, Any]] = run.output.get("backups", [])
    return found


def _name(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


def _read(target: Target, stack: Stack, fleet: str, key: str, modified: datetime) -> Backup:
    document = json.loads(target.client("s3").get_object(Bucket=stack.bucket, Key=key)["Body"].read())
    champion = (document.get("deployment") or {}).get("champion") or {}
    return Backup(key, fleet, modified, champion.get("version"), str(document.get("reason") or ""))
