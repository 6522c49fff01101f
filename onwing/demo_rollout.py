"""The demo's second half: models are approved while requests come in; a good one is promoted, a bad one taken back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from rich.markup import escape

from onwing import approve, deployments, endpoints, models, rollout, rollout_view, spoilt
from onwing.console import Output, duration, figure, table
from onwing.errors import OnwingError, UsageError
from onwing.models import Package
from onwing.predict import Engine
from onwing.stack import Stack
from onwing.target import Target
from onwing.traffic import Report, Traffic

RATE = 20.0  # requests a second
LEAD_SECONDS = 2.0  # of traffic before the approval and after the end
ROLLED_BACK, PROMOTED = "rolled_back", "promoted"


def deploy(out: Output, target: Target, stack: Stack, package: Package) -> dict[str, Any]:
    """Approve a package at an endpoint that nobody uses yet. Raises OnwingError when it is not promoted."""
    out.line(f"\n[bold]{package.name} is approved[/]")
    return _expect(PROMOTED, _rollout(out, target, stack, package, None))


def canary(out: Output, target: Target, stack: Stack, package: Package, engines: Sequence[Engine]) -> dict[str, Any]:
    """Approve a package while requests come in. Raises OnwingError when it is not promoted."""
    out.line(f"\n[bold]{package.name} is approved[/] while {RATE:g} requests a second come in")
    return _expect(PROMOTED, _rollout(out, target, stack, package, engines))


def spoil_and_roll_back(
    out: Output, target: Target, stack: Stack, fleet: str, engines: Sequence[Engine]
) -> dict[str, Any]:
    """Approve a bad copy of the champion while requests come in. Raises OnwingError when it is not rolled back."""
    champion = deployments.read(target, stack, fleet).champion
    if champion is None:
        raise UsageError(
            f"{fleet} has no champion to make a bad copy of.", todo="onwing demo --only train,deploy,rollback"
        )
    arn = spoilt.register(target, stack, models.describe(target, stack, champion.package_arn))
    package = models.describe(target, stack, arn)
    out.line(
        f"\n[bold]{package.name} is approved[/], though it is bad: {spoilt.WHAT}. Its report, copied from "
        f"v{champion.version}, does not tell."
    )
    return _expect(ROLLED_BACK, _rollout(out, target, stack, package, engines))


def _rollout(
    out: Output, target: Target, stack: Stack, package: Package, engines: Sequence[Engine] | None
) -> dict[str, Any]:
    before = deployments.approval(target, stack, package.fleet, package.version).approvals
    name = endpoints.name_of(stack, package.fleet)
    traffic = Traffic(target, name, engines, rate=RATE) if engines is not None else None
    began = time.monotonic()
    with traffic or nullcontext():
        time.sleep(LEAD_SECONDS if traffic else 0)
        approve.set_status(target, package, "Approved", "onwing demo")
        arn = approve.wait_for_start(target, stack, package, before)
        last = rollout_view.show(out, rollout.follow(target, stack, arn, interval=0.5))
        time.sleep(LEAD_SECONDS if traffic else 0)
    record = deployments.record(package.fleet, last.run.output)
    return {
        "package_arn": package.arn,
        "version": package.version,
        "mode": record.mode or "",
        "outcome": last.run.outcome,
        "reason": last.run.reason,
        "seconds_to_first_traffic": record.deployment_seconds,
        "seconds_to_restore": record.rollback_seconds,
        "wall_seconds": round(time.monotonic() - began, 3),
        "traffic": _traffic(traffic.report, package) if traffic and traffic.report else None,
    }


def _traffic(report: Report, package: Package) -> dict[str, Any]:
    answered = report.variants.get(f"v{package.version}", 0)
    return {
        "requests": report.requests,
        "failed": report.failed,
        "errors": report.errors,
        "variants": report.variants,
        "share_of_requests": answered / report.answered if report.answered else 0.0,
        "latency": report.latency,
    }


def _expect(outcome: str, ended: dict[str, Any]) -> dict[str, Any]:
    if ended["outcome"] != outcome:
        raise OnwingError(
            f"The deployment ended as {ended['outcome']}, not as {outcome}: {ended['reason']}",
            where=ended["package_arn"],
            todo="`onwing deployments` has its history; `onwing demo --keep` leaves the embedded cloud running.",
        )
    return ended


def summary(out: Output, document: dict[str, Any]) -> None:
    """What the deployments took, and what the users noticed of them."""
    deployment, rollback = document.get("deployment") or {}, document.get("rollback")
    rows = [
        ("first deployment", deployment.get("first")),
        ("canary", deployment.get("canary")),
        ("bad model", rollback),
    ]
    shown = table(
        "Deployment",
        "Outcome",
        "Approval to first traffic",
        "Decision to restored",
        "Requests",
        "Failed",
        "Answered by it",
        right=("Approval to first traffic", "Decision to restored", "Requests", "Failed", "Answered by it"),
        title="What was deployed",
    )
    for label, ended in rows:
        if ended is None:
            continue
        traffic = ended.get("traffic") or {}
        shown.add_row(
            f"{label}, v{ended['version']}",
            ended["outcome"],
            duration(ended["seconds_to_first_traffic"]),
            duration(ended["seconds_to_restore"]),
            str(traffic.get("requests", "")),
            str(traffic.get("failed", "")),
            f"{figure(100 * traffic['share_of_requests'], 1)} %" if traffic else "",
        )
    if shown.row_count:
        out.line()
        out.show(shown)
    if rollback is not None:
        out.line(f"Why it was taken back: {escape(rollback['reason'])}")
