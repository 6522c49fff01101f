"""kill -9 in the middle of a canary: the champion has all traffic again, and the next deployment works."""

from __future__ import annotations

import pytest

from tests.deployed import Deployed, until
from tests.faults.test_kill import wait_until_saved
from tests.integration.deployments import (
    HOLDING,
    QUICK,
    deploy_first,
    deploy_package,
    describe,
    ended,
    history,
    made_for,
    package_status,
    wait_for_phase,
    weights,
)
from tests.packages import approve, fleet_items, register
from tests.traffic import Traffic

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)


def test_kill_in_mid_canary_ends_with_all_traffic_on_the_champion(mortal: Deployed, fleet: str) -> None:
    first = deploy_first(mortal, fleet)
    second = register(mortal, fleet)
    approve(mortal, second, HOLDING)
    wait_for_phase(mortal, fleet, "hold")
    with Traffic(mortal, f"onwing-{fleet}") as before:
        until("the challenger answers", lambda: True if "v2" in before.shares() else None)
        wait_until_saved(mortal)
    assert before.failures == []

    mortal.cloud.kill()
    mortal.cloud.start_again()

    interrupted = ended(mortal, second)
    assert (interrupted["status"], interrupted["error"]) == ("FAILED", "Localcloud.Interrupted")
    until(
        "nothing is under way",
        lambda: None if "under_way" in fleet_items(mortal, fleet)["DEPLOYMENT"] else True,
        seconds=600,
    )
    until("the lock is free", lambda: None if "LOCK" in fleet_items(mortal, fleet) else True)
    champion = fleet_items(mortal, fleet)["DEPLOYMENT"]["champion"]
    assert champion["package_arn"] == first
    described = describe(mortal, fleet)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", champion["config"])
    assert weights(mortal, fleet) == {"v1": 1}
    with Traffic(mortal, f"onwing-{fleet}") as after:
        until("enough answers", lambda: True if len(after.answered) > 20 else None)
    assert (after.failures, after.shares()) == ([], {"v1": 1.0})
    assert made_for(mortal, fleet)["models"] == {champion["model"]}
    status, reason = package_status(mortal, second)
    assert status == "Rejected"
    assert "ended FAILED" in reason
    assert mortal.alert(f"{fleet}: v2 rolled back to v1")
    outcomes = {(record["kind"], record["version"], record["outcome"]) for record in history(mortal, fleet)}
    assert {("deployment", 2, "rolled_back"), ("rollback", 2, "rolled_back")} <= outcomes

    third, output = deploy_package(mortal, fleet, QUICK)
    assert output["outcome"] == "promoted", output
    assert fleet_items(mortal, fleet)["DEPLOYMENT"]["champion"]["package_arn"] == third
