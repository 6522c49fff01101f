"""`onwing drift run`: judge now what has been captured, and say what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from onwing import endpoints, monitoring, operations
from onwing.command import Context
from onwing.console import figure
from onwing.errors import Exit
from onwing.monitoring import Window
from onwing.monitoring_view import STATES
from onwing.stack import Stack
from onwing.target import Target

REASON = "asked for with onwing drift run"
# What the machine and this module say beside the outcomes of a window: it stays open, the endpoint was deleted, nothing
# new was captured.
OPEN, SWITCHED_OFF, NOTHING_NEW = "open", "switched off", "nothing new"
_QUIET = (OPEN, NOTHING_NEW, monitoring.INSUFFICIENT)
# Besides, of what serves nothing any more: its job may fail without failing the run; in the end its window is given up.
_QUIET_OF_OTHERS = (*_QUIET, monitoring.FAILED)


@dataclass(frozen=True)
class Judged:
    """What a run has said of one window of a variant. `kind`: data, or quality for ground truth.

    `outcome`: ok, violations, insufficient, unreadable, open, failed, switched off, or nothing new. `window` is the
    record of one that was closed.
    """

    fleet: str
    variant: str
    champion: bool
    outcome: str
    kind: str = "data"
    summary: str = ""
    window: Window | None = None

    @property
    def exit_code(self) -> Exit:
        """Violations are told from what could not be judged: that is the normal case for what has no traffic now, and
        for ground truth, which is scarce."""
        if self.outcome == monitoring.VIOLATIONS:
            return Exit.DRIFT
        normal = self.outcome in (_QUIET_OF_OTHERS if not self.champion else _QUIET if self.kind != "data" else ())
        return Exit.OK if normal or self.outcome in (monitoring.OK, SWITCHED_OFF) else Exit.UNJUDGED


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
    arn = start(target, stack, fleet)
    ended = operations.wait(target, arn, timeout=timeout, interval=operations.POLL_SECONDS / 2)
    return ended, judged(target, stack, _succeeded(ended))


def _succeeded(run: operations.Run) -> operations.Run:
    todo = "The next run tries the same windows again: `onwing drift run`. See `onwing alerts`."
    return operations.succeed(run, todo)


def judged(target: Target, stack: Stack, run: operations.Run) -> list[Judged]:
    """What a run's output says, with the records of the windows that it has closed.

    Of an endpoint with nothing new to judge the output says nothing: that is told too.
    """
    asked = run.input.get("fleets")
    states = {
        endpoint.fleet: endpoint.deployment
        for endpoint in endpoints.all_of(target, stack, measured=False)
        if endpoint.deployment.monitored and (asked is None or endpoint.fleet in asked)
    }
    found = []
    for endpoint in run.output.get("monitored", []):
        fleet = str(endpoint["endpoint"]).removeprefix(endpoints.name_of(stack, ""))
        champion = states[fleet].champion if fleet in states else None
        found += [
            _judged(target, stack, fleet, champion.variant if champion else "", each) for each in endpoint["windows"]
        ]
    for fleet, state in states.items():
        if state.champion and not any(each.fleet == fleet and each.champion and each.kind == "data" for each in found):
            found.insert(0, Judged(fleet, state.champion.variant, True, NOTHING_NEW))
    return found


def _judged(target: Target, stack: Stack, fleet: str, champion: str, window: Mapping[str, Any]) -> Judged:
    variant, name = str(window.get("variant", "")), window.get("id")  # an endpoint that is gone has neither
    return Judged(
        fleet,
        variant,
        variant == champion,
        str(window["outcome"]),
        str(window.get("kind", "data")),
        str(window.get("summary", "")),
        monitoring.window(target, stack, fleet, variant, name) if name else None,
    )


def exit_code(judged: Sequence[Judged]) -> Exit:
    """The gravest: violations, then what could not be judged."""
    codes = {item.exit_code for item in judged}
    return next((code for code in (Exit.DRIFT, Exit.UNJUDGED) if code in codes), Exit.OK)


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
        ended, found = judge(target, stack, fleet, timeout=timeout)
    out.document({"execution": ended.arn, "exit_code": int(exit_code(found)), "windows": found})
    return tell(context, found)


def conclude(context: Context, ended: operations.Run) -> Exit:
    """What came of a run that was followed by its name. Raises OnwingError when it failed."""
    return tell(context, judged(context.target, context.stack, _succeeded(ended)))


def tell(context: Context, found: Sequence[Judged]) -> Exit:
    """A line a window, and what to do next."""
    out = context.out
    for item in found:
        out.line(line(item))
    if not found:
        out.line("No endpoint is monitored.")
    odd = next((item for item in found if item.exit_code != Exit.OK), None)
    if odd is not None and odd.window is not None and odd.window.report:
        variant = "" if odd.champion else odd.variant
        report = monitoring.report_command(odd.fleet, variant, quality=odd.kind != "data")
        out.next(report, f"onwing alerts --fleet {odd.fleet}")
    else:
        out.next("onwing drift status")
    return exit_code(found)


def line(item: Judged) -> str:
    """What was said of one window, in one line."""
    name = f"{escape(item.fleet)} {escape(item.variant)}".rstrip() + ("" if item.kind == "data" else f" {item.kind}")
    said = escape(item.summary)
    if item.outcome == NOTHING_NEW:
        return f"[yellow]·[/] {name}: nothing new was captured since it was judged last"
    if item.outcome == SWITCHED_OFF:
        return f"[dim]·[/] {name}: its endpoint is gone; it is no longer monitored"
    if item.outcome == OPEN or item.window is None:
        return f"[yellow]·[/] {name}: {'the window stays open' if item.outcome == OPEN else item.outcome}: {said}"
    window = item.window
    mark = "[green]✓[/]" if window.outcome == monitoring.OK else "[red]✗[/]"
    drift = f", DataDrift {figure(window.drift)}" if window.drift is not None else ""
    state = STATES.get(window.outcome, escape(window.outcome))
    return f"{mark} {name}: {state}{drift}. {escape(window.summary) or said}"
