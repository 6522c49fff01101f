"""`onwing`: the commands and their options. What they do stands in a module each."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from onwing import demo as demonstration
from onwing import deploy as deployment
from onwing import (
    deployments,
    deployments_view,
    executions,
    ingest_view,
    models,
    operations_view,
    status_view,
    watch_view,
)
from onwing import (
    doctor as examination,
)
from onwing import monitoring as watched
from onwing import status as states
from onwing import teardown as teardowns
from onwing import train as training
from onwing import up as upward
from onwing.cli_monitoring import monitoring
from onwing.cli_serving import serving
from onwing.command import Context, command, group, parse_settings
from onwing.errors import Exit, UsageError
from onwing.options import (
    CLOUD,
    LOOK,
    WORK,
    DataDir,
    Docker,
    Fleet,
    Interval,
    Package,
    Port,
    Settings,
    Timeout,
    Yes,
)
from onwing.watch import Watcher, document, follow

EXIT_CODES = (
    "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 not found or not deployed · "
    "4 the model missed the gate, was refused or rolled back · 5 ended without a model (superseded, unchanged) · "
    "6 waited too long · 7 drift found · 8 too little or unreadable data to tell · 130 interrupted"
)

app = typer.Typer(
    name="onwing",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("onwing"))
        raise typer.Exit


@app.callback()
def main(
    shown: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Operate the control plane for remaining-useful-life models: on AWS and on the embedded cloud alike."""


@command(app, "up", rich_help_panel=CLOUD)
def up(context: Context, *, port: Port = 0, docker: Docker = False) -> Exit:
    """Start the embedded cloud on this machine and deploy the stack to it. Nothing is done twice.

    Examples:

      onwing up
      onwing up --port 4566
      onwing up --docker
    """
    return upward.run(context, port=port, docker=docker)


@command(app, "deploy", rich_help_panel=CLOUD)
def deploy(context: Context, *, yes: Yes = False) -> Exit:
    """Deploy the stack to AWS; the training image is built and pushed first.

    Examples:

      onwing deploy --env dev
      onwing deploy --env prod --profile ops --yes
    """
    return deployment.run(context, yes=yes)


@command(app, "down", rich_help_panel=CLOUD)
def down(
    context: Context,
    *,
    yes: Yes = False,
    purge: Annotated[bool, typer.Option("--purge", help="Embedded cloud: remove its state as well.")] = False,
    with_models: Annotated[bool, typer.Option("--models", help="AWS: remove the model packages as well.")] = False,
    with_image: Annotated[bool, typer.Option("--image", help="AWS: remove the ECR repository as well.")] = False,
) -> Exit:
    """Stop the embedded cloud; on AWS, remove everything after saying what will go.

    Examples:

      onwing down
      onwing down --purge
      onwing down --env dev --models --image
    """
    return teardowns.run(context, yes=yes, purge=purge, with_models=with_models, with_image=with_image)


@command(app, "doctor", rich_help_panel=CLOUD)
def doctor(context: Context) -> Exit:
    """Say what is missing on this machine, or in the AWS account, and how to get it.

    Examples:

      onwing doctor
      onwing doctor --env dev --profile ops
    """
    context.announce(f"this machine{f', and AWS as {context.options.env}' if context.options.env else ''}")
    with context.out.step("Looking around"):
        checks = list(examination.examine(context.project, context.options))
    status_view.show_checks(context.out, checks)
    good = examination.healthy(checks)
    context.out.document({"healthy": good, "checks": checks})
    context.out.line()
    if good:
        context.out.next("onwing demo   (the whole loop)", "onwing up   (the embedded cloud only)")
    else:
        context.out.next("mend what is marked with ✗, then onwing doctor")
    return Exit.OK if good else Exit.FAILED


