"""Lists with filters, sorting and paging, alike for every kind of resource."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from localcloud.errors import ValidationException
from localcloud.store import Record

DEFAULT_PAGE = 10


def select(
    records: Iterable[Record],
    request: Mapping[str, Any],
    *,
    name: str,
    status: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> list[Record]:
    """The records that the request's usual filters let through.

    Args:
        records: candidates.
        request: with any of CreationTimeAfter/Before, LastModifiedTimeAfter/Before, NameContains, StatusEquals.
        name: the member that holds the name.
        status: the member that StatusEquals is compared with.
        extra: further filters, by equality: member of the request → member of the record.
    """
    wanted = (request.get("NameContains") or "").lower()
    equal = {"StatusEquals": status} if status else {}
    equal.update(extra or {})

    def passes(record: Record) -> bool:
        return (
            wanted in str(record.get(name, "")).lower()
            and _within(record.get("CreationTime"), request.get("CreationTimeAfter"), request.get("CreationTimeBefore"))
            and _within(
                record.get("LastModifiedTime"),
                request.get("LastModifiedTimeAfter"),
                request.get("LastModifiedTimeBefore"),
            )
            and all(
                request.get(asked) is None or record.get(member) == request[asked] for asked, member in equal.items()
            )
        )

    return [record for record in records if passes(record)]


def page(
    records: list[Record],
    request: Mapping[str, Any],
    *,
    sort: Mapping[str, str],
    default_sort: str = "CreationTime",
    default_order: str = "Descending",
) -> tuple[list[Record], str | None]:
    """One page of the records in order, and the token of the next page.

    Args:
        records: all that passed the filters, in order of creation.
        request: with any of SortBy, SortOrder, MaxResults, NextToken.
        sort: SortBy's values → the member they stand for.
        default_sort: SortBy when none is given.
        default_order: SortOrder when none is given.

    Raises:
        ValidationException: a token that this list did not give out.
    """
    member = sort[request.get("SortBy") or default_sort]
    ordered = sorted(
        enumerate(records),
        key=lambda item: (item[1].get(member) is not None, _key(item[1].get(member)), item[0]),
        reverse=(request.get("SortOrder") or default_order) == "Descending",
    )
    start = _offset(request.get("NextToken"))
    size = request.get("MaxResults") or DEFAULT_PAGE
    chosen = [record for _, record in ordered[start : start + size]]
    return chosen, _token(start + size) if start + size < len(ordered) else None


def _key(value: Any) -> Any:
    if value is None:
        return ""
    return value.timestamp() if isinstance(value, datetime) else value


def _within(value: Any, after: datetime | None, before: datetime | None) -> bool:
    if after is not None and (value is None or value <= after):
        return False
    return before is None or (value is not None and value < before)


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"offset": offset}).encode()).decode()


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(json.loads(base64.urlsafe_b64decode(token))["offset"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise ValidationException("Invalid NextToken provided.") from error
