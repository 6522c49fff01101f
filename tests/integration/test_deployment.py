"""Good deployments: first, canary, linear, A/B, shadow; and who may deploy when. Every scenario has its own fleet.

The scenarios of this module mostly wait (bakes, soaks), so they run at once, in threads; each test looks at one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.deployed import PARAMETERS, Deployed, new_fleet, until
from tests.integration.deployments import (
    HOLDING,
    QUICK,
    decide,
    deploy_first,
    deploy_package,
    describe,
    ended,
    entered,
    execution_arn,
    history,
    made_for,
    moment,
    package_status,
    wait_for_phase,
    weights,
)
from tests.packages import approve, fleet_items, register
from tests.traffic import Traffic

# Everything of a module runs at once: on a busy machine the first test waits for much of it.
pytestmark = pytest.mark.timeout(2400)

WHATS = ("model-latency", "overhead-latency", "errors-4xx", "errors-5xx", "silent")


@dataclass
class Seen:
    """What a scenario left for its test to look at."""

    fleet: str
    output: dict[str, Any] = field(default_factory=dict)
    traffic: Traffic | None = None
    more: dict[str, Any] = field(default_factory=dict)


def first_then_canary(deployed: Deployed, fleet: str) -> Seen:
    deploy_first(deployed, fleet)
    seen = Seen(fleet, more={"first": fleet_items(deployed, fleet), "first made": made_for(deployed, fleet)})
    seen.more["first endpoint"] = describe(deployed, fleet)
    [model] = seen.more["first made"]["models"]
    seen.more["first model"] = deployed.client("sagemaker").describe_model(ModelName=model)
    strategy = {"name": "canary", "stages": [10, 50], "bake_seconds": 3, "soak_seconds": 5}
    with Traffic(deployed, f"onwing-{fleet}", per_second=20) as seen.traffic:
        seen.traffic.wait()
        package, seen.output = deploy_package(deployed, fleet, strategy)
        seen.traffic.wait(after=moment(seen.output["ended_at"]))
        enough = seen.traffic.answered
        until("enough requests", lambda: True if len(enough) > 200 else None)
    states = entered(deployed, execution_arn(deployed, package))
    seen.more["shifts"] = [when for name, when in states if name == "ShiftTraffic"]
    return seen


def linear(deployed: Deployed, fleet: str) -> Seen:
    deploy_first(deployed, fleet)
    strategy = {"name": "linear", "stages": [25, 50, 75], "bake_seconds": 1, "soak_seconds": 1}
    return Seen(fleet, deploy_package(deployed, fleet, strategy)[1])


def held(decision: str) -> Callable[[Deployed, str], Seen]:
    def run(deployed: Deployed, fleet: str) -> Seen:
        deploy_first(deployed, fleet)
        package = register(deployed, fleet)
        approve(deployed, package, HOLDING)
        wait_for_phase(deployed, fleet, "hold")
        seen = Seen(fleet, more={"weights": weights(deployed, fleet), "package": package})
        time.sleep(3)
        seen.more["still"] = fleet_items(deployed, fleet)["DEPLOYMENT"]["under_way"]["phase"]
        decide(deployed, fleet, decision, "the figures say so")
        seen.output = ended(deployed, package)["output"]
        return seen

    return run


def shadow(deployed: Deployed, fleet: str) -> Seen:
    deploy_first(deployed, fleet)
    package = register(deployed, fleet)
    with Traffic(deployed, f"onwing-{fleet}", per_second=10) as traffic:
        approve(deployed, package, {"name": "shadow", "stages": [], "bake_seconds": 0, "soak_seconds": 1})
        wait_for_phase(deployed, fleet, "shadow")
        until("shadow variant", lambda: describe(deployed, fleet).get("ShadowProductionVariants"))
        until("copies", lambda: requests_of(deployed, fleet, "v2") or None)
        traffic.wait()
        seen = Seen(fleet, traffic=traffic, more={"endpoint": describe(deployed, fleet)})
        seen.more["shares"] = traffic.shares()
        decide(deployed, fleet, "promote", "it keeps up")
        seen.output = ended(deployed, package)["output"]
    return seen


def queue(deployed: Deployed, fleet: str) -> Seen:
    """v2 holds the lock; v3 waits and is overtaken by v4; v5 is withdrawn while v4 deploys."""
    deploy_first(deployed, fleet)
    second, third, fourth = (register(deployed, fleet) for _ in range(3))
    approve(deployed, second, HOLDING)
    wait_for_phase(deployed, fleet, "hold")
    approve(deployed, third, QUICK)
    until("third waits", lambda: execution_states(deployed, third) & {"WaitForTurn"} or None)
    approve(deployed, fourth, {**HOLDING, "stages": [40]})
    overtaken = ended(deployed, third)["output"]
    still = weights(deployed, fleet)
    decide(deployed, fleet, "rollback", "no better")
    rolled_back = ended(deployed, second)["output"]
    until(
        "fourth holds",
        lambda: True if under_way(deployed, fleet).get("version") == 4 else None,
        seconds=600,
    )
    wait_for_phase(deployed, fleet, "hold")
    fifth = register(deployed, fleet)
    approve(deployed, fifth, QUICK)
    until("fifth waits", lambda: execution_states(deployed, fifth) & {"WaitForTurn"} or None)
    deployed.client("sagemaker").update_model_package(
        ModelPackageArn=fifth, ModelApprovalStatus="PendingManualApproval"
    )
    decide(deployed, fleet, "promote", "better")
    promoted = ended(deployed, fourth)["output"]
    withdrawn = ended(deployed, fifth)["output"]
    return Seen(
        fleet,
        promoted,
        more={
            "overtaken": overtaken,
            "third": third,
            "still": still,
            "rolled back": rolled_back,
            "withdrawn": withdrawn,
        },
    )


def forgotten_lock(deployed: Deployed, fleet: str) -> Seen:
    machine = deployed.outputs["DeploymentStateMachineArn"].replace(":stateMachine:", ":execution:")
    owner = {"owner": {"S": f"{machine}:{fleet}-v9-9"}, "since": {"S": "2026-01-01T00:00:00Z"}}
    key = {"pk": {"S": f"FLEET#{fleet}"}, "sk": {"S": "LOCK"}}
    deployed.client("dynamodb").put_item(TableName=deployed.outputs["TableName"], Item={**key, **owner})
    return Seen(fleet, deploy_package(deployed, fleet, QUICK)[1])


def died_half_way(deployed: Deployed, fleet: str) -> Seen:
    """An execution is stopped with a third of the traffic on its challenger, and the next approval comes at once."""
    deploy_first(deployed, fleet)
    second, third = register(deployed, fleet), register(deployed, fleet)
    approve(deployed, second, HOLDING)
    wait_for_phase(deployed, fleet, "hold")
    with Traffic(deployed, f"onwing-{fleet}", per_second=10) as traffic:
        deployed.client("stepfunctions").stop_execution(executionArn=execution_arn(deployed, second))
        approve(deployed, third, QUICK)
        output = ended(deployed, third)["output"]
    return Seen(fleet, output, traffic, {"second": second})


def tampered(deployed: Deployed, fleet: str) -> Seen:
    package = register(deployed, fleet, tampered=True)
    approve(deployed, package, QUICK)
    return Seen(fleet, ended(deployed, package)["output"], more={"package": package})


def unknown_endpoint(deployed: Deployed, fleet: str) -> Seen:
    """The control table does not know what the endpoint serves."""
    deploy_first(deployed, fleet)
    before = made_for(deployed, fleet)
    key = {"pk": {"S": f"FLEET#{fleet}"}, "sk": {"S": "DEPLOYMENT"}}
    deployed.client("dynamodb").delete_item(TableName=deployed.outputs["TableName"], Key=key)
    package, output = deploy_package(deployed, fleet, QUICK)
    return Seen(fleet, output, more={"package": package, "before": before})


SCENARIOS: dict[str, Callable[[Deployed, str], Seen]] = {
    "first then canary": first_then_canary,
    "queue": queue,
    "linear": linear,
    "hold promote": held("promote"),
    "hold rollback": held("rollback"),
    "shadow": shadow,
    "died half-way": died_half_way,
    "forgotten lock": forgotten_lock,
    "tampered": tampered,
    "unknown endpoint": unknown_endpoint,
}

Scenario = Callable[[str], Seen]


@pytest.fixture(scope="module")
def scenario(deployed: Deployed) -> Iterator[Scenario]:
    """The outcome of a scenario, by name; all are started at once."""
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        running: dict[str, Future[Seen]] = {
            name: pool.submit(run, deployed, new_fleet()) for name, run in SCENARIOS.items()
        }
        yield lambda name: running[name].result(1800)


def under_way(deployed: Deployed, fleet: str) -> dict[str, Any]:
    found: dict[str, Any] = fleet_items(deployed, fleet)["DEPLOYMENT"].get("under_way", {})
    return found


def execution_states(deployed: Deployed, package: str) -> set[str]:
    """The states that a package's deployment has entered; none before it has started."""
    return {name for name, _ in entered(deployed, execution_arn(deployed, package))}


