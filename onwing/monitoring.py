"""What monitoring says of the endpoints: each variant's last window, what is open, what was decided. Read only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from onwing import control, deployments, endpoints, operations, overdue_windows
from onwing.endpoints import Endpoint
from onwing.errors import NotFound, OnwingError, error_code
from onwing.overdue_windows import Schedule
from onwing.stack import Stack
from onwing.target import Target

OK, VIOLATIONS, INSUFFICIENT, UNREADABLE = "ok", "violations", "insufficient", "unreadable"
NEVER, OVERDUE, FAILED, OFF = "never", "overdue", "failed", "off"
ALARMING = (VIOLATIONS, UNREADABLE, OVERDUE, FAILED)  # what a person should look at
NOTHING = "none"  # the decision on a window without violations
UNDECIDED = "open"  # the state of a file's record until its decision stands
UNDATED = "unknown"  # the window of a file whose key tells no time
WINDOWS_LOOKED_AT = 3  # for the last decision: the newest windows with violations; one may not be decided on yet
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
    files: int | None = None  # of capture; without any there was nothing for a job to do, and there is no report
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
    features: Sequence[str] = ()  # what was violated
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
class Watched:
    """A schedule of Model Monitor in whose windows there are violations now. They are held against the champion."""

    schedule: str
    episode: Episode
    decision: Decision | None = None


@dataclass(frozen=True)
class Monitored:
    """A variant of an endpoint as monitoring sees it.

    `state`: the last window's outcome (ok, violations, insufficient, unreadable); never (no window was looked at yet),
    overdue (nobody has looked for three periods of the schedule), failed (the job failed; the same window is tried
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
    quality: Window | None = None  # the last comparison with ground truth, and what follows from it
    quality_episode: Episode | None = None
    quality_decision: Decision | None = None
    schedules: Sequence[Watched] = ()
    what_to_do: str = ""


def read(target: Target, stack: Stack, fleet: str | None = None) -> list[Monitored]:
    """Every variant that is monitored, or should be, champions first. NotFound when `fleet` has no endpoint."""
    served = endpoints.all_of(target, stack, fleet=fleet, measured=False)
    if fleet is not None and not served:
        raise endpoints.not_found(target, stack, fleet)
    if not served:
        return []
    schedule = overdue_windows.schedule(target, stack)
    found = [item for endpoint in served for item in of_endpoint(target, stack, endpoint, schedule)]
    return sorted(found, key=lambda item: (item.fleet, not item.champion, item.variant))


def of_endpoint(target: Target, stack: Stack, endpoint: Endpoint, schedule: Schedule) -> list[Monitored]:
    """The endpoint's champion, and what else has a window; `schedule` is monitoring's."""
    states, qualities = (_by_variant(target, stack, endpoint.fleet, kind) for kind in ("MONITOR#", "QUALITY#"))
    champion = endpoint.deployment.champion
    names = list(dict.fromkeys([*([champion.variant] if champion else []), *states]))
    return [
        _monitored(target, stack, endpoint, schedule, name, states.get(name, {}), qualities.get(name, {}))
        for name in names
    ]


def _by_variant(target: Target, stack: Stack, fleet: str, kind: str) -> dict[str, Mapping[str, Any]]:
    found = control.items(target, stack, deployments.partition_key(fleet), prefix=kind)
    return {str(item["sk"]).removeprefix(kind): item for item in found}


def _monitored(
    target: Target,
    stack: Stack,
    endpoint: Endpoint,
    schedule: Schedule,
    variant: str,
    item: Mapping[str, Any],
    compared: Mapping[str, Any],
) -> Monitored:
    fleet, champion = endpoint.fleet, endpoint.deployment.champion
    is_champion = champion is not None and champion.variant == variant
    last, so_far, quality = _window(item.get("last")), _window(item.get("open")), _window(compared.get("last"))
    claim = control.document(item.get("claim"))
    going = _execution(target, claim) if claim else None
    streams = _streams(target, stack, fleet, variant)
    data, truth = streams.pop("", {}), streams.pop("quality", {})
    decision = last_decision(target, stack, fleet, variant, data, last)
    newest = last or so_far
    state = newest.outcome if newest and newest.outcome else NEVER
    if is_champion and not endpoint.deployment.monitored:
        state = OFF
    elif claim and going is None:
        state = FAILED
    elif champion is not None and is_champion and _overdue(endpoint, schedule, item, champion.since):
        state = OVERDUE
    watched = [
        Watched(name, episode, last_decision(target, stack, fleet, name, stream))
        for name, stream in sorted(streams.items())
        if is_champion and (episode := _episode(stream)) is not None
    ]
    report = report_command(fleet, "" if is_champion else variant)
    return Monitored(
        fleet=fleet,
        endpoint=endpoint.name,
        variant=variant,
        champion=is_champion,
        state=state,
        last=last,
        open_since=str(item.get("start", "")),
        so_far=so_far,
        running=going or "",
        episode=_episode(data),
        decision=decision,
        quality=quality,
        quality_episode=_episode(truth),
        quality_decision=last_decision(target, stack, fleet, variant, truth, quality),
        schedules=watched,
        what_to_do=_what_to_do(stack, state, fleet, report, decision, newest),
    )


def report_command(fleet: str, variant: str = "", *, quality: bool = False) -> str:
    """What shows the newest report of a fleet: its champion's, or a variant's."""
    return f"onwing drift report {fleet}" + (f" --variant {variant}" if variant else "") + " --quality" * quality


def windows(target: Target, stack: Stack, fleet: str, variant: str) -> Iterator[Window]:
    """The closed windows of a variant's traffic, newest first; read as far as they are asked for."""
    return _windows(target, stack, fleet, f"WINDOW#{variant}#2", "data")  # ids begin with the year


def window(target: Target, stack: Stack, fleet: str, variant: str, name: str) -> Window | None:
    """One closed window, of traffic or of quality, by its id."""
    item = _item(target, stack, deployments.partition_key(fleet), f"WINDOW#{variant}#{name}")
    return _window(item.get("record"))


def qualities(target: Target, stack: Stack, fleet: str, variant: str) -> Iterator[Window]:
    """The comparisons of a variant's predictions with ground truth, newest first; read as far as they are asked for."""
    return _windows(target, stack, fleet, f"WINDOW#{variant}#quality-", "quality")


def last_decision(
    target: Target, stack: Stack, fleet: str, monitor: str, stream: Mapping[str, Any], last: Window | None = None
) -> Decision | None:
    """The newest decision on violations of a variant, or of a schedule of Model Monitor; None where there is none.

    There is a record for each window, with violations or without, so that only those are read whose windows had some:
    by the EPISODE item `stream`, and by the last window, of which the item may not know. The item has an undated window
    by the time at which its file came.
    """
    outcomes: Mapping[str, Any] = stream.get("windows", {})  # "violations", or that and more after a space
    violated = {name for name, outcome in outcomes.items() if str(outcome).split()[:1] == [VIOLATIONS]}
    if last is not None and last.outcome == VIOLATIONS:
        violated.add(last.id)
    newest_first = sorted(violated - {UNDATED}, reverse=True)
    for name in [*newest_first[:WINDOWS_LOOKED_AT], *([UNDATED] if violated else [])]:
        decided = _decided(target, stack, fleet, f"VIOLATION#{name}#{monitor}#")
        if found := [each for each in decided if each.decision != NOTHING]:
            return max(found, key=lambda decision: decision.at)
    return None


def decision_on(target: Target, stack: Stack, fleet: str, window: Window) -> Decision | None:
    """The newest decision on one window's report; None while there is none."""
    prefix = window.report.rstrip("/") + "/"
    decided = _decided(target, stack, fleet, f"VIOLATION#{window.id}#")
    found = [each for each in decided if each.report.startswith(prefix)]
    return max(found, key=lambda decision: decision.at, default=None)


def _decided(target: Target, stack: Stack, fleet: str, prefix: str) -> Iterator[Decision]:
    """The decisions whose records' keys begin so; a file that is being looked at has a record without one yet."""
    for item in control.items(target, stack, deployments.partition_key(fleet), prefix=prefix):
        document = control.document(item.get("record"))
        if document is not None and item.get("state") != UNDECIDED:
            yield control.made(Decision, document)


def document(target: Target, stack: Stack, window: Window, name: str = REPORT) -> dict[str, Any]:
    """A JSON document of a window's report. Raises NotFound when it is not there."""
    found: dict[str, Any] = json.loads(content(target, stack, window, name))
    return found


def content(target: Target, stack: Stack, window: Window, name: str) -> bytes:
    """A file of a window's report. Raises NotFound when it is not there."""
    key = window.report.rstrip("/") + "/" + name
    missing = NotFound(
        f"Window {window.id} has no {name}: {why_no_report(window)}",
        where=f"s3://{stack.bucket}/{key}",
        todo="See another window: without --window it is the newest one with a report.",
    )
    if window.files == 0 and window.kind == "data":
        raise missing  # months without traffic are passed over without asking for each hour
    try:
        return bytes(target.client("s3").get_object(Bucket=stack.bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error_code(error) in ("NoSuchKey", "404"):
            raise missing from error
        raise


def why_no_report(window: Window) -> str:
    """Why a closed window is without one, as a sentence's end."""
    if window.files == 0 and window.kind == "data":
        return f"{window.outcome}. {window.summary}".strip()
    return "it is not in the bucket any more."


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


def _windows(target: Target, stack: Stack, fleet: str, prefix: str, kind: str) -> Iterator[Window]:
    items = control.items(target, stack, deployments.partition_key(fleet), prefix=prefix, newest_first=True)
    found = (_window(item.get("record")) for item in items)
    return (window for window in found if window is not None and window.kind == kind)


def _streams(target: Target, stack: Stack, fleet: str, variant: str) -> dict[str, Mapping[str, Any]]:
    """The EPISODE items of a variant: "" its traffic's, `quality`, and by name those of Model Monitor's schedules."""
    key = f"EPISODE#{variant}"
    items = control.items(target, stack, deployments.partition_key(fleet), prefix=key)
    rest = {str(item["sk"]).removeprefix(key): item for item in items}  # v1 begins as v10 does
    return {name.removeprefix("#"): item for name, item in rest.items() if name[:1] in ("", "#")}


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


def _overdue(endpoint: Endpoint, schedule: Schedule, item: Mapping[str, Any], since: str) -> bool:
    if not schedule.is_on or endpoint.status not in overdue_windows.SERVING:
        return False
    looked = overdue_windows.last_looked(item, since)
    return overdue_windows.is_overdue(looked, schedule.expression, datetime.now(UTC))


def _what_to_do(
    stack: Stack, state: str, fleet: str, report: str, decision: Decision | None, newest: Window | None
) -> str:
    if state == VIOLATIONS:
        own = decision.what_to_do if decision and newest and decision.window.get("id") in (None, newest.id) else ""
        return own or f"See what has changed: {report}"
    if state == FAILED and newest is not None and newest.outcome == FAILED:
        return (
            "Nothing, unless its traffic matters: the window was given up, because the version serves nothing any more."
        )
    if state == INSUFFICIENT and newest is not None:
        return _what_is_missing(stack, newest)
    return {
        UNREADABLE: f"The capture could not be read: {report}",
        NEVER: f"onwing drift run {fleet}   (or wait for the schedule)",
        OVERDUE: f"The schedule has not come for three periods: onwing status; now: onwing drift run {fleet}",
        FAILED: f"The job on the open window failed; the same window is tried again: onwing drift run {fleet}",
        OFF: f"Nobody watches it: a deployment switches monitoring on. onwing deployments --fleet {fleet}",
    }.get(state, "")


def _what_is_missing(stack: Stack, window: Window) -> str:
    """Too few engines are waited for; what the baseline lacks is not."""
    least = int(stack.parameters.get("MonitoringMinEngines", 0))
    if window.files == 0:
        return "Nothing was captured: see whether anybody asks it, and whether it captures: onwing endpoints"
    if 0 < least <= window.engines:
        return "It is not for want of engines, and waiting does not help: onwing status says what the baseline lacks."
    return (
        "Nothing can be said of so few engines, not even that there is no drift: wait for more traffic, or lower "
        "MonitoringMinEngines."
    )
