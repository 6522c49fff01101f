"""`onwing ab status` and `onwing ab stop`: both models side by side, and the decision."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from rich.markup import escape

from onwing import abtest, approve_view
from onwing.abtest import PROMOTE, Side
from onwing.command import Context
from onwing.console import clock, duration, figure, table
from onwing.errors import Exit


def status(context: Context, fleet: str) -> Exit:
    """Share, requests, errors, latency, probes of both; what to decide."""
    out = context.out
    found = abtest.status(context.target, context.stack, fleet)
    out.document(found)
    under_way = found.under_way
    gone = duration((datetime.now(UTC) - found.since).total_seconds())
    kind = "Shadow test" if under_way.phase == "shadow" else "Test"
    waits = "" if under_way.held else f", phase {under_way.phase}: it does not wait for a decision"
    out.line(
        f"{kind} of v{under_way.version} for {escape(fleet)}, since {clock(found.since)} ({gone}){escape(waits)}  "
        f"[dim]{escape(under_way.name)}[/]"
    )
    out.line()
    made = table("", *(f"{side.variant.name} {side.role}" for side in found.sides), "Difference", right=("Difference",))
    for column in made.columns[1:]:
        column.justify = "right"
    for label, value, digits in _ROWS:
        values = [value(side) for side in found.sides]
        made.add_row(label, *(figure(item, digits) for item in values), _difference(values, digits))
    out.show(made)
    out.line()
    if under_way.held:
        out.next(f"onwing ab stop {fleet} --promote", f"onwing ab stop {fleet} --rollback")
    else:
        out.next(f"onwing deployments watch {fleet}")
    return Exit.OK


def _rate(side: Side, errors: int) -> float | None:
    return 100 * errors / side.figures.invocations if side.figures.invocations else None


_ROWS: tuple[tuple[str, Callable[[Side], float | None], int], ...] = (
    ("traffic, %", lambda side: None if side.variant.shadow else side.variant.share, 1),
    ("requests", lambda side: side.figures.invocations, 0),
    ("4xx, %", lambda side: _rate(side, side.figures.errors_4xx), 2),
    ("5xx, %", lambda side: _rate(side, side.figures.errors_5xx), 2),
    ("latency average, ms", lambda side: side.figures.latency_average_ms, 1),
    ("latency maximum, ms", lambda side: side.figures.latency_maximum_ms, 1),
    ("RMSE on probes, cycles", lambda side: side.probe_rmse, 2),
    ("mean difference on probes, cycles", lambda side: side.probe_difference, 2),
)


def _difference(values: list[float | None], digits: int) -> str:
    """Challenger less champion: the sides are in alphabetical order of their roles."""
    if len(values) != 2 or values[0] is None or values[1] is None:
        return ""
    return f"{values[0] - values[1]:+.{digits}f}"


def stop(context: Context, fleet: str, decision: str, *, reason: str, wait: bool, timeout: float | None) -> Exit:
    """End the test with the decision; with `wait`, follow what comes of it."""
    out = context.out
    under_way = abtest.stop(context.target, context.stack, fleet, decision, reason)
    fallback = f"v{under_way.fallback.version}" if under_way.fallback else "the model before"
    if decision == PROMOTE:
        what = f"v{under_way.version} goes on to all the traffic of {fleet}"
    else:
        what = f"all traffic of {fleet} goes back to {fallback}, and v{under_way.version} is rejected"
    out.ok(f"Decided: {escape(what)}")
    document = {"fleet": fleet, "version": under_way.version, "decision": decision, "execution": under_way.execution}
    if not wait:
        out.document(document)
        out.next(f"onwing deployments watch {fleet}")
        return Exit.OK
    code = approve_view.follow(context, under_way.execution, document, timeout, until_held=False)
    # To go back is what was asked for, so that it worked is no failure.
    return Exit.OK if decision != PROMOTE and code is Exit.GATE_MISSED else code
