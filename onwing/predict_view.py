"""`onwing predict`: the engines of a file, the one that is nearest its end first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.markup import escape

from onwing import endpoints, predict
from onwing.command import Context
from onwing.console import figure, table
from onwing.errors import Exit


def run(context: Context, path: str, *, fleet: str | None, variant: str | None, top: int | None) -> Exit:
    """Read, ask, show."""
    out, target, stack = context.out, context.target, context.stack
    engines = predict.read(path)
    fleet = fleet or predict.fleet_of(path, target, stack)
    found = sorted(predict.predict(target, stack, fleet, engines, variant=variant), key=lambda item: item.rul)
    answered = Counter(item.variant for item in found)
    name = endpoints.name_of(stack, fleet)
    out.document({"fleet": fleet, "endpoint": name, "variants": answered, "predictions": found})
    made = table("Engine", "Cycle", "RUL", right=("Engine", "Cycle", "RUL"))
    for item in found[:top]:
        made.add_row(str(item.unit), str(item.cycle), figure(item.rul, 1))
    out.show(made)
    out.line()
    by = ", ".join(f"{variant} {count}" for variant, count in sorted(answered.items()))
    source = "standard input" if path == predict.STDIN else Path(path).name
    left = f", the {top} nearest their end are shown" if top is not None and top < len(found) else ""
    out.ok(f"{len(found)} engines of {escape(source)}, RUL in cycles{left}  [dim]{escape(name)}: {escape(by)}[/]")
    out.next(f"onwing endpoints --fleet {fleet}")
    return Exit.OK
