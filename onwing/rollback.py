"""`onwing rollback`: say what going back takes, ask, start the rollback machine, and tell when traffic is back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

from onwing import deployments, operations
from onwing.command import Context
from onwing.console import duration
from onwing.deployments import Deployment
from onwing.errors import Exit, NotFound

DEFAULT_REASON = "asked for with onwing rollback"


@dataclass(frozen=True)
class Way:
    """How a fleet gets back to the model before. `slow`: servers have to be started first."""

    said: str
    slow: bool


def way(state: Deployment) -> Way:
    """What a rollback will do. Raises NotFound when there is nothing to go back to."""
    under_way, champion, predecessor = state.under_way, state.champion, state.predecessor
    if under_way is not None:
        challenger = f"v{under_way.version}"
        if under_way.fallback is None:
            return Way(
                f"The first deployment of {state.fleet} is stopped and {challenger} taken out of service.", False
            )
        back = f"all traffic goes back to v{under_way.fallback.version}, which still runs: a shift of weights, seconds"
        return Way(f"The deployment of {challenger} (phase {under_way.phase}) is stopped; {back}.", False)
    if champion is None:
        raise NotFound(
            f"Fleet {state.fleet} has no model in service: there is nothing to roll back.",
            where=f"control table, fleet {state.fleet}",
            todo=f"See what serves: `onwing endpoints`. Deploy a model: `onwing approve {state.fleet}`.",
        )
    if predecessor is None:
        raise NotFound(
            f"v{champion.version} is the first model of {state.fleet} that is known: there is none to go back to.",
            where=f"control table, fleet {state.fleet}",
            todo=f"Deploy another: `onwing models --fleet {state.fleet}`, then `onwing approve {state.fleet}/N`.",
        )
    return Way(
        f"v{predecessor.version}, which no longer runs, is deployed again from its backup: its servers have to be "
        f"started, which takes minutes. v{champion.version} serves until then; afterwards it is rejected.",
        True,
    )


def run(context: Context, fleet: str, *, reason: str, yes: bool, wait: bool, timeout: float | None) -> Exit:
    """Say, ask, start, wait, tell."""
    out, target, stack = context.out, context.target, context.stack
    found = way(deployments.read(target, stack, fleet))
    out.line(escape(found.said))
    if not yes and not out.confirm("Roll back?"):
        out.line("Nothing was done.")
        return Exit.FAILED
    request: Mapping[str, Any] = {
        "fleet": fleet,
        "trigger": "manual",
        "reason": reason or DEFAULT_REASON,
        "decided_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    arn = operations.start(target, stack, "rollback", fleet, request)
    name = arn.rpartition(":")[2]
    if not wait:
        out.document({"execution": arn, "slow": found.slow, "decided_at": request["decided_at"]})
        out.ok(f"Rollback {name} has started")
        out.next(f"onwing watch {name}")
        return Exit.OK
    with out.step(f"Rolling back {fleet}  [dim]{name}[/]"):
        ended = operations.wait(target, arn, timeout=timeout, interval=operations.POLL_SECONDS / 2)
    operations.succeed(
        ended, f"See what serves: `onwing endpoints --fleet {fleet}`. From a backup: `onwing restore {fleet}`."
    )
    out.document(ended.document())
    if ended.outcome == "nothing_to_do":
        out.warn(f"There was nothing to do: {escape(ended.reason or 'all traffic is on the champion')}")
    else:
        tell(context, ended)
    out.next(f"onwing endpoints --fleet {fleet}", f"onwing deployments --fleet {fleet}")
    return ended.exit_code


def tell(context: Context, ended: operations.Run) -> None:
    """What a rollback did, in a line."""
    output, fleet = ended.output, ended.fleet
    seconds = output.get("seconds")
    if seconds is None:
        seconds = deployments.between(output.get("decided_at"), output.get("restored_at"))
    champion = output.get("champion")
    serves = f"all traffic of {fleet} is on v{champion}" if champion else f"{fleet} is served by no model now"
    gone = f"; v{output['version']} is rejected" if output.get("version") else ""
    took = f", {duration(float(seconds))} after the decision" if seconds is not None else ""
    context.out.ok(f"{escape(serves)}{took}{escape(gone)}")
