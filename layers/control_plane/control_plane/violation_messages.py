"""What people are told about violations: what differs, by how much, since when, what was decided, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from control_plane.decisions import Decision, Serving, Training
from control_plane.violation_files import FILE, Findings, Place, name_of

SHOWN = 5  # of the violated features, in a message


@dataclass(frozen=True)
class Account:
    """Everything that a message is made of."""

    bucket: str
    place: Place
    findings: Findings
    decision: Decision
    variant: str
    consecutive: int
    since: str
    serving: Serving
    training: Training | None


def kind(account: Account) -> str:
    """The alert's kind."""
    is_quality = account.place.is_quality or (
        account.place.source == "model-monitor" and account.findings.cause == "model"
    )
    return "model_quality" if is_quality else "drift"


def subject(account: Account) -> str:
    """One line: which model, what, and what was done."""
    place, names = account.place, account.findings.features
    what = kind(account).replace("_", " ")
    if account.findings.cause == "data":
        what = "broken input"
    of = f" ({', '.join(names[:2])}{f' and {len(names) - 2} more' if len(names) > 2 else ''})" if names else ""
    done = {"rollback": "; rollback started", "retrain": "; training started"}.get(account.decision.action, "")
    again = f", window {account.consecutive} in a row" if account.consecutive > 1 else ""
    return f"{place.fleet} {account.variant}: {what}{of}{again}{done}"


def message(account: Account) -> str:
    """The whole text of an alert."""
    place, findings, decision = account.place, account.findings, account.decision
    since = f" since {account.since}" if account.since else ""
    windows = f"{account.consecutive} windows in a row" if account.consecutive > 1 else "one window"
    lines = [
        f"Fleet {place.fleet}, model {account.variant} at {place.endpoint}: {_what(account)}, {windows}{since}.",
        "",
        *([findings.summary] if findings.summary else []),
        *_listed(findings),
        *_affected(findings),
        *(["The data is SIMULATED."] if findings.simulated else []),
        "",
        f"Severity: {findings.severity}"
        + (
            f"; the largest statistic is {findings.drift:.2f} times its threshold" if findings.drift is not None else ""
        ),
        f"Decided: {_decided(account)}",
        *(f"  - {reason}" for reason in decision.reasons),
        "",
        f"To do: {what_to_do(account)}",
        f"To look: {look_command(place)}",
        f"Report: {report_uri(account.bucket, place)}",
    ]
    return "\n".join(lines)


def what_to_do(account: Account) -> str:
    """One or two sentences for the person who reads the alert."""
    place, decision, training = account.place, account.decision, account.training
    fleet = place.fleet
    if decision.action == "rollback":
        return (
            f"nothing now, v{account.serving.predecessor} is being put back (onwing deployments --fleet {fleet}). Then "
            f"find out what {account.variant} does differently."
        )
    if decision.action == "retrain":
        return (
            "wait for the new package (onwing status shows the training), then look at it and approve it: "
            f"onwing models --fleet {fleet}"
        )
    if decision.missed("serves"):
        return f"nothing, {account.variant} serves nothing any more; what serves is judged by itself."
    if account.findings.cause == "data":
        advice = account.findings.what_to_do or "correct what sends the data: its columns, units and sensors."
        return f"{advice} Until then the answers of every model are worth little."
    if decision.missed("persistence"):
        return "nothing yet; look at the report. If the next window is no better, more is done."
    if decision.missed("untrained") and training and training.package_status == "PendingManualApproval":
        return f"approve or reject the package that was trained on the newest data: onwing approve {training.package}"
    if decision.missed("idle") and training:
        return f"wait for the training that runs: onwing watch {training.running}"
    if decision.missed("new_data"):
        back = f" To go back to v{account.serving.predecessor}: onwing rollback {fleet}"
        return "upload data of engines as they fly now (onwing ingest FOLDER); no training helps before." + (
            back if account.serving.predecessor is not None else ""
        )
    if decision.missed("retrain_allowed") or decision.missed("cooldown"):
        return f"decide whether to train now: onwing train --fleet {fleet}"
    return account.findings.what_to_do or "look at the report and decide."


def over(bucket: str, place: Place, variant: str) -> tuple[str, str]:
    """Subject and text of the news that an episode is over."""
    return (
        f"{place.fleet} {variant}: no violations any more",
        f"Fleet {place.fleet}, model {variant} at {place.endpoint}: the window that began at "
        f"{place.started_at or 'an unknown time'} is without violations.\n\nTo do: nothing.\n"
        f"Report: {report_uri(bucket, place)}",
    )


def unreadable(bucket: str, place: Place, version_id: str, problem: str) -> tuple[str, str]:
    """Subject and text of the news that a file says nothing."""
    who = f"fleet {place.fleet}" if place.fleet else f"endpoint {place.endpoint}, which is no fleet's,"
    return (
        f"{place.fleet or place.endpoint}: a report of violations cannot be used",
        f"The report of violations of {who} {problem}. So it is not known whether there was drift in that window; this "
        f"is not a window without violations.\n\nFile: s3://{bucket}/{place.key}\nVersion: {version_id}\n"
        "To do: look at the monitoring job that wrote it. The window is not judged again, the next one is.",
    )


def look_command(place: Place) -> str:
    """The command that shows the report."""
    if place.source == "onwing":
        # The variant is always named: another one may be the champion by the time that somebody looks.
        quality = " --quality" if place.is_quality else ""
        return f"onwing drift report {place.fleet} --window {place.window} --variant {place.monitor}{quality}"
    return f"onwing drift status {place.fleet}"


def report_uri(bucket: str, place: Place) -> str:
    """Where the report stands: the one for people, if there is one."""
    return f"s3://{bucket}/{place.folder}{'report.html' if place.source == 'onwing' else FILE}"


def _what(account: Account) -> str:
    return {
        "data": "the input is broken",
        "drift": "what is measured differs from what the model was trained on",
        "model": "the model's answers are not what they were",
        None: "constraints are violated",
    }[account.findings.cause]


def _decided(account: Account) -> str:
    return {
        "alert": "to tell people, and nothing else, because",
        "rollback": f"to go back to v{account.serving.predecessor}, because",
        "retrain": f"to train on data set {((account.training or Training()).newest or '')[:12]}, because",
        "none": "nothing",
    }[account.decision.action]


def _listed(findings: Findings) -> list[str]:
    lines = [f"  {_line(each)}" for each in findings.violations[:SHOWN]]
    more = findings.count - len(lines)
    return [*lines, *([f"  and {more} more"] if more > 0 else [])]


def _line(violation: Any) -> str:
    if not isinstance(violation, dict):
        return str(violation)
    description = violation.get("description") or violation.get("constraint_check_type") or "violated"
    return f"{name_of(violation) or 'violation'}: {description}"


def _affected(findings: Findings) -> list[str]:
    """Who is affected, as far as the report says."""
    return [
        f"{part.capitalize()} most affected: {', '.join(names)}" for part, names in findings.affected.items() if names
    ]
