"""The frame around every command: the shared options, the line that says which target, and errors as exit codes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Concatenate

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape

from onwing import stack as stacks
from onwing import target as targets
from onwing.console import Output
from onwing.errors import Exit, OnwingError, UsageError, translate
from onwing.project import Project, find_project
from onwing.stack import Stack
from onwing.target import Options, Target

_PANEL = "Target and output"
Env = Annotated[
    str | None,
    typer.Option(
        "--env", envvar="ONWING_ENV", help="Environment of samconfig.toml: local, dev, prod.", rich_help_panel=_PANEL
    ),
]
StackName = Annotated[
    str | None,
    typer.Option("--stack", envvar="ONWING_STACK", help="Name of the stack.", rich_help_panel=_PANEL),
]
Profile = Annotated[str | None, typer.Option("--profile", help="AWS profile.", rich_help_panel=_PANEL)]
Region = Annotated[str | None, typer.Option("--region", help="AWS region.", rich_help_panel=_PANEL)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.", rich_help_panel=_PANEL)]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", envvar="ONWING_DEBUG", rich_help_panel=_PANEL)]
_SHARED: dict[str, tuple[Any, Any]] = {
    "env": (Env, None),
    "stack": (StackName, None),
    "profile": (Profile, None),
    "region": (Region, None),
    "as_json": (Json, False),
    "debug": (Debug, False),
}


@dataclass
class Context:
    """What every command gets: where it writes, the checkout it stands in, and, when asked for, the target."""

    out: Output
    options: Options
    project: Project

    @cached_property
    def target(self) -> Target:
        """The cloud to talk to; the first use says which."""
        found = targets.resolve(self.options, self.project)
        self.announce(found)
        return found

    @cached_property
    def stack(self) -> Stack:
        """The deployed stack; NotDeployed when there is none."""
        return stacks.get(self.target)

    def announce(self, target: Target | str) -> None:
        """The first line of every command."""
        self.out.line(f"[dim]Target: {escape(str(target))}[/]")


Function = Callable[Concatenate[Context, ...], Exit | None]


def command(app: typer.Typer, name: str, **arguments: Any) -> Callable[[Function], Function]:
    """Register a function as a command: its first parameter becomes the shared options, its result the exit code."""

    def register(function: Function) -> Function:
        app.command(name, **arguments)(_wrap(function, in_group=False))
        return function

    return register


def group(app: typer.Typer, **arguments: Any) -> Callable[[Function], Function]:
    """Register a function as what a group of commands does when none of them is named."""

    def register(function: Function) -> Function:
        app.callback(invoke_without_command=True, **arguments)(_wrap(function, in_group=True))
        return function

    return register


def _wrap(function: Function, *, in_group: bool) -> Callable[..., None]:
    """A function with the parameters that Typer is to see: the function's own, then the shared options."""

    def wrapper(**given: Any) -> None:
        if in_group and given.pop("_invoked").invoked_subcommand is not None:
            return
        shared = {key: given.pop(key) for key in _SHARED}
        options = Options(shared["env"], shared["stack"], shared["profile"], shared["region"])
        out = Output(as_json=shared["as_json"])
        raise typer.Exit(_run(function, out, options, bool(shared["debug"]), given))

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    parameters += [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for key, (annotation, default) in _SHARED.items()
    ]
    if in_group:
        parameters.append(inspect.Parameter("_invoked", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    wrapper.__doc__ = function.__doc__
    wrapper.__name__ = function.__name__
    return wrapper


def _run(
    function: Callable[..., Exit | None], out: Output, options: Options, debug: bool, given: dict[str, Any]
) -> int:
    context: Context | None = None
    try:
        context = Context(out, options, find_project())
        return int(function(context, **given) or Exit.OK)
    except OnwingError as error:
        if debug:
            out.console.print_exception()
        out.error(error)
        return int(error.exit_code)
    except (ClientError, BotoCoreError) as error:
        if debug:
            out.console.print_exception()
        where = str(context.__dict__.get("target", "")) if context else ""
        out.error(translate(error, where or "AWS"))
        return int(Exit.FAILED)
    except KeyboardInterrupt:
        out.line("\nInterrupted.")
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # `onwing … | head`: the reader has gone. Nothing may be written any more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return int(Exit.OK)


def parse_settings(pairs: list[str] | None) -> dict[str, int | float | str]:
    """`key=value` options as a mapping; numbers become numbers."""
    settings: dict[str, int | float | str] = {}
    for pair in pairs or []:
        key, separator, text = pair.partition("=")
        if not separator or not key.strip():
            raise UsageError(
                f"'{pair}' is not of the form key=value.", where="--set", todo="For example: --set max_jobs=4"
            )
        settings[key.strip()] = _number(text.strip())
    return settings


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
