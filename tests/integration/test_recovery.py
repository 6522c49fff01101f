"""The recovery machine: an endpoint that is gone, broken or another one, built again from its backup."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.deployed import Deployed, until
from tests.integration.deployments import describe, history, made_for, weights
from tests.integration.rollouts import Rollout, end_of, failure_of, output_of, run
from tests.packages import fleet_items

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)


@pytest.fixture
def rollout(deployed: Deployed, fleet: str) -> Rollout:
    """A fleet whose first version serves and is backed up."""
    made = Rollout(deployed, fleet)
    made.serve()
    return made


def restored(rollout: Rollout, **more: Any) -> dict[str, Any]:
    """The output of a recovery, which must succeed."""
    request = {"fleet": rollout.fleet, "plan_only": False, "reason": "a drill", **more}
    output: dict[str, Any] = output_of(rollout.deployed, run(rollout.deployed, "Recovery", request))
    return output


def delete_endpoint(rollout: Rollout) -> None:
    """Delete it and wait until it is gone."""
    rollout.deployed.client("sagemaker").delete_endpoint(EndpointName=rollout.endpoint)
    until("it is gone", lambda: None if rollout.exists() else True)


def test_drill_endpoint_configuration_and_model_are_lost_and_predict_the_same_again(rollout: Rollout) -> None:
    deployed, fleet, champion = rollout.deployed, rollout.fleet, rollout.champion
    sagemaker = deployed.client("sagemaker")
    answers = rollout.predictions()
    delete_endpoint(rollout)
    sagemaker.delete_endpoint_config(EndpointConfigName=champion["config"])
    sagemaker.delete_model(ModelName=champion["model"])
    deployed.client("cloudwatch").delete_alarms(AlarmNames=[rollout.drift_alarm, *rollout.alarms_of("v1")])

    planned = restored(rollout, plan_only=True)
    assert planned["outcome"] == "planned"
    assert planned["backup"] == champion["backup"]
    assert planned["plan"] == [
        f"create model {champion['model']}",
        f"create endpoint configuration {rollout.endpoint}-v1-… in which v1 stands alone",
        f"create endpoint {rollout.endpoint}",
        f"create alarm {rollout.drift_alarm}",
        f"create alarm {rollout.endpoint}-v1-errors-5xx",
        f"create alarm {rollout.endpoint}-v1-model-latency",
    ]
    assert made_for(deployed, fleet) == {"models": set(), "configs": set(), "alarms": set()}
    assert not rollout.exists()

    output = restored(rollout)
    assert (output["outcome"], output["champion"], output["plan"]) == ("recovered", 1, planned["plan"])
    assert rollout.predictions() == answers
    made, items = made_for(deployed, fleet), fleet_items(deployed, fleet)
    recorded = items["DEPLOYMENT"]["champion"]
    assert made["models"] == {champion["model"]}
    assert made["configs"] == {recorded["config"]} != {champion["config"]}
    assert len(made["alarms"]) == 3
    assert recorded == {**champion, "config": recorded["config"]}
    assert "LOCK" not in items
    arn = describe(deployed, fleet)["EndpointArn"]
    assert {"Key": "onwing:fleet", "Value": fleet} in sagemaker.list_tags(ResourceArn=arn)["Tags"]
    assert [(record["kind"], record["outcome"]) for record in history(deployed, fleet)] == [("recovery", "recovered")]
    message = deployed.alert(f"{fleet}: endpoint restored with v1")["Message"]
    assert champion["backup"] in message
    assert f"create endpoint {rollout.endpoint}" in message

    again = restored(rollout)
    assert (again["outcome"], again["plan"]) == ("intact", [])
    assert describe(deployed, fleet)["EndpointConfigName"] == recorded["config"]


def test_alarm_that_monitoring_deletes_while_the_endpoint_is_made_is_there_in_the_end(rollout: Rollout) -> None:
    deployed = rollout.deployed
    delete_endpoint(rollout)
    stepfunctions = deployed.client("stepfunctions")
    machine = stepfunctions.describe_state_machine(stateMachineArn=deployed.outputs["RecoveryStateMachineArn"])
    definition = json.loads(machine["definition"])
    definition["States"]["FindAlarmsThere"]["Assign"] = {"missing_alarms": []}  # it was still there then
    deployed.client("cloudwatch").delete_alarms(AlarmNames=[rollout.drift_alarm])
    copy = stepfunctions.create_state_machine(
        name=f"onwing-recovery-{rollout.fleet}", definition=json.dumps(definition), roleArn=machine["roleArn"]
    )
    started = stepfunctions.start_execution(
        stateMachineArn=copy["stateMachineArn"], input=json.dumps({"fleet": rollout.fleet, "plan_only": False})
    )
    assert output_of(deployed, started["executionArn"])["outcome"] == "recovered"
    assert rollout.drift_alarm in made_for(deployed, rollout.fleet)["alarms"]


def test_given_backup_replaces_what_serves_and_ends_what_is_under_way(rollout: Rollout) -> None:
    deployed, fleet = rollout.deployed, rollout.fleet
    first, answers = rollout.champion["backup"], rollout.predictions()
    rollout.challenge(100, {"offset": 30}, phase="soak")
    output_of(deployed, run(deployed, "Backup", {"fleets": [fleet], "reason": "of the other version"}))
    assert rollout.predictions() != answers

    output = restored(rollout, backup=first)
    assert (output["outcome"], output["champion"], output["backup"]) == ("recovered", 1, first)
    canary = f"{rollout.challenger['model']}-canary"
    assert output["plan"] == [
        f"create endpoint configuration {rollout.endpoint}-v1-… in which v1 stands alone",
        f"update endpoint {rollout.endpoint}, which serves {canary}",
        "end the deployment of v2, which is under way",
        "record v1 as champion, where v2 stands",
    ]
    assert rollout.predictions() == answers
    assert weights(deployed, fleet) == {"v1": 1}
    made = made_for(deployed, fleet)
    assert made["models"] == {rollout.champion["model"]}
    assert made["alarms"] == {rollout.drift_alarm, *rollout.alarms_of("v1")}
    assert len(made["alarms"]) == 3
    items = fleet_items(deployed, fleet)
    assert items["DEPLOYMENT"]["champion"]["version"] == 1
    assert {"under_way", "predecessor"} & set(items["DEPLOYMENT"]) == set()
    newest = json.loads(deployed.read(deployed.keys(f"backups/{rollout.endpoint}/")[-1]))
    assert newest["deployment"]["champion"]["version"] == 1  # not the one that was left


def test_failed_endpoint_is_deleted_and_made_anew(rollout: Rollout) -> None:
    deployed = rollout.deployed
    delete_endpoint(rollout)
    broken = rollout.make({"mode": "crash"}, config=True)
    deployed.client("sagemaker").create_endpoint(
        EndpointName=rollout.endpoint, EndpointConfigName=broken["config"], Tags=rollout.tags()
    )
    rollout.settled("Failed")
    output = restored(rollout)
    assert output["outcome"] == "recovered"
    assert any("which is Failed" in line for line in output["plan"])
    assert describe(deployed, rollout.fleet)["EndpointStatus"] == "InService"
    assert weights(deployed, rollout.fleet) == {"v1": 1}


def test_endpoint_that_is_lost_in_mid_canary_is_restored_as_the_rollback_says(rollout: Rollout) -> None:
    deployed, fleet = rollout.deployed, rollout.fleet
    answers = rollout.predictions()
    rollout.challenge(10, {"offset": 30})
    delete_endpoint(rollout)
    request = {"fleet": fleet, "trigger": "manual", "reason": "it does not answer"}
    assert "EndpointMissing" in failure_of(deployed, run(deployed, "Rollback", request))
    message = deployed.alert(f"{fleet}: rollback failed")["Message"]
    for part in ("it does not answer", "NOT certain", f"onwing restore {fleet}", "VariantName=v1,DesiredWeight=1"):
        assert part in message

    output = restored(rollout)
    assert output["plan"][-1] == "end the deployment of v2, which is under way"
    assert rollout.predictions() == answers
    assert made_for(deployed, fleet)["models"] == {rollout.champion["model"]}
    assert "under_way" not in fleet_items(deployed, fleet)["DEPLOYMENT"]
    outcomes = [(record["kind"], record["outcome"]) for record in history(deployed, fleet)]
    assert outcomes == [("rollback", "failed"), ("recovery", "recovered")]


def test_recovery_waits_for_whoever_works_on_the_endpoint(rollout: Rollout) -> None:
    deployed = rollout.deployed
    delete_endpoint(rollout)
    rollout.challenger = rollout.make(config=False)
    rollout.record(champion=rollout.champion, under_way=rollout.under_way(0, "none", "creating"))
    request = {"fleet": rollout.fleet, "trigger": "manual", "reason": "waits", "version": 1}
    other = run(deployed, "Rollback", request)  # waits: v2 is under way, not v1
    rollout.lock(other)
    waiting = run(deployed, "Recovery", {"fleet": rollout.fleet, "plan_only": False})
    with pytest.raises(AssertionError, match="not within"):
        end_of(deployed, waiting, seconds=3)
    assert not rollout.exists()
    deployed.client("stepfunctions").stop_execution(executionArn=other)
    assert output_of(deployed, waiting)["outcome"] == "recovered"


def test_backup_that_cannot_be_used_is_named_with_the_reason(rollout: Rollout) -> None:
    deployed, bucket = rollout.deployed, rollout.deployed.outputs["BucketName"]
    whole = json.loads(deployed.read(rollout.champion["backup"]))
    prefix = f"backups/{rollout.endpoint}"
    wrong = {
        f"{prefix}/broken.json": ("not json", "is not JSON"),
        f"{prefix}/schema.json": (json.dumps({**whole, "schema": 2}), "not a backup of schema 1"),
        f"{prefix}/models.json": (json.dumps({**whole, "models": []}), f"lacks the model {rollout.champion['model']}"),
        f"{prefix}/none.json": (None, f"There is no backup {prefix}/none.json"),
        "backups/onwing-OTHER/1.json": (None, f"is no backup of {rollout.endpoint}"),
    }
    for key, (body, _reason) in wrong.items():
        if body is not None:
            deployed.client("s3").put_object(Bucket=bucket, Key=key, Body=body.encode())
    executions = {
        key: run(deployed, "Recovery", {"fleet": rollout.fleet, "backup": key, "plan_only": False}) for key in wrong
    }
    for key, (_body, reason) in wrong.items():
        assert reason in failure_of(deployed, executions[key])
    message = deployed.alert(f"{rollout.fleet}: restoring failed", "is not JSON")["Message"]
    assert "onwing restore" in message
    assert weights(deployed, rollout.fleet) == {"v1": 1}


def test_fleet_without_a_backup_is_told_what_to_do_instead(deployed: Deployed, fleet: str) -> None:
    cause = failure_of(deployed, run(deployed, "Recovery", {"fleet": fleet, "plan_only": True}))
    assert f"There is no backup of onwing-{fleet}" in cause
    assert "onwing approve" in cause
