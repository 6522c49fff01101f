"""How much of the past is kept."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from localcloud import hooks
from localcloud.durability import retention
from localcloud.store import Scope, Store

SCOPE = Scope("000000000000", "us-east-1")
NOW = datetime.now(UTC)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """MiniStack's stores, as far as they are looked at."""
    found: dict[str, Any] = {
        name: SimpleNamespace(_data={}) for name in ("states.executions", "logs.groups", "logs.records")
    }
    found["logs.lock"] = threading.Lock()
    monkeypatch.setattr(hooks, "get", found.__getitem__)
    monkeypatch.setattr(retention, "HISTORIES", 2)
    monkeypatch.setattr(retention, "EXECUTIONS", 4)
    monkeypatch.setattr(retention, "JOBS", 3)
    monkeypatch.setattr(retention, "STREAM_EVENTS", 5)
    monkeypatch.setattr(retention, "LOG_EVENTS", 8)
    return found


def execution(status: str, days: float) -> dict[str, Any]:
    return {"status": status, "stopDate": (NOW - timedelta(days=days)).isoformat(), "events": [{"id": 1}]}


def test_newest_histories_and_executions_are_kept(stores: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    table = stores["states.executions"]._data
    for number in range(6):
        table[number] = execution("SUCCEEDED", days=number)
    table["old"] = execution("FAILED", days=91)
    table["runs"] = {"status": "RUNNING", "stopDate": None, "events": [{"id": 1}]}
    retention.prune(Store())
    assert set(table) == {0, 1, 2, 3, "runs"}
    assert [bool(table[key]["events"]) for key in (0, 1, 2, 3, "runs")] == [True, True, False, False, True]
    assert "2 histories of closed executions are removed: the newest 2 are kept" in caplog.text
    caplog.clear()
    retention.prune(Store())
    assert caplog.text == ""


def test_jobs_that_run_are_never_removed(stores: dict[str, Any]) -> None:
    store = Store()
    table = store.table(SCOPE, "training-job")
    for number in range(6):
        table[f"job-{number}"] = {"TrainingJobStatus": "InProgress" if number == 0 else "Completed"}
    retention.prune(store)
    assert set(table) == {"job-0", "job-3", "job-4", "job-5"}


def stream(ages: list[float], last: int) -> dict[str, Any]:
    now = time.time()
    events = [{"timestamp": int((now - age * 86_400) * 1000), "eventId": f"{last}-{n}"} for n, age in enumerate(ages)]
    return {"events": events, "lastIngestionTime": last}


def test_executions_of_monitoring_schedules_are_bounded_too(stores: dict[str, Any]) -> None:
    store = Store()
    table = store.table(SCOPE, "monitoring-execution")
    for number, status in enumerate(("InProgress", "CompletedWithViolations", "Failed", "Completed", "Failed")):
        table[str(number)] = {"MonitoringExecutionStatus": status}
    retention.prune(store)
    assert list(table) == ["0", "2", "3", "4"]


def test_log_events_go_by_the_groups_retention_and_the_limits(stores: dict[str, Any]) -> None:
    newest = stream([0.5] * 7, last=30)
    expired = stream([3, 2, 0.5], last=20)
    oldest = stream([0.5] * 4, last=10)
    groups = stores["logs.groups"]._data
    groups["short"] = {"retentionInDays": 1, "streams": {"a": expired}}
    groups["long"] = {"retentionInDays": None, "streams": {"b": newest, "c": oldest}}
    records = stores["logs.records"]._data
    for kept in (newest, expired, oldest):
        records.update({(*SCOPE, event["eventId"]): event for event in kept["events"]})
    retention.prune(Store())
    assert [len(kept["events"]) for kept in (newest, expired, oldest)] == [5, 1, 2]
    assert len(records) == 8
