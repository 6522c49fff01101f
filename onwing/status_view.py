"""How the status, the packages and the checks look on a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from onwing.console import SIMULATED, Output, clock, duration, figure, table
from onwing.control import SHORT, FleetRecord
from onwing.doctor import MISSING, NOTE, OK, WARNING, Check
from onwing.endpoints_view import alarm_line, endpoints_table, under_way_line
from onwing.models import Package
from onwing.monitoring_view import status_table
from onwing.status import Status
from onwing.watch_view import coloured

_MARKS = {OK: "[green]✓[/]", MISSING: "[red]✗[/]", WARNING: "[yellow]![/]", NOTE: "[dim]·[/]"}


def show_status(out: Output, status: Status) -> None:
    """The whole status; empty parts are left out."""
    out.line(f"Stack [bold]{escape(status.stack.name)}[/]  {escape(status.stack.status)}")
    if status.fleets:
        out.line()
        out.show(_fleets(status.fleets))
    if status.executions:
        out.line()
        runs = table("Execution", "Status", "Started", "Took", right=("Took",), title="Latest executions")
        for run in status.executions:
            took = ((run.stopped or datetime.now(UTC)) - run.started).total_seconds()
            runs.add_row(escape(run.name), coloured(run.status), clock(run.started), duration(took))
        out.show(runs)
    if status.pending:
        out.line()
        out.show(packages_table(status.pending, "Packages that wait for approval"))
    if status.endpoints:
        out.line()
        out.show(endpoints_table(status.endpoints, "Endpoints, and their last hour"))
        for endpoint in status.endpoints:
            if endpoint.deployment.under_way is not None:
                out.line(under_way_line(endpoint.fleet, endpoint.deployment.under_way))
    if status.monitored:
        out.line()
        out.show(status_table(status.monitored, "Monitoring"))
    _coverage(out, status)
    for alarm in status.alarms:
        out.line(alarm_line(alarm))
    if status.quarantined:
        out.line()
        files = table("File", "When", "Report", fold=("File", "Report"), title="Quarantined files")
        for item in status.quarantined:
            files.add_row(escape(item.name), clock(item.at), escape(item.report))
        out.show(files)
    for queue in status.dead_letters:
        if queue.waiting:
            out.warn(f"{queue.waiting} events wait in {escape(queue.name)}: nobody could handle them")


def _coverage(out: Output, status: Status) -> None:
    """How much of what serves is watched, and what is missing."""
    if status.coverage is None:
        out.warn(escape(status.coverage_problem))
    elif status.endpoints:
        mark = "[green]✓[/]" if not status.coverage.missing else "[red]✗[/]"
        out.line(f"{mark} Monitoring coverage: {status.coverage.percent:.4g} %")
        for text in status.coverage.missing:
            out.line(f"  [red]✗[/] {escape(text)}")


def _fleets(fleets: Sequence[FleetRecord]) -> Any:
    made = table(
        "Fleet",
        "Newest data set",
        "State",
        "Attempt",
        "Files",
        right=("Attempt",),
        fold=("State", "Files"),
        title="Fleets",
    )
    for fleet in fleets:
        newest = fleet.newest
        if fleet.missing:
            state = f"[yellow]waits for {', '.join(f'{role}_{fleet.fleet}.txt' for role in fleet.missing)}[/]"
        else:
            state = coloured(newest.status) if newest else "not started yet"
        files = ", ".join(
            f"{role} {file.engines} engines" if role != "RUL" and file.engines else role
            for role, file in fleet.files.items()
        )
        marker = f" {SIMULATED}" if fleet.simulated else ""
        version = (fleet.dataset_version or "–")[:SHORT]
        made.add_row(escape(fleet.fleet) + marker, version, state, str(newest.attempt) if newest else "", files)
    return made


_APPROVAL = {
    "PendingManualApproval": "[yellow]pending[/]",
    "Approved": "[green]approved[/]",
    "Rejected": "[red]rejected[/]",
}


_ROLE = {"champion": " [bold]★[/]", "under_way": " [cyan]▶[/]"}


def packages_table(
    packages: Sequence[Package], title: str | None = None, *, roles: Mapping[tuple[str, int], str] | None = None
) -> Any:
    """Packages with their figures, clipped (the gate's) and unclipped; ★ serves its fleet, ▶ is being deployed."""
    numbers = ("RMSE", "PHM08", "RMSE uncl.", "PHM08 uncl.")
    made = table("Package", "Status", *numbers, "Data set", "Created", right=numbers, title=title)
    for package in packages:
        made.add_row(
            escape(package.name)
            + _ROLE.get((roles or {}).get((package.fleet, package.version), ""), "")
            + (f" {SIMULATED}" if package.simulated else ""),
            _APPROVAL.get(package.status, escape(package.status)),
            figure(package.rmse),
            figure(package.phm08, 1),
            figure(package.rmse_unclipped),
            figure(package.phm08_unclipped, 1),
            package.dataset_version[:SHORT],
            clock(package.created),
        )
    return made


def show_package(out: Output, package: Package, report: dict[str, Any] | None) -> None:
    """One package: figures, verdict, errors by band, lineage."""
    out.show(packages_table([package]))
    out.line()
    for gate in (report or {}).get("gates", []):
        mark = "[green]✓[/]" if gate["passed"] else "[red]✗[/]"
        out.line(f"{mark} {escape(str(gate['name']))} {figure(gate['figure'])}, limit {figure(gate['threshold'])}")
    bands = (report or {}).get("bands", {}).get("clipped", [])
    if bands:
        made = table("True RUL", "Engines", "RMSE", "MAE", "Bias", right=("Engines", "RMSE", "MAE", "Bias"))
        for band in bands:
            engines = str(band.get("engines", ""))
            made.add_row(str(band["band"]), engines, *(figure(band.get(name)) for name in ("rmse", "mae", "bias")))
        out.line()
        out.show(made)
    lineage = table("Where it came from", "", fold=("",))
    rows = {
        "package": package.arn,
        "comment on approval": package.comment,
        "data set version": package.dataset_version,
        "model": package.model_data_url,
        "image": package.image,
        **{name: value for name, value in package.properties.items() if name not in _SHOWN_ABOVE},
        **package.documents,
    }
    for name, value in rows.items():
        if value:
            lineage.add_row(escape(name.replace("_", " ")), escape(value))
    out.line()
    out.show(lineage)


_SHOWN_ABOVE = {"fleet", "dataset_version", "rmse", "phm08", "rmse_unclipped", "phm08_unclipped", "simulated"}


def show_checks(out: Output, checks: Sequence[Check]) -> None:
    """What was looked at, and what to do about what is missing."""
    made = table("", "What", "Found", fold=("Found",))
    for check in checks:
        todo = f"\n[bold]→[/] {escape(check.todo)}" if check.todo else ""
        made.add_row(_MARKS[check.state], escape(check.name), escape(check.found) + todo)
    out.show(made)
