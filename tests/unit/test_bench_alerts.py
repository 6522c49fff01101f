"""The bench of alerts: what it counts from and to, what it refuses to count, and the report that it leaves."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from control_plane import violation_files

from benchmarks import bench_alerts
from benchmarks.bench_alerts import REPORT, Sample, figures
from onwing.alerts import Alert
from tests.unit.onwing_fakes import STACK, FakeClient, target_with

WINDOW = datetime(2026, 11, 1, 9, tzinfo=UTC)


def report(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> tuple[Sample, dict[str, Any]]:
    """One report: PutObject takes 50 ms, the alerts of these kinds are sent then and in the list at the third look."""
    put: dict[str, Any] = {}
    looks = iter(range(10))
    sent: list[str] = []

    def put_object(**given: Any) -> dict[str, Any]:
        put.update(given)
        time.sleep(0.05)
        sent.append(datetime.now(UTC).isoformat())
        return {}

    def read(*_: Any, **__: Any) -> list[Alert]:
        return [Alert(sent[0], "id", kind=kind) for kind in kinds] if next(looks) == 2 else []

    monkeypatch.setattr("onwing.alerts.read", read)
    target = target_with(s3=FakeClient(put_object=put_object))
    return bench_alerts._report(target, STACK, "FD001", WINDOW), put


def test_both_times_count_from_the_call_of_put_object(monkeypatch: pytest.MonkeyPatch) -> None:
    sample, put = report(monkeypatch, "drift")
    assert 0.049 <= sample.sent < sample.listed  # sleep and datetime go by two clocks
    assert sample.listed - sample.sent >= 2 * bench_alerts.LOOK_SECONDS - 0.001
    assert put["Body"] == REPORT.read_bytes()
    place = violation_files.locate("onwing", put["Key"])
    assert (place.source, place.fleet, place.variant) == ("onwing", "FD001", "v1")
    assert place.started_at == "2026-11-01T09:00:00Z"


@pytest.mark.parametrize("kinds", [("violations_unreadable",), ("drift", "alarm")])
def test_other_alerts_are_no_sample(monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...]) -> None:
    with pytest.raises(RuntimeError, match=r"constraint_violations\.json led to"):
        report(monkeypatch, *kinds)


def test_the_report_is_one_that_the_control_plane_decides_on() -> None:
    findings = violation_files.parse(REPORT.read_bytes())
    assert (findings.severity, findings.cause, findings.features) == ("moderate", "drift", ["s4", "rul"])


def test_figures_are_quantiles_and_the_maximum() -> None:
    samples = [Sample(sent=number / 10, listed=number / 5) for number in range(1, 22)]
    assert figures(samples) == {
        "samples": 21,
        "sent_seconds": {"p50": 1.1, "p95": 2.0, "max": 2.1},
        "listed_seconds": {"p50": 2.2, "p95": 4.0, "max": 4.2},
    }
