"""Captured traffic in S3: the files that were delivered in an interval, and the manifest that gives them to a job.

SageMaker writes {endpoint}/{variant}/yyyy/mm/dd/hh/….jsonl by the hour of the inference and delivers minutes later, so
that a file's LastModified, not its folder, says in which interval it came.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from control_plane import clients

CAPTURE_PREFIX = "monitoring/capture"
# A file may come this much later than the hour whose folder it is in.
LATEST_DELIVERY = timedelta(days=1)
CLOCKS_DIFFER_BY = timedelta(minutes=5)


@dataclass(frozen=True)
class Captured:
    """Files delivered in [start of the search, end): `cut` says that more have come by now than one window takes."""

    keys: list[str]
    first: datetime | None  # the earliest delivery
    last: datetime | None
    end: datetime
    cut: bool


def capture_prefix(endpoint: str, variant: str = "") -> str:
    """Where the traffic of an endpoint or of one of its variants is captured, with a slash at the end."""
    return f"{CAPTURE_PREFIX}/{endpoint}/{variant}/" if variant else f"{CAPTURE_PREFIX}/{endpoint}/"


def list_folders(bucket: str, prefix: str) -> list[str]:
    """The names of the folders right below a prefix that ends with a slash: of variants, below an endpoint's."""
    pages = clients.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    return [found["Prefix"].removeprefix(prefix)[:-1] for page in pages for found in page.get("CommonPrefixes", [])]


def find(
    bucket: str, endpoint: str, variant: str, start: datetime | None, end: datetime, limit: int | None = None
) -> Captured:
    """List the files delivered in [start, end), at most about `limit` of them.

    Where more were delivered the interval ends earlier, at a whole second, so that what is left falls to the next one.
    A single second's files are never divided, be they more than the limit.

    Args:
        start: None for all that ever came.
        end: whole seconds; no later than files are surely listed.
        limit: None for no limit.
    """
    found: list[tuple[datetime, str]] = []
    cut = False
    for folder, page in _pages(bucket, capture_prefix(endpoint, variant), start):
        # What is delivered is not older than its folder's hour: later folders have nothing that comes before these.
        sure = None if folder is None else folder - CLOCKS_DIFFER_BY
        if limit is not None and sure is not None and sum(modified < sure for modified, _ in found) > limit:
            cut = True
            break
        found += [(modified, key) for modified, key in page if (start is None or modified >= start) and modified < end]
    found.sort()
    if limit is not None and len(found) > limit:
        cut = True
        end = found[limit][0].replace(microsecond=0)
        if end <= found[0][0]:
            end = found[0][0].replace(microsecond=0) + timedelta(seconds=1)
        found = [(modified, key) for modified, key in found if modified < end]
    times = [modified for modified, _ in found]
    return Captured(sorted(key for _, key in found), min(times, default=None), max(times, default=None), end, cut)


def write_manifest(bucket: str, key: str, endpoint: str, variant: str, keys: list[str]) -> str:
    """Write a ManifestFile of capture files, from which a job gets exactly these; its S3 address."""
    prefix = capture_prefix(endpoint, variant)
    manifest = [{"prefix": f"s3://{bucket}/{prefix}"}, *(key.removeprefix(prefix) for key in keys)]
    clients.s3().put_object(Bucket=bucket, Key=key, Body=json.dumps(manifest).encode(), ContentType="application/json")
    return f"s3://{bucket}/{key}"


def _pages(
    bucket: str, prefix: str, start: datetime | None
) -> Iterator[tuple[datetime | None, list[tuple[datetime, str]]]]:
    """Pages of (delivery, key) in the order of the keys, each with the hour of its first key's folder."""
    after = prefix if start is None else f"{prefix}{start - LATEST_DELIVERY:%Y/%m/%d/%H/}"
    pages = clients.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=after)
    for page in pages:
        objects = [each for each in page.get("Contents", []) if not each["Key"].endswith("/")]
        if objects:
            folder = _hour(objects[0]["Key"].removeprefix(prefix))
            yield folder, [(each["LastModified"].astimezone(UTC), each["Key"]) for each in objects]


def _hour(relative: str) -> datetime | None:
    """The hour that a key's folder yyyy/mm/dd/hh says; None where it says none."""
    try:
        return datetime.strptime(relative[:13], "%Y/%m/%d/%H").replace(tzinfo=UTC)
    except ValueError:
        return None
