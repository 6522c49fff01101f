"""The commands on what serves: approve, predict, watch a deployment, go back, test, back up, restore, load."""

from __future__ import annotations

from typing import Annotated

import typer

from onwing import (
    abtest,
    abtest_view,
    approve_view,
    backups_view,
    deployments_view,
    endpoints,
    endpoints_view,
    predict_view,
    rollback,
    rollout,
    rollout_view,
    traffic_view,
)
from onwing.approve import AB_SHARE, Wish
from onwing.command import Context, command, group
from onwing.errors import Exit, UsageError
from onwing.options import (
    SERVING,
    Comment,
    DataDir,
    Fleet,
    FleetName,
    Follow,
    Interval,
    Package,
    Reason,
    Timeout,
    Wait,
    Yes,
)

serving = typer.Typer(rich_markup_mode="rich")

Stages = Annotated[
    str | None, typer.Option("--stages", help="Per cents of the traffic, say 10,50.", show_default=False)
]
Bake = Annotated[
    int | None, typer.Option("--bake", help="Seconds that each stage is watched.", show_default=False, min=0)
]
Soak = Annotated[
    int | None,
    typer.Option("--soak", help="Seconds that the model before stays ready afterwards.", show_default=False, min=0),
]


@command(serving, "approve", rich_help_panel=SERVING)
def approve(
    context: Context,
    package: Package,
    *,
    comment: Comment = "",
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="canary, linear, ab or shadow.", show_default=False)
    ] = None,
    stages: Stages = None,
    bake: Bake = None,
    soak: Soak = None,
    share: Annotated[
        int | None, typer.Option("--share", help="A/B test: per cent of the traffic.", show_default=False)
    ] = None,
    wait: Follow = False,
    timeout: Timeout = None,
) -> Exit:
    """Approve a package: it is deployed by itself, stage by stage, and taken back if it does worse.

    What is not said is as the stack's parameters have it. With --wait, Ctrl-C does not stop the deployment.

    Examples:

      onwing approve FD001
      onwing approve FD001/8 --comment "better on late life" --wait
      onwing approve FD001/8 --stages 5,25,50 --bake 600 --soak 7200
      onwing approve FD001/8 --strategy shadow
    """
    wish = Wish(strategy, stages, bake, soak, share)
    return approve_view.run(context, package, comment=comment, wish=wish, wait=wait, timeout=timeout)


@command(serving, "reject", rich_help_panel=SERVING)
def reject(
    context: Context,
    package: Package,
    *,
    comment: Annotated[
        str | None, typer.Option("--comment", help="Why; asked for if it is not given.", show_default=False)
    ] = None,
) -> Exit:
    """Reject a package, with the reason; a deployment of it that is under way is stopped and taken back.

    Examples:

      onwing reject FD001/8 --comment "biased on short histories"
    """
    return approve_view.reject(context, package, comment=comment)


@command(serving, "predict", rich_help_panel=SERVING)
def predict(
    context: Context,
    file: Annotated[str, typer.Argument(help="C-MAPSS file, plain or .gz; - is standard input.")],
    *,
    fleet: Fleet = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="Ask this variant, say v8.", show_default=False)
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", help="Show so many engines only.", show_default=False, min=1)
    ] = None,
) -> Exit:
    """Predict the remaining useful life (RUL, in cycles) of the engines in a file; nearest its end first.

    The fleet is that of the file's name unless it is said. With --json: all engines.

    Examples:

      onwing predict test_FD001.txt
      onwing predict hangar-3.txt --fleet FD001 --top 10
      zcat test_FD001.txt.gz | onwing predict - --fleet FD001 --variant v8 --json
    """
    return predict_view.run(context, file, fleet=fleet, variant=variant, top=top)


@command(serving, "endpoints", rich_help_panel=SERVING)
def endpoints_list(context: Context, *, fleet: Fleet = None) -> Exit:
    """Show the endpoints: variants, traffic, champion (★), what is being deployed (▶), the last hour's figures.

    Examples:

      onwing endpoints
      onwing endpoints --fleet FD001 --json
    """
    found = endpoints.all_of(context.target, context.stack, fleet=fleet)
    if fleet is not None and not found:
        raise endpoints.not_found(context.target, context.stack, fleet)
    return endpoints_view.show(context.out, found)


deployments_app = typer.Typer(rich_markup_mode="rich")
serving.add_typer(deployments_app, name="deployments", rich_help_panel=SERVING)


@group(deployments_app)
def deployments_list(
    context: Context,
    *,
    fleet: Fleet = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1)] = 20,
) -> Exit:
    """Show what is being deployed, and the deployments, rollbacks and recoveries that were.

    Examples:

      onwing deployments
      onwing deployments --fleet FD001 --limit 50
      onwing deployments watch FD001
    """
    return deployments_view.run(context, fleet=fleet, limit=limit)


@command(deployments_app, "watch")
def deployments_watch(
    context: Context,
    deployment: Annotated[str | None, typer.Argument(help="Fleet, execution's name or how it begins, or ARN.")] = None,
    *,
    interval: Interval = 1.0,
    timeout: Timeout = None,
) -> Exit:
    """Follow a deployment, phase by phase; ends with its outcome as exit code. Ctrl-C does not stop it.

    Without a name: the one under way, else the latest. With --json: one JSON document a line.

    Examples:

      onwing deployments watch FD001
      onwing deployments watch FD001-v8-1 --timeout 7200
    """
    return rollout_view.watch(
        context,
        rollout.find(context.target, context.stack, deployment),
        interval=interval,
        timeout=timeout,
    )


