"""What a command shows: text for people, or one JSON document for programs, never both."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.prompt import Confirm
from rich.table import Table

from onwing.errors import OnwingError, UsageError

LOG_WIDTH = 200
SIMULATED = "[bold black on yellow] SIMULATED [/]"


def plain(value: Any) -> Any:
    """Turn dataclasses, dates, decimals and paths into what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Enum):
        return plain(value.value)
    return str(value) if isinstance(value, Path) else value


def _console(quiet: bool) -> Console:
    """Standard output; a log has no width of its own, so lines and tables there are as wide as they need to be."""
    console = Console(highlight=False, quiet=quiet)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = LOG_WIDTH
    return console


class Output:
    """Where a command writes. With `as_json`, stdout carries JSON only and everything else is silent."""

    def __init__(self, *, as_json: bool = False, console: Console | None = None) -> None:
        self.as_json = as_json
        self.console = console or _console(as_json)

    @property
    def interactive(self) -> bool:
        """Whether a person watches: a live display may be drawn and a question asked."""
        return self.console.is_terminal and not self.as_json

    def line(self, text: str = "") -> None:
        """One line of text; may hold Rich markup (escape what comes from outside)."""
        self.console.print(text, soft_wrap=True)

    def show(self, renderable: Any) -> None:
        """A table, a panel, …"""
        self.console.print(renderable)

    def ok(self, text: str) -> None:
        """Something that was done."""
        self.line(f"[green]✓[/] {text}")

    def warn(self, text: str) -> None:
        """Something that the reader should know, though the command goes on."""
        self.line(f"[yellow]![/] {text}")

    def next(self, *hints: str) -> None:
        """The last lines of every command: what to do next."""
        for position, hint in enumerate(hints):
            label = "Next:" if position == 0 else "     "
            self.line(f"[bold]{label}[/] {hint}")

    def document(self, document: Any) -> None:
        """The command's result as one JSON document (only with --json)."""
        if self.as_json:
            sys.stdout.write(json.dumps(plain(document), indent=2, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def json_line(self, document: Any) -> None:
        """One line of a JSON stream (only with --json)."""
        if self.as_json:
            sys.stdout.write(json.dumps(plain(document), ensure_ascii=False) + "\n")
            sys.stdout.flush()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that something is going on and for how long: a spinner on a terminal, two lines in a log."""
        began = time.monotonic()
        if self.interactive:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            with Progress(*columns, console=self.console, transient=True) as shown:
                shown.add_task(text)
                yield
        else:
            self.line(f"… {text}")
            yield
        self.ok(f"{text}  [dim]{duration(time.monotonic() - began)}[/]")

    def confirm(self, question: str) -> bool:
        """Ask; no is what a mere Enter says. Raises UsageError where nobody can be asked."""
        if not self.interactive:
            raise UsageError("Nobody can be asked here.", todo="Give --yes if this is what you want.")
        return Confirm.ask(question, console=self.console, default=False)

    def error(self, error: OnwingError) -> None:
        """What went wrong, where, and what to do."""
        if self.as_json:
            self.document(
                {
                    "error": {
                        "what": error.what,
                        "where": error.where,
                        "what_to_do": error.todo,
                        "exit_code": int(error.exit_code),
                    }
                }
            )
            return
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"[bold red]Error:[/] {escape(error.what)}")
        if error.where:
            console.print(f"[dim]Where:[/] {escape(error.where)}")
        if error.todo:
            console.print(f"[dim]To do:[/] {escape(error.todo)}")


def table(*columns: str, right: Sequence[str] = (), fold: Sequence[str] = (), title: str | None = None) -> Table:
    """A table in the one style of this program; columns in `right` are numbers, those in `fold` may take many lines."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        justify: JustifyMethod = "right" if column in right else "left"
        made.add_column(column, justify=justify, overflow="fold", no_wrap=column not in fold)
    return made


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 0.4 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Bytes as people say them: 512 B, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def figure(value: float | None, digits: int = 2) -> str:
    """A metric with a fixed number of digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def clock(at: datetime) -> str:
    """A moment in local time, to the minute; without the date when it is today."""
    local = at.astimezone()
    return local.strftime("%H:%M" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")
