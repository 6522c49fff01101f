"""Judging a deployment: the package before anything is made from it, then its variant at every phase.

A package is judged by its documents and its artefact's hash; a production variant by the endpoint's state, its answers
to probes, its requests' errors and latency, and its alarms; a shadow variant without probes, for which AWS takes none.
The verdict is about the model: an AWS error that says nothing about it is raised, and the machine tries again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from control_plane import clients, endpoints, figures, packages, probes
from control_plane.datasets import fleet_key
from control_plane.figures import Figures
from control_plane.packages import PackageFacts
from control_plane.settings import AssessmentSettings, Settings
from control_plane.verdict import Reason, ordered, summarise

Phase = Literal["package", "preflight", "bake", "hold", "shadow", "soak", "verify"]
# Before its first request and for a champion that is back, there are no figures and alarms that would be about it now.
WITH_METRICS: frozenset[Phase] = frozenset({"bake", "hold", "shadow", "soak"})
WITH_DECISION: frozenset[Phase] = frozenset({"hold", "shadow", "soak"})
DECISION_SORT_KEY = "DECISION"
DEFAULT_WINDOW = timedelta(minutes=5)  # of metrics, for a request that does not say since when


class Served(BaseModel):
    """What serves or is to serve; the state machines keep more about it."""

    model_config = ConfigDict(extra="ignore")

    version: int
    variant: str
    probes: str = ""  # S3 key; empty: it has none, and is judged without


class AssessmentRequest(BaseModel):
    """What a state machine asks."""

    model_config = ConfigDict(extra="ignore")

    phase: Phase
    fleet: str = Field(min_length=1)
    endpoint: str = ""
    challenger: Served | None = None
    champion: Served | None = None
    config: str = ""
    since: datetime | None = None
    request: int | None = None
    package_arn: str = ""

    @field_validator("since", "challenger", "champion", mode="before")
    @classmethod
    def _absent(cls, value: object) -> object:
        return value or None


class Decision(BaseModel):
    """What a person told a deployment that holds."""

    decision: Literal["promote", "rollback"]
    reason: str = ""


class Assessment(BaseModel):
    """The verdict; `summary` is for people, `figures` by variant."""

    verdict: Literal["pass", "fail"]
    summary: str
    reasons: list[Reason]
    decision: Decision | None = None
    figures: dict[str, Figures] = {}
    package: PackageFacts | None = None


def assess(settings: Settings, limits: AssessmentSettings, request: AssessmentRequest) -> Assessment:
    """Judge what the request names. Raises AWS's errors that are not the model's doing."""
    if request.phase == "package":
        facts, reasons = packages.examine(settings, request.fleet, request.package_arn)
        good = f"artefact {facts.artifact_sha256[:12]} is the one that was evaluated, and passed the gate"
        return _conclude(good, reasons, package=facts)
    challenger = request.challenger
    if challenger is None:
        raise ValueError(f"phase {request.phase}: no challenger to assess")
    found = {each.variant: Figures() for each in (challenger, request.champion) if each is not None}
    reasons = _examine_endpoint(request, challenger, list(found))
    if not reasons and request.phase != "shadow" and challenger.probes:
        reasons += _probe(settings, limits, request, challenger, found)
    if request.phase in WITH_METRICS:
        reasons += _read_metrics(settings, limits, request, challenger, found)
    decision = _read_decision(settings, request) if request.phase in WITH_DECISION else None
    return _conclude(_describe(challenger.variant, found), reasons, figures=found, decision=decision)


def _examine_endpoint(request: AssessmentRequest, challenger: Served, variants: list[str]) -> list[Reason]:
    if request.phase == "verify":
        variants = [challenger.variant]
    whole = challenger.variant if request.phase == "verify" else None
    return endpoints.examine(request.endpoint, request.config, variants, all_weight_on=whole)


def _probe(
    settings: Settings,
    limits: AssessmentSettings,
    request: AssessmentRequest,
    challenger: Served,
    found: dict[str, Figures],
) -> list[Reason]:
    """Send the challenger's probes to both variants, so that both are asked the same; the figures are filled in.

    To verify is to recognise the model: one request with every engine, so that a rollback waits for no more.
    """
    asked = probes.load(settings.bucket_name, challenger.probes)
    verify = request.phase == "verify"
    own = probes.send(request.endpoint, challenger.variant, asked, limits, batch_only=verify)
    its = None
    # What cannot answer at all needs no comparison.
    if request.champion is not None and not verify and not own.errors:
        its = probes.send(request.endpoint, request.champion.variant, asked, limits)
        champion = found[request.champion.variant]
        champion.probe_latency_ms, champion.probe_rmse = its.latency_ms, its.rmse(asked)
        found[challenger.variant].probe_difference = own.difference(its)
    found[challenger.variant].probe_latency_ms = own.latency_ms
    found[challenger.variant].probe_rmse = own.rmse(asked)
    return probes.judge(challenger.variant, own, asked, limits, its)


def _read_metrics(
    settings: Settings,
    limits: AssessmentSettings,
    request: AssessmentRequest,
    challenger: Served,
    found: dict[str, Figures],
) -> list[Reason]:
    """Look at both variants' requests and at the challenger's alarms; the figures are filled in."""
    since = request.since or datetime.now(UTC) - DEFAULT_WINDOW
    for variant, measured in figures.read(request.endpoint, list(found), since).items():
        found[variant] = found[variant].model_copy(
            update=measured.model_dump(include={"invocations", "errors_4xx", "errors_5xx", "model_latency_ms"})
        )
    champion = found[request.champion.variant] if request.champion is not None else None
    reasons = figures.judge(challenger.variant, found[challenger.variant], champion, limits)
    return reasons + figures.ringing(f"{settings.project_name}-{request.fleet}-{challenger.variant}-")


def _read_decision(settings: Settings, request: AssessmentRequest) -> Decision | None:
    """What a person told this deployment; a decision about another one is none."""
    item = (
        clients.dynamodb()
        .get_item(
            TableName=settings.table_name,
            Key={"pk": {"S": fleet_key(request.fleet)}, "sk": {"S": DECISION_SORT_KEY}},
            ConsistentRead=True,
        )
        .get("Item")
    )
    if item is None or request.request is None or int(item["request"]["N"]) != request.request:
        return None
    return Decision.model_validate({"decision": item["decision"]["S"], "reason": item.get("reason", {}).get("S", "")})


def _conclude(
    good: str,
    reasons: list[Reason],
    *,
    figures: dict[str, Figures] | None = None,
    decision: Decision | None = None,
    package: PackageFacts | None = None,
) -> Assessment:
    return Assessment(
        verdict="fail" if reasons else "pass",
        summary=summarise(reasons) if reasons else good,
        reasons=ordered(reasons),
        decision=decision,
        figures=figures or {},
        package=package,
    )


def _describe(variant: str, found: dict[str, Figures]) -> str:
    """One line about a variant that nothing speaks against."""
    own = found[variant]
    parts = []
    if own.probe_rmse is not None:
        parts.append(f"probes answered with RMSE {own.probe_rmse:.1f} cycles")
    if own.probe_latency_ms is not None:
        parts.append(f"{own.probe_latency_ms:.0f} ms each")
    if own.probe_difference is not None:
        parts.append(f"{own.probe_difference:.1f} cycles from the champion")
    if own.invocations is not None:
        parts.append(f"{own.invocations} requests, {own.errors_5xx} answered 5xx")
    return f"{variant} is in order" + (f": {', '.join(parts)}" if parts else "")
