"""The route of a plan: its variants by weight, its shadow, and what the old servers get while traffic moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.serving.model_servers import Fleet
from localcloud.serving.plans import Plan
from localcloud.serving.router import Route, Target


def route_of(
    plan: Plan,
    fleets: Mapping[str, Fleet],
    capture: Any = None,
    share: float = 1.0,
    old_plan: Plan | None = None,
    old_fleets: Mapping[str, Fleet] | None = None,
) -> Route:
    """The route of a plan, which gets ``share`` of the traffic; the old one gets the rest.

    The shadow gets as large a share of the requests as its weight is of the production variant's (1 and 1: all),
    which is how AWS's examples read; its reference does not say.
    """
    targets: list[Target] = []
    if old_plan is not None and share < 1:
        targets += _targets(old_plan, old_fleets or {}, 1 - share)
    if share > 0:
        targets += _targets(plan, fleets, share)
    shadow, shadow_share = None, 0.0
    for variant in plan["shadow"]:
        shadow = Target(variant["name"], fleets[variant["name"]], variant["weight"], variant["instances"])
        production = plan["variants"][0]["weight"]
        shadow_share = min(1.0, variant["weight"] / production) if production > 0 else 0.0
    return Route(tuple(targets), shadow, shadow_share, capture)


def _targets(plan: Plan, fleets: Mapping[str, Fleet], share: float) -> list[Target]:
    total = sum(variant["weight"] for variant in plan["variants"]) or 1.0
    return [
        Target(each["name"], fleets[each["name"]], each["weight"] / total * share, each["instances"])
        for each in plan["variants"]
    ]
