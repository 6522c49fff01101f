"""What monitoring says of the endpoints: each variant's last window, what is open, what was decided. Read only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from onwing import control, deployments, endpoints, operations
from onwing.deployments import moment
from onwing.endpoints import Endpoint
from onwing.errors import NotFound, OnwingError, error_code
from onwing.stack import Stack
from onwing.target import Target

OK, VIOLATIONS, INSUFFICIENT, UNREADABLE = "ok", "violations", "insufficient", "unreadable"
NEVER, OVERDUE, FAILED, OFF = "never", "overdue", "failed", "off"
ALARMING = (VIOLATIONS, UNREADABLE, OVERDUE, FAILED)  # what a person should look at
NOTHING = "none"  # the decision on a window without violations
UNDECIDED = "open"  # the state of a file's record until its decision stands
# The schedule is hourly: a variant that was not looked at for so long was forgotten.
OVERDUE_AFTER = timedelta(hours=3)
REPORT, PAGE = "report.json", "report.html"


@dataclass(frozen=True)
class Window:
    """One closed window, or one comparison with ground truth. `drift` is in thresholds: above 1 is a violation."""

    id: str = ""
    kind: str = "data"
    start: str = ""
    end: str = ""
    outcome: str = ""
    severity: str = "none"
    cause: str | None = None
    drift: float | None = None
    engines: int = 0
    records: int = 0
    violations: int = 0
    report: str = ""  # prefix of its files' keys
    closed_at: str = ""  # empty while it is open
    summary: str = ""


@dataclass(frozen=True)
class Decision:
    """What was decided on one file of violations, and why."""

    at: str = ""
    decision: str = ""
    reasons: Sequence[str] = ()
    cause: str | None = None
    severity: str = ""
    count: int = 0
    level: str | None = None
    consecutive: int = 0
    since: str = ""
    execution: str | None = None
    report: str = ""
    source: str = ""
    window: Mapping[str, Any] = field(default_factory=dict)
    guards: Sequence[Mapping[str, Any]] = ()
    message: str = ""
    what_to_do: str = ""


@dataclass(frozen=True)
class Episode:
    """Windows with violations, one after the other, up to now."""

    consecutive: int = 0
    since: str = ""
    level: str = ""


@dataclass(frozen=True)
class Monitored:
    """A variant of an endpoint as monitoring sees it.

    `state`: the last window's outcome (ok, violations, insufficient, unreadable); never (no window was looked at yet),
    overdue (nobody has looked for hours, though it is scheduled), failed (the job failed; the same window is tried
    again), or off (the endpoint is not monitored). `open_since` is where the window begins that is still open, `so_far`
    what the latest look at it has found: too few engines.
    """

    fleet: str
    endpoint: str
    variant: str
    champion: bool
    state: str
    last: Window | None = None
    open_since: str = ""
    so_far: Window | None = None
    running: str = ""  # the execution that judges the open window now
    episode: Episode | None = None
    decision: Decision | None = None
    quality: Window | None = None
    what_to_do: str = ""


def read(target: Target, stack: Stack, fleet: str | None = None) -> list[Monitored]:
    """Every variant that is monitored, or should be, champions first. NotFound when `fleet` has no endpoint."""
    served = endpoints.all_of(target, stack, fleet=fleet, measured=False)
    if fleet is not None and not served:
        raise endpoints.not_found(target, stack, fleet)
    found = [item for endpoint in served for item in of_endpoint(target, stack, endpoint)]
    return sorted(found, key=lambda item: (item.fleet, not item.champion, item.variant))


def of_endpoint(target: Target, stack: Stack, endpoint: Endpoint) -> list[Monitored]:
    """The endpoint's champion, and what else has a window."""
    partition = deployments.partition_key(endpoint.fleet)
    states = {
        str(item["sk"]).removeprefix("MONITOR#"): item
        for item in control.items(target, stack, partition, prefix="MONITOR#")
    }
    champion = endpoint.deployment.champion
    names = list(dict.fromkeys([*([champion.variant] if champion else []), *states]))
    return [_monitored(target, stack, endpoint, name, states.get(name, {})) for name in names]


