"""Approvals: a model package's transition to Approved starts one deployment, a person's rejection stops it.

An event is compared with the package's record: an older one is stale, one with the same status is a repetition or an
edit of something else, any other is a transition. When the control plane rejects a package itself, it sets the record's
status first, and the event finds no transition. An approval is claimed, with the whole input of its execution, before
that is started: what dies in between is carried on by the redelivered event, under the same name, with the same input.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ValidationError

from control_plane import alerts, approval_records, clients, executions, moments
from control_plane.approval_records import OVERTAKEN, Approval, ChangedMeanwhileError, Package
from control_plane.datasets import fleet_key
from control_plane.errors import ApprovalError
from control_plane.package_events import PackageStateChange
from control_plane.settings import DeploymentSettings, Settings
from control_plane.strategies import Strategy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

Outcome = Literal["started", "already", "stale", "ignored", "refused", "stopping", "noted"]
STATUSES = ("Approved", "Rejected", "PendingManualApproval")
FLEET = re.compile(r"[A-Za-z0-9]{1,10}")
DESCRIPTION_LIMIT = 1024  # SageMaker's, of ApprovalDescription
ATTEMPTS = 20  # deliveries of one package's events at the same moment are few
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ApprovalResult(BaseModel):
    """What became of one event."""

    outcome: Outcome
    fleet: str = ""
    version: int = 0
    execution_arn: str = ""
    message: str


def act_on(settings: Settings, deploying: DeploymentSettings, change: PackageStateChange) -> ApprovalResult:
    """Start or stop a deployment if the event is a transition that asks for it; say why not otherwise.

    Raises ApprovalError when the Model Registry's answer is older than the event, or when deliveries kept colliding.
    Whatever is raised: a redelivery of the event does what is left to do.
    """
    package = _identify(settings, change)
    if package is None or change.detail.status not in STATUSES:
        return ApprovalResult(outcome="ignored", message=f"{change.arn}: not a model of a fleet of this project")
    for attempt in range(ATTEMPTS):
        time.sleep(random.uniform(0, 0.02 * attempt))
        with contextlib.suppress(ChangedMeanwhileError):
            return _decide(settings, deploying, package, change, change.detail.status)
    raise ApprovalError(f"{package}: its record in table {settings.table_name} changed {ATTEMPTS} times meanwhile.")


def _identify(settings: Settings, change: PackageStateChange) -> Package | None:
    group, version = change.detail.group, change.detail.version
    if not group or not version:
        # The ARN would not do: SageMaker has written names in ARNs in lower case.
        described = _describe(change.arn)
        group, version = described.get("ModelPackageGroupName"), described.get("ModelPackageVersion")
    fleet = (group or "").removeprefix(f"{settings.project_name}-")
    if not version or fleet == group or not FLEET.fullmatch(fleet):
        return None
    return Package(fleet, version, change.arn)


def _decide(
    settings: Settings, deploying: DeploymentSettings, package: Package, change: PackageStateChange, status: str
) -> ApprovalResult:
    table, moment, approves = settings.table_name, _seconds(change.modified), status == "Approved"
    seen = approval_records.read(table, package)
    if approves and seen.state == "refusing":
        return _refuse(settings, package, seen.refusal)
    is_stale = seen.modified is not None and moment < seen.modified
    if is_stale or status == seen.status:
        if not is_stale and moment != seen.modified:
            approval_records.record(table, package, seen, status, moment)
        if approves and seen.status == "Approved" and seen.state == "starting":
            return _start(settings, deploying, package, seen)
        if is_stale:
            return _result("stale", package, f"{status} is older than {seen.status}, which was acted upon")
        return _result("already", package, f"{status} was acted upon before", seen.execution_arn)
    # Nothing is started without the registry's word, and only it knows the order of two changes at the same time.
    if (approves or moment == seen.modified) and not _still_stands(change):
        return _result("stale", package, f"{status} no longer is what the Model Registry says")
    if approves:
        return _approve(settings, deploying, package, change, seen)
    if status == "Rejected":
        result = _reject(settings, deploying, package, change, seen)
    else:
        result = _result("noted", package, "waits for approval; nothing is started or stopped for that")
    approval_records.record(table, package, seen, status, moment)
    return result


# --- Approved ---


def _approve(
    settings: Settings, deploying: DeploymentSettings, package: Package, change: PackageStateChange, seen: Approval
) -> ApprovalResult:
    """Claim the approval, then start its execution. Its strategy is used up: a later one goes by the default again."""
    moment = _seconds(change.modified)
    try:
        strategy = _read_strategy(seen.strategy, deploying.default_strategy)
    except ValueError as error:
        reason = f"the strategy asked for cannot be read: {_problems(error)}"
        approval_records.mark_refusing(settings.table_name, package, seen, moment, reason)
        return _refuse(settings, package, reason)
    document = {
        "fleet": package.fleet,
        "version": package.version,
        "package_arn": package.arn,
        "approved_at": moments.iso(change.modified),
        "trigger": "approval",
        "strategy": strategy.model_dump(),
    }
    claimed = approval_records.claim(settings.table_name, package, seen, moment, document)
    return _start(settings, deploying, package, claimed)


def _read_strategy(text: str | None, default: Strategy) -> Strategy:
    """The approval's own strategy; what it leaves out is as in the default, except an A/B test's share."""
    if text is None:
        return default
    asked = json.loads(text)
    if not isinstance(asked, dict):
        raise ValueError("it is not a JSON object")
    figures = default.model_dump(include={"stages", "bake_seconds", "soak_seconds"})
    if asked.get("name") == "ab":
        del figures["stages"]
    return Strategy.model_validate({**figures, **asked})


def _problems(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        ": ".join([*(str(part) for part in e["loc"]), e["msg"]])
        + (f", not {e['input']!r}" if e["loc"] and e["type"] != "missing" else "")
        for e in error.errors()
    )


def _start(settings: Settings, deploying: DeploymentSettings, package: Package, claimed: Approval) -> ApprovalResult:
    """Start the claimed execution, unless another delivery of the event has."""
    stepfunctions = clients.stepfunctions()
    machine, name = deploying.deployment_state_machine_arn, _execution_name(package, claimed)
    try:
        arn = stepfunctions.start_execution(stateMachineArn=machine, name=name, input=claimed.input)["executionArn"]
    except stepfunctions.exceptions.ExecutionAlreadyExists as error:
        arn = executions.arn_of(machine, name)
        if stepfunctions.describe_execution(executionArn=arn)["input"] != claimed.input:
            # Of an earlier stack of this name: Step Functions remembers names for 90 days. Go on with the next one.
            approval_records.renumber(settings.table_name, package, claimed)
            raise ChangedMeanwhileError from error
    with contextlib.suppress(ChangedMeanwhileError):  # another delivery wrote the same, or a newer approval is claimed
        approval_records.mark_started(settings.table_name, package, claimed, arn)
    request = json.loads(claimed.input)["request"]
    if request == OVERTAKEN:
        message = "its approval came late: a newer one has superseded it"
    else:
        message = f"approved, its deployment is request {request} of the fleet"
    return _result("started", package, message, arn)


def _refuse(settings: Settings, package: Package, reason: str) -> ApprovalResult:
    """Reject the package, as the record says already, and tell people; repeatable until the record says refused."""
    clients.sagemaker().update_model_package(
        ModelPackageArn=package.arn,
        ModelApprovalStatus="Rejected",
        ApprovalDescription=" ".join(f"Not deployed: {reason}".split())[:DESCRIPTION_LIMIT],
    )
    alerts.publish(
        settings,
        kind="refused",
        severity="critical",
        fleet=package.fleet,
        subject=f"{package}: not deployed, its strategy cannot be read",
        message=f"Model package v{package.version} of fleet {package.fleet} was approved, but {reason}.\n\n"
        "Nothing was deployed, and the package is marked Rejected. What served goes on serving.\n"
        "Approve it again, which deploys it by the stack's own strategy if no other is named.\n"
        f"Package: {package.arn}",
    )
    with contextlib.suppress(ChangedMeanwhileError):  # by another delivery
        approval_records.mark_refused(settings.table_name, package)
    return _result("refused", package, reason)


# --- Rejected ---


def _reject(
    settings: Settings, deploying: DeploymentSettings, package: Package, change: PackageStateChange, seen: Approval
) -> ApprovalResult:
    """Have the rollback machine stop a deployment of the package. This comes before the record, so it is repeatable."""
    key = {"pk": {"S": fleet_key(package.fleet)}, "sk": {"S": "DEPLOYMENT"}}
    item = clients.dynamodb().get_item(TableName=settings.table_name, Key=key, ConsistentRead=True).get("Item", {})
    under_way, champion = (_version_of(item.get(name)) for name in ("under_way", "champion"))
    # The registry has the comment if the event has not.
    comment = change.detail.comment or _describe(change.arn).get("ApprovalDescription") or "no reason given"
    comment = " ".join(comment.split())
    if under_way == package.version or _runs(deploying, package, seen):
        reason = f"rejected in the Model Registry: {comment}"
        arn = _start_rollback(deploying, package, change, reason)
        return _result("stopping", package, "rejected by a person; the rollback stops its deployment", arn)
    if champion != package.version:
        return _result("noted", package, "rejected; nothing of it is being deployed or serves")
    alerts.publish(
        settings,
        kind="champion_rejected",
        severity="info",
        fleet=package.fleet,
        subject=f"{package}: the champion was rejected and goes on serving",
        message=f"A person rejected model package v{package.version} of fleet {package.fleet}: {comment}\n\n"
        "It is the fleet's champion. A rejection stops a deployment; it takes no model out of service.\n"
        f"To go back to the model before it: onwing rollback {package.fleet}\nPackage: {package.arn}",
    )
    return _result("noted", package, "rejected; it is the champion and goes on serving")


def _start_rollback(deploying: DeploymentSettings, package: Package, change: PackageStateChange, reason: str) -> str:
    """Start the rollback machine once for this rejection, however often its event comes; return the execution's ARN."""
    stepfunctions = clients.stepfunctions()
    machine = deploying.rollback_state_machine_arn
    name = f"{package.fleet}-v{package.version}-rejected-{int(_seconds(change.modified) * 1000)}"
    document = {
        "fleet": package.fleet,
        "trigger": "rejected",
        "version": package.version,
        "reason": reason,
        "decided_at": moments.iso(datetime.now(UTC)),
    }
    try:
        started = stepfunctions.start_execution(stateMachineArn=machine, name=name, input=json.dumps(document))
    except stepfunctions.exceptions.ExecutionAlreadyExists:
        return executions.arn_of(machine, name)
    return started["executionArn"]