def requests_of(deployed: Deployed, fleet: str, variant: str) -> float:
    """How many requests CloudWatch has counted for a variant."""
    found = deployed.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": "EndpointName", "Value": f"onwing-{fleet}"}, {"Name": "VariantName", "Value": variant}],
        StartTime=time.time() - 3600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in found["Datapoints"]))


def test_first_approval_makes_the_endpoint_with_all_that_belongs_to_it(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("first then canary")
    fleet, made, endpoint = seen.fleet, seen.more["first made"], seen.more["first endpoint"]
    champion = seen.more["first"]["DEPLOYMENT"]["champion"]

    assert endpoint["EndpointStatus"] == "InService"
    assert [v["VariantName"] for v in endpoint["ProductionVariants"]] == ["v1"]
    assert endpoint["EndpointConfigName"] == champion["config"]
    assert made["models"] == {champion["model"]}
    assert made["configs"] == {champion["config"]}
    assert made["alarms"] == {f"onwing-{fleet}-v1-{what}" for what in WHATS} | {f"onwing-{fleet}-data-drift"}
    assert endpoint["DataCaptureConfig"]["CurrentSamplingPercentage"] == 100
    assert endpoint["DataCaptureConfig"]["DestinationS3Uri"].endswith("/monitoring/capture")
    assert champion["backup"].startswith(f"backups/onwing-{fleet}/")
    served = seen.more["first model"]
    assert served["PrimaryContainer"]["ModelDataUrl"].split("/")[-2] == champion["artifact_sha256"]
    assert served["EnableNetworkIsolation"] is True
    assert seen.more["first"]["DEPLOYMENT"]["monitored"] is True
    assert "under_way" not in seen.more["first"]["DEPLOYMENT"]
    assert "predecessor" not in seen.more["first"]["DEPLOYMENT"]
    assert "LOCK" not in seen.more["first"]
    tags = deployed.client("sagemaker").list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"]
    assert {"Key": "onwing:fleet", "Value": fleet} in tags
    message = deployed.alert(f"{fleet}: v1 deployed")["Message"]
    assert "which is new" in message
    assert f"onwing rollback {fleet}" in message


def test_alarms_are_in_aws_units_and_reach_the_alerts_topic(deployed: Deployed, scenario: Scenario) -> None:
    fleet = scenario("first then canary").fleet
    found = deployed.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"onwing-{fleet}-v2-")["MetricAlarms"]
    alarms = {alarm["AlarmName"].removeprefix(f"onwing-{fleet}-v2-"): alarm for alarm in found}

    assert set(alarms) == set(WHATS)
    assert alarms["model-latency"]["Threshold"] == int(str(PARAMETERS["LatencyLimitMs"])) * 1000  # microseconds
    assert alarms["overhead-latency"]["Threshold"] == int(str(PARAMETERS["OverheadLimitMs"])) * 1000
    assert (alarms["errors-5xx"]["MetricName"], alarms["errors-5xx"]["Statistic"]) == ("Invocation5XXErrors", "Average")
    assert alarms["errors-5xx"]["Threshold"] == 0.01
    assert alarms["silent"]["TreatMissingData"] == "breaching"
    for alarm in found:
        assert alarm["AlarmActions"] == [deployed.outputs["AlertsTopicArn"]]
        assert alarm["ActionsEnabled"] is True
        assert {d["Name"]: d["Value"] for d in alarm["Dimensions"]} == {
            "EndpointName": f"onwing-{fleet}",
            "VariantName": "v2",
        }
        assert f"onwing rollback {fleet}" in alarm["AlarmDescription"]


