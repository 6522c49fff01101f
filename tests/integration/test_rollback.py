"""The rollback machine: from every point of a deployment back to the version that served before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.deployed import Deployed, until
from tests.integration.deployments import (
    HOLDING,
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
from tests.integration.rollouts import Rollout, end_of, failure_of, now, output_of, run, went_back_by_weights
from tests.packages import approve, fleet_items, register
from tests.traffic import Traffic

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture
def rollout(deployed: Deployed, fleet: str) -> Rollout:
    """A fleet whose first version serves."""
    made = Rollout(deployed, fleet)
    made.serve()
    return made


def asked(rollout: Rollout, trigger: str = "manual", **more: Any) -> dict[str, Any]:
    """A rollback's input."""
    return {"fleet": rollout.fleet, "trigger": trigger, "reason": "its answers are wrong", "decided_at": now(), **more}


def assert_stands_alone(rollout: Rollout, served: dict[str, Any]) -> None:
    """A version has the endpoint to itself, and nothing of another one is left."""
    described = describe(rollout.deployed, rollout.fleet)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", served["config"])
    assert list(weights(rollout.deployed, rollout.fleet)) == [served["variant"]]
    assert made_for(rollout.deployed, rollout.fleet) == {
        "models": {served["model"]},
        "configs": {served["config"]},
        "alarms": {rollout.drift_alarm}
        | {f"{rollout.endpoint}-{served['variant']}-{what}" for what in ("model-latency", "errors-5xx")},
    }
    items = fleet_items(rollout.deployed, rollout.fleet)
    assert items["DEPLOYMENT"]["champion"]["version"] == served["version"]
    assert "under_way" not in items["DEPLOYMENT"]


def test_canary_with_traffic_loses_no_request_and_is_back_within_seconds(rollout: Rollout) -> None:
    deployed, fleet = rollout.deployed, rollout.fleet
    under_way = rollout.challenge(50)
    rollout.verify()  # a deployment has assessed all along
    with Traffic(deployed, rollout.endpoint) as traffic:
        until("the challenger answers", lambda: True if "v2" in traffic.shares() else None)
        request = asked(rollout, "deployment", handover=under_way["execution"], version=2)
        execution = run(deployed, "Rollback", request)
        output = output_of(deployed, execution)
        traffic.wait(after=moment(output["restored_at"]))

    assert output == {
        "outcome": "rolled_back",
        "fleet": fleet,
        "version": 2,
        "champion": 1,
        "decided_at": request["decided_at"],
        "restored_at": output["restored_at"],
        "seconds": output["seconds"],
        "slow": False,
    }
    assert traffic.failures == []
    decided, restored = moment(output["decided_at"]), moment(output["restored_at"])
    assert traffic.shares(end=decided)["v2"] > 0
    assert traffic.shares(begin=restored) == {"v1": 1.0}
    assert output["seconds"] > 0
    assert went_back_by_weights(deployed, execution)
    assert abs(restored - decided - output["seconds"]) < 0.002
    assert_stands_alone(rollout, rollout.champion)

    status, description = package_status(deployed, rollout.challenger["package_arn"])
    assert status == "Rejected"
    assert "its answers are wrong" in description
    items = fleet_items(deployed, fleet)
    assert items["APPROVAL#000002"]["status"] == "Rejected"
    assert items["LOCK"]["owner"] == under_way["execution"]  # given back to the deployment, which writes its own record
    [record] = history(deployed, fleet)
    assert (record["kind"], record["outcome"], record["version"]) == ("rollback", "rolled_back", 2)
    assert (record["reason"], record["decided_at"], record["restored_at"]) == (
        "its answers are wrong",
        output["decided_at"],
        output["restored_at"],
    )
    message = deployed.alert(f"{fleet}: v2 rolled back to v1")["Message"]
    for part in ("its answers are wrong", "50 %", "All traffic is on v1", under_way["started_at"], "onwing"):
        assert part in message
    assert len(deployed.keys(f"backups/{rollout.endpoint}/")) == 2  # the newest backup is of what serves

    again = output_of(deployed, run(deployed, "Rollback", {**request, "decided_at": now()}))
    assert (again["outcome"], again["champion"]) == ("nothing_to_do", 1)
    assert_stands_alone(rollout, rollout.champion)
    assert len(history(deployed, fleet)) == 1


