"""`onwing reconcile`: run the daily comparison of what is with what should be now, and show what it found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from rich.markup import escape
from rich.table import Table

from onwing import control
from onwing.command import Context
from onwing.console import table
from onwing.errors import Exit, OnwingError
from onwing.stack import Stack
from onwing.target import Target

ANSWER_SECONDS = 960  # Lambda ends a function after 900 s at the latest, and may need a while to start it


@dataclass(frozen=True)
class Finding:
    """One thing that was not as it should be. `action` says what was done, or what a person should do."""

    what: str
    where: str
    problem: str
    action: str
    repaired: bool = False


def reconcile(target: Target, stack: Stack, *, report_only: bool = False) -> list[Finding]:
    """Invoke the stack's function, which repairs what it can, and wait for its answer: what is left to do comes first.

    With `report_only` it changes nothing and alerts nobody.

    Raises OnwingError when the function fails, or when its answer is lost on the way.
    """
    name = stack.output("ReconcileFunctionName")
    log = f"log group /aws/lambda/{stack.project}-reconcile"
    try:
        answer = _client(target).invoke(FunctionName=name, Payload=json.dumps({"report_only": report_only}))
    except (ReadTimeoutError, ConnectionClosedError) as error:
        raise OnwingError(
            f"The function was started, but its answer did not arrive: {error}",
            where=f"function {name}, {log}",
            todo="It may still run. What it finds is in `onwing alerts` within 15 minutes; then run it again.",
        ) from error
    payload = json.loads(answer["Payload"].read() or b"{}")
    if "FunctionError" in answer or "findings" not in payload:
        said = [str(payload[member]) for member in ("errorType", "errorMessage") if payload.get(member)]
        raise OnwingError(
            f"The reconciliation failed: {': '.join(said) or 'no answer'}",
            where=f"function {name}",
            todo=f"Read what it wrote to its log ({log}), correct the cause, and run it again.",
        )
    return sorted((control.made(Finding, each) for each in payload["findings"]), key=lambda finding: finding.repaired)


def _client(target: Target) -> Any:
    """A client that waits for the longest run there can be, and never asks twice: that would be a second run."""
    return target.session.client(
        "lambda",
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=10,
            read_timeout=ANSWER_SECONDS,
            tcp_keepalive=True,  # nothing is sent for minutes: routers forget such connections
            user_agent_extra="onwing",
        ),
    )


def run(context: Context, *, report_only: bool = False) -> Exit:
    """Run it and tell what it found; Exit.FAILED when something is left for a person."""
    out, target, stack = context.out, context.target, context.stack
    try:
        with out.step("Comparing registry, endpoints, executions, schedules and alarms"):
            found = reconcile(target, stack, report_only=report_only)
    except KeyboardInterrupt:
        out.line("\nNo longer waiting; the function goes on. What it finds is an alert, unless it only reports.")
        out.next("onwing alerts")
        return Exit.INTERRUPTED
    left = sum(not finding.repaired for finding in found)
    code = Exit.FAILED if left else Exit.OK
    out.document({"exit_code": int(code), "findings": found})
    if not found:
        out.ok("Nothing was found: all is as it should be.")
        out.next("onwing status")
        return code
    out.show(findings_table(found))
    out.line()
    out.line(f"{left} left to do, {len(found) - left} repaired.")
    out.next("onwing alerts --full", "onwing status")
    return code


def findings_table(found: Sequence[Finding]) -> Table:
    """A row each. A fleet, where it is one's, stands in "Where"."""
    problem, action = "What is wrong", "Done, or to do"
    made = table("", "Where", "What", problem, action, fold=("Where", problem, action))
    for finding in found:
        mark = "[green]✓[/]" if finding.repaired else "[red]✗[/]"
        made.add_row(mark, escape(finding.where), escape(finding.what), escape(finding.problem), escape(finding.action))
    return made
