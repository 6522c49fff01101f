"""The commands on what is found: drift status, report, run, inject and truth; alerts; reconcile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onwing import alerts_view, inject, monitor_run, monitoring_view, reconcile, scenarios, truth
from onwing.command import Context, command
from onwing.errors import Exit
from onwing.options import LOOK, SERVING, WORK, DataDir, Fleet, FleetName, Timeout, Wait

monitoring = typer.Typer(rich_markup_mode="rich")
drift_app = typer.Typer(
    rich_markup_mode="rich", no_args_is_help=True, help="See whether the world has changed since training."
)
monitoring.add_typer(drift_app, name="drift", rich_help_panel=SERVING)

AnyFleet = Annotated[str | None, typer.Argument(help="The fleet, say FD001; all of them without.", show_default=False)]


@command(drift_app, "status")
def drift_status(context: Context, fleet: AnyFleet = None) -> Exit:
    """Show what monitoring says of each endpoint: last window, drift, what is open, what was decided, what to do.

    ok            no drift was found
    violations    something has changed
    insufficient  too few engines: nothing can be said
    unreadable    the capture cannot be read
    never         no window has closed yet
    overdue       nobody has looked for three periods of the schedule
    failed        the job failed; the next run tries the same window again
    off           the endpoint is not monitored

    DataDrift is the largest statistic in units of its threshold: above 1 is a violation. Model quality has lines of its
    own, and so has each schedule of Model Monitor that finds violations.

    Examples:

      onwing drift status
      onwing drift status FD001 --json
    """
    return monitoring_view.status(context, fleet)


@command(drift_app, "report")
def drift_report(
    context: Context,
    fleet: FleetName,
    *,
    window: Annotated[
        str | None, typer.Option("--window", help="Its id, or how that begins.", show_default="the newest")
    ] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="Say v7.", show_default="the champion")] = None,
    quality: Annotated[bool, typer.Option("--quality", help="The comparison with ground truth instead.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for report.html.", show_default=".onwing/drift/…")
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Open report.html in the browser.")] = False,
) -> Exit:
    """Show one window's report: what has changed, by how much, in whom, what was decided; keep its page with figures.

    Examples:

      onwing drift report FD001
      onwing drift report FD001 --window 20261123T14 --out reports
      onwing drift report FD001 --quality --open
    """
    return monitoring_view.report(
        context, fleet, named=window, variant=variant, quality=quality, folder=folder, opened=opened
    )


@command(drift_app, "run")
def drift_run(context: Context, fleet: AnyFleet = None, *, wait: Wait = True, timeout: Timeout = None) -> Exit:
    """Judge now what has been captured since the last window, and wait for the outcome.

    Exit codes: 0 no drift · 7 violations · 8 it cannot be told (too few engines yet, or an unreadable capture).

    Examples:

      onwing drift run
      onwing drift run FD001 --json
      onwing drift run FD001 --no-wait
    """
    return monitor_run.run(context, fleet, wait=wait, timeout=timeout)


@command(drift_app, "inject")
def drift_inject(
    context: Context,
    fleet: FleetName,
    *,
    scenario: Annotated[
        str, typer.Option("--scenario", help=f"One of: {', '.join(scenarios.SCENARIOS)}.", show_default=False)
    ],
    engines: Annotated[int, typer.Option("--engines", help="So many engines.", min=1)] = inject.ENGINES,
    reports: Annotated[
        int, typer.Option("--reports", help="Requests of each: its last flights.", min=1)
    ] = inject.REPORTS,
    rate: Annotated[float, typer.Option("--rate", help="Requests a second.", min=0.01)] = inject.RATE,
    sensor: Annotated[
        list[str] | None, typer.Option("--sensor", help="In this sensor, s1 to s21; may be repeated.")
    ] = None,
    size: Annotated[
        float | None, typer.Option("--size", help="How much: σ, per cent or times the noise.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same engines.")] = 1,
    data: DataDir = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until they have been captured.")] = True,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Wait at most so many seconds.", min=0)
    ] = inject.CAPTURE_TIMEOUT,
) -> Exit:
    """Send real engines with a named change in them through an endpoint, as its users would. They are captured.

    clean    the engines as they are
    bias     one sensor (s4, T50, unless another is named) reads 1 σ of its regime higher
    gain     it reads 1 % higher
    stuck    it shows what it showed first, flight after flight
    noise    it has 3 times its noise
    dropout  it sends nothing but 0
    ramp     it reads 1 σ higher every 100 cycles
    kelvin   s2, s3 and s4 are sent in K instead of °R
    regime   engines of FD002 at FD001's endpoint, or of FD004 at FD003's
    fault    engines of FD003 late in their lives, whose fan fails, at FD001's; or of FD004 at FD002's

    A change holds from each engine's first flight on. What it sets off is real: this is no dry run.

    Examples:

      onwing drift inject FD001 --scenario clean
      onwing drift inject FD001 --scenario bias --sensor s11 --size 1.5 --engines 20
      onwing drift inject FD001 --scenario fault --rate 5
    """
    return inject.run(
        context,
        fleet,
        scenario=scenario,
        sensors=sensor or [],
        size=size,
        engines=engines,
        reports=reports,
        rate=rate,
        seed=seed,
        data_dir=data,
        wait=wait,
        timeout=timeout,
    )


@command(drift_app, "truth")
def drift_truth(
    context: Context,
    fleet: FleetName,
    file: Annotated[Path, typer.Argument(help="CSV with the header unit,cycle,rul.", show_default=False)],
) -> Exit:
    """Upload true remaining useful lives: monitoring compares them with the predictions that were made.

    A line an engine: its true RUL after a cycle. An engine that failed at cycle 200 is 17,200,0; one that was removed
    with 12 cycles left at cycle 200 is 17,200,12.

    Examples:

      onwing drift truth FD001 removals-november.csv
    """
    return truth.run(context, fleet, file)


@command(monitoring, "alerts", rich_help_panel=LOOK)
def alerts(
    context: Context,
    *,
    fleet: Fleet = None,
    since: Annotated[str, typer.Option("--since", help="How long ago (30m, 12h, 1d, 2w), or a date.")] = "1d",
    severity: Annotated[
        str | None, typer.Option("--severity", help="At least: info, warning or critical.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing new ones, until Ctrl-C.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Whole messages.")] = False,
) -> Exit:
    """Show the alerts that were sent, newest last; they are kept for 90 days.

    Examples:

      onwing alerts
      onwing alerts --fleet FD001 --since 2w --severity critical --full
      onwing alerts --follow --json
    """
    return alerts_view.run(context, fleet=fleet, since=since, severity=severity, follow=follow, full=full)


@command(monitoring, "reconcile", rich_help_panel=WORK)
def reconcile_now(
    context: Context,
    *,
    report_only: Annotated[bool, typer.Option("--report-only", help="Change nothing, alert nobody.")] = False,
) -> Exit:
    """Run the daily comparison with what should be now: what an event was lost for is repaired, the rest is told.

    Registry, endpoints, executions, schedules, alarms and reports are compared. What is younger than 15 minutes counts
    as under way. An alert is sent if anything is found. It may take up to 15 minutes.

    Exit codes: 0 nothing was found, or all of it was repaired · 1 it failed, or something is left for a person to do.

    Examples:

      onwing reconcile --report-only
      onwing reconcile --env prod --json
    """
    return reconcile.run(context, report_only=report_only)