def test_in_the_soak_the_predecessor_has_all_traffic_within_seconds(rollout: Rollout) -> None:
    deployed, fleet = rollout.deployed, rollout.fleet
    rollout.challenge(100, phase="soak")
    rollout.verify()
    with Traffic(deployed, rollout.endpoint) as traffic:
        until("the challenger answers", lambda: True if "v2" in traffic.shares() else None)
        execution = run(deployed, "Rollback", asked(rollout))
        output = output_of(deployed, execution)
        traffic.wait(after=moment(output["restored_at"]))

    assert (output["outcome"], output["champion"], output["slow"]) == ("rolled_back", 1, False)
    assert went_back_by_weights(deployed, execution)
    assert traffic.failures == []
    assert traffic.shares(begin=moment(output["restored_at"])) == {"v1": 1.0}
    assert_stands_alone(rollout, rollout.champion)
    items = fleet_items(deployed, fleet)
    assert "predecessor" not in items["DEPLOYMENT"]
    assert items["DEPLOYMENT"]["champion"]["since"] == output["restored_at"]
    assert "LOCK" not in items
    kinds = {(record["kind"], record["version"], record["outcome"]) for record in history(deployed, fleet)}
    assert kinds == {("rollback", 2, "rolled_back"), ("deployment", 2, "rolled_back")}  # the dead one wrote none


def test_first_deployment_has_nothing_to_go_back_to_and_is_removed(deployed: Deployed, fleet: str) -> None:
    rollout = Rollout(deployed, fleet)
    rollout.challenger = rollout.make(config=True)
    deployed.client("sagemaker").create_endpoint(
        EndpointName=rollout.endpoint, EndpointConfigName=rollout.challenger["config"]
    )
    rollout.watch()
    rollout.record(under_way=rollout.under_way(100, rollout.challenger["config"], "preflight", "first"))
    output = output_of(deployed, run(deployed, "Rollback", asked(rollout, version=1)))

    assert (output["outcome"], output["version"], output["champion"]) == ("rolled_back", 1, None)
    assert not rollout.exists()
    assert made_for(deployed, fleet) == {"models": set(), "configs": set(), "alarms": set()}
    items = fleet_items(deployed, fleet)
    assert {"champion", "under_way"} & set(items["DEPLOYMENT"]) == set()
    assert package_status(deployed, rollout.challenger["package_arn"])[0] == "Rejected"
    assert "no endpoint" in deployed.alert(f"{fleet}: v1 rolled back")["Message"]


def test_after_the_soak_the_predecessor_is_deployed_anew_from_its_backup(rollout: Rollout) -> None:
    deployed, fleet = rollout.deployed, rollout.fleet
    answers = rollout.predictions()
    rollout.promote()
    with Traffic(deployed, rollout.endpoint) as traffic:
        output = output_of(deployed, run(deployed, "Rollback", asked(rollout, "violation")))

    assert (output["outcome"], output["version"], output["champion"]) == ("rolled_back", 2, 1)
    assert output["slow"] is True
    assert traffic.failures == []
    champion = fleet_items(deployed, fleet)["DEPLOYMENT"]["champion"]
    assert champion["config"] != rollout.champion["config"]
    assert_stands_alone(rollout, {**rollout.champion, "config": champion["config"]})
    assert rollout.predictions() == answers
    assert "takes longer" in deployed.alert(f"{fleet}: v2 rolled back to v1")["Message"]
    alarm = deployed.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{rollout.endpoint}-v1-")["MetricAlarms"][0]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [deployed.outputs["AlertsTopicArn"]]

    cause = failure_of(deployed, run(deployed, "Rollback", asked(rollout)))
    assert "no version before it" in cause
    assert "onwing restore" in cause
    message = deployed.alert(f"{fleet}: rollback failed")["Message"]
    assert "describe-endpoint" in message
    assert_stands_alone(rollout, {**rollout.champion, "config": champion["config"]})


