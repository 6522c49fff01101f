"""The whole loop with one command, from upload to rollback and drift, and a summary; nothing is left running."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from onwing import (
    data,
    demo_drift,
    demo_rollout,
    deployments,
    embedded,
    ingest,
    interrupts,
    models,
    predict,
    report,
    train,
    up,
    watch,
    watch_view,
)
from onwing.command import Context
from onwing.console import SIMULATED, Output, duration, figure, table
from onwing.data import DataSet
from onwing.errors import Exit, OnwingError, UsageError, WaitedTooLong
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
# Its parts, in order; each can be run alone on what an earlier demo has left.
PARTS = ("train", "deploy", "canary", "rollback", "drift")
# The second model: the same data with a search of its own.
SECOND: dict[str, dict[str, int]] = {"quick": {"epochs": 6}, "demo": {"epochs": 8}, "full": {}}
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
    only: tuple[str, ...] = PARTS


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
            ended = _Demo(context, wish, target, stack, dataset, stages).run()
            if started and not wish.keep:
                hint = "onwing demo --keep   (leaves the embedded cloud running, to look around)"
                context.out.next(hint, "onwing up   (starts it again, with what it holds)")
            else:
                context.out.next("onwing endpoints", "onwing deployments", "onwing status")
            return ended
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


class _Demo:
    """The parts that were asked for, one after the other; the report is written after each."""

    def __init__(
        self, context: Context, wish: Wish, target: Target, stack: Stack, dataset: DataSet, stages: list[Stage]
    ) -> None:
        self.out, self.wish, self.target, self.stack, self.dataset = context.out, wish, target, stack, dataset
        self.stages = stages
        self.folder = context.project.state
        self.path = self.folder / "demo-report.json"
        self.document: dict[str, Any] = {"data": {"fleet": wish.fleet, "simulated": dataset.simulated}}

    def run(self) -> Exit:
        """Run them. Ends early, with its exit code, where a training run has left no model."""
        began = time.monotonic()
        if "train" in self.wish.only:
            ended = self._train()
            if not ended.output.get("package_arn"):
                watch_view.conclude(self.out, ended)
                return self._end(began, ended.exit_code)
        if "deploy" in self.wish.only:
            first = demo_rollout.deploy(self.out, self.target, self.stack, self._newest())
            self._add("deployment", {"first": first})
        if "canary" in self.wish.only:
            self._canary()
        if "rollback" in self.wish.only:
            bad = demo_rollout.spoil_and_roll_back(self.out, self.target, self.stack, self.wish.fleet, self._engines())
            self._add("rollback", bad)
        return self._end(began, self._drift() if "drift" in self.wish.only else Exit.OK)

    def _end(self, began: float, code: Exit) -> Exit:
        self._add("total_seconds", round(time.monotonic() - began + sum(s.seconds for s in self.stages[:1]), 3))
        self.out.document(self.document)
        demo_rollout.summary(self.out, self.document)
        if "drift" in self.document:
            demo_drift.summary(self.out, self.document["drift"])
        if self.document["data"]["simulated"]:
            self.out.line(f"{SIMULATED} The data is made up; the figures say nothing of real engines.")
        self.out.line(f"\nReport: {self.path}; {duration(self.document['total_seconds'])} in all")
        return code

    def _add(self, name: str, found: Any) -> None:
        present = self.document.get(name)
        self.document[name] = {**present, **found} if isinstance(present, dict) else found
        report.write(self.document, self.path)

    def _train(self) -> Progress:
        """From the first upload to the registered package; returns how the execution ended."""
        first_upload = time.monotonic()
        arn, version = _start(self.out, self.target, self.stack, self.wish, self.dataset, self.stages)
        last = self._follow(arn)
        package = _package(self.target, self.stack, last)
        wall = time.monotonic() - first_upload
        self.document = report.make(
            data=Data(self.dataset.source, self.wish.fleet, version, self.dataset.simulated),
            stages=[*self.stages, *report.stages_of(last)],
            package=package,
            trials=last.trials,
            outcome=last.progress.outcome,
            wall_seconds=wall,
            computing=report.computing_seconds(last),
        )
        report.write(self.document, self.path)
        pictures = _download(self.target, self.stack, last, self.folder / "demo") if package else None
        _summary(self.out, self.document, package, pictures)
        return last.progress

    def _follow(self, arn: str) -> Snapshot:
        snapshots = watch.follow(Watcher(self.target, arn), interval=POLL_SECONDS)
        return watch_view.exhaust(snapshots) if self.out.as_json else watch_view.show(self.out, snapshots)

    def _canary(self) -> None:
        """Train once more, and deploy what comes of it beside the champion."""
        if deployments.read(self.target, self.stack, self.wish.fleet).champion is None:
            raise UsageError(
                f"{self.wish.fleet} has no champion to deploy a second model beside.",
                todo="onwing demo --only train,deploy,canary",
            )
        self.out.line("\n[bold]A second model is trained[/] on the same data, with a search of its own")
        overrides = SECOND[self.wish.budget]
        again = train.start(
            self.target, self.stack, fleet=self.wish.fleet, version=None, again=True, overrides=overrides
        )
        last = self._follow(again.execution_arn)
        package = _package(self.target, self.stack, last)
        if package is None:
            # The gate compares with the champion, and a search may end with a worse model: that is its purpose.
            self.out.warn(f"The second model was not registered ({last.progress.outcome}): there is no canary.")
            self._add("deployment", {"canary": None})
            return
        promoted = demo_rollout.canary(self.out, self.target, self.stack, package, self._engines())
        self._add("deployment", {"canary": promoted})

    def _drift(self) -> Exit:
        """The world changes; what monitoring and people make of it; a model of the changed world."""
        world = demo_drift.World(self.out, self.target, self.stack, self.dataset)
        self._add("drift", {**demo_drift.watch(world), "package_arn": None})
        changed = demo_drift.changed_world(self.dataset, self.folder / "changed" / self.wish.fleet)
        self.out.line(f"\n[bold]New data arrives[/], from the changed world  {SIMULATED} {escape(changed.source)}")
        arn, version = _start(self.out, self.target, self.stack, self.wish, changed, [])
        last = self._follow(arn)
        found = {"outcome": last.progress.outcome, "dataset_version": version}
        self._add("drift", {**found, "package_arn": last.progress.output.get("package_arn")})
        if not last.progress.output.get("package_arn"):
            watch_view.conclude(self.out, last.progress)
        return last.progress.exit_code

    def _newest(self) -> Package:
        return models.find(self.target, self.stack, self.wish.fleet)

    def _engines(self) -> list[predict.Engine]:
        """The official test engines: what users send."""
        return predict.read(str(self.dataset.paths["test"]))


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


def _summary(out: Output, document: dict[str, Any], package: Package | None, pictures: Path | None) -> None:
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
    if pictures is not None:
        out.line(f"\nEvaluation, with its figure: {pictures}")
