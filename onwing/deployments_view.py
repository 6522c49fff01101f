"""`onwing deployments`: what is under way, and what was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from onwing import deployments, models
from onwing.command import Context
from onwing.console import clock, duration, table
from onwing.deployments import Deployment, Record, moment
from onwing.endpoints_view import under_way_line
from onwing.errors import Exit

_COLOURS = {
    "promoted": "green",
    "recovered": "green",
    "rolled_back": "yellow",
    "superseded": "yellow",
    "withdrawn": "yellow",
    "nothing_to_do": "yellow",
    "intact": "green",
}


def run(context: Context, *, fleet: str | None, limit: int) -> Exit:
    """What is under way with phase and share, then the newest records of all fleets, or of one."""
    out, target, stack = context.out, context.target, context.stack
    names = models.fleets(target, stack, fleet)
    states = [deployments.read(target, stack, name) for name in names]
    records = [record for name in names for record in deployments.history(target, stack, name, limit=limit)]
    records = sorted(records, key=lambda record: record.started_at or "", reverse=True)[:limit]
    going = {state.fleet: state.under_way for state in states if state.under_way is not None}
    out.document({"under_way": going, "history": [_document(record) for record in records]})
    for name, under_way in going.items():
        out.line(under_way_line(name, under_way))
    if going:
        out.line()
    if records:
        out.show(history_table(records))
        out.line()
    if going:
        out.next(f"onwing deployments watch {next(iter(going))}")
    elif records:
        out.next("onwing endpoints")
    else:
        of = f" of {escape(fleet)}" if fleet else ""
        out.line(f"No deployment{of} has ended yet.")
        out.next("onwing models", "onwing approve FLEET")
    return Exit.OK


def _document(record: Record) -> dict[str, Any]:
    return {
        **vars(record),
        "deployment_seconds": record.deployment_seconds,
        "rollback_seconds": record.rollback_seconds,
    }


def history_table(records: Sequence[Record]) -> Any:
    """A line a record. "First traffic" counts from the approval, "Back" from the decision to go back."""
    made = table(
        "When",
        "What",
        "Model",
        "Outcome",
        "First traffic",
        "Back",
        "Reason",
        right=("First traffic", "Back"),
        fold=("Reason",),
    )
    for record in records:
        colour = _COLOURS.get(record.outcome, "red")
        at = moment(record.started_at)
        mode = f" ({record.mode})" if record.mode else ""
        made.add_row(
            clock(at) if at else "–",
            escape(f"{record.kind}{mode}"),
            escape(f"{record.fleet}/{record.version}" if record.version else record.fleet),
            f"[{colour}]{escape(record.outcome)}[/]",
            duration(record.deployment_seconds),
            duration(record.rollback_seconds),
            escape(record.reason or ""),
        )
    return made


def roles(states: Sequence[Deployment]) -> dict[tuple[str, int], str]:
    """What packages (fleet, version) are now: champion, or under_way; all others are left out."""
    found: dict[tuple[str, int], str] = {}
    for state in states:
        if state.under_way is not None:
            found[state.fleet, state.under_way.version] = "under_way"
        if state.champion is not None:
            found[state.fleet, state.champion.version] = "champion"
    return found