@command(serving, "rollback", rich_help_panel=SERVING)
def roll_back(
    context: Context,
    fleet: FleetName,
    *,
    reason: Reason = "",
    yes: Yes = False,
    wait: Wait = True,
    timeout: Timeout = None,
) -> Exit:
    """Go back to the model before: seconds while it still runs (during a deployment and its soak), else minutes.

    Says what it will do, and asks. The model that is left is rejected in the Model Registry.

    Examples:

      onwing rollback FD001 --reason "complaints from line maintenance"
      onwing rollback FD001 --yes --no-wait
    """
    return rollback.run(context, fleet, reason=reason, yes=yes, wait=wait, timeout=timeout)


@command(serving, "backup", rich_help_panel=SERVING)
def backup(context: Context, *, fleet: Fleet = None, timeout: Timeout = None) -> Exit:
    """Back up every endpoint, or one; this also happens at each deployment and daily.

    Examples:

      onwing backup
      onwing backup --fleet FD001
    """
    return backups_view.backup(context, fleet=fleet, timeout=timeout)


@command(serving, "restore", rich_help_panel=SERVING)
def restore(
    context: Context,
    fleet: FleetName,
    *,
    key: Annotated[
        str | None,
        typer.Option("--backup", help="Key or name of the backup, or how it begins.", show_default="the newest"),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the backups, and do nothing.")] = False,
    limit: Annotated[int, typer.Option("--limit", help="With --list: at most so many.", min=1)] = 20,
    yes: Yes = False,
    timeout: Timeout = None,
) -> Exit:
    """Rebuild an endpoint that was lost from its backup. Says what it will do, and asks.

    Examples:

      onwing restore FD001
      onwing restore FD001 --list
      onwing restore FD001 --backup 2026-11-23T08 --yes
    """
    if listed:
        return backups_view.listed(context, fleet, limit=limit)
    return backups_view.restore(context, fleet, named=key, yes=yes, timeout=timeout)


ab_app = typer.Typer(rich_markup_mode="rich", no_args_is_help=True, help="Test two models against each other.")
serving.add_typer(ab_app, name="ab", rich_help_panel=SERVING)


@command(ab_app, "start")
def ab_start(
    context: Context,
    package: Package,
    *,
    share: Annotated[int | None, typer.Option("--share", help="Per cent of the traffic.", show_default="20")] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Copies of the requests; users get no answer of it.")
    ] = False,
    comment: Comment = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has its share.")] = False,
    timeout: Timeout = None,
) -> Exit:
    """Approve a package as an A/B test: it keeps its share beside the champion until `ab stop`.

    Examples:

      onwing ab start FD001/8 --share 20
      onwing ab start FD001/8 --shadow
    """
    if shadow and share is not None:
        raise UsageError("A shadow has no share: it gets copies of all requests.", todo="Leave one of the two out.")
    wish = Wish("shadow") if shadow else Wish("ab", share=AB_SHARE if share is None else share)
    return approve_view.run(context, package, comment=comment, wish=wish, wait=wait, timeout=timeout)


@command(ab_app, "status")
def ab_status(context: Context, fleet: FleetName) -> Exit:
    """Show both models side by side since the test began: requests, errors, latency, probes.

    Examples:

      onwing ab status FD001
    """
    return abtest_view.status(context, fleet)


@command(ab_app, "stop")
def ab_stop(
    context: Context,
    fleet: FleetName,
    *,
    promote: Annotated[bool, typer.Option("--promote", help="The challenger becomes the champion.")] = False,
    back: Annotated[bool, typer.Option("--rollback", help="The champion stays; the challenger is rejected.")] = False,
    reason: Reason = "",
    wait: Follow = False,
    timeout: Timeout = None,
) -> Exit:
    """End a test: promote the challenger, or go back to the champion.

    Examples:

      onwing ab stop FD001 --promote --reason "RMSE 1.2 cycles better, same latency"
      onwing ab stop FD001 --rollback --wait
    """
    if promote == back:
        raise UsageError("Say which model stays.", todo=f"onwing ab stop {fleet} --promote, or --rollback")
    decision = abtest.PROMOTE if promote else abtest.ROLLBACK
    return abtest_view.stop(context, fleet, decision, reason=reason, wait=wait, timeout=timeout)


@command(serving, "traffic", rich_help_panel=SERVING)
def traffic(
    context: Context,
    *,
    fleet: Fleet = None,
    rate: Annotated[float, typer.Option("--rate", help="Requests a second.", min=0.01)] = 20.0,
    seconds: Annotated[float, typer.Option("--duration", help="Seconds; 0 is until Ctrl-C.", min=0)] = 60.0,
    data: DataDir = None,
    threads: Annotated[int, typer.Option("--threads", help="Requests out at once, at most.", min=1, max=256)] = 16,
) -> Exit:
    """Send requests to an endpoint as its users do: test engines whose histories grow, at a steady rate.

    Nothing is tried twice, so what fails is seen. Exit code 1 if any request failed.

    Examples:

      onwing traffic --fleet FD001
      onwing traffic --rate 50 --duration 300 --json
      onwing traffic --fleet FD001 --duration 0
    """
    return traffic_view.run(context, fleet=fleet, rate=rate, seconds=seconds, data_dir=data, threads=threads)
