"""Violations: one file of them is read, decided upon, acted upon, told and recorded, once.

The order makes every step repeatable: first the record, then the decision, written down before anything is done, then
the action, under a claim of its own, then the alert, then the record's end. What dies in between is carried on by the
next delivery of the event.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel

from control_plane import (
    alerts,
    clients,
    datasets,
    decisions,
    executions,
    moments,
    new_engines,
    training,
    violation_files,
    violation_messages,
    violation_records,
)
from control_plane.decisions import Decision, Evidence, Guard, Serving, Training
from control_plane.errors import DatasetNotFoundError, ViolationError
from control_plane.settings import DeploymentSettings, Settings, ViolationSettings
from control_plane.violation_files import Findings, Place, UnreadableError
from control_plane.violation_messages import Account
from control_plane.violation_records import DECIDED, DONE, OPEN, Ended, Episode, Held, TakenOverError

ATTEMPTS = 5  # at a decision that somebody else was faster to carry out
REPEAT_ALERT = timedelta(days=1)
LEVELS = ("warning", "critical")
FEATURES_TOLD = 200


class ViolationResult(BaseModel):
    """What became of one file."""

    outcome: Literal["alert", "rollback", "retrain", "none", "unreadable", "already"]
    fleet: str
    variant: str
    window: str
    execution_arn: str
    message: str


class Handling(BaseModel):
    """The settings that handling takes."""

    stack: Settings
    deploying: DeploymentSettings
    policy: ViolationSettings


def is_handled(settings: Settings, key: str, version_id: str) -> bool:
    """Whether one version of a file was handled to its end."""
    place = violation_files.locate(settings.project_name, key)
    return violation_records.is_done(settings.table_name, violation_records.record_key(place, version_id))


def handle(
    settings: Settings, deploying: DeploymentSettings, policy: ViolationSettings, *, key: str, version_id: str
) -> ViolationResult:
    """Handle one version of a constraint_violations.json in the stack's bucket.

    Whatever is raised is an AWS error that may pass: a redelivery of the event does what is left to do.
    """
    own = Handling(stack=settings, deploying=deploying, policy=policy)
    place = violation_files.locate(settings.project_name, key)
    name = violation_records.record_key(place, version_id)
    held = violation_records.hold(settings.table_name, name, _first_record(own, place, version_id))
    if held.state == DONE:
        return _result(held, "already")
    try:
        if held.state == OPEN and (problem := _look(own, place, held)):
            return _tell_unreadable(own, place, held, problem)
        return _carry_out(own, place, held)
    except TakenOverError:
        return _result(held, "already")
    except BaseException:
        held.release()
        raise


# --- deciding ---


def _look(own: Handling, place: Place, held: Held) -> str:
    """Read the file and decide; returns why that cannot be done, empty if it was."""
    if not place.fleet:
        return f"belongs to no fleet of project {own.stack.project_name}"
    try:
        findings, written_at = violation_files.read(own.stack.bucket_name, place.key, held.record["version_id"])
    except UnreadableError as error:
        return str(error)
    _decide(own, place, held, findings, place.order(written_at))
    return ""


def _decide(own: Handling, place: Place, held: Held, findings: Findings, order: str) -> None:
    """Decide by what is known now, and write it down; `order`: the window's id in the episode."""
    serving = _read_serving(own.stack.table_name, place.fleet)
    # Model Monitor watches the whole endpoint: what it finds is held against the champion.
    variant = place.variant or serving.variant or place.monitor
    stream = variant if place.source == "onwing" else f"{variant}#{place.monitor}"
    stream += "#quality" if place.is_quality else ""
    window = held.record["window"] | {"end": findings.end}
    seen = {"stream": stream, "order": order, "count": findings.count, "engines": findings.engines, "window": window}
    held.record |= seen
    episode = held.episode = _episode(own, place, held.record)
    streak = episode.streak(order)
    ok = Decision(action="none", level=None, reasons=["the window is without violations"], guards=[])
    since = serving.since if variant == serving.variant else None
    evidence = Evidence(
        variant,
        findings.severity,
        findings.cause,
        len(streak),
        earlier=sum(episode.end_of(each) <= since for each in streak) if since else 0,
        is_known=order not in streak,
        newer_ok=episode.newer_ok(order),
        is_retired=serving.has_retired(variant),
    )
    decision, known = _weigh(own, place, evidence, serving) if findings.count else (ok, None)
    account = Account(
        bucket=own.stack.bucket_name,
        place=place,
        findings=findings,
        decision=decision,
        variant=variant,
        consecutive=len(streak),
        since=episode.since_of(streak),
        serving=serving,
        training=known,
    )
    held.record |= _decided(account, late=bool(evidence.newer_ok))
    held.save(DECIDED)


