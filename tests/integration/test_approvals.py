"""Approvals on the embedded cloud: the real template, real events, the real deployment machine."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.deployed import Deployed, until
from tests.integration.deployments import HOLDING, QUICK, deploy_first, ended, wait_for_phase, weights
from tests.packages import approve, fleet_items, register, version_of

SECONDS = 400  # for what functions and state machines do, beside whatever else the machine does
pytestmark = pytest.mark.timeout(2400)

EVENT = Path(__file__).parents[2] / "events/handle_approval.json"


def record(deployed: Deployed, package_arn: str, fleet: str) -> dict[str, Any]:
    """What the control plane has written down of a package."""
    return fleet_items(deployed, fleet, "APPROVAL#").get(f"APPROVAL#{version_of(package_arn):06d}", {})


def acted_upon(deployed: Deployed, package_arn: str, fleet: str) -> None:
    """Wait until the event of the package's last change has been acted upon."""
    described = deployed.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    modified = int(described["LastModifiedTime"].timestamp() * 1000)

    def probe() -> bool | None:
        return True if record(deployed, package_arn, fleet).get("modified", 0) * 1000 >= modified - 1 else None

    until(f"event of {package_arn} acted upon", probe, seconds=SECONDS)


def started(deployed: Deployed, fleet: str, machine: str = "Deployment") -> list[str]:
    """The names of the fleet's executions."""
    arn = deployed.outputs[f"{machine}StateMachineArn"]
    listed = deployed.client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    return [each["name"] for each in listed if each["name"].startswith(f"{fleet}-")]


def event_of(deployed: Deployed, package_arn: str) -> dict[str, Any]:
    """The event of the package's last change, in AWS's shape."""
    described = deployed.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    event: dict[str, Any] = json.loads(EVENT.read_text())
    event["resources"] = [package_arn]
    for name in ("ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelApprovalStatus"):
        event["detail"][name] = described[name]
    event["detail"]["LastModifiedTime"] = int(described["LastModifiedTime"].timestamp() * 1000)
    return event


def deliver(deployed: Deployed, event: dict[str, Any]) -> dict[str, Any]:
    """Invoke the function as EventBridge does, and wait for its answer."""
    response = deployed.client("lambda").invoke(
        FunctionName=deployed.outputs["ApprovalFunctionName"], Payload=json.dumps(event)
    )
    answer = json.loads(response["Payload"].read())
    assert "FunctionError" not in response, answer
    return dict(answer)


def test_approving_twice_editing_and_repeated_events_make_one_deployment(deployed: Deployed, fleet: str) -> None:
    sagemaker = deployed.client("sagemaker")
    package = register(deployed, fleet)

    approve(deployed, package, QUICK)
    first = event_of(deployed, package)
    approve(deployed, package)
    sagemaker.update_model_package(ModelPackageArn=package, CustomerMetadataProperties={"note": "edited"})
    acted_upon(deployed, package, fleet)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda event: deliver(deployed, event), [first, event_of(deployed, package)] * 3))

    assert {answer["outcome"] for answer in answers} <= {"already", "stale", "started"}
    assert ended(deployed, package)["output"]["outcome"] == "promoted"
    assert started(deployed, fleet) == [f"{fleet}-v1-1"]
    assert fleet_items(deployed, fleet)["REQUESTS"]["newest"] == 1
    assert "strategy" not in record(deployed, package, fleet)


def test_pending_and_rejection_of_what_is_not_deployed_start_nothing(deployed: Deployed, fleet: str) -> None:
    package = register(deployed, fleet)
    deployed.client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Rejected")
    acted_upon(deployed, package, fleet)

    assert record(deployed, package, fleet)["status"] == "Rejected"
    assert started(deployed, fleet) == started(deployed, fleet, "Rollback") == []


def test_strategy_that_cannot_be_read_refuses_the_package(deployed: Deployed, fleet: str) -> None:
    package = register(deployed, fleet)

    approve(deployed, package, {"name": "blue-green"})
    alert = deployed.alert(f"{fleet} v1", "refused", "blue-green")

    assert "approve it again" in alert["Message"].lower()
    described = deployed.client("sagemaker").describe_model_package(ModelPackageName=package)
    assert described["ModelApprovalStatus"] == "Rejected"
    acted_upon(deployed, package, fleet)
    assert started(deployed, fleet) == started(deployed, fleet, "Rollback") == []


def test_person_who_rejects_stops_the_deployment_under_way(deployed: Deployed, fleet: str) -> None:
    deploy_first(deployed, fleet)
    package = register(deployed, fleet)
    approve(deployed, package, HOLDING)
    wait_for_phase(deployed, fleet, "hold")

    deployed.client("sagemaker").update_model_package(
        ModelPackageArn=package, ModelApprovalStatus="Rejected", ApprovalDescription="not convinced"
    )

    [name] = until("rollback started", lambda: started(deployed, fleet, "Rollback") or None, seconds=SECONDS)
    assert name.startswith(f"{fleet}-v2-rejected-")
    arn = f"{deployed.outputs['RollbackStateMachineArn'].replace(':stateMachine:', ':execution:')}:{name}"

    def end() -> dict[str, Any] | None:
        described = deployed.client("stepfunctions").describe_execution(executionArn=arn)
        return dict(described) if described["status"] != "RUNNING" else None

    rollback = until(f"{name} ended", end, seconds=SECONDS)
    assert rollback["status"] == "SUCCEEDED", rollback
    output = json.loads(rollback["output"])
    assert (output["outcome"], output["version"], output["champion"]) == ("rolled_back", 2, 1)
    assert weights(deployed, fleet).keys() == {"v1"}
    assert ended(deployed, package)["status"] == "ABORTED"
    assert "v2" in deployed.alert(fleet, "rolled back to v1", "not convinced")["Message"]
    acted_upon(deployed, package, fleet)
    assert started(deployed, fleet, "Rollback") == [name]
    assert sorted(started(deployed, fleet)) == [f"{fleet}-v1-1", f"{fleet}-v2-1"]


def test_champion_that_is_rejected_and_approved_again_just_goes_on_serving(deployed: Deployed, fleet: str) -> None:
    package = deploy_first(deployed, fleet)
    before = fleet_items(deployed, fleet)["DEPLOYMENT"]["champion"]
    deployed.client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Rejected")
    assert f"onwing rollback {fleet}" in deployed.alert(f"{fleet} v1", "champion_rejected")["Message"]
    acted_upon(deployed, package, fleet)

    approve(deployed, package)

    output = ended(deployed, package, 2)["output"]
    assert (output["outcome"], "champion already" in output["reason"]) == ("withdrawn", True)
    items = fleet_items(deployed, fleet)
    assert items["DEPLOYMENT"]["champion"] == before
    assert "LOCK" not in items
    assert weights(deployed, fleet) == {"v1": 1}
    assert started(deployed, fleet, "Rollback") == []
