"""Following a deployment, rollback, backup, recovery or run of monitoring by its name, as `onwing watch` does."""

from __future__ import annotations

from rich.markup import escape

from onwing import monitor_run, operations, rollback, rollout_view, watch, watch_view
from onwing.command import Context
from onwing.errors import Exit


def find(context: Context, named: str) -> str | None:
    """The ARN of the execution meant, unless it is one of training's. A fleet alone means its training."""
    return operations.find(context.target, context.stack, named) if not named.isalnum() else None


def watch_run(context: Context, arn: str, *, interval: float, timeout: float | None) -> Exit:
    """Follow it to its outcome, which is the exit code; a deployment phase by phase, the others state by state."""
    out, target = context.out, context.target
    if operations.kind_of(arn) == "deployment":
        return rollout_view.watch(context, arn, interval=interval, timeout=timeout)
    operations.look(target, arn)  # NotFound, where there is none
    snapshots = watch.follow(watch.Watcher(target, arn), interval=interval, timeout=timeout)
    try:
        watch_view.show(out, snapshots)
    except KeyboardInterrupt:
        out.line("\nNo longer watching; it goes on.")
        out.next(f"onwing watch {arn.rpartition(':')[2]}")
        return Exit.INTERRUPTED
    ended = operations.look(target, arn)
    out.json_line({"event": "result", **ended.document()})
    out.line()
    if ended.kind == "monitoring":
        return monitor_run.conclude(context, ended)
    operations.succeed(ended, "See what serves: `onwing endpoints`.")
    if ended.kind == "rollback" and ended.outcome == "rolled_back":
        rollback.tell(context, ended)
    else:
        out.ok(f"{ended.kind} of {escape(ended.fleet)}: {escape(ended.outcome or '')}")
        for step in ended.output.get("plan", []):
            out.line(f"  {escape(str(step))}")
    out.next("onwing endpoints")
    return ended.exit_code
