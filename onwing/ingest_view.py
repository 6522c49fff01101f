"""`onwing ingest`: choose the files, upload them, and tell what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from onwing import data, ingest
from onwing.command import Context
from onwing.console import SIMULATED, size
from onwing.control import SHORT
from onwing.errors import Exit, UsageError
from onwing.ingest import FleetOutcome, Outcome, Upload


def run(
    context: Context, paths: Sequence[Path], *, fleet: str | None, data_dir: Path | None, wait: bool, timeout: float
) -> Exit:
    """Upload and, with `wait`, tell what the stack says to it."""
    out = context.out
    target, stack = context.target, context.stack
    files, simulated = _choose(context, paths, fleet, data_dir)
    before = ingest.records(target, stack, ingest.fleets_of(files))
    with out.step(f"Uploading {len(files)} files to s3://{stack.bucket}/{ingest.RAW}"):
        uploads = ingest.upload(target, stack, files, simulated=simulated)
    for item in uploads:
        marker = f"  {SIMULATED}" if simulated else ""
        out.line(f"  {escape(item.name)}  [dim]{size(item.bytes)}, version {escape(item.version_id)}[/]{marker}")
    if not wait:
        out.document({"uploads": uploads})
        out.next("onwing status   (whether they were accepted)", "onwing watch   (the run they start)")
        return Exit.OK
    with out.step("Waiting until they have been checked"):
        outcome = ingest.wait(target, stack, uploads, before, timeout=timeout)
    out.document({"uploads": uploads, "files": outcome.files, "fleets": outcome.fleets})
    return _tell(context, uploads, outcome)


def _choose(
    context: Context, paths: Sequence[Path], fleet: str | None, data_dir: Path | None
) -> tuple[list[Path], bool]:
    """The files, and whether they are simulated."""
    if bool(paths) == bool(fleet):
        raise UsageError("Name files or folders, or else a fleet.", todo="onwing ingest PATH… or --fleet FD001")
    if paths:
        chosen, skipped = ingest.collect(paths)
        for path in skipped:
            context.out.line(f"[dim]left alone: {escape(str(path))}[/]")
        return chosen, any(data.is_simulated(path.parent) for path in chosen)
    found = data.resolve(fleet or "", data_dir=data_dir, root=context.project.root)
    context.out.line(f"Data: {escape(found.source)}" + (f"  {SIMULATED}" if found.simulated else ""))
    for warning in found.warnings:
        context.out.warn(escape(warning))
    return list(found.paths.values()), found.simulated


def _tell(context: Context, uploads: Sequence[Upload], outcome: Outcome) -> Exit:
    out = context.out
    refused = [file for file in outcome.files if file.status == "quarantined"]
    for file in refused:
        out.line(f"[red]✗[/] {escape(file.name)} was quarantined: {escape(file.reason)}")
        out.line(f"  [dim]report: {escape(file.report)}[/]")
    for fleet in outcome.fleets:
        _tell_fleet(context, fleet)
    if refused:
        out.next("correct the files and upload them again: onwing ingest PATH")
        return Exit.FAILED
    if not outcome.settled:
        waiting = [file.name for file in outcome.files if file.status == "pending"]
        out.warn(f"Nothing heard yet of {escape(', '.join(waiting) or 'the run')}; it may still come.")
        out.next("onwing status")
        return Exit.TIMED_OUT
    return Exit.OK


def _tell_fleet(context: Context, fleet: FleetOutcome) -> None:
    out = context.out
    name, version = escape(fleet.fleet), fleet.dataset_version[:SHORT]
    run = fleet.execution_arn.rpartition(":")[2]
    if fleet.status == "incomplete":
        out.ok(f"{name}: accepted; still missing: {', '.join(f'{role}_{name}.txt' for role in fleet.missing)}")
        out.next("upload what is missing; the run then starts by itself")
    elif fleet.status == "started":
        out.ok(f"{name}: data set {version} is complete; training has started")
        out.next(f"onwing watch {run}")
    elif fleet.status == "running":
        out.ok(f"{name}: data set {version} is being trained already; nothing new was started")
        out.next(f"onwing watch {run}")
    elif fleet.status == "already":
        out.ok(f"{name}: data set {version} was trained before; nothing was started")
        out.next(f"onwing models --fleet {name}", f"onwing train {version} --again   (to train it again all the same)")
