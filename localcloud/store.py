"""What there is: every resource's description, by account and region, in memory behind one lock."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

Record = dict[str, Any]

_TIME = "$time"  # no member of AWS's is named so


class Scope(NamedTuple):
    """The account and region that a resource belongs to."""

    account: str
    region: str

    def arn(self, kind: str, name: str) -> str:
        """The ARN of one of this account's SageMaker resources."""
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{kind}/{name}"


class Store:
    """The resources of every account: kind → name → record, a record being the Describe response's members.

    Records are shared: read and change them under ``lock`` only, and copy what leaves it.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.on_change: Callable[[], None] = lambda: None  # told of every change of a record
        self._tables: dict[tuple[Scope, str], dict[str, Record]] = defaultdict(dict)

    def table(self, scope: Scope, kind: str) -> dict[str, Record]:
        """One kind's records by name, in order of creation."""
        return self._tables[scope, kind]

    def tables(self) -> Iterator[tuple[Scope, str, dict[str, Record]]]:
        """Every table there is."""
        for (scope, kind), table in list(self._tables.items()):
            yield scope, kind, table

    @contextmanager
    def changing(self, record: Record) -> Iterator[Record]:
        """Change one record under the lock and stamp its LastModifiedTime."""
        with self.lock:
            yield record
            record["LastModifiedTime"] = now()
            self.on_change()  # before anybody sees the change

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self._tables.clear()

    def snapshot(self) -> list[list[Any]]:
        """Everything, as JSON values: [account, region, kind, name, record] each."""
        with self.lock:
            return [
                [scope.account, scope.region, kind, name, _to_json(record)]
                for (scope, kind), table in self._tables.items()
                for name, record in table.items()
            ]

    def restore(self, rows: list[list[Any]]) -> None:
        """Put a snapshot back in the place of everything."""
        with self.lock:
            self._tables.clear()
            for account, region, kind, name, record in rows:
                self._tables[Scope(account, region), kind][name] = _from_json(record)


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_TIME: value.isoformat()}
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return [_to_json(item) for item in value] if isinstance(value, list | tuple) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TIME}:
            return datetime.fromisoformat(value[_TIME])
        return {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def now() -> datetime:
    """The present, in milliseconds as AWS gives times."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)
