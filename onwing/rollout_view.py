"""How a deployment looks while it is followed, and what is said of its outcome."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.markup import escape

from onwing import deployments, rollout
from onwing.command import Context
from onwing.console import Output, duration
from onwing.errors import Exit
from onwing.rollout import Look

_SAID = {
    "promoted": "[green]✓[/] {variant} is the champion of {fleet} and has all the traffic.",
    "rolled_back": "[red]✗[/] {variant} was taken back; {fleet} is served as before.",
    "refused": "[red]✗[/] {variant} was refused before anything was changed at the endpoint.",
    "superseded": "[yellow]![/] {variant} was not deployed: a newer approval took its place.",
    "withdrawn": "[yellow]![/] {variant} was not deployed: it is no longer approved.",
    "gave_up": "[red]✗[/] {variant} was not deployed: the endpoint was not free in time.",
    "failed": "[red]✗[/] The deployment of {variant} failed, and so did the way back.",
    "timed_out": "[red]✗[/] The deployment of {variant} took too long and was ended; the rollback machine cleans up.",
    "aborted": "[red]✗[/] The deployment of {variant} was stopped; the rollback machine cleans up.",
}


def show(out: Output, looks: Iterable[Look], *, stream: bool = False) -> Look:
    """Tell each phase as it comes; returns the last look. With `stream` and --json: one JSON document a line."""
    last: Look | None = None
    for last in looks:
        if stream:
            out.json_line(last.document())
        if last.run.running:
            out.line(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {phase(last)}")
    assert last is not None, "follow() gives at least one look"
    return last


def phase(look: Look) -> str:
    """One line on where a deployment stands."""
    challenger, champion = variant(look), _champion(look)
    share = f"{look.share:g} %"
    beside = f" beside {champion}" if champion else ""
    said = {
        "waiting": f"{challenger} waits: {escape(look.waits_for.rpartition(':')[2])} has the endpoint",
        "checking": f"{challenger}: its package is being checked",
        "creating": f"{challenger}: its servers are being started{beside}",
        "preflight": f"{challenger} answers probes; it has no traffic yet",
        "canary": f"{challenger} has {share} of the traffic{beside}",
        "hold": f"{challenger} holds {share} of the traffic{beside} until somebody decides",
        "shadow": f"{challenger} gets a copy of the traffic of {champion} until somebody decides",
        "soak": f"{challenger} has all the traffic" + (f"; {champion} stays ready" if champion else ""),
    }
    return said.get(look.phase, f"{challenger}: {escape(look.phase)}")


def conclude(out: Output, look: Look) -> Exit:
    """The last words: outcome, reason, times, what to do next. Returns the exit code."""
    run, fleet = look.run, escape(look.run.fleet)
    if run.running:  # it holds
        out.next(
            f"onwing ab status {fleet}   (each variant's figures)",
            f"onwing ab stop {fleet} --promote | --rollback",
        )
        return Exit.OK
    said = _SAID.get(run.outcome or "", "The deployment of {variant} has ended: " + escape(run.outcome or ""))
    if run.outcome == "rolled_back" and run.output.get("mode") == "first":
        said = "[red]✗[/] {variant} was taken back; it was the first, so {fleet} is served by no model."
    out.line(said.format(variant=variant(look), fleet=fleet))
    if run.outcome != "promoted" and run.reason:
        out.line(f"  {escape(run.reason)}")
    record = deployments.record(run.fleet, run.output)
    for label, seconds in (
        ("approval to first traffic", record.deployment_seconds),
        ("decision to all traffic on the model before", record.rollback_seconds),
    ):
        if seconds is not None:
            out.line(f"  {label}: {duration(seconds)}")
    advise(out, look)
    return run.exit_code


def advise(out: Output, look: Look) -> None:
    """What to do after a deployment."""
    fleet, name = escape(look.run.fleet), escape(look.run.name)
    package = f"{fleet}/{variant(look).removeprefix('v')}"
    if look.run.outcome == "promoted":
        out.next(f"onwing endpoints --fleet {fleet}", f"onwing predict FILE --fleet {fleet}")
    elif look.run.outcome in ("rolled_back", "refused", "superseded", "withdrawn"):
        out.next(f"onwing models show {package}", f"onwing deployments --fleet {fleet}")
    elif look.run.outcome == "gave_up":
        out.next(f"onwing deployments --fleet {fleet}   (what keeps the endpoint)")
    else:
        out.next(f"onwing endpoints --fleet {fleet}", f"onwing rollback {fleet}", f"onwing watch {name}")


def variant(look: Look) -> str:
    """The variant that is deployed: v<package version>."""
    if look.under_way is not None:
        return f"v{look.under_way.version}"
    version = look.run.input.get("version") or look.run.output.get("version")
    return f"v{version}" if version else escape(look.run.name)


def _champion(look: Look) -> str:
    fallback = look.under_way.fallback if look.under_way is not None else None
    return f"v{fallback.version}" if fallback is not None else ""


def watch(context: Context, arn: str, *, interval: float, timeout: float | None) -> Exit:
    """Follow to the outcome; with --json, one document a line."""
    out = context.out
    try:
        last = show(
            out, rollout.follow(context.target, context.stack, arn, interval=interval, timeout=timeout), stream=True
        )
    except KeyboardInterrupt:
        return interrupted(out, arn)
    return conclude(out, last)


def interrupted(out: Output, arn: str) -> Exit:
    """Ctrl-C while following."""
    out.line("\nNo longer watching; the deployment goes on.")
    out.next(f"onwing deployments watch {arn.rpartition(':')[2]}")
    return Exit.INTERRUPTED
