"""`onwing drift run`: judge now what has been captured, and say what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from onwing import endpoints, monitoring, operations
from onwing.command import Context
from onwing.console import figure
from onwing.errors import Exit
from onwing.monitoring import Monitored, Window
from onwing.monitoring_view import STATES
from onwing.stack import Stack
from onwing.target import Target

REASON = "asked for with onwing drift run"
OPEN = "open"  # the window goes on: too few engines so far


@dataclass(frozen=True)
class Judged:
    """What a run has said of one variant: a window that it closed, or why there is none.

    `outcome`: ok, violations, insufficient, unreadable, failed, or open.
    """

    fleet: str
    variant: str
    champion: bool
    outcome: str
    window: Window | None = None
    open_since: str = ""

    @property
    def exit_code(self) -> Exit:
        """Violations are told from what could not be judged; for a model that has no traffic now that is normal."""
        if self.outcome == monitoring.FAILED:
            return Exit.FAILED
        if self.outcome == monitoring.VIOLATIONS:
            return Exit.DRIFT
        quiet = self.outcome in (OPEN, monitoring.INSUFFICIENT) and not self.champion
        return Exit.OK if self.outcome == monitoring.OK or quiet else Exit.UNJUDGED


def start(target: Target, stack: Stack, fleet: str | None) -> str:
    """Start a run for one fleet or for every monitored one; returns the execution's ARN."""
    request: dict[str, Any] = {"reason": REASON}
    if fleet is not None:
        request["fleets"] = [fleet]
    return operations.start(target, stack, "monitoring", fleet or "all", request)


def judge(
    target: Target, stack: Stack, fleet: str | None, *, timeout: float | None = None
) -> tuple[operations.Run, list[Judged]]:
    """Run it to its end; what it said of each variant. Raises OnwingError when the run failed."""
    before = monitoring.read(target, stack, fleet)
    arn = start(target, stack, fleet)
    ended = operations.wait(target, arn, timeout=timeout, interval=operations.POLL_SECONDS / 2)
    operations.succeed(ended, "The same window is tried again by the next run: `onwing drift run`.")
    return ended, compare(before, monitoring.read(target, stack, fleet))


def compare(before: Sequence[Monitored], after: Sequence[Monitored]) -> list[Judged]:
    """What has changed from before a run to after it."""
    known = {(item.fleet, item.variant): item.last for item in before}
    found = []
    for item in after:
        closed = item.last is not None and item.last != known.get((item.fleet, item.variant))
        outcome = monitoring.FAILED if item.state == monitoring.FAILED else OPEN
        if closed and item.last is not None:
            outcome = item.last.outcome
        window = item.last if closed else None
        found.append(Judged(item.fleet, item.variant, item.champion, outcome, window, item.open_since))
    return found


def exit_code(judged: Sequence[Judged]) -> Exit:
    """The gravest: failed, then violations, then what could not be judged."""
    codes = {item.exit_code for item in judged}
    return next((code for code in (Exit.FAILED, Exit.DRIFT, Exit.UNJUDGED) if code in codes), Exit.OK)


def run(context: Context, fleet: str | None, *, wait: bool, timeout: float | None) -> Exit:
    """Start, wait, tell."""
    out, target, stack = context.out, context.target, context.stack
    if fleet is not None:
        endpoints.get(target, stack, fleet)
    if not wait:
        arn = start(target, stack, fleet)
        out.document({"execution": arn})
        out.ok(f"Monitoring has started: {arn.rpartition(':')[2]}")
        out.next(f"onwing watch {arn.rpartition(':')[2]}", "onwing drift status")
        return Exit.OK
    with out.step(f"Judging what {f'{fleet} has' if fleet else 'the endpoints have'} captured"):
        ended, judged = judge(target, stack, fleet, timeout=timeout)
    code = exit_code(judged)
    out.document({"execution": ended.arn, "exit_code": int(code), "variants": judged})
    for item in judged:
        out.line(line(item))
    if not judged:
        out.line("No endpoint is monitored.")
    odd = next((item for item in judged if item.exit_code != Exit.OK), None)
    if odd is not None and odd.window is not None and odd.window.report:
        out.next(f"onwing drift report {odd.fleet}", f"onwing alerts --fleet {odd.fleet}")
    else:
        out.next("onwing drift status")
    return code


def line(item: Judged) -> str:
    """What was said of one variant, in one line."""
    name = f"{escape(item.fleet)} {escape(item.variant)}"
    if item.window is None:
        if item.outcome == monitoring.FAILED:
            return f"[red]✗[/] {name}: the job failed; the same window is tried again by the next run"
        still = f" since {escape(item.open_since)}" if item.open_since else ""
        return f"[yellow]·[/] {name}: too few engines yet; the window{still} stays open"
    window = item.window
    mark = "[green]✓[/]" if window.outcome == monitoring.OK else "[red]✗[/]"
    drift = f", DataDrift {figure(window.drift)}" if window.drift is not None else ""
    said = f" – {escape(window.summary)}" if window.summary else ""
    state = STATES.get(window.outcome, escape(window.outcome))
    return f"{mark} {name}: {state}, {window.engines} engines, {window.records} records{drift}{said}"
