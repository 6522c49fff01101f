"""The backup machine: one document an endpoint, with all that it takes to build it again."""

from __future__ import annotations

import json

import pytest

from tests.deployed import Deployed, new_fleet
from tests.integration.rollouts import Rollout, failure_of, output_of, run

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(1800)


def test_backup_has_all_that_it_takes_to_build_the_endpoint_again(deployed: Deployed, fleet: str) -> None:
    rollout = Rollout(deployed, fleet)
    champion = rollout.serve()
    output = output_of(deployed, run(deployed, "Backup", {"fleets": [fleet], "reason": "test"}))
    key = deployed.keys(f"backups/{rollout.endpoint}/")[-1]
    assert output == {"backups": [{"fleet": fleet, "endpoint": rollout.endpoint, "key": key}]}

    document = json.loads(deployed.read(key))
    assert (document["schema"], document["endpoint"], document["reason"]) == (1, rollout.endpoint, "test")
    assert document["deployment"] == {"champion": champion, "predecessor": None}
    assert document["config"]["EndpointConfigName"] == champion["config"]
    assert [each["ModelName"] for each in document["config"]["ProductionVariants"]] == [champion["model"]]
    assert document["weights"] == {"v1": 1}
    assert [each["ModelName"] for each in document["models"]] == [champion["model"]]
    assert document["models"][0]["PrimaryContainer"]["ModelDataUrl"].startswith("s3://")
    assert {each["AlarmName"] for each in document["alarms"]} == {rollout.drift_alarm, *rollout.alarms_of("v1")}
    assert {"Key": "onwing:fleet", "Value": fleet} in document["tags"]


def test_daily_backup_is_of_every_endpoint_and_one_that_fails_does_not_keep_the_others(
    deployed: Deployed, fleet: str
) -> None:
    good, broken = Rollout(deployed, fleet), Rollout(deployed, new_fleet())
    good.serve()
    broken.serve()
    sagemaker = deployed.client("sagemaker")
    sagemaker.delete_model(ModelName=broken.champion["model"])
    cause = failure_of(deployed, run(deployed, "Backup", {"reason": "daily"}))
    sagemaker.delete_endpoint(EndpointName=broken.endpoint)  # other tests share the stack

    assert f"{broken.endpoint}: {broken.champion['model']}" in cause
    assert good.endpoint in cause.split("Backed up: ")[1]
    newest = json.loads(deployed.read(deployed.keys(f"backups/{good.endpoint}/")[-1]))
    assert newest["reason"] == "daily"
    assert len(deployed.keys(f"backups/{broken.endpoint}/")) == 1
    message = deployed.alert("backup failed", broken.endpoint)["Message"]
    assert "onwing backup" in message


def test_during_a_canary_both_models_are_kept_and_the_champion_is_named(deployed: Deployed, fleet: str) -> None:
    rollout = Rollout(deployed, fleet)
    rollout.serve()
    rollout.challenge(10)
    [written] = output_of(deployed, run(deployed, "Backup", {"fleets": [fleet], "reason": "test"}))["backups"]
    document = json.loads(deployed.read(written["key"]))
    assert document["weights"] == {"v1": 90, "v2": 10}
    assert {each["ModelName"] for each in document["models"]} == {
        rollout.champion["model"],
        rollout.challenger["model"],
    }
    assert document["deployment"]["champion"]["version"] == 1


def test_fleet_without_a_champion_is_named(deployed: Deployed, fleet: str) -> None:
    cause = failure_of(deployed, run(deployed, "Backup", {"fleets": [fleet], "reason": "test"}))
    assert f"fleet {fleet} has no champion" in cause