def _weigh(own: Handling, place: Place, evidence: Evidence, serving: Serving) -> tuple[Decision, Training | None]:
    """Look at the guards in turn; the more there is to read for one, the later."""
    now = datetime.now(UTC)
    ground = decisions.ground_guards(evidence, own.policy)
    rollback: list[Guard] = []
    retrain: list[Guard] = []
    known = None
    if all(guard.passed for guard in ground):
        rollback = decisions.rollback_guards(evidence, own.policy, serving, now)
        if not all(guard.passed for guard in rollback):
            known = _read_training(own, place.fleet, serving, now)
            retrain = decisions.retrain_guards(evidence, own.policy, serving, known, now)
    return decisions.conclude(evidence, own.policy, ground, rollback, retrain), known


def _read_serving(table: str, fleet: str) -> Serving:
    key = {"pk": {"S": datasets.fleet_key(fleet)}, "sk": {"S": "DEPLOYMENT"}}
    item = clients.dynamodb().get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
    champion, predecessor, under_way = (
        json.loads(item.get(name, {}).get("S", "null")) or {} for name in ("champion", "predecessor", "under_way")
    )
    if not champion:
        return Serving(under_way=under_way.get("version"))
    claim = violation_records.read_action(table, fleet, "ROLLBACK")
    is_claimed = claim.get("version") == str(champion["version"]) and claim.get("since") == champion.get("since", "")
    return Serving(
        version=champion["version"],
        variant=champion["variant"],
        since=moments.parse(champion.get("since", "")),
        promoted_at=champion.get("since", ""),
        dataset_version=champion.get("dataset_version", ""),
        predecessor=predecessor.get("version"),
        under_way=under_way.get("version"),
        rolled_back_by=claim.get("execution", claim["claimed_by"]) if is_claimed else "",
    )


def _read_training(own: Handling, fleet: str, serving: Serving, now: datetime) -> Training:
    """What there is to train on; engines are counted only if that can decide anything."""
    table = own.stack.table_name
    try:
        newest = datasets.read_files(table, fleet).dataset_version
    except DatasetNotFoundError:
        newest = None
    last = moments.parse(violation_records.read_action(table, fleet, "RETRAIN").get("started_at", ""))
    known = Training(newest=newest, last_started=last, running=_running(own, fleet))
    if newest is None or newest == serving.dataset_version:
        return known
    outcome, package = training.read_outcome(table, fleet, newest)
    if status := _package_status(package):
        package = f"{fleet}/{package.rsplit('/', 1)[-1]}"
        return replace(known, outcome=outcome, package=package, package_status=status)
    known = replace(known, outcome=outcome)
    if known.running or (last is not None and now - last < timedelta(seconds=own.policy.retrain_cooldown_seconds)):
        return known
    return replace(known, new_engines=new_engines.count(own.stack, newest, serving.dataset_version))


def _running(own: Handling, fleet: str) -> str:
    """The name of an execution of the fleet's training that runs; empty if there is none."""
    pages = (
        clients.stepfunctions()
        .get_paginator("list_executions")
        .paginate(stateMachineArn=own.stack.training_state_machine_arn, statusFilter="RUNNING")
    )
    names = (each["name"] for page in pages for each in page["executions"])
    return next((name for name in names if name.startswith(f"{fleet}-")), "")


def _package_status(arn: str) -> str:
    """The approval status of a package; empty if there is none of this ARN any more."""
    if not arn:
        return ""
    try:
        return clients.sagemaker().describe_model_package(ModelPackageName=arn).get("ModelApprovalStatus", "")
    except ClientError as error:
        if "does not exist" in error.response["Error"].get("Message", ""):  # SageMaker has no code of its own for it
            return ""
        raise


# --- acting and telling ---