def test_canary_is_promoted_without_a_failed_request(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("first then canary")
    assert seen.output["outcome"] == "promoted", seen.output
    assert seen.traffic is not None
    assert seen.traffic.failures == []
    assert len(seen.traffic.answered) > 200
    assert [(stage["phase"], stage["share"]) for stage in seen.output["stages"]] == [
        ("preflight", 0),
        ("canary", 10),
        ("canary", 50),
        ("soak", 100),
        ("verify", 100),
    ]


def test_challenger_gets_no_more_than_its_stage_allows(scenario: Scenario) -> None:
    seen = scenario("first then canary")
    assert seen.traffic is not None
    stages, shifts = seen.output["stages"], seen.more["shifts"]
    canary = [stage for stage in stages if stage["phase"] == "canary"]
    assert [stage["share"] for stage in canary] == [10, 50]
    assert len(shifts) == 3
    # From when its weights count until they are changed again, which is before the next stage counts as settled.
    for stage, end in zip(canary, shifts[1:], strict=True):
        begin, share = moment(stage["at"]), stage["share"] / 100
        answered = [a for a in seen.traffic.answered if a.variant and begin <= a.sent and a.ended <= end]
        assert answered, stage
        own = sum(a.variant == "v2" for a in answered) / len(answered)
        margin = 5 * math.sqrt(share * (1 - share) / len(answered))
        assert share - margin <= own <= share + margin, (stage, own, len(answered))
    before = [a for a in seen.traffic.answered if a.variant and a.sent < moment(stages[0]["at"])]
    assert {a.variant for a in before} == {"v1"}
    last = [a for a in seen.traffic.answered if a.variant and a.sent > moment(seen.output["promoted_at"])]
    assert {a.variant for a in last} == {"v2"}


def test_after_the_soak_only_the_new_champion_is_left(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("first then canary")
    fleet, items = seen.fleet, fleet_items(deployed, seen.fleet)
    champion, endpoint, made = items["DEPLOYMENT"]["champion"], describe(deployed, fleet), made_for(deployed, fleet)

    assert endpoint["EndpointConfigName"] == champion["config"]
    assert weights(deployed, fleet) == {"v2": 1.0}
    assert made["models"] == {champion["model"]}
    assert made["configs"] == {champion["config"]}
    assert made["alarms"] == {f"onwing-{fleet}-v2-{what}" for what in WHATS} | {f"onwing-{fleet}-data-drift"}
    assert (champion["version"], items["DEPLOYMENT"]["predecessor"]["version"]) == (2, 1)
    for served in (champion, items["DEPLOYMENT"]["predecessor"]):
        assert served["backup"] in deployed.keys(f"backups/onwing-{fleet}/")
    assert champion["since"] == seen.output["promoted_at"]
    assert "under_way" not in items["DEPLOYMENT"]
    assert "LOCK" not in items
    assert [record["outcome"] for record in history(deployed, fleet)] == ["promoted", "promoted"]
    message = deployed.alert(f"{fleet}: v2 deployed")["Message"]
    assert "before it v1" in message
    assert "Approval to first traffic: " in message


def test_linear_is_a_canary_with_more_stages(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("linear")
    assert seen.output["outcome"] == "promoted", seen.output
    assert [s["share"] for s in seen.output["stages"] if s["phase"] == "canary"] == [25, 50, 75]
    assert weights(deployed, seen.fleet) == {"v2": 1.0}


def test_ab_test_holds_until_told_to_promote(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("hold promote")
    assert seen.more["weights"] == {"v1": 70.0, "v2": 30.0}
    assert seen.more["still"] == "hold"
    assert seen.output["outcome"] == "promoted", seen.output
    assert weights(deployed, seen.fleet) == {"v2": 1.0}


def test_ab_test_that_is_told_to_roll_back_does(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("hold rollback")
    assert seen.output["outcome"] == "rolled_back"
    assert "the figures say so" in seen.output["reason"]
    assert weights(deployed, seen.fleet) == {"v1": 1.0}
    assert package_status(deployed, seen.more["package"])[0] == "Rejected"


def test_shadow_answers_nobody_until_it_is_promoted(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("shadow")
    assert [v["VariantName"] for v in seen.more["endpoint"]["ShadowProductionVariants"]] == ["v2"]
    assert seen.more["shares"] == {"v1": 1.0}
    assert seen.output["outcome"] == "promoted", seen.output
    assert seen.traffic is not None
    assert seen.traffic.failures == []
    assert [s["phase"] for s in seen.output["stages"]] == ["shadow", "preflight", "soak", "verify"]
    assert len(made_for(deployed, seen.fleet)["configs"]) == 1


def test_newer_approval_waits_and_an_older_one_that_waits_gives_way(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("queue")
    assert seen.more["overtaken"]["outcome"] == "superseded"
    assert package_status(deployed, seen.more["third"])[0] == "Approved"
    assert seen.more["still"] == {"v1": 70.0, "v2": 30.0}  # of v2, which nobody disturbed
    assert seen.more["rolled back"]["outcome"] == "rolled_back"
    assert seen.output["outcome"] == "promoted", seen.output
    assert weights(deployed, seen.fleet) == {"v4": 1.0}
    assert "request 4" in deployed.alert(f"{seen.fleet}: v3 superseded")["Message"]


def test_approval_that_is_taken_back_while_it_waits_is_not_deployed(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("queue")
    assert seen.more["withdrawn"]["outcome"] == "withdrawn"
    assert weights(deployed, seen.fleet) == {"v4": 1.0}


def test_lock_of_an_execution_that_nobody_knows_is_taken_over(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("forgotten lock")
    assert seen.output["outcome"] == "promoted", seen.output
    assert "LOCK" not in fleet_items(deployed, seen.fleet)


def test_after_an_execution_died_in_its_canary_the_next_one_starts_from_the_champion(
    deployed: Deployed, scenario: Scenario
) -> None:
    seen = scenario("died half-way")
    assert seen.output["outcome"] == "promoted", seen.output
    assert weights(deployed, seen.fleet) == {"v3": 1.0}
    assert package_status(deployed, seen.more["second"])[0] == "Rejected"
    assert fleet_items(deployed, seen.fleet)["DEPLOYMENT"]["predecessor"]["version"] == 1
    assert seen.traffic is not None
    assert seen.traffic.failures == []
    made = made_for(deployed, seen.fleet)
    assert f"onwing-{seen.fleet}-data-drift" in made["alarms"]  # the endpoint's own
    assert {name.split("-")[2] for names in made.values() for name in names} == {"v3", "data"}


def test_artefact_with_another_hash_is_refused_before_anything_is_made(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("tampered")
    assert seen.output["outcome"] == "refused"
    assert made_for(deployed, seen.fleet) == {"models": set(), "configs": set(), "alarms": set()}
    status, reason = package_status(deployed, seen.more["package"])
    assert status == "Rejected"
    assert "SHA-256" in reason
    alert = deployed.alert(f"{seen.fleet}: v1 refused")
    assert "SHA-256" in alert["Message"]
    items = fleet_items(deployed, seen.fleet)
    assert items["APPROVAL#000001"]["status"] == "Rejected"
    assert "LOCK" not in items
    assert "DEPLOYMENT" not in items
    assert [record["outcome"] for record in history(deployed, seen.fleet)] == ["refused"]


def test_endpoint_that_the_control_table_does_not_know_is_left_alone(deployed: Deployed, scenario: Scenario) -> None:
    seen = scenario("unknown endpoint")
    assert seen.output["outcome"] == "gave_up"
    assert made_for(deployed, seen.fleet) == seen.more["before"]
    assert weights(deployed, seen.fleet) == {"v1": 1.0}
    assert f"onwing restore {seen.fleet}" in deployed.alert(f"{seen.fleet}: v2 not deployed")["Message"]
    assert package_status(deployed, seen.more["package"])[0] == "Rejected"
