"""Options that several commands share, and the panels of the help that the commands stand in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CLOUD, WORK, SERVING, LOOK = "The cloud", "Work", "Serving", "Look"

Fleet = Annotated[str | None, typer.Option("--fleet", help="The fleet, say FD001.", show_default=False)]
DataDir = Annotated[
    Path | None, typer.Option("--data", help="Folder with C-MAPSS files (plain or .gz).", show_default=False)
]
Port = Annotated[int, typer.Option("--port", help="Port of the embedded cloud; 0 takes a free one.")]
Docker = Annotated[
    bool, typer.Option("--docker", help="Run jobs in the training image, by Docker or Podman; it is built if need be.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Interval = Annotated[float, typer.Option("--interval", help="Seconds between two looks.", min=0.2)]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Wait at most so many seconds.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override for this run, say max_jobs=4; may be repeated."),
]
Package = Annotated[str, typer.Argument(help="ARN, fleet/version, or a fleet for its newest package.")]
FleetName = Annotated[str, typer.Argument(help="The fleet, say FD001.")]
Comment = Annotated[str, typer.Option("--comment", help="Why; stands in the Model Registry.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why; stands in the history and in the alert.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]
Follow = Annotated[bool, typer.Option("--wait", help="Follow the deployment to its outcome.")]