@command(app, "demo", rich_help_panel=WORK)
def demo(
    context: Context,
    *,
    fleet: Annotated[str, typer.Option("--fleet", help="The fleet, FD001 to FD004.")] = "FD001",
    data: DataDir = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Use simulated data, whatever there is.")] = False,
    port: Port = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the embedded cloud running.")] = False,
    budget: Annotated[str, typer.Option("--budget", help="How much to compute: quick, demo or full.")] = "demo",
    docker: Docker = False,
    only: Annotated[
        str, typer.Option("--only", metavar="PARTS", help="Parts to run, of train, deploy, canary, rollback and drift.")
    ] = ",".join(demonstration.PARTS),
) -> Exit:
    """Run the whole loop on this machine: train, deploy, canary, take a bad model back, find drift, train on new data.

    Writes .onwing/demo-report.json. Stops the embedded cloud at its end if it started it, unless --keep; its state is
    kept, so that a part can be run alone on what an earlier demo has left.

    Examples:

      onwing demo
      onwing demo --fleet FD002 --data ~/cmapss --keep
      onwing demo --simulated --budget quick
      onwing demo --only drift
      onwing demo --docker
    """
    if budget not in demonstration.BUDGETS:
        raise UsageError(f"There is no budget '{budget}'.", todo=f"Use one of: {', '.join(demonstration.BUDGETS)}.")
    parts = tuple(part for part in demonstration.PARTS if part in [name.strip() for name in only.split(",")])
    unknown = [name for name in only.split(",") if name.strip() not in demonstration.PARTS]
    if unknown:
        raise UsageError(
            f"There is no part '{unknown[0].strip()}'.", todo=f"Use some of: {', '.join(demonstration.PARTS)}."
        )
    wish = demonstration.Wish(fleet, data, simulated, port, keep, budget, docker, parts)
    return demonstration.run(context, wish)


@command(app, "ingest", rich_help_panel=WORK)
def ingest(
    context: Context,
    paths: Annotated[list[Path] | None, typer.Argument(help="Files, or folders with data files.")] = None,
    *,
    fleet: Fleet = None,
    data: DataDir = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the files have been checked.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", help="Wait at most so many seconds.")] = 90.0,
) -> Exit:
    """Upload data files; a complete trio (train, test, RUL) starts training by itself.

    Examples:

      onwing ingest train_FD001.txt test_FD001.txt RUL_FD001.txt
      onwing ingest ~/cmapss
      onwing ingest --fleet FD002
    """
    return ingest_view.run(context, paths or [], fleet=fleet, data_dir=data, wait=wait, timeout=timeout)


@command(app, "train", rich_help_panel=WORK)
def train(
    context: Context,
    dataset: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Data set version, or its first characters.")
    ] = None,
    *,
    fleet: Fleet = None,
    again: Annotated[bool, typer.Option("--again", help="Start another attempt at a version trained before.")] = False,
    settings: Settings = None,
) -> Exit:
    """Start a training run by hand.

    Overrides: sequence_length, lstm_units_1, lstm_units_2, epochs, rmse_threshold, phm08_threshold, max_jobs,
    max_parallel_jobs.

    Examples:

      onwing train --fleet FD001
      onwing train 3fa9c2 --again --set max_jobs=8 --set epochs=40
    """
    if dataset is None and fleet is None:
        raise UsageError("Name a data set version or a fleet.", todo="onwing train --fleet FD001. See: onwing status")
    started = training.start(
        context.target, context.stack, fleet=fleet, version=dataset, again=again, overrides=parse_settings(settings)
    )
    context.out.document(started)
    mark = context.out.ok if started.status in ("started", "running") else context.out.warn
    mark(escape(started.message))
    name = started.execution_arn.rpartition(":")[2]
    context.out.next(f"onwing watch {name}" if name else "onwing status")
    return Exit.OK