def _carry_out(own: Handling, place: Place, held: Held) -> ViolationResult:
    """Do what the record says; when somebody else has done the same first, decide anew."""
    for _ in range(ATTEMPTS):
        execution = _act(own, place, held)
        if execution is not None:
            held.record["execution"] = execution or None
            break
        if problem := _look(own, place, held):
            return _tell_unreadable(own, place, held, problem)
    else:
        raise ViolationError(f"{held.name}: others were faster {ATTEMPTS} times to do what was decided.")
    episode = held.episode or _episode(own, place, held.record)
    violation_records.describe_episode(episode, "" if held.record["late"] else held.record["level"] or "")
    if held.record["decision"] == "none":
        _tell_over(own, place, held, episode)
    else:
        _tell(own, place, held, episode)
    is_nothing = held.record["count"] == 0 and not episode.ends_a_row(held.record["order"])
    held.save(DONE, kept=violation_records.OK_RECORD_KEPT if is_nothing else None)
    return _result(held, held.record["decision"])


def _act(own: Handling, place: Place, held: Held) -> str | None:
    """Start what was decided. The execution's ARN, empty if there is none; None if somebody else has the claim."""
    record, table, fleet = held.record, own.stack.table_name, place.fleet
    now = datetime.now(UTC)
    reason = f"Violations: {'; '.join(record['reasons'])}. Report: s3://{own.stack.bucket_name}/{place.key}"
    target = record["target"]
    if record["decision"] == "rollback":
        if not violation_records.claim_rollback(table, fleet, held.name, reason, moments.iso(now), **target):
            return None
        arn = _start_rollback(own, place, held, reason)
        violation_records.note_execution(table, fleet, "ROLLBACK", held.name, arn)
        return arn
    if record["decision"] == "retrain":
        before = now - timedelta(seconds=own.policy.retrain_cooldown_seconds)
        if not violation_records.claim_retrain(table, fleet, held.name, reason, moments.iso(now), moments.iso(before)):
            return None
        started = training.start(own.stack, fleet, target["dataset_version"], trigger="violation", again=True)
        violation_records.note_execution(table, fleet, "RETRAIN", held.name, started.execution_arn)
        return started.execution_arn
    return ""


def _start_rollback(own: Handling, place: Place, held: Held, reason: str) -> str:
    """Start the rollback machine, once for this file; the execution's ARN."""
    stepfunctions = clients.stepfunctions()
    machine = own.deploying.rollback_state_machine_arn
    name = f"{place.fleet}-violation-{place.window}-{held.name.rsplit('#', 1)[-1]}"
    document = {
        "fleet": place.fleet,
        "trigger": "violation",
        "version": held.record["target"]["version"],
        "reason": reason,
        "decided_at": held.record["at"],
    }
    try:
        return stepfunctions.start_execution(stateMachineArn=machine, name=name, input=json.dumps(document))[
            "executionArn"
        ]
    except stepfunctions.exceptions.ExecutionAlreadyExists:
        return executions.arn_of(machine, name)


def _tell(own: Handling, place: Place, held: Held, episode: Episode) -> None:
    """Alert people, unless they know it all: of this level, of these features, within a day."""
    record, now = held.record, datetime.now(UTC)
    while not record["late"]:  # what people were told of since is about other windows
        told = json.loads(episode.alerted or "{}")
        if told.get("by") == held.name:
            break  # an earlier delivery died before it could alert
        if told and not _is_news(told, record, now):
            record["alerted"] = False
            return
        newest = {
            "level": max(told.get("level", LEVELS[0]), record["level"], key=LEVELS.index),
            "decision": record["decision"],
            "features": sorted({*told.get("features", []), *record["features"]})[:FEATURES_TOLD],
            "at": moments.iso(now),
            "by": held.name,
        }
        if violation_records.replace_alerted(episode, json.dumps(newest)):
            break
        episode = replace(episode, alerted=violation_records.read_alerted(episode))
    alerts.publish(
        own.stack,
        kind=record["kind"],
        severity=record["level"],
        fleet=place.fleet,
        subject=record["subject"],
        message=record["message"],
    )


def _is_news(told: dict[str, Any], record: dict[str, Any], now: datetime) -> bool:
    at = moments.parse(told["at"])
    return (
        LEVELS.index(record["level"]) > LEVELS.index(told["level"])
        or record["decision"] in ("rollback", "retrain")
        or not set(record["features"][:FEATURES_TOLD]) <= set(told["features"])
        or at is None
        or now - at >= REPEAT_ALERT
    )


