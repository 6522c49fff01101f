"""Bad challengers: each is taken back by itself, with the right reason, and the champion has all traffic again.

All of them run at once, in threads, each in a fleet of its own; each test looks at one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.deployed import SLOW, Deployed, new_fleet
from tests.integration.deployments import (
    QUICK,
    deploy_first,
    deploy_package,
    describe,
    ended,
    history,
    made_for,
    moment,
    package_status,
    weights,
)
from tests.packages import approve, fleet_items
from tests.traffic import Traffic

# Everything of a module runs at once: on a busy machine the first test waits for much of it.
pytestmark = pytest.mark.timeout(2400)


@dataclass(frozen=True)
class Fault:
    """A way to be bad: the model server's behaviour, what the alert must say, requests per second meanwhile."""

    behaviour: dict[str, Any]
    says: str
    per_second: float = 0
    shares: tuple[int, ...] = ()  # what it got of the traffic before it was found out


FAULTS = {
    "crashes": Fault({"mode": "crash"}, "did not pass the ping health check", per_second=5),
    "answers 500": Fault({"mode": "500"}, "probes: ", per_second=5),
    "slow": Fault(SLOW, "ms for a probe"),
    "NaN": Fault({"mode": "nan"}, "NaN"),
    "constant": Fault({"mode": "constant"}, "to every probe"),
    "biased": Fault({"offset": 30}, "RMSE on the probes", per_second=5),
    "wrong shape": Fault({"mode": "shape"}, "another shape"),
    "flaky": Fault({"mode": "flaky"}, "5xx", per_second=25, shares=(20,)),
    # After StartupTimeoutSeconds, so it comes last.
    "never healthy": Fault({"mode": "never_healthy"}, "did not pass the ping health check"),
}


@dataclass
class Seen:
    """What is left of a fault for its test to look at."""

    fleet: str
    package: str
    output: dict[str, Any]
    traffic: Traffic


def run(deployed: Deployed, fleet: str, fault: Fault) -> Seen:
    deploy_first(deployed, fleet)
    traffic = Traffic(deployed, f"onwing-{fleet}", per_second=fault.per_second)
    # Long enough for a machine that is so busy that few requests are answered; what is found out ends it at once.
    strategy = {"name": "canary", "stages": [20], "bake_seconds": 600, "soak_seconds": 1}
    if not fault.per_second:
        return Seen(fleet, *deploy_package(deployed, fleet, strategy, fault.behaviour), traffic)
    with traffic:
        traffic.wait()
        seen = Seen(fleet, *deploy_package(deployed, fleet, strategy, fault.behaviour), traffic)
        traffic.wait(after=moment(seen.output["ended_at"]))
        return seen


Run = Callable[[str], Seen]


@pytest.fixture(scope="module")
def ran(deployed: Deployed) -> Iterator[Run]:
    """What became of a fault, by name; all are started at once."""
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        running: dict[str, Future[Seen]] = {
            name: pool.submit(run, deployed, new_fleet(), fault) for name, fault in FAULTS.items()
        }
        yield lambda name: running[name].result(1800)


@pytest.mark.parametrize("name", FAULTS)
def test_bad_challenger_is_taken_back_with_the_reason(deployed: Deployed, ran: Run, name: str) -> None:
    fault, seen = FAULTS[name], ran(name)
    fleet = seen.fleet

    assert seen.output["outcome"] == "rolled_back", seen.output
    assert fault.says in seen.output["reason"]
    deployed.alert(f"{fleet}: v2 rolled back", fault.says)
    status, reason = package_status(deployed, seen.package)
    assert status == "Rejected"
    assert fault.says in reason
    assert tuple(s["share"] for s in seen.output["stages"] if s["share"]) == fault.shares

    items, endpoint = fleet_items(deployed, fleet), describe(deployed, fleet)
    assert endpoint["EndpointStatus"] == "InService"
    assert weights(deployed, fleet) == {"v1": 1.0}
    assert items["DEPLOYMENT"]["champion"]["version"] == 1
    assert items["DEPLOYMENT"]["champion"]["config"] == endpoint["EndpointConfigName"]
    assert "under_way" not in items["DEPLOYMENT"]
    assert "LOCK" not in items
    assert items["APPROVAL#000002"]["status"] == "Rejected"
    made = made_for(deployed, fleet)
    assert f"onwing-{fleet}-data-drift" in made["alarms"]  # the endpoint's own
    assert {each.split("-")[2] for names in made.values() for each in names} == {"v1", "data"}
    assert ("deployment", "rolled_back") in {(r["kind"], r["outcome"]) for r in history(deployed, fleet)}


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.per_second and not fault.shares])
def test_fault_that_probes_find_is_seen_by_nobody(ran: Run, name: str) -> None:
    seen = ran(name)
    assert seen.traffic.failures == []
    assert seen.traffic.shares() == {"v1": 1.0}


def test_fault_that_only_live_requests_show_hits_no_more_than_the_stage(ran: Run) -> None:
    seen = ran("flaky")
    traffic, begin = seen.traffic, moment(seen.output["first_traffic_at"])
    restored = moment(seen.output["restored_at"])

    assert traffic.failures
    assert all("500" in failure or "ModelError" in failure for failure in traffic.failures)
    meanwhile = [each for each in traffic.answered if begin - 3 <= each.sent <= restored]
    [share] = [each / 100 for each in FAULTS["flaky"].shares]
    chance = 5 * math.sqrt(share * (1 - share) * len(meanwhile))  # few requests may be unlucky
    assert sum(each.failure is not None for each in meanwhile) <= share * len(meanwhile) + chance
    assert not [each.failure for each in traffic.answered if each.failure and each.sent > restored]


def test_bad_model_without_a_champion_leaves_no_endpoint(deployed: Deployed) -> None:
    fleet = new_fleet()
    package, output = deploy_package(deployed, fleet, QUICK, {"mode": "500"})

    assert output["outcome"] == "rolled_back", output
    assert package_status(deployed, package)[0] == "Rejected"
    names = deployed.client("sagemaker").list_endpoints(NameContains=f"onwing-{fleet}")["Endpoints"]
    assert names == []
    assert made_for(deployed, fleet) == {"models": set(), "configs": set(), "alarms": set()}


def test_after_a_rollback_the_same_package_can_be_approved_again(deployed: Deployed, ran: Run) -> None:
    """It is as bad as before; but it is tried again, under names of its own."""
    seen = ran("NaN")
    approve(deployed, seen.package, QUICK)
    described = ended(deployed, seen.package, attempt=2)
    assert described["output"]["outcome"] == "rolled_back"
    assert weights(deployed, seen.fleet) == {"v1": 1.0}
