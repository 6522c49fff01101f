"""`onwing traffic`: send requests for a while, and say who answered them and how."""

from __future__ import annotations

import time
from pathlib import Path

from rich.live import Live
from rich.markup import escape

from onwing import data, endpoints, predict
from onwing.command import Context
from onwing.console import SIMULATED, Output, duration, table
from onwing.errors import Exit, UsageError
from onwing.predict import Engine
from onwing.stack import Stack
from onwing.target import Target
from onwing.traffic import Latency, Report, Traffic

TOLD_SECONDS = 10.0  # between two lines in a log


def run(
    context: Context, *, fleet: str | None, rate: float, seconds: float, data_dir: Path | None, threads: int
) -> Exit:
    """Send, show, report; Ctrl-C ends it early, with the report."""
    out, target, stack = context.out, context.target, context.stack
    fleet = fleet or _only(target, stack)
    endpoint = endpoints.get(target, stack, fleet)
    engines = _engines(context, fleet, data_dir)
    until = f"for {duration(seconds)}" if seconds else "until Ctrl-C"
    out.line(f"{rate:g} requests a second to {escape(endpoint.name)} {until}: {len(engines)} engines, cycle by cycle")
    traffic = Traffic(target, endpoint.name, engines, rate=rate, threads=threads).start()
    try:
        _watch(out, traffic, seconds)
    except KeyboardInterrupt:
        out.line("\nEnding.")
    report = traffic.stop()
    out.document(report)
    show(out, report)
    out.next(f"onwing endpoints --fleet {fleet}")
    return Exit.FAILED if report.failed or not report.answered else Exit.OK


def _only(target: Target, stack: Stack) -> str:
    found = endpoints.all_of(target, stack, measured=False)
    if len(found) != 1:
        names = ", ".join(endpoint.fleet for endpoint in found) or "none yet"
        raise UsageError(f"Which fleet? Endpoints have: {names}.", where=str(target), todo="Name it: --fleet FD001")
    return found[0].fleet


def _engines(context: Context, fleet: str, data_dir: Path | None) -> list[Engine]:
    """The official test engines of the fleet, wherever they are found."""
    found = data.resolve(fleet, data_dir, root=context.project.root)
    context.out.line(f"Data: {escape(found.source)}" + (f"  {SIMULATED}" if found.simulated else ""))
    return predict.read(str(found.paths["test"]))


def _watch(out: Output, traffic: Traffic, seconds: float) -> None:
    end = time.monotonic() + seconds if seconds else float("inf")
    if out.interactive:
        with Live(console=out.console, refresh_per_second=4, transient=True) as live:
            while (left := end - time.monotonic()) > 0:
                live.update(line(traffic.so_far()))
                time.sleep(min(left, 0.5))
        return
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, TOLD_SECONDS))
        if not out.as_json:
            out.line(line(traffic.so_far()))


def line(report: Report) -> str:
    """How it goes, in one line."""
    by = "  ".join(f"{escape(variant)} {count}" for variant, count in report.variants.items())
    failed = f"  [red]{report.failed} failed[/]" if report.failed else ""
    p50 = f"  p50 {report.latency.p50_ms:.1f} ms" if report.latency else ""
    return f"{duration(report.seconds)}  {report.answered} answered  {by}{failed}{p50}"


def show(out: Output, report: Report) -> None:
    """The whole report."""
    made = table("Variant", "Answers", "Share", *_HEADS, right=("Answers", "Share", *_HEADS))
    for variant, count in report.variants.items():
        share = f"{100 * count / report.answered:.1f} %"
        made.add_row(escape(variant), str(count), share, *_numbers(report.latency_by_variant.get(variant)))
    if len(report.variants) > 1:
        made.add_row("all", str(report.answered), "", *_numbers(report.latency))
    if report.answered:
        out.show(made)
    for error in report.errors:
        status = error["status"] or "no answer"
        out.line(f"[red]✗[/] {error['count']} × {status} {escape(error['code'])}: {escape(error['message'])}")
    out.line()
    sent = f"{report.requests} requests in {duration(report.seconds)}, {report.rate:g} a second"
    if report.failed:
        out.warn(f"{sent}; {report.failed} failed")
    else:
        out.ok(f"{sent}; none failed")
    if report.requests + 1 < 0.95 * report.rate_wanted * report.seconds:
        out.warn(f"Less than the {report.rate_wanted:g} a second asked for: give more --threads, or ask for less")


_HEADS = ("p50 ms", "p95 ms", "p99 ms", "max ms")


def _numbers(found: Latency | None) -> list[str]:
    if found is None:
        return ["–"] * len(_HEADS)
    return [f"{value:.1f}" for value in (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms)]