def _monitored(target: Target, stack: Stack, endpoint: Endpoint, variant: str, item: Mapping[str, Any]) -> Monitored:
    partition = deployments.partition_key(endpoint.fleet)
    champion = endpoint.deployment.champion
    is_champion = champion is not None and champion.variant == variant
    last, so_far = _window(item.get("last")), _window(item.get("open"))
    claim = control.document(item.get("claim"))
    going = _execution(target, claim) if claim else None
    decision = last_decision(target, stack, endpoint.fleet, variant)
    newest = last or so_far
    state = newest.outcome if newest and newest.outcome else NEVER
    if is_champion and not endpoint.deployment.monitored:
        state = OFF
    elif claim and going is None:
        state = FAILED
    elif is_champion and _overdue(stack, item, champion.since if champion else ""):
        state = OVERDUE
    return Monitored(
        fleet=endpoint.fleet,
        endpoint=endpoint.name,
        variant=variant,
        champion=is_champion,
        state=state,
        last=last,
        open_since=str(item.get("start", "")),
        so_far=so_far,
        running=going or "",
        episode=_episode(_item(target, stack, partition, f"EPISODE#{variant}")),
        decision=decision,
        quality=_window(_item(target, stack, partition, f"QUALITY#{variant}").get("last")),
        what_to_do=_what_to_do(state, endpoint.fleet, decision, last),
    )


def windows(target: Target, stack: Stack, fleet: str, variant: str) -> list[Window]:
    """The closed windows of a variant's traffic, newest first."""
    return _windows(target, stack, fleet, f"WINDOW#{variant}#", "data")


def window(target: Target, stack: Stack, fleet: str, variant: str, name: str) -> Window | None:
    """One closed window, of traffic or of quality, by its id."""
    item = _item(target, stack, deployments.partition_key(fleet), f"WINDOW#{variant}#{name}")
    return _window(item.get("record"))


def qualities(target: Target, stack: Stack, fleet: str, variant: str) -> list[Window]:
    """The comparisons of a variant's predictions with ground truth, newest first."""
    return _windows(target, stack, fleet, f"WINDOW#{variant}#", "quality")


def decisions(target: Target, stack: Stack, fleet: str, variant: str | None = None) -> list[Decision]:
    """What was decided on a fleet's violations, newest window first; of one variant, if it is named.

    A file that is being looked at has a record without a decision yet: that is left out.
    """
    items = control.items(target, stack, deployments.partition_key(fleet), prefix="VIOLATION#", newest_first=True)
    return [
        control.made(Decision, document)
        for item in items
        if variant in (None, _part(item, 2))
        and item.get("state") != UNDECIDED
        and (document := control.document(item.get("record"))) is not None
    ]


def last_decision(target: Target, stack: Stack, fleet: str, variant: str) -> Decision | None:
    """The newest decision on violations of a variant; None where nothing was ever violated."""
    found = [one for one in decisions(target, stack, fleet, variant) if one.decision != NOTHING]
    return max(found, key=lambda decision: decision.at, default=None)


def decision_on(target: Target, stack: Stack, fleet: str, window: Window) -> Decision | None:
    """The decision on one window's report; None while there is none."""
    prefix = window.report.rstrip("/") + "/"
    return next((one for one in decisions(target, stack, fleet) if one.report.startswith(prefix)), None)


def document(target: Target, stack: Stack, window: Window, name: str = REPORT) -> dict[str, Any]:
    """A JSON document of a window's report. Raises NotFound when it is not there."""
    found: dict[str, Any] = json.loads(content(target, stack, window, name))
    return found


