"""`onwing approve`, `onwing reject`, `onwing ab start`: decide, say what becomes of it, and follow it if wished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.prompt import Prompt

from onwing import approve, deployments, models, rollout, rollout_view
from onwing.approve import Doing, Wish
from onwing.command import Context
from onwing.console import SIMULATED, duration, figure
from onwing.deployments import Deployment
from onwing.errors import Exit, OnwingError, UsageError
from onwing.models import APPROVED, REJECTED, Package


def run(context: Context, named: str, *, comment: str, wish: Wish, wait: bool, timeout: float | None) -> Exit:
    """Approve; a package that is approved already is not touched."""
    out, target, stack = context.out, context.target, context.stack
    chosen = None if wish.empty else approve.strategy(stack, wish)
    package = models.find(target, stack, named)
    state = deployments.read(target, stack, package.fleet)
    if package.status == APPROVED:
        found = approve.doing(target, stack, package, state)
        return _already(context, package, found, wish, wait=wait, timeout=timeout)
    if package.status == REJECTED and package.comment:
        out.warn(f"It was rejected before: {escape(package.comment)}")
    before = deployments.approval(target, stack, package.fleet, package.version).approvals
    approve.choose_strategy(target, stack, package, chosen)
    approve.set_status(target, package, APPROVED, comment)
    marker = f"  {SIMULATED}" if package.simulated else ""
    out.ok(f"{package.name} is approved (RMSE {figure(package.rmse)}, PHM08 {figure(package.phm08, 1)}){marker}")
    for line in _plan(package, state, chosen or approve.strategy(stack, Wish())):
        out.line(f"  {line}")
    if not wait:
        out.document({"package": package.arn, "status": APPROVED, "strategy": chosen, "already": False})
        out.next(f"onwing deployments watch {package.fleet}")
        return Exit.OK
    arn = approve.wait_for_start(target, stack, package, before)
    return follow(context, arn, {"package": package.arn, "status": APPROVED, "strategy": chosen}, timeout)


def _already(
    context: Context, package: Package, found: Doing, wish: Wish, *, wait: bool, timeout: float | None
) -> Exit:
    out = context.out
    again = f'onwing reject {package.name} --comment "…", then onwing approve {package.name}'
    if found.state == "nothing":
        raise OnwingError(
            f"{package.name} is approved already, and {found.said}.",
            where=package.arn,
            todo=f"An approval acts once. To deploy it again: {again}",
        )
    if not wish.empty:
        out.warn("How it is deployed was settled when it was approved: the options change nothing now.")
    out.ok(f"{package.name} is approved already, and {escape(found.said)}")
    document = {"package": package.arn, "status": APPROVED, "already": True, "state": found.state}
    if found.state == "champion":
        out.document(document)
        out.next(f"onwing predict FILE --fleet {package.fleet}", f"[dim]to deploy it again:[/] {escape(again)}")
        return Exit.OK
    if wait:
        return follow(context, found.execution, document, timeout)
    out.document({**document, "execution": found.execution})
    out.next(f"onwing deployments watch {package.fleet}")
    return Exit.OK


def _plan(package: Package, state: Deployment, chosen: Mapping[str, Any]) -> list[str]:
    """What will happen, in a line or two."""
    lines = []
    if state.champion is not None and state.champion.version == package.version and state.under_way is None:
        return [f"v{package.version} is the champion of {package.fleet} already"]
    if state.under_way is not None:
        lines.append(f"v{state.under_way.version} is being deployed; v{package.version} waits until that has ended")
    if state.champion is None:
        lines.append(f"{package.fleet} has no model in service yet: v{package.version} is checked and gets all traffic")
        return lines
    shares = ", ".join(f"{share:g} %" for share in chosen["stages"])
    beside = f"beside v{state.champion.version}"
    baked = f"at least {duration(chosen['bake_seconds'])} each"
    if chosen["shadow"]:
        lines.append(f"shadow: v{package.version} gets copies of the requests {beside} until somebody decides")
    elif chosen["hold"]:
        lines.append(f"A/B test: v{package.version} gets {shares} of the traffic {beside} until somebody decides")
    else:
        lines.append(f"{chosen['name']}: v{package.version} gets {shares} of the traffic {beside}, {baked}; then all")
    return lines


def follow(
    context: Context, arn: str, document: Mapping[str, Any], timeout: float | None, *, until_held: bool = True
) -> Exit:
    """Show a deployment until it has ended or holds, and say what came of it; the exit code is its outcome's."""
    try:
        looks = rollout.follow(context.target, context.stack, arn, until_held=until_held, timeout=timeout)
        last = rollout_view.show(context.out, looks)
    except KeyboardInterrupt:
        return rollout_view.interrupted(context.out, arn)
    context.out.document({**document, **last.document()})
    return rollout_view.conclude(context.out, last)


def reject(context: Context, named: str, *, comment: str | None) -> Exit:
    """Reject with a reason, and say what that does to what serves."""
    out = context.out
    asked = comment is None and out.interactive
    reason = (Prompt.ask(f"Why is {named} rejected?", console=out.console) if asked else comment or "").strip()
    if not reason:
        raise UsageError(
            "A rejection needs a reason: whoever looks later should know.",
            where="--comment",
            todo=f'onwing reject {named} --comment "…"',
        )
    target, stack = context.target, context.stack
    package = models.find(target, stack, named)
    state = deployments.read(target, stack, package.fleet)
    waiting = approve.doing(target, stack, package, state).state == "waiting"
    approve.set_status(target, package, REJECTED, reason)
    again = " (it was before; the reason is new)" if package.status == REJECTED else ""
    out.ok(f"{package.name} is rejected{again}")
    said = "It waits to be deployed, and will not be." if waiting else approve.consequence(state, package)
    out.line(f"  {escape(said)}")
    out.document({"package": package.arn, "status": REJECTED, "before": package.status, "consequence": said})
    under_way = state.under_way
    if under_way is not None and under_way.version == package.version:
        out.next(f"onwing deployments watch {under_way.name}")
    else:
        out.next("onwing models", f"onwing endpoints --fleet {package.fleet}")
    return Exit.OK