def test_shadow_is_removed_by_configuration_alone(rollout: Rollout) -> None:
    rollout.challenge(0, phase="shadow", shadow=True)
    output = output_of(rollout.deployed, run(rollout.deployed, "Rollback", asked(rollout)))
    assert (output["outcome"], output["champion"]) == ("rolled_back", 1)
    assert_stands_alone(rollout, rollout.champion)


def test_endpoint_that_went_back_by_itself_is_verified_and_tidied(rollout: Rollout) -> None:
    """A challenger that never became healthy: the endpoint never left its old configuration."""
    deployed = rollout.deployed
    rollout.challenger = rollout.make({"mode": "crash"}, config=False)
    canary = f"{rollout.challenger['model']}-canary"
    deployed.client("sagemaker").create_endpoint_config(
        EndpointConfigName=canary,
        ProductionVariants=[rollout.variant(rollout.champion, 1), rollout.variant(rollout.challenger, 0)],
    )
    rollout.record(champion=rollout.champion, under_way=rollout.under_way(0, canary, "creating"))
    deployed.client("sagemaker").update_endpoint(EndpointName=rollout.endpoint, EndpointConfigName=canary)
    output = output_of(deployed, run(deployed, "Rollback", asked(rollout)))
    assert (output["outcome"], output["champion"]) == ("rolled_back", 1)
    assert_stands_alone(rollout, rollout.champion)


def test_version_that_is_not_under_way_is_left_alone(rollout: Rollout) -> None:
    """A package that is rejected while it waits for another one's deployment."""
    rollout.challenge(10)
    waiting = register(rollout.deployed, rollout.fleet)
    output = output_of(rollout.deployed, run(rollout.deployed, "Rollback", asked(rollout, "rejected", version=3)))
    assert output["outcome"] == "nothing_to_do"
    assert weights(rollout.deployed, rollout.fleet) == {"v1": 90, "v2": 10}
    assert package_status(rollout.deployed, waiting)[0] == "PendingManualApproval"


def test_rejected_package_whose_deployment_is_at_its_checks_is_stopped_and_nothing_else(rollout: Rollout) -> None:
    deployed, fleet = rollout.deployed, rollout.fleet
    rollout.challenge(10)
    other = run(deployed, "Rollback", asked(rollout, version=1))  # waits: v2 is under way, not v1
    rollout.lock(other)
    third = register(deployed, fleet)
    approve(deployed, third)
    deployment = execution_arn(deployed, third)
    stepfunctions = deployed.client("stepfunctions")

    def waits_longer() -> bool | None:
        waits = [name for name, _ in entered(deployed, deployment) if name.startswith("Wait")]
        return True if len(waits) >= 3 else None

    until("the deployment waits for its turn", waits_longer)
    rollout.lock(deployment)  # as if it had its turn now; nothing of it is under way yet
    output = output_of(deployed, run(deployed, "Rollback", asked(rollout, "rejected", version=3)))
    assert output["outcome"] == "nothing_to_do"
    assert ended(deployed, third)["status"] == "ABORTED"
    assert "LOCK" not in fleet_items(deployed, fleet)
    assert weights(deployed, fleet) == {"v1": 90, "v2": 10}
    stepfunctions.stop_execution(executionArn=other)


def test_rollback_waits_for_another_one_and_finds_nothing_to_do_when_that_has_done_it(rollout: Rollout) -> None:
    deployed = rollout.deployed
    rollout.challenge(10)
    other = run(deployed, "Rollback", asked(rollout, version=1))  # waits: v2 is under way, not v1
    rollout.lock(other)
    waiting = run(deployed, "Rollback", asked(rollout, version=2))
    with pytest.raises(AssertionError, match="not within"):
        end_of(deployed, waiting, seconds=3)
    assert weights(deployed, rollout.fleet) == {"v1": 90, "v2": 10}

    deployed.client("stepfunctions").stop_execution(executionArn=other)  # its lock is nobody's now
    assert output_of(deployed, waiting)["outcome"] == "rolled_back"
    assert_stands_alone(rollout, rollout.champion)


