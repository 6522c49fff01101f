"""The demo's last part: the world changes, monitoring finds it, people are told, new data comes, a model is trained."""

from __future__ import annotations

import gzip
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.markup import escape

from onwing import alerts, captured, data, deployments, endpoints, inject, monitor_run, monitoring, scenarios
from onwing.alerts import Alert
from onwing.console import Output, figure, table
from onwing.data import DataSet
from onwing.deployments import moment
from onwing.errors import OnwingError, UsageError, WaitedTooLong
from onwing.monitor_run import Judged
from onwing.monitoring import Decision, Window
from onwing.scenarios import Change
from onwing.stack import Stack
from onwing.target import Target
from onwing.traffic import Replay

ENGINES, REPORTS, RATE = 40, 2, 20.0
# As if the probe of one temperature had been exchanged in the whole fleet, and the new type read higher (3.6 °R in
# FD001). Plain to see for statistics, and so small that predictions are a few cycles off: a moderate change, of which
# people are warned first. A severe one would take a young champion back.
SCENARIO, SENSORS, SIZE = "bias", ("s4",), 0.4
WHAT = "since an overhaul of the fleet, "
DELIVERY_TIMEOUT = 120.0  # for the capture of what was sent
DECISION_TIMEOUT = 120.0  # for the decision on a report, and its alert
LOOK_SECONDS = 0.2
KIND, LEVELS = "drift", ("warning", "critical")


@dataclass(frozen=True)
class World:
    """Where the demo works: the cloud, the fleet, and its data."""

    out: Output
    target: Target
    stack: Stack
    dataset: DataSet

    @property
    def fleet(self) -> str:
        """The fleet."""
        return self.dataset.fleet


def watch(world: World) -> dict[str, Any]:
    """Clean traffic, then changed traffic until people are called, and what was decided. Raises OnwingError."""
    champion = deployments.read(world.target, world.stack, world.fleet).champion
    if champion is None:
        raise UsageError(
            f"{world.fleet} has no champion to send traffic to.", todo="onwing demo --only train,deploy,drift"
        )
    if other := inject.other_world(world.target, world.stack, world.fleet, world.dataset):
        raise UsageError(
            other, where=world.dataset.source, todo="Name the data: onwing demo --only drift --data FOLDER"
        )
    world.out.line("\n[bold]Engines are sent as they are[/]; monitoring judges what was captured")
    clean = _window(world, champion.variant, scenarios.change("clean"), seed=1)
    change = scenarios.change(SCENARIO, sensors=SENSORS, size=SIZE)
    world.out.line(f"\n[bold]The world changes[/]: {WHAT}{escape(str(change))}")
    injected: list[dict[str, Any]] = []
    decisions: list[Decision] = []
    told: list[Alert] = []
    # One window may be chance: what is drastic waits for as many in a row as the stack says.
    for number in range(int(world.stack.parameters.get("ViolationWindows", "2"))):
        began = datetime.now(UTC)
        found = _window(world, champion.variant, change, seed=2 + number)
        injected.append(found)
        if found["outcome"] != monitoring.VIOLATIONS:
            raise OnwingError(
                f"The change was not found: {found['outcome']}. {found['summary']}",
                where=f"{world.fleet} {champion.variant}, window {found['id']}",
                todo=f"onwing demo --keep, then: onwing drift report {world.fleet}",
            )
        decision, alert, seconds = _decision(world, found, began, told[-1].severity if told else None)
        found["alert_seconds"] = seconds
        decisions.append(decision)
        told += [alert] if alert else []
    _tell(world.out, decisions[-1], told)
    return {
        "change": str(change),
        "clean": clean,
        "injected": injected,
        "alerts": [{"at": alert.at, "severity": alert.severity, "subject": alert.subject} for alert in told],
        "alert_seconds": max((found["alert_seconds"] or 0.0 for found in injected), default=None),
        "decision": {
            "decision": decisions[-1].decision,
            "reasons": decisions[-1].reasons,
            "cause": decisions[-1].cause,
            "consecutive": decisions[-1].consecutive,
            "what_to_do": decisions[-1].what_to_do,
        },
    }


def changed_world(dataset: DataSet, folder: Path) -> DataSet:
    """The fleet's trio after the change: the same engines, read by the sensors that are in them now.

    It is marked as simulated: the engines are real, what their new sensors show is not.
    """
    change = scenarios.change(SCENARIO, sensors=SENSORS, size=SIZE)
    measure = inject.spread_of(change, dataset)
    rng = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for role in data.ROLES:
        paths[role] = folder / f"{role}_{dataset.fleet}.txt"
        if role == "RUL":
            # Byte for byte as it is: the same content is no new version of the data set.
            paths[role].write_bytes(_plain(dataset.paths[role]))
            continue
        lines = [
            scenarios.text(row) + b"\n"
            for history in inject.histories(dataset, role)
            for row in scenarios.apply(change, history, measure, rng)
        ]
        paths[role].write_bytes(b"".join(lines))
    source = f"{dataset.source}; then {change}"
    (folder / data.SIMULATED_MARKER).write_text(source + "\n", encoding="utf-8")
    return replace(dataset, paths=paths, simulated=True, verified=None, source=source, sums={})


