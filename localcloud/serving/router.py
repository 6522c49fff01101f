"""Which instance answers a request: variants by weight, a variant by name, and a copy for the shadow.

A route is replaced as a whole: a request belongs to the fleets that it found when it came, and a fleet that is in no
route any more gets no new ones, so that nothing fails when an endpoint changes.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from localcloud.serving.model_servers import Fleet
from localcloud.store import Scope


@dataclass(frozen=True)
class Target:
    """One variant as requests see it.

    Args:
        weight: its share among the route's targets; 0 for requests that name it only.
        instances: how many instances it is to have.
    """

    variant: str
    fleet: Fleet
    weight: float
    instances: int = 1


@dataclass(frozen=True)
class Route:
    """Where an endpoint's requests go at present.

    Args:
        targets: production variants; during a traffic shift the old and the new fleet of a variant; none while the
            endpoint's servers are being started again.
        shadow: gets a copy of some requests, its answers are dropped.
        shadow_share: which share of the requests the shadow gets.
        capture: what keeps requests and answers; None without Data Capture.
    """

    targets: tuple[Target, ...]
    shadow: Target | None = None
    shadow_share: float = 0.0
    capture: Any = None


class NoSuchEndpoint(LookupError):
    """The endpoint has no route."""


class NotThereYet(LookupError):
    """The endpoint's servers are being started again."""


class NoSuchVariant(LookupError):
    """The endpoint has no variant of this name, or none with weight."""


class Router:
    """The routes of all endpoints."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._routes: dict[tuple[Scope, str], Route] = {}

    def set(self, scope: Scope, endpoint: str, route: Route) -> None:
        """Send an endpoint's requests this way from now on."""
        with self._lock:
            self._routes[scope, endpoint] = route

    def get(self, scope: Scope, endpoint: str) -> Route | None:
        """The present route."""
        with self._lock:
            return self._routes.get((scope, endpoint))

    def remove(self, scope: Scope, endpoint: str) -> Route | None:
        """Send no more requests to an endpoint."""
        with self._lock:
            return self._routes.pop((scope, endpoint), None)

    def forget(self, scope: Scope, endpoint: str, fleets: Iterable[Fleet]) -> None:
        """Send no more requests to these fleets, whoever has the endpoint's name now."""
        gone = set(fleets)
        with self._lock:
            route = self._routes.get((scope, endpoint))
            if route is not None and any(target.fleet in gone for target in route.targets):
                del self._routes[scope, endpoint]

    def enter(self, scope: Scope, endpoint: str, variant: str | None = None) -> tuple[Route, Target, bool]:
        """Choose for one request; its fleets are entered and must be left.

        Returns:
            The route, the target, and whether the shadow gets a copy.

        Raises:
            NoSuchEndpoint: nothing serves it.
            NotThereYet: its servers are being started again.
            NoSuchVariant: the variant asked for is not there.
        """
        with self._lock:
            route = self._routes.get((scope, endpoint))
            if route is None:
                raise NoSuchEndpoint(endpoint)
            if not route.targets:
                raise NotThereYet(endpoint)
            target = choose(route.targets, variant)
            shadowed = route.shadow is not None and random.random() < route.shadow_share
            target.fleet.enter()
            if shadowed and route.shadow is not None:
                route.shadow.fleet.enter()
            return route, target, shadowed


def choose(targets: Sequence[Target], variant: str | None = None, draw: float | None = None) -> Target:
    """One target: by weight, or, when a variant is named, among its own.

    Args:
        draw: in [0, 1); None for a random one.

    Raises:
        NoSuchVariant: no such variant, or no variant has weight.
    """
    if variant is not None:
        named = [target for target in targets if target.variant == variant]
        if not named:
            raise NoSuchVariant(variant)
        if sum(target.weight for target in named) <= 0:
            return named[-1]
        targets = named
    total = sum(target.weight for target in targets)
    if total <= 0:
        raise NoSuchVariant("")
    point = (random.random() if draw is None else draw) * total
    for target in targets:
        point -= target.weight
        if point < 0:
            return target
    return next(target for target in reversed(targets) if target.weight > 0)
