"""`onwing alerts`: what the control plane told people, newest last."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from onwing import alerts
from onwing.alerts import SEVERITIES, Alert
from onwing.command import Context
from onwing.console import Output, clock
from onwing.deployments import moment
from onwing.errors import Exit, UsageError

_COLOURS = {"critical": "bold red", "warning": "yellow", "info": "dim"}


def run(context: Context, *, fleet: str | None, since: str, severity: str | None, follow: bool, full: bool) -> Exit:
    """Show those since a moment; with `follow`, each new one as it comes, until Ctrl-C."""
    if severity is not None and severity not in SEVERITIES:
        raise UsageError(f"There is no severity '{severity}'.", todo=f"Use one of: {', '.join(SEVERITIES)}.")
    out, target, stack = context.out, context.target, context.stack
    begin = alerts.moment_before(since)
    if follow:
        try:
            for alert in alerts.follow(target, stack, since=begin, fleet=fleet, severity=severity):
                out.json_line(alert)
                show(out, [alert], full=full)
        except KeyboardInterrupt:
            out.line()
            return Exit.OK
    found = alerts.read(target, stack, since=begin, fleet=fleet, severity=severity)
    out.document(found)
    show(out, found, full=full)
    if not found:
        out.line(f"No alerts since {clock(begin)}.")
    out.next("onwing alerts --follow" if found else "onwing alerts --since 4w", "onwing status")
    return Exit.OK


def show(out: Output, found: Sequence[Alert], *, full: bool) -> None:
    """A line or two each; with `full` the whole message."""
    for alert in found:
        at = moment(alert.at)
        colour = _COLOURS.get(alert.severity, "white")
        when = clock(at) if at else escape(alert.at)
        out.line(f"{when}  [{colour}]{escape(alert.severity):<8}[/]  {escape(alert.subject)}")
        lines = alert.message.strip().splitlines()
        for text in lines if full else lines[:1]:
            out.line(f"  [dim]{escape(text)}[/]")