def _plain(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _window(world: World, variant: str, change: Change, *, seed: int) -> dict[str, Any]:
    """Send engines, wait for their capture, judge it; what came of it."""
    out, target, stack = world.out, world.target, world.stack
    prepared = inject.load(change, world.dataset, world.dataset, engines=ENGINES, seed=seed)
    name = endpoints.name_of(stack, world.fleet)
    with out.step(f"Sending the last {REPORTS} flights of {ENGINES} engines"):
        report = Replay(target, name, prepared.engines, reports=REPORTS, rate=RATE).run()
    if report.failed:
        raise OnwingError(
            f"{report.failed} of {report.requests} requests failed: {report.errors[0]['message']}",
            where=name,
            todo=f"See its errors: `onwing endpoints --fleet {world.fleet}`.",
        )
    with out.step("Waiting until they have been captured"):
        captured.wait(target, stack, name, report, DELIVERY_TIMEOUT)
    with out.step("Judging them"):
        _, judged = monitor_run.judge(target, stack, world.fleet)
    for item in judged:
        out.line(f"  {monitor_run.line(item)}")
    return _document(_own(judged, variant, world), report.requests)


def _own(judged: Sequence[Judged], variant: str, world: World) -> Window:
    window = next((item.window for item in judged if item.variant == variant and item.kind == "data"), None)
    if window is None:
        raise OnwingError(
            f"Monitoring has closed no window of {variant}.",
            where=endpoints.name_of(world.stack, world.fleet),
            todo=f"onwing demo --keep, then: onwing drift status {world.fleet}",
        )
    return window


def _document(window: Window, requests: int) -> dict[str, Any]:
    return {
        "id": window.id,
        "outcome": window.outcome,
        "severity": window.severity,
        "drift": window.drift,
        "engines": window.engines,
        "records": window.records,
        "violations": window.violations,
        "summary": window.summary,
        "report": window.report,
        "requests": requests,
    }


def _decision(
    world: World, found: dict[str, Any], began: datetime, known: str | None
) -> tuple[Decision, Alert | None, float | None]:
    """The decision on a window's report, the alert on it, and the seconds from the report to the alert.

    `known` is the level that people were told before: the same again is no alert.
    """
    window = Window(id=found["id"], report=found["report"])
    decided: list[Decision] = []
    sent: list[Alert] = []

    def look() -> bool:
        decision = monitoring.decision_on(world.target, world.stack, world.fleet, window)
        decided[:] = [decision] if decision else []
        sent[:] = [
            alert
            for alert in alerts.read(world.target, world.stack, since=began, fleet=world.fleet)
            if alert.kind == KIND and alert.severity in LEVELS
        ]
        return bool(decided) and (bool(sent) or decided[0].level in (None, known))

    with world.out.step("Waiting for the decision, and the alert on it"):
        _until(look, DECISION_TIMEOUT, "Nothing was decided on the violations.", window.report)
    if not sent:
        return decided[0], None, None
    key = f"{window.report.rstrip('/')}/constraint_violations.json"
    written = world.target.client("s3").head_object(Bucket=world.stack.bucket, Key=key)["LastModified"]
    at = moment(sent[-1].at)
    seconds = round((at - written).total_seconds(), 3) if at else None
    return decided[0], sent[-1], max(0.0, seconds) if seconds is not None else None


def _tell(out: Output, decision: Decision, told: Sequence[Alert]) -> None:
    for alert in told:
        out.line(f"  alert, {escape(alert.severity)}: {escape(alert.subject)}")
    out.line(f"  decided: {escape(decision.decision)}, because {escape('; '.join(decision.reasons))}")
    if decision.what_to_do:
        out.line(f"  [bold]→[/] {escape(decision.what_to_do)}")


def _until(look: Callable[[], bool], timeout: float, what: str, where: str) -> None:
    deadline = time.monotonic() + timeout
    while not look():
        if time.monotonic() >= deadline:
            raise WaitedTooLong(
                what, where=where, todo="onwing demo --keep, then: onwing drift status; onwing status; onwing alerts"
            )
        time.sleep(LOOK_SECONDS)


def summary(out: Output, found: dict[str, Any]) -> None:
    """The windows, and what came of them."""
    numbers = ("DataDrift", "Engines", "Report to alert")
    made = table("Window", "Outcome", "Severity", *numbers, right=numbers, title="What monitoring found")
    rows = [("as they are", found["clean"])]
    rows += [(f"changed, {number}", window) for number, window in enumerate(found["injected"], start=1)]
    for label, window in rows:
        made.add_row(
            label,
            escape(window["outcome"]),
            escape(window["severity"]),
            figure(window["drift"]),
            str(window["engines"]),
            _within(window.get("alert_seconds")),
        )
    out.line()
    out.show(made)
    decision = found["decision"]
    out.line(f"Decided: {escape(decision['decision'])}, because {escape('; '.join(decision['reasons']))}")
    if found.get("package_arn"):
        name = "/".join(str(found["package_arn"]).split("/")[-2:])
        out.line(f"Trained on the data that came then: {escape(name)} waits for approval")


def _within(seconds: float | None) -> str:
    """From a report, whose time is cut to the second, to its alert: `seconds` is at least what it took."""
    return "" if seconds is None else f"under {max(1, math.ceil(seconds))} s"