def _runs(deploying: DeploymentSettings, package: Package, seen: Approval) -> bool:
    """Whether the execution of the package's last approval runs: DEPLOYMENT does not name it until it has the lock."""
    if not seen.approvals:
        return False
    name = _execution_name(package, seen)
    arn = seen.execution_arn or executions.arn_of(deploying.deployment_state_machine_arn, name)
    return executions.describe(arn).is_running


def _version_of(attribute: AttributeValueTypeDef | None) -> int | None:
    document = json.loads(attribute.get("S", "null")) if attribute else None
    return document["version"] if document else None


# --- Common to both ---


def _describe(arn: str) -> dict[str, Any]:
    """The package as the registry has it now; empty if it was deleted."""
    try:
        return dict(clients.sagemaker().describe_model_package(ModelPackageName=arn))
    except ClientError as error:
        if "does not exist" in error.response["Error"].get("Message", ""):  # SageMaker has no code of its own for it
            return {}
        raise


def _still_stands(change: PackageStateChange) -> bool:
    """Whether the package has the event's status now; raises ApprovalError if the registry answers from before it."""
    described = _describe(change.arn)
    if described.get("ModelApprovalStatus") == change.detail.status:
        return True
    known = described.get("LastModifiedTime") or described.get("CreationTime")
    if known is not None and change.detail.last_modified is not None and known < change.detail.last_modified:
        raise ApprovalError(f"{change.arn}: DescribeModelPackage answers as of before the event. Deliver it again.")
    return False


def _execution_name(package: Package, approval: Approval) -> str:
    return f"{package.fleet}-v{package.version}-{approval.approvals}"


def _seconds(moment: datetime) -> Decimal:
    """Seconds since the epoch, exactly."""
    since = moment - EPOCH
    return Decimal(since.days * 86400 + since.seconds) + Decimal(since.microseconds).scaleb(-6)


def _result(outcome: Outcome, package: Package, message: str, execution_arn: str = "") -> ApprovalResult:
    return ApprovalResult(
        outcome=outcome,
        fleet=package.fleet,
        version=package.version,
        execution_arn=execution_arn,
        message=f"{package}: {message}",
    )
