"""The daily comparison of registry, endpoints, executions, schedules and alarms: what an event was lost for.

SageMaker's events are best effort, executions can be stopped, people delete things. What the control plane can make up
for by the code that the event would have reached is repaired; the rest is reported, with what a person should do. The
comparisons are independent: one that fails is a finding itself, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from control_plane import (
    alerts,
    coverage,
    datasets,
    dead_executions,
    endpoint_state,
    lost_events,
    overdue_windows,
)
from control_plane.coverage import Coverage
from control_plane.findings import Finding, Scope
from control_plane.inventory import Inventory
from control_plane.settings import DeploymentSettings, ReconcileSettings, Settings, ViolationSettings

GRACE_SECONDS = 900  # a function's longest run; an execution's start, an event's delivery take seconds
TOLD_AT_MOST = 50  # findings in the alert; the function's answer and log have all

OF_FLEETS: tuple[Callable[[Scope, Inventory, str], Iterator[Finding]], ...] = (
    lost_events.check_dataset,
    dead_executions.check_training,
    lost_events.check_approvals,
    dead_executions.check_deployment,
    endpoint_state.check_endpoint,
    endpoint_state.check_alarms,
    dead_executions.check_claims,
    overdue_windows.check_windows,
)


class ReconcileRequest(BaseModel):
    """What the function is invoked with: nothing by the daily schedule."""

    model_config = ConfigDict(extra="forbid")

    report_only: bool = Field(default=False, description="change nothing, alert nobody")
    coverage_only: bool = Field(default=False, description="only measure what is watched: quick")
    grace_seconds: int = Field(default=GRACE_SECONDS, ge=0, description="what is younger is under way, not lost")


class Reconciliation(BaseModel):
    """What was found."""

    coverage: Coverage | None = Field(description="None: it could not be measured, which is a finding")
    findings: list[Finding]


def reconcile(
    settings: Settings,
    deploying: DeploymentSettings,
    violating: ViolationSettings,
    reconciling: ReconcileSettings,
    request: ReconcileRequest,
) -> Reconciliation:
    """Compare, repair what can be, and send one alert when anything was found.

    With `coverage_only` what AWS refuses is raised; otherwise it is a finding.
    """
    if request.coverage_only:
        return Reconciliation(coverage=coverage.measure(settings, _inventory(settings)), findings=[])
    scope = Scope(
        settings=settings,
        deploying=deploying,
        violating=violating,
        reconciling=reconciling,
        now=datetime.now(UTC),
        grace=timedelta(seconds=request.grace_seconds),
        repair=not request.report_only,
    )
    seen = _inventory(settings)
    findings: list[Finding] = []
    findings += _collect("schedules", lambda: endpoint_state.check_schedules(scope, seen))
    findings += _collect("uploads", lambda: lost_events.check_uploads(scope, seen))
    for fleet in _fleets(seen, findings):
        for check in OF_FLEETS:
            findings += _collect(f"{check.__name__} of {fleet}", partial(check, scope, seen, fleet))
    findings += _collect("violations", lambda: lost_events.check_violations(scope, seen))
    findings += _collect("orphans", lambda: endpoint_state.check_orphans(scope, seen))
    measured: list[Coverage] = []
    findings += _collect("coverage", lambda: _check_coverage(scope, seen, measured))
    if findings and scope.repair:
        _alert(settings, findings)
    return Reconciliation(coverage=measured[0] if measured else None, findings=findings)


def _inventory(settings: Settings) -> Inventory:
    return Inventory(settings.project_name, settings.table_name)


def _collect(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a comparison finds, and that it failed, if it did."""
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except Exception as error:  # noqa: BLE001 - it becomes a finding; the other comparisons go on
        findings.append(
            Finding(
                what="check",
                where=name.removeprefix("check_"),
                problem=f"this could not be compared ({type(error).__name__}: {error})",
                action="read the function's log, correct the cause, and invoke it again; it runs daily",
            )
        )
    return findings


def _fleets(seen: Inventory, findings: list[Finding]) -> list[str]:
    """Every fleet that anything is known of: an upload, a model package, an endpoint."""
    known: set[str] = set()

    def add(fleets: Callable[[], Iterable[str]]) -> Iterator[Finding]:
        known.update(fleets())
        yield from ()

    findings += _collect("list of fleets", lambda: add(lambda: datasets.list_fleets(seen.table)))
    findings += _collect("list of model package groups", lambda: add(lambda: seen.groups))
    findings += _collect("list of endpoints", lambda: add(lambda: seen.endpoints))
    return sorted(known)


def _check_coverage(scope: Scope, seen: Inventory, measured: list[Coverage]) -> Iterator[Finding]:
    """Measured last and looked at anew: what was repaired counts as being there."""
    measured.append(coverage.measure(scope.settings, _inventory(scope.settings)))
    yield from endpoint_state.check_coverage(seen, measured[0])


def _alert(settings: Settings, findings: list[Finding]) -> None:
    left = [finding for finding in findings if not finding.repaired]
    done = [finding for finding in findings if finding.repaired]
    lines = []
    for title, listed in (("To do", left), ("Repaired", done)):
        if listed:
            lines.append(f"{title}:")
            lines += [f"- {f.where}: {f.problem}\n  {f.action}" for f in listed[:TOLD_AT_MOST]]
            if (more := len(listed) - TOLD_AT_MOST) > 0:
                lines.append(f"- and {more} more: see the log of the function {settings.project_name}-reconcile")
            lines.append("")
    alerts.publish(
        settings,
        kind="reconciled",
        severity="warning" if left else "info",
        fleet="",
        subject=f"reconciliation: {len(left)} to do, {len(done)} repaired",
        message="Registry, endpoints, executions, schedules and alarms were compared.\n\n" + "\n".join(lines).strip(),
    )
