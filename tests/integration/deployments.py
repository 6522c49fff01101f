"""Deployments as the tests of the deployment, rollback and recovery machines see them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from tests.deployed import Deployed, until
from tests.packages import approve, fleet_items, register, version_of

QUICK: dict[str, Any] = {"name": "canary", "stages": [], "bake_seconds": 0, "soak_seconds": 0}
HOLDING: dict[str, Any] = {"name": "ab", "stages": [30], "bake_seconds": 0, "soak_seconds": 1}


def execution_arn(deployed: Deployed, package_arn: str, attempt: int = 1) -> str:
    """The execution of a package's n-th approval."""
    fleet = package_arn.split("/")[1].removeprefix("onwing-")
    machine = deployed.outputs["DeploymentStateMachineArn"].replace(":stateMachine:", ":execution:")
    return f"{machine}:{fleet}-v{version_of(package_arn)}-{attempt}"


def ended(deployed: Deployed, package_arn: str, attempt: int = 1, *, seconds: float = 900) -> dict[str, Any]:
    """Wait until a package's deployment has ended; its description, output parsed."""
    stepfunctions, arn = deployed.client("stepfunctions"), execution_arn(deployed, package_arn, attempt)

    def probe() -> dict[str, Any] | None:
        try:
            described = stepfunctions.describe_execution(executionArn=arn)
        except stepfunctions.exceptions.ExecutionDoesNotExist:
            return None
        return dict(described) if described["status"] != "RUNNING" else None

    described = until(f"{arn} ended", probe, seconds=seconds)
    described["output"] = json.loads(described.get("output") or "null")
    return described


def deploy_package(
    deployed: Deployed,
    fleet: str,
    strategy: dict[str, Any] | None = None,
    behaviour: dict[str, Any] | None = None,
    **more: Any,
) -> tuple[str, dict[str, Any]]:
    """Register, approve and wait; the package's ARN and the execution's output."""
    package = register(deployed, fleet, behaviour=behaviour, **more)
    approve(deployed, package, strategy)
    described = ended(deployed, package)
    assert described["status"] == "SUCCEEDED", described
    return package, described["output"]


def deploy_first(deployed: Deployed, fleet: str, behaviour: dict[str, Any] | None = None) -> str:
    """The fleet's first deployment, which must succeed; the package's ARN."""
    package, output = deploy_package(deployed, fleet, QUICK, behaviour)
    assert output["outcome"] == "promoted", output
    return package


def phase(deployed: Deployed, fleet: str) -> str:
    """The phase of the deployment that is under way; empty if there is none."""
    return str(fleet_items(deployed, fleet).get("DEPLOYMENT", {}).get("under_way", {}).get("phase", ""))


def wait_for_phase(deployed: Deployed, fleet: str, wanted: str) -> None:
    """Wait until the fleet's deployment is in a phase."""
    until(f"{fleet} in {wanted}", lambda: True if phase(deployed, fleet) == wanted else None, seconds=600)


def decide(deployed: Deployed, fleet: str, decision: str, reason: str) -> None:
    """Tell the deployment under way what to do, as `onwing ab stop` does."""
    request = fleet_items(deployed, fleet)["DEPLOYMENT"]["under_way"]["request"]
    deployed.client("dynamodb").put_item(
        TableName=deployed.outputs["TableName"],
        Item={
            "pk": {"S": f"FLEET#{fleet}"},
            "sk": {"S": "DECISION"},
            "request": {"N": str(request)},
            "decision": {"S": decision},
            "reason": {"S": reason},
            "at": {"S": "2026-01-01T00:00:00Z"},
        },
    )


def describe(deployed: Deployed, fleet: str) -> dict[str, Any]:
    """The fleet's endpoint."""
    return dict(deployed.client("sagemaker").describe_endpoint(EndpointName=f"onwing-{fleet}"))


def entered(deployed: Deployed, execution: str) -> list[tuple[str, float]]:
    """The states that an execution has entered, in order, and when (seconds since the epoch); [] before its start."""
    stepfunctions = deployed.client("stepfunctions")
    try:
        pages = list(stepfunctions.get_paginator("get_execution_history").paginate(executionArn=execution))
    except stepfunctions.exceptions.ExecutionDoesNotExist:
        return []
    return [
        (event["stateEnteredEventDetails"]["name"], event["timestamp"].timestamp())
        for page in pages
        for event in page["events"]
        if "stateEnteredEventDetails" in event
    ]


def weights(deployed: Deployed, fleet: str) -> dict[str, float]:
    """The weights of the endpoint's production variants."""
    return {each["VariantName"]: each["CurrentWeight"] for each in describe(deployed, fleet)["ProductionVariants"]}


def made_for(deployed: Deployed, fleet: str) -> dict[str, set[str]]:
    """What there is outside the stack for a fleet: names of models, configurations, alarms."""
    sagemaker, prefix = deployed.client("sagemaker"), f"onwing-{fleet}-"
    models = sagemaker.list_models(NameContains=prefix, MaxResults=100)["Models"]
    configs = sagemaker.list_endpoint_configs(NameContains=prefix, MaxResults=100)["EndpointConfigs"]
    alarms = deployed.client("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    return {
        "models": {each["ModelName"] for each in models},
        "configs": {each["EndpointConfigName"] for each in configs},
        "alarms": {each["AlarmName"] for each in alarms},
    }


def package_status(deployed: Deployed, package_arn: str) -> tuple[str, str]:
    """A package's approval status and the reason that stands beside it."""
    described = deployed.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    return described["ModelApprovalStatus"], described.get("ApprovalDescription", "")


def history(deployed: Deployed, fleet: str) -> list[dict[str, Any]]:
    """The fleet's history, oldest first."""
    return [item["record"] for _, item in sorted(fleet_items(deployed, fleet, "HISTORY#").items())]


def moment(iso: str) -> float:
    """Seconds since the epoch."""
    return datetime.fromisoformat(iso).timestamp()