@command(app, "watch", rich_help_panel=LOOK)
def watch(
    context: Context,
    execution: Annotated[str | None, typer.Argument(help="Execution: ARN, name, or how either begins.")] = None,
    *,
    fleet: Fleet = None,
    logs: Annotated[bool, typer.Option("--logs", help="Show what the jobs write.")] = False,
    interval: Interval = 2.0,
    timeout: Timeout = None,
) -> Exit:
    """Follow a training run: states, jobs, trials; ends with its outcome as exit code. Ctrl-C does not stop the run.

    Without a name: the training run under way, else the latest. Deployments, rollbacks, backups and recoveries are
    followed by name, too. With --json: one JSON document a line, the last one whole.

    Examples:

      onwing watch
      onwing watch --fleet FD002 --logs
      onwing watch FD001-3fa9c2d1e0b4-1 --timeout 3600
    """
    if execution is not None and (named := operations_view.find(context, execution)) is not None:
        return operations_view.watch_run(context, named, interval=interval, timeout=timeout)
    arn = executions.find(context.target, context.stack, execution, fleet)
    snapshots = follow(Watcher(context.target, arn, logs=logs), interval=interval, timeout=timeout)
    try:
        last = watch_view.show(context.out, snapshots)
    except KeyboardInterrupt:
        context.out.line("\nNo longer watching; the run goes on.")
        context.out.next(f"onwing watch {arn.rpartition(':')[2]}")
        return Exit.INTERRUPTED
    context.out.json_line({"event": "result", **document(last)})
    watch_view.conclude(context.out, last.progress)
    watch_view.advise(context.out, last.progress)
    return last.progress.exit_code


app.add_typer(serving)
app.add_typer(monitoring)
models_app = typer.Typer(rich_markup_mode="rich")
app.add_typer(models_app, name="models", rich_help_panel=LOOK)


@group(models_app)
def models_list(
    context: Context,
    *,
    fleet: Fleet = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many a fleet.", min=1)] = 10,
) -> Exit:
    """List the model packages of all fleets, newest first; `models show` shows one.

    Examples:

      onwing models
      onwing models --fleet FD001
      onwing models show FD001/3
    """
    found = models.packages(context.target, context.stack, fleet=fleet, limit=limit)
    names = sorted({package.fleet for package in found})
    roles = deployments_view.roles([deployments.read(context.target, context.stack, name) for name in names])
    context.out.document([{**vars(package), "role": roles.get((package.fleet, package.version))} for package in found])
    if not found:
        context.out.line("No packages yet.")
        context.out.next("onwing ingest PATH   (a data set that passes the gate becomes a package)", "onwing status")
        return Exit.OK
    context.out.show(status_view.packages_table(found, roles=roles))
    context.out.line()
    context.out.next(f"onwing models show {found[0].name}")
    return Exit.OK


@command(models_app, "show")
def models_show(
    context: Context,
    package: Package,
) -> Exit:
    """Show one package: figures, errors by band, and where it came from.

    Examples:

      onwing models show FD001
      onwing models show FD001/3 --json
    """
    found = models.find(context.target, context.stack, package)
    evaluation = models.report(context.target, found)
    context.out.document({"package": found, "evaluation": evaluation})
    status_view.show_package(context.out, found, evaluation)
    context.out.line()
    if found.status == models.PENDING:
        context.out.next(f"onwing approve {found.name}   (deploys it)", f'onwing reject {found.name} --comment "…"')
    elif found.status == models.APPROVED:
        context.out.next(f"onwing endpoints --fleet {found.fleet}", f"onwing deployments --fleet {found.fleet}")
    else:
        context.out.next("onwing models")
    return Exit.OK


@command(app, "status", rich_help_panel=LOOK)
def status(
    context: Context,
    *,
    limit: Annotated[int, typer.Option("--limit", help="At most so many executions and files.", min=1)] = 5,
) -> Exit:
    """Show the state of everything: fleets, runs, packages to approve, endpoints, alarms, and what went wrong.

    Examples:

      onwing status
      onwing status --env prod --json
    """
    found = states.read(context.target, context.stack, limit=limit)
    context.out.document(found)
    status_view.show_status(context.out, found)
    context.out.line()
    if not found.fleets and not found.endpoints:
        context.out.next("onwing ingest PATH   (train_, test_ and RUL_ of a fleet)", "onwing demo")
    elif any(item.state in watched.ALARMING for item in found.monitored):
        context.out.next("onwing drift status", "onwing alerts")
    elif found.alarms:
        context.out.next("onwing endpoints", "onwing deployments", "onwing alerts")
    elif found.pending:
        context.out.next(f"onwing models show {found.pending[0].name}", f"onwing approve {found.pending[0].name}")
    else:
        context.out.next("onwing watch", "onwing models")
    return Exit.OK
