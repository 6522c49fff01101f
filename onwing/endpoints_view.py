"""How endpoints and the alarms that are on look on a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.markup import escape

from onwing.console import Output, clock, figure, table
from onwing.deployments import Deployment, UnderWay, moment
from onwing.endpoints import Alarm, Endpoint, Variant
from onwing.errors import Exit
from onwing.metrics import Figures

_STATUS = {"InService": "green", "Failed": "red", "OutOfService": "red"}


def endpoints_table(endpoints: Sequence[Endpoint], title: str | None = None) -> Any:
    """A line for each variant of each endpoint."""
    numbers = ("Traffic", "Instances", "Requests", "4xx", "5xx", "Avg ms", "Max ms")
    made = table("Endpoint", "Status", "Variant", *numbers, "Since", right=numbers, title=title)
    for endpoint in endpoints:
        status = f"[{_STATUS.get(endpoint.status, 'yellow')}]{escape(endpoint.status)}[/]"
        first = [escape(endpoint.name), status]
        for variant in endpoint.variants:
            figures = endpoint.figures.get(variant.name, Figures())
            made.add_row(
                *first,
                f"{escape(variant.name)} {role(endpoint.deployment, variant)}".rstrip(),
                "copies" if variant.shadow else f"{variant.share:.4g} %",
                str(variant.instances),
                str(figures.invocations),
                str(figures.errors_4xx),
                str(figures.errors_5xx),
                figure(figures.latency_average_ms, 1),
                figure(figures.latency_maximum_ms, 1),
                _since(endpoint.deployment, variant),
            )
            first = ["", ""]
        if not endpoint.variants:
            made.add_row(*first)
    return made


def role(deployment: Deployment, variant: Variant) -> str:
    """What a variant is: the champion, the challenger that is being deployed, or the one that was before."""
    if deployment.champion is not None and variant.name == deployment.champion.variant:
        return "[bold]★[/]"
    if deployment.under_way is not None and variant.name == f"v{deployment.under_way.version}":
        return "[cyan]▶[/]"
    return "[dim]before[/]" if deployment.predecessor and variant.name == deployment.predecessor.variant else ""


def _since(deployment: Deployment, variant: Variant) -> str:
    for served in (deployment.champion, deployment.predecessor):
        if served is not None and served.variant == variant.name and (at := moment(served.since)):
            return clock(at)
    return ""


def under_way_line(fleet: str, under_way: UnderWay) -> str:
    """One line on a deployment that goes on."""
    share = f", {under_way.share:g} % of the traffic" if under_way.phase in ("canary", "hold", "soak") else ""
    return (
        f"[cyan]▶[/] {escape(fleet)}: v{under_way.version} is being deployed ({escape(under_way.mode)}), "
        f"phase {escape(under_way.phase)}{share}  [dim]{escape(under_way.name)}[/]"
    )


def alarm_line(alarm: Alarm) -> str:
    """One line on an alarm that is on."""
    return f"[red]✗[/] alarm {escape(alarm.name)} since {clock(alarm.since)}: {escape(alarm.reason)}"


def show(out: Output, found: Sequence[Endpoint]) -> Exit:
    """All of them, what is under way, what alarms, and what to do next."""
    out.document(found)
    if not found:
        out.line("No endpoints yet.")
        out.next("onwing approve FLEET   (deploys its newest package)", "onwing models")
        return Exit.OK
    out.show(endpoints_table(found))
    out.line()
    going = False
    for endpoint in found:
        if endpoint.deployment.under_way is not None:
            going = True
            out.line(under_way_line(endpoint.fleet, endpoint.deployment.under_way))
        for alarm in endpoint.alarms:
            out.line(alarm_line(alarm))
        if endpoint.failure:
            out.line(f"[red]✗[/] {escape(endpoint.name)}: {escape(endpoint.failure)}")
    fleet = found[0].fleet
    out.next(f"onwing deployments{' watch' if going else ''}", f"onwing predict FILE --fleet {fleet}")
    return Exit.OK