def _tell_over(own: Handling, place: Place, held: Held, episode: Episode) -> None:
    """Tell people who were told of an episode that it is over."""
    if held.record["order"] == max(episode.windows) and episode.alerted:
        subject, message = violation_messages.over(own.stack.bucket_name, place, held.record["variant"])
        alerts.publish(
            own.stack, kind=held.record["kind"], severity="info", fleet=place.fleet, subject=subject, message=message
        )
        violation_records.replace_alerted(episode, "")


def _tell_unreadable(own: Handling, place: Place, held: Held, problem: str) -> ViolationResult:
    """The clear end of a file that says nothing: people look at it, and nobody tries it again."""
    version_id = held.record["version_id"]
    subject, message = violation_messages.unreadable(own.stack.bucket_name, place, version_id, problem)
    alerts.publish(
        own.stack, kind="violations_unreadable", severity="warning", fleet=place.fleet, subject=subject, message=message
    )
    held.record |= {
        "decision": "alert",
        "level": "warning",
        "kind": "violations_unreadable",
        "reasons": [f"the file {problem}"],
        "subject": subject,
        "message": message,
    }
    held.save(DONE)
    return _result(held, "unreadable")


# --- the record ---


def _first_record(own: Handling, place: Place, version_id: str) -> dict[str, Any]:
    """A file's record before anybody has looked into the file."""
    return {
        "at": moments.iso(datetime.now(UTC)),
        "report": place.key,
        "version_id": version_id,
        "source": place.source,
        "fleet": place.fleet,
        "endpoint": place.endpoint,
        "monitor": place.monitor,
        "variant": place.variant or place.monitor,
        "window": {"id": place.window, "start": place.started_at, "end": ""},
        "order": place.window,
        "severity": None,
        "cause": None,
        "drift": None,
        "violations": [],
        "count": 0,
        "engines": None,
        "features": [],
        "decision": "none",
        "reasons": [],
        "guards": [],
        "execution": None,
        "level": None,
        "consecutive": 0,
        "since": "",
        "what_to_do": "",
        "message": "",
        "subject": "",
        "kind": "drift",
        "late": False,
        "alerted": True,
        "target": {},
        "report_uri": violation_messages.report_uri(own.stack.bucket_name, place),
    }


def _decided(account: Account, *, late: bool) -> dict[str, Any]:
    """What the decision adds to a file's record."""
    findings, decision, serving = account.findings, account.decision, account.serving
    targets = {
        "rollback": {"version": serving.version, "since": serving.promoted_at},
        "retrain": {"dataset_version": account.training.newest if account.training else None},
    }
    return {
        "variant": account.variant,
        "severity": findings.severity,
        "cause": findings.cause,
        "drift": findings.drift,
        "violations": findings.violations,
        "features": findings.features,
        "decision": decision.action,
        "reasons": decision.reasons,
        "guards": [guard.model_dump() for guard in decision.guards],
        "level": decision.level,
        "consecutive": account.consecutive,
        "since": account.since,
        "what_to_do": violation_messages.what_to_do(account) if findings.count else "",
        "subject": violation_messages.subject(account) if findings.count else "",
        "message": violation_messages.message(account) if findings.count else "",
        "kind": violation_messages.kind(account),
        "late": late,
        "target": targets.get(decision.action, {}),
    }


def _episode(own: Handling, place: Place, record: dict[str, Any]) -> Episode:
    """The monitor's episode with this window in it, however often it is added."""
    ended = Ended(record["count"] == 0, record["window"]["end"], record["engines"])
    return violation_records.add_window(
        own.stack.table_name, place.fleet, record["stream"], record["order"], ended, is_cumulative=place.is_quality
    )


def _result(held: Held, outcome: Any) -> ViolationResult:
    record = held.record
    about = f"{record['report']}, version {record['version_id']}"
    said = record["subject"] or "; ".join(record["reasons"]) or "another delivery handles it"
    return ViolationResult(
        outcome=outcome,
        fleet=record["fleet"],
        variant=record["variant"],
        window=record["window"]["id"],
        execution_arn=record["execution"] or "",
        message=f"{about}: {said}",
    )