def test_two_rollbacks_at_once_go_back_by_one_version(rollout: Rollout) -> None:
    """Neither says which version; the second must not take the champion for it once the first is done."""
    deployed = rollout.deployed
    under_way = rollout.challenge(10)
    rollout.record(champion=rollout.champion, predecessor={**rollout.champion, "version": 0}, under_way=under_way)
    executions = [run(deployed, "Rollback", asked(rollout)) for _ in range(2)]
    outcomes = sorted(output_of(deployed, execution)["outcome"] for execution in executions)
    assert outcomes == ["nothing_to_do", "rolled_back"]
    assert_stands_alone(rollout, rollout.champion)


def test_deployment_that_runs_is_stopped_and_one_that_is_aborted_is_rolled_back_by_the_rule(rollout: Rollout) -> None:
    deployed, fleet = rollout.deployed, rollout.fleet
    stepfunctions = deployed.client("stepfunctions")
    second = register(deployed, fleet)
    approve(deployed, second, HOLDING)
    wait_for_phase(deployed, fleet, "hold")
    rollback = run(deployed, "Rollback", asked(rollout, version=2))
    output = output_of(deployed, rollback)

    assert (output["outcome"], output["version"], output["champion"]) == ("rolled_back", 2, 1)
    assert went_back_by_weights(deployed, rollback)
    stopped = ended(deployed, second)
    assert stopped["status"] == "ABORTED"
    assert "its answers are wrong" in stopped["cause"]
    assert package_status(deployed, second)[0] == "Rejected"

    approve(deployed, second, HOLDING)  # approved again, it is deployed again
    wait_for_phase(deployed, fleet, "hold")
    stepfunctions.stop_execution(executionArn=execution_arn(deployed, second, 2))
    until(
        "nothing is under way",
        lambda: None if "under_way" in fleet_items(deployed, fleet)["DEPLOYMENT"] else True,
        seconds=600,
    )
    until("the lock is free", lambda: None if "LOCK" in fleet_items(deployed, fleet) else True)
    assert weights(deployed, fleet) == {"v1": 1}
    outcomes = [(record["kind"], record["outcome"]) for record in history(deployed, fleet)]
    assert sorted(outcomes) == [("deployment", "rolled_back")] * 2 + [("rollback", "rolled_back")] * 2
    assert any("ended ABORTED" in record["reason"] for record in history(deployed, fleet))
    # The rollback writes the record of a deployment that could not do so itself.
    assert all(record["first_traffic_at"] for record in history(deployed, fleet) if record["kind"] == "deployment")


def test_rollback_that_stops_a_deployment_is_the_one_that_takes_it_back(rollout: Rollout) -> None:
    """The deployment's end starts another rollback, by the rule: however slowly this one goes on, that one waits."""
    deployed, fleet = rollout.deployed, rollout.fleet
    stepfunctions = deployed.client("stepfunctions")
    machine = stepfunctions.describe_state_machine(stateMachineArn=deployed.outputs["RollbackStateMachineArn"])
    definition = json.loads(machine["definition"])
    states = definition["States"]
    states["Slowly"] = {"Type": "Wait", "Seconds": 10, "Next": states["StopDeployment"]["Next"]}
    states["StopDeployment"]["Next"] = "Slowly"
    copy = stepfunctions.create_state_machine(
        name=f"onwing-rollback-{fleet}", definition=json.dumps(definition), roleArn=machine["roleArn"]
    )
    second = register(deployed, fleet)
    approve(deployed, second, HOLDING)
    wait_for_phase(deployed, fleet, "hold")

    started = stepfunctions.start_execution(
        stateMachineArn=copy["stateMachineArn"], input=json.dumps(asked(rollout, version=2))
    )
    output = output_of(deployed, started["executionArn"])
    assert (output["outcome"], output["version"], output["champion"]) == ("rolled_back", 2, 1)
    assert ended(deployed, second)["status"] == "ABORTED"
    assert weights(deployed, fleet) == {"v1": 1}
