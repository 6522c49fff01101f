"""The whole loop with one command: up, upload, tune, gate, register, and a summary; nothing is left running."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from onwing import data, embedded, ingest, interrupts, models, report, train, up, watch, watch_view
from onwing.command import Context
from onwing.console import SIMULATED, Output, duration, figure, table
from onwing.data import DataSet
from onwing.errors import Exit, OnwingError, WaitedTooLong
from onwing.models import Package
from onwing.progress import Progress
from onwing.report import Data, Stage
from onwing.stack import Stack
from onwing.target import Target
from onwing.watch import Snapshot, Watcher

# How much a run may compute, as parameters of the stack. "demo" is what samconfig.toml says for the embedded cloud.
BUDGETS: dict[str, dict[str, str]] = {
    "quick": {"TuningMaxJobs": "2", "TuningMaxParallelJobs": "2", "MaxEpochs": "4", "MaxLstmUnits": "32"},
    "demo": {},
    "full": {
        "TuningMaxJobs": "20",
        "TuningMaxParallelJobs": "2",
        "MaxEpochs": "100",
        "Patience": "10",
        "MaxLstmUnits": "128",
    },
}
INGEST_TIMEOUT = 120.0
POLL_SECONDS = 1.0
EVALUATION_FILES = ("report.json", "evaluation.png", "predictions.csv")


@dataclass(frozen=True)
class Wish:
    """What the demo was asked to do."""

    fleet: str
    data_dir: Path | None
    simulated: bool
    port: int
    keep: bool
    budget: str
    docker: bool = False


def run(context: Context, wish: Wish) -> Exit:
    """Run the demo; the embedded cloud is stopped at its end if this run started it, unless it is to be kept."""
    with interrupts.terminated_like_interrupted():
        started = False
        try:
            began = time.monotonic()
            context.announce(f"the embedded cloud of {context.project.root}")
            dataset = _resolve(context, wish)
            started = embedded.running(context.project) is None
            target, started = up.start(
                context.project, context.options, context.out, port=wish.port, docker=wish.docker
            )
            stack, _, _ = up.deploy(context.project, target, context.out, parameters=BUDGETS[wish.budget])
            stages = [Stage("up", round(time.monotonic() - began, 3))]
            ended = _loop(context, wish, target, stack, dataset, stages)
            if started and not wish.keep:
                hint = "onwing demo --keep   (leaves the embedded cloud running, to look around)"
                context.out.next(hint, "onwing up   (starts it again, with what it holds)")
            else:
                watch_view.advise(context.out, ended)
            return ended.exit_code
        finally:
            if started and not wish.keep:
                up.clean_up(context.project, context.out)


def _resolve(context: Context, wish: Wish) -> DataSet:
    out = context.out
    with out.step(f"Looking for the data of {wish.fleet}"):
        found = data.resolve(wish.fleet, wish.data_dir, simulated=wish.simulated, root=context.project.root)
    for text in found.tried if found.simulated else ():
        out.line(f"  [dim]{escape(text)}[/]")
    for text in found.warnings:
        out.warn(escape(text))
    out.line(f"  {escape(found.source)}" + (f"  {SIMULATED}" if found.simulated else ""))
    return found


def _loop(
    context: Context, wish: Wish, target: Target, stack: Stack, dataset: DataSet, stages: list[Stage]
) -> Progress:
    """From the first upload to the report; returns how the execution ended."""
    out = context.out
    first_upload = time.monotonic()
    arn, version = _start(out, target, stack, wish, dataset, stages)
    watcher = Watcher(target, arn)
    snapshots = watch.follow(watcher, interval=POLL_SECONDS)
    last = watch_view.exhaust(snapshots) if out.as_json else watch_view.show(out, snapshots)
    package = _package(target, stack, last)
    wall = time.monotonic() - first_upload
    document = report.make(
        data=Data(dataset.source, wish.fleet, version, dataset.simulated),
        stages=[*stages, *report.stages_of(last)],
        package=package,
        trials=last.trials,
        outcome=last.progress.outcome,
        wall_seconds=wall,
        computing=report.computing_seconds(last),
    )
    path = context.project.state / "demo-report.json"
    report.write(document, path)
    pictures = _download(target, stack, last, context.project.state / "demo") if package else None
    out.document(document)
    _summary(out, document, package, path, pictures)
    watch_view.conclude(out, last.progress)
    return last.progress


def _start(
    out: Output, target: Target, stack: Stack, wish: Wish, dataset: DataSet, stages: list[Stage]
) -> tuple[str, str]:
    """Upload the trio and find the execution that this starts; data that was trained before gets another attempt."""
    files = list(dataset.paths.values())
    before = ingest.records(target, stack, [wish.fleet])
    began = time.monotonic()
    with out.step(f"Uploading {', '.join(path.name for path in files)}"):
        uploads = ingest.upload(target, stack, files, simulated=dataset.simulated)
    uploaded = time.monotonic()
    stages.append(Stage("upload", round(uploaded - began, 3)))
    with out.step("Waiting for the files to be checked and the training to start"):
        outcome = ingest.wait(target, stack, uploads, before, timeout=INGEST_TIMEOUT)
    stages.append(Stage("ingest", round(time.monotonic() - uploaded, 3)))
    refused = [file for file in outcome.files if file.status == "quarantined"]
    if refused:
        raise OnwingError(f"{refused[0].name} was quarantined: {refused[0].reason}", where=refused[0].report)
    if not outcome.settled:
        raise WaitedTooLong(
            f"The uploads were not taken in within {INGEST_TIMEOUT:.0f} s.",
            where=str(target),
            todo="Look at what the function wrote (`localcloud logs --dir .onwing/localcloud`) and at `onwing status`.",
        )
    fleet = outcome.fleets[0]
    if fleet.status != "already":
        return fleet.execution_arn, fleet.dataset_version
    out.warn(
        f"This data was trained before ({fleet.dataset_version[:12]}): an upload starts nothing. Starting it again."
    )
    again = train.start(target, stack, fleet=wish.fleet, version=fleet.dataset_version, again=True)
    return again.execution_arn, again.dataset_version


def _package(target: Target, stack: Stack, last: Snapshot) -> Package | None:
    arn = last.progress.output.get("package_arn")
    return models.describe(target, stack, str(arn)) if arn else None


def _download(target: Target, stack: Stack, last: Snapshot, folder: Path) -> Path | None:
    """Keep the evaluation where it can be looked at after the embedded cloud has gone."""
    run_id = last.progress.output.get("run")
    if not run_id:
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in EVALUATION_FILES:
        key = f"models/evaluation/{last.progress.fleet}/{run_id}/{name}"
        target.client("s3").download_file(stack.bucket, key, str(folder / name))
    return folder


def _summary(out: Output, document: dict[str, Any], package: Package | None, path: Path, pictures: Path | None) -> None:
    stages = table("Stage", "Time", right=("Time",), title="Where the time went")
    shown = [stage for stage in document["stages"] if stage["seconds"] >= 0.5]
    rest = sum(stage["seconds"] for stage in document["stages"] if stage["seconds"] < 0.5)
    for stage in shown:
        mark = "" if stage["status"] == "ok" else "  [red]failed[/]"
        stages.add_row(escape(stage["name"]) + mark, duration(stage["seconds"]))
    stages.add_row("[dim]all shorter ones[/]", duration(rest))
    share = document["overhead_seconds"] / document["wall_seconds"] * 100 if document["wall_seconds"] else 0
    stages.add_row("[bold]from upload to registered[/]", duration(document["wall_seconds"]))
    stages.add_row(
        "[dim]of it neither computing nor settling[/]", f"{duration(document['overhead_seconds'])} ({share:.1f} %)"
    )
    out.line()
    out.show(stages)
    if package is not None:
        figures = table("", "RMSE", "PHM08", right=("RMSE", "PHM08"), title=f"Model {package.name}: {package.status}")
        figures.add_row("true RUL at most 125 cycles (the gate's)", figure(package.rmse), figure(package.phm08, 1))
        figures.add_row("true RUL as it is", figure(package.rmse_unclipped), figure(package.phm08_unclipped, 1))
        out.line()
        out.show(figures)
    if document["data"]["simulated"]:
        out.line(f"{SIMULATED} The data is made up; the figures say nothing of real engines.")
    out.line()
    out.line(f"Report: {path}" + (f"; evaluation with figure: {pictures}" if pictures else ""))
