"""Approving and rejecting packages: what a person decides, and what the control plane makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from onwing import deployments, operations
from onwing.deployments import Deployment
from onwing.errors import NotFound, UsageError, WaitedTooLong, error_code
from onwing.models import Package
from onwing.stack import Stack
from onwing.target import Target

STRATEGIES = ("canary", "linear", "ab", "shadow")
LINEAR_STAGES = "20,40,60,80"
AB_SHARE = 20
COMMENT_LENGTH = 1024  # of ApprovalDescription
START_SECONDS = 120.0  # SageMaker's events take seconds


@dataclass(frozen=True)
class Wish:
    """How a package is to be deployed, as far as it was said; None leaves it to the stack's parameters."""

    strategy: str | None = None
    stages: str | None = None
    bake_seconds: int | None = None
    soak_seconds: int | None = None
    share: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was said."""
        return self == Wish()


@dataclass(frozen=True)
class Doing:
    """What an approved package does: `state` is champion, under_way, waiting or nothing."""

    state: str
    said: str
    execution: str = ""


def strategy(stack: Stack, wish: Wish) -> dict[str, Any]:
    """The whole strategy: what was wished, the rest from the stack's parameters. Raises UsageError."""
    name = wish.strategy or ("ab" if wish.share is not None else stack.parameters.get("DeploymentStrategy", "canary"))
    if name not in STRATEGIES:
        raise UsageError(f"There is no strategy '{name}'.", todo=f"Use one of: {', '.join(STRATEGIES)}.")
    if wish.share is not None and name != "ab":
        raise UsageError("--share is for --strategy ab.", todo="For a canary, give its stages: --stages 10,50")
    if wish.stages is not None and name == "ab":
        raise UsageError("An A/B test has one share, no stages.", todo="Give --share 20.")
    usual = stack.parameters.get("CanaryStages", "10,50")
    if name == "linear" and stack.parameters.get("DeploymentStrategy") != "linear":
        usual = LINEAR_STAGES
    return {
        "name": name,
        "stages": [_share(AB_SHARE if wish.share is None else wish.share)]
        if name == "ab"
        else parse_stages(wish.stages or usual),
        "bake_seconds": _seconds(wish.bake_seconds, stack, "BakeSeconds", 300),
        "soak_seconds": _seconds(wish.soak_seconds, stack, "SoakSeconds", 3600),
        "hold": name in ("ab", "shadow"),
        "shadow": name == "shadow",
    }


def parse_stages(text: str) -> list[int]:
    """`10,50`: shares in per cent, each larger than the one before. Raises UsageError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise UsageError(f"'{text}' are no stages.", where="--stages", todo="Give per cents: --stages 10,50")
    stages = [_share(int(part)) for part in parts]
    if sorted(set(stages)) != stages:
        raise UsageError(
            f"Each stage must be larger than the one before: {text}.", where="--stages", todo="Give --stages 10,50"
        )
    return stages


def _share(number: int) -> int:
    if not 1 <= number <= 99:
        raise UsageError(f"A share is 1 to 99 per cent, not {number}.", todo="All of it comes with the promotion.")
    return number


def _seconds(wished: int | None, stack: Stack, parameter: str, otherwise: int) -> int:
    return wished if wished is not None else int(float(stack.parameters.get(parameter, otherwise)))


def choose_strategy(target: Target, stack: Stack, package: Package, chosen: dict[str, Any] | None) -> None:
    """Write how the next approval of the package deploys it; None is as the stack's parameters say, whatever was."""
    key = {
        "pk": {"S": deployments.partition_key(package.fleet)},
        "sk": {"S": deployments.approval_key(package.version)},
    }
    dynamodb = target.client("dynamodb")
    if chosen is not None:
        dynamodb.update_item(
            TableName=stack.table,
            Key=key,
            UpdateExpression="SET strategy = :strategy",
            ExpressionAttributeValues={":strategy": {"S": json.dumps(chosen)}},
        )
        return
    try:
        dynamodb.update_item(
            TableName=stack.table,
            Key=key,
            UpdateExpression="REMOVE strategy",
            ConditionExpression="attribute_exists(strategy)",
        )
    except ClientError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise


def set_status(target: Target, package: Package, status: str, comment: str) -> None:
    """Approve or reject in the Model Registry. Raises UsageError when the comment is too long."""
    if len(comment) > COMMENT_LENGTH:
        raise UsageError(
            f"The comment has {len(comment)} characters; {COMMENT_LENGTH} are the most.",
            where="--comment",
            todo="Say it shorter.",
        )
    target.client("sagemaker").update_model_package(
        ModelPackageArn=package.arn, ModelApprovalStatus=status, **({"ApprovalDescription": comment} if comment else {})
    )


def doing(target: Target, stack: Stack, package: Package, state: Deployment) -> Doing:
    """What becomes, or has become, of an approved package."""
    under_way = state.under_way
    if under_way is not None and under_way.version == package.version:
        return Doing("under_way", f"is being deployed: phase {under_way.phase}", under_way.execution)
    if state.champion is not None and state.champion.version == package.version:
        since = f" since {state.champion.since}" if state.champion.since else ""
        return Doing("champion", f"is the champion of {package.fleet}{since}")
    found = deployments.approval(target, stack, package.fleet, package.version)
    if found.execution_arn:
        try:
            run = operations.look(target, found.execution_arn)
        except NotFound:  # being started, or forgotten after 90 days
            run = None
        if run is not None and run.running:
            return Doing("waiting", f"waits to be deployed ({run.name})", run.arn)
    for record in deployments.history(target, stack, package.fleet, limit=100):
        if record.version == package.version:
            reason = f": {record.reason}" if record.reason else ""
            return Doing("nothing", f"is not in service (last: {record.kind} {record.outcome}{reason})")
    return Doing("nothing", "is not in service, and was never deployed")


def wait_for_start(
    target: Target,
    stack: Stack,
    package: Package,
    before: int,
    *,
    timeout: float = START_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """The ARN of the deployment that an approval starts; `before`: the deployments that earlier approvals started."""
    deadline = time.monotonic() + timeout
    while True:
        found = deployments.approval(target, stack, package.fleet, package.version)
        if found.approvals > before and found.execution_arn and found.state != "starting":
            return found.execution_arn
        if time.monotonic() >= deadline:
            raise WaitedTooLong(
                f"{package.name} is approved, but no deployment has started after {timeout:.0f} s.",
                where=str(target),
                todo="`onwing status` shows events that could not be handled; `onwing deployments` what is under way.",
            )
        sleep(1.0)


def consequence(state: Deployment, package: Package) -> str:
    """What rejecting the package brings about, in words."""
    under_way, champion = state.under_way, state.champion
    if under_way is not None and under_way.version == package.version:
        back = (
            f"all traffic goes back to v{under_way.fallback.version}" if under_way.fallback else "nothing is before it"
        )
        return f"Its deployment is under way (phase {under_way.phase}) and will be stopped: {back}."
    if champion is not None and champion.version == package.version:
        return (
            f"It is the champion of {package.fleet} and stays in service: rejecting takes nothing out of service. "
            f"To go back to the model before: onwing rollback {package.fleet}"
        )
    return "It is not in service: nothing changes at the endpoint."