def content(target: Target, stack: Stack, window: Window, name: str) -> bytes:
    """A file of a window's report. Raises NotFound when it is not there."""
    key = window.report.rstrip("/") + "/" + name
    try:
        return bytes(target.client("s3").get_object(Bucket=stack.bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error_code(error) in ("NoSuchKey", "404"):
            raise NotFound(
                f"Window {window.id} has no {name}.",
                where=f"s3://{stack.bucket}/{key}",
                todo="A window without traffic has no report: `onwing drift status` says what became of it.",
            ) from error
        raise


@dataclass(frozen=True)
class Coverage:
    """How much of what serves is watched, in per cent, and what is missing where."""

    percent: float
    endpoints: Sequence[Mapping[str, Any]] = ()

    @property
    def missing(self) -> list[str]:
        """One line for each check that an endpoint does not pass."""
        return [
            f"{endpoint.get('endpoint', '')}: {check.get('message') or check.get('check', '')}"
            for endpoint in self.endpoints
            for check in endpoint.get("checks", [])
            if not check.get("passed")
        ]


def coverage(target: Target, stack: Stack) -> Coverage:
    """Ask the stack's own reconciliation, which looks and changes nothing. Raises OnwingError when it fails."""
    name = stack.output("ReconcileFunctionName")
    answer = target.client("lambda").invoke(FunctionName=name, Payload=json.dumps({"coverage_only": True}).encode())
    payload = json.loads(answer["Payload"].read() or b"{}")
    if "FunctionError" in answer or "coverage" not in payload:
        raise OnwingError(
            f"Monitoring coverage is not known: {payload.get('errorMessage', 'no answer')}",
            where=f"function {name}",
            todo="Look at what the function wrote to its log group.",
        )
    return control.made(Coverage, payload["coverage"])


def _window(text: Any) -> Window | None:
    found = control.document(text)
    return control.made(Window, found) if found else None


def _windows(target: Target, stack: Stack, fleet: str, prefix: str, kind: str) -> list[Window]:
    items = control.items(target, stack, deployments.partition_key(fleet), prefix=prefix, newest_first=True)
    found = [_window(item.get("record")) for item in items]
    return [window for window in found if window is not None and window.kind == kind]


def _item(target: Target, stack: Stack, partition: str, key: str) -> Mapping[str, Any]:
    return next((item for item in control.items(target, stack, partition, prefix=key) if item["sk"] == key), {})


def _episode(item: Mapping[str, Any]) -> Episode | None:
    """The episode that goes on; one that has ended keeps its item, with no windows in a row."""
    consecutive = int(item.get("consecutive", 0))
    return Episode(consecutive, str(item.get("since", "")), str(item.get("level", ""))) if consecutive else None


def _execution(target: Target, claim: Mapping[str, Any]) -> str | None:
    """The execution that holds a claim, while it runs."""
    arn = str(claim.get("execution", ""))
    if not arn:
        return None
    try:
        run = operations.look(target, arn)
    except NotFound:
        return None
    return run.name if run.running else None


def _overdue(stack: Stack, item: Mapping[str, Any], since: str) -> bool:
    if stack.parameters.get("MonitoringSchedule", "ENABLED") != "ENABLED":
        return False
    looked = moment(str(item.get("updated_at", "")) or since)
    return looked is not None and datetime.now(UTC) - looked > OVERDUE_AFTER


def _what_to_do(state: str, fleet: str, decision: Decision | None, last: Window | None) -> str:
    if state == VIOLATIONS:
        own = decision.what_to_do if decision and last and decision.window.get("id") in (None, last.id) else ""
        return own or f"See what has changed: onwing drift report {fleet}"
    return {
        INSUFFICIENT: "Nothing can be said of so few engines, not even that there is no drift: wait for more "
        "traffic, or lower MonitoringMinEngines.",
        UNREADABLE: f"The capture could not be read: onwing drift report {fleet}",
        NEVER: f"onwing drift run {fleet}   (or wait for the schedule)",
        OVERDUE: f"The schedule has not come for hours: onwing status; now: onwing drift run {fleet}",
        FAILED: f"The job on the open window failed; the same window is tried again: onwing drift run {fleet}",
        OFF: f"Nobody watches it: a deployment switches monitoring on. onwing deployments --fleet {fleet}",
    }.get(state, "")


def _part(item: Mapping[str, Any], position: int) -> str:
    parts = str(item.get("sk", "")).split("#")
    return parts[position] if len(parts) > position else ""
