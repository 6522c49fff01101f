"""`onwing backup` and `onwing restore`: say what will happen before it does."""

from __future__ import annotations

from rich.markup import escape

from onwing import backups, operations
from onwing.command import Context
from onwing.console import clock, table
from onwing.errors import Exit


def backup(context: Context, *, fleet: str | None, timeout: float | None) -> Exit:
    """Write backups and say where they are."""
    out, target, stack = context.out, context.target, context.stack
    with out.step(f"Backing up {fleet or 'every endpoint'}"):
        run = backups.write(target, stack, fleet, timeout=timeout)
    operations.succeed(run, f"Look at it: onwing watch {run.name}")
    found = backups.written(run)
    out.document(run.document())
    for item in found:
        out.ok(f"{escape(str(item['fleet']))}: s3://{escape(stack.bucket)}/{escape(str(item['key']))}")
    if not found:
        out.warn("There is no endpoint to back up.")
        out.next("onwing approve FLEET   (deploys a model)")
        return Exit.NOT_FOUND
    out.next(f"onwing restore {found[0]['fleet']} --list")
    return Exit.OK


def listed(context: Context, fleet: str, *, limit: int) -> Exit:
    """The backups of a fleet, newest first."""
    out = context.out
    found = backups.newest(context.target, context.stack, fleet, limit=limit)
    out.document(found)
    if not found:
        out.line(f"{escape(fleet)} has no backups yet.")
        out.next(f"onwing backup --fleet {fleet}")
        return Exit.OK
    made = table("Backup", "Champion", "Written", "Reason", fold=("Reason",))
    for item in found:
        champion = f"v{item.champion}" if item.champion else "–"
        made.add_row(escape(item.name), champion, clock(item.written), escape(item.reason))
    out.show(made)
    out.line()
    out.next(f"onwing restore {fleet}   (the newest)", f"onwing restore {fleet} --backup {found[0].name}")
    return Exit.OK


def restore(context: Context, fleet: str, *, named: str | None, yes: bool, timeout: float | None) -> Exit:
    """Plan, show, ask, rebuild."""
    out, target, stack = context.out, context.target, context.stack
    key = backups.key_of(target, stack, fleet, named)
    out.line(f"Backup: s3://{escape(stack.bucket)}/{escape(key)}")
    with out.step("Comparing it with what is there"):
        plan = backups.restore(target, stack, fleet, key, plan_only=True, timeout=timeout)
    todo = f"Look at it: onwing watch {plan.name}. Another backup: onwing restore {fleet} --list"
    operations.succeed(plan, todo)
    steps = [str(step) for step in plan.output.get("plan", [])]
    if plan.outcome == "intact" or not steps:
        out.document(plan.document())
        out.ok(f"Nothing is missing: the endpoint of {escape(fleet)} is as in the backup.")
        out.next(f"onwing endpoints --fleet {fleet}")
        return Exit.OK
    out.line("[bold]This will be done:[/]")
    for step in steps:
        out.line(f"  {escape(step)}")
    if not yes and not out.confirm("Go on?"):
        out.line("Nothing was done.")
        return Exit.FAILED
    with out.step(f"Rebuilding the endpoint of {fleet}"):
        run = backups.restore(target, stack, fleet, key, plan_only=False, timeout=timeout)
    operations.succeed(run, f"Look at it: onwing watch {run.name}. What is there: onwing endpoints --fleet {fleet}")
    out.document(run.document())
    champion = run.output.get("champion")
    out.ok(f"{escape(fleet)} is served again{f' by v{champion}' if champion else ''}")
    out.next(f"onwing predict FILE --fleet {fleet}", f"onwing endpoints --fleet {fleet}")
    return run.exit_code
