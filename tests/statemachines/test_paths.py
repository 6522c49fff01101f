"""The training machine's paths, executed on the embedded cloud with jobs that do as the test says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.conftest import make_trio, table
from tests.deployed import Deployed, until


def test_good_model_is_registered_with_its_lineage_and_waits_for_approval(deployed: Deployed, fleet: str) -> None:
    deployed.put_trio(make_trio(fleet))
    execution = deployed.ended(fleet)

    assert execution["status"] == "SUCCEEDED"
    output = execution["output"]
    assert output["outcome"] == "registered"
    sagemaker = deployed.client("sagemaker")
    package = sagemaker.describe_model_package(ModelPackageName=output["package_arn"])
    assert package["ModelPackageGroupName"] == f"onwing-{fleet}"
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    metadata = package["CustomerMetadataProperties"]
    assert metadata["fleet"] == fleet
    assert metadata["dataset_version"] == output["dataset_version"]
    assert metadata["execution_arn"] == execution["executionArn"]
    assert (metadata["rmse"], metadata["phm08"], metadata["rmse_unclipped"]) == ("12.500", "300.000", "13.500")
    assert metadata["simulated"] == "false"
    [container] = package["InferenceSpecification"]["Containers"]
    sha256 = metadata["artifact_sha256"]
    assert container["ModelDataUrl"].endswith(f"/models/artifacts/{fleet}/{sha256}/model.tar.gz")
    assert deployed.keys(f"models/artifacts/{fleet}/") == [f"models/artifacts/{fleet}/{sha256}/model.tar.gz"]
    for metric in ("Statistics", "Constraints"):
        uri = package["ModelMetrics"]["ModelDataQuality"][metric]["S3Uri"]
        assert deployed.keys(uri.split("/", 3)[3])
    assert deployed.version(fleet)["status"] == "registered"
    message = deployed.alert(f"{fleet}: model registered")["Message"]
    assert output["package_arn"] in message
    assert "RMSE: 12.50 passes, limit 20.00" in message


@pytest.mark.parametrize(("figure", "value", "limit"), [("RMSE", 25.25, "20.00"), ("PHM08", 812.5, "500.00")])
def test_model_that_misses_the_gate_is_not_registered(
    deployed: Deployed, fleet: str, figure: str, value: float, limit: str
) -> None:
    deployed.plan(fleet, **{figure.lower(): value})
    deployed.put_trio(make_trio(fleet))
    execution = deployed.ended(fleet)

    assert (execution["status"], execution["output"]["outcome"]) == ("SUCCEEDED", "gate_missed")
    assert deployed.packages(fleet) == []
    assert deployed.keys(f"models/artifacts/{fleet}/") == []
    assert deployed.version(fleet)["status"] == "gate_missed"
    alert = deployed.alert(f"{fleet}: model misses the gate")
    assert f"{figure}: {value:.2f} MISSES, limit {limit}" in alert["Message"]


def test_when_all_trials_fail_the_alert_carries_their_own_message(deployed: Deployed, fleet: str) -> None:
    deployed.plan(fleet, train="learning rate 0.3 diverged in epoch 2")
    deployed.put_trio(make_trio(fleet))
    execution = deployed.ended(fleet)

    assert execution["status"] == "FAILED"
    assert "learning rate 0.3 diverged in epoch 2" in execution["cause"]
    assert deployed.packages(fleet) == []
    assert deployed.version(fleet)["status"] == "failed"
    message = deployed.alert(f"{fleet}: training failed in Tune")["Message"]
    assert "learning rate 0.3 diverged in epoch 2" in message
    assert "--again" in message


def test_when_processing_fails_the_alert_carries_its_message(deployed: Deployed, fleet: str) -> None:
    deployed.plan(fleet, process="train file: 3 engines are too few to hold one out")
    deployed.put_trio(make_trio(fleet))
    execution = deployed.ended(fleet)

    assert execution["status"] == "FAILED"
    alert = deployed.alert(f"{fleet}: training failed in Process")
    assert "3 engines are too few to hold one out" in alert["Message"]


def test_report_that_is_not_json_fails_with_an_alert(deployed: Deployed, fleet: str) -> None:
    deployed.plan(fleet, report="RMSE: NaN")
    deployed.put_trio(make_trio(fleet))

    assert deployed.ended(fleet)["status"] == "FAILED"
    deployed.alert(f"{fleet}: training failed in ReadReport")
    assert deployed.packages(fleet) == []


def test_failed_run_can_be_started_again_without_a_collision(deployed: Deployed, fleet: str) -> None:
    deployed.plan(fleet, train="out of memory")
    deployed.put_trio(make_trio(fleet))
    version = json.loads(deployed.ended(fleet)["input"])["dataset_version"]
    deployed.plan(fleet)

    answer = deployed.train(dataset_version=version[:12], again=True)
    execution = deployed.ended(fleet, count=2)

    assert answer["status"] == "started"
    assert execution["name"] == f"{fleet}-{version[:12]}-2"
    assert execution["output"]["outcome"] == "registered"


@pytest.fixture
def long_settling(deployed: Deployed) -> Iterator[None]:
    """A settle time within which a busy machine, too, takes in another file."""
    states, arn = deployed.client("stepfunctions"), deployed.outputs["TrainingStateMachineArn"]
    definition = states.describe_state_machine(stateMachineArn=arn)["definition"]
    longer = json.loads(definition)
    longer["States"]["Settle"]["Seconds"] = 20
    states.update_state_machine(stateMachineArn=arn, definition=json.dumps(longer))
    yield
    states.update_state_machine(stateMachineArn=arn, definition=definition)


@pytest.mark.usefixtures("long_settling")
def test_newer_upload_within_the_settle_time_supersedes(deployed: Deployed, fleet: str) -> None:
    deployed.put_trio(make_trio(fleet))
    until("first execution", lambda: deployed.executions(fleet) or None)
    deployed.put(f"train_{fleet}.txt", table(2, 7))
    newest = deployed.ended(fleet, count=2)

    outcomes = {
        json.loads(deployed.client("stepfunctions").describe_execution(executionArn=e["executionArn"])["output"])[
            "outcome"
        ]
        for e in deployed.executions(fleet)
    }
    assert outcomes == {"superseded", "registered"}
    assert newest["output"]["outcome"] == "registered"
    assert len(deployed.packages(fleet)) == 1


@pytest.mark.usefixtures("long_settling")
def test_version_that_comes_back_while_it_settles_is_trained_once(deployed: Deployed, fleet: str) -> None:
    trio = make_trio(fleet)
    deployed.put_trio(trio)
    until("first execution", lambda: deployed.executions(fleet) or None)
    deployed.put(f"train_{fleet}.txt", table(2, 7))
    until("second execution", lambda: len(deployed.executions(fleet)) == 2 or None)
    deployed.put(f"train_{fleet}.txt", trio.train)
    deployed.ended(fleet, count=2)

    until("one package", lambda: len(deployed.packages(fleet)) == 1 or None)
    manifest = json.loads(deployed.read(f"data/versions/{_trained_version(deployed, fleet)}.json"))
    assert manifest["files"]["train"]["rows"] == 12


def _trained_version(deployed: Deployed, fleet: str) -> str:
    [package] = deployed.packages(fleet)
    described = deployed.client("sagemaker").describe_model_package(ModelPackageName=package["ModelPackageArn"])
    return str(described["CustomerMetadataProperties"]["dataset_version"])


def test_files_that_do_not_fit_together_are_reported_and_not_trained(deployed: Deployed, fleet: str) -> None:
    trio = make_trio(fleet, engines=3)
    for name, body in trio.files.items():
        deployed.put(name, b"10 \n11 \n" if name.startswith("RUL") else body)
    execution = deployed.ended(fleet)

    assert execution["output"]["outcome"] == "inconsistent"
    alert = deployed.alert(f"{fleet}: files do not fit together")
    assert f"RUL_{fleet}.txt has 2 rows but test_{fleet}.txt has 3 engines" in alert["Message"]
    assert not [
        job
        for job in deployed.client("sagemaker").list_processing_jobs(MaxResults=100)["ProcessingJobSummaries"]
        if f"-{fleet}-" in job["ProcessingJobName"]
    ]


def test_scheduled_run_ends_as_unchanged_and_trains_again_only_on_new_data(deployed: Deployed, fleet: str) -> None:
    deployed.put_trio(make_trio(fleet))
    package = deployed.ended(fleet)["output"]["package_arn"]

    deployed.train(trigger="schedule")
    assert deployed.ended(fleet, count=2)["output"]["outcome"] == "unchanged"

    deployed.client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    deployed.train(trigger="schedule")
    assert deployed.ended(fleet, count=3)["output"]["outcome"] == "unchanged"
    assert len(deployed.packages(fleet)) == 1


def test_challenger_worse_than_the_champion_on_the_same_engines_misses_the_gate(deployed: Deployed, fleet: str) -> None:
    deployed.put_trio(make_trio(fleet))
    package = deployed.ended(fleet)["output"]["package_arn"]
    deployed.client("sagemaker").update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")

    deployed.plan(fleet, rmse=12.61, champion_rmse=12.0)
    deployed.put(f"train_{fleet}.txt", table(2, 7))
    assert deployed.ended(fleet, count=2)["output"]["outcome"] == "gate_missed"
    message = deployed.alert(f"{fleet}: model misses the gate")["Message"]
    assert "RMSE against the champion: 12.61 MISSES, limit 12.60" in message

    deployed.plan(fleet, rmse=12.59, champion_rmse=12.0)
    deployed.train(fleet=fleet, again=True)
    assert deployed.ended(fleet, count=3)["output"]["outcome"] == "registered"
    assert len(deployed.packages(fleet)) == 2


def test_overrides_reach_the_jobs_and_the_gate(deployed: Deployed, fleet: str) -> None:
    deployed.put_trio(make_trio(fleet))
    deployed.ended(fleet)
    overrides = {"sequence_length": 30, "lstm_units_1": 40, "epochs": 7, "max_jobs": 1, "rmse_threshold": 12.4}
    deployed.train(fleet=fleet, again=True, overrides=overrides)
    output = deployed.ended(fleet, count=2)["output"]

    assert output["outcome"] == "gate_missed"
    assert output["verdicts"][0]["limit"] == 12.4
    sagemaker = deployed.client("sagemaker")
    trials = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=f"{output['run']}-00"
    )["TrainingJobSummaries"]
    assert len(trials) == 1
    parameters = sagemaker.describe_training_job(TrainingJobName=trials[0]["TrainingJobName"])["HyperParameters"]
    assert (parameters["sequence_length"], parameters["lstm_units_1"], parameters["epochs"]) == ("30", "40", "7")
    assert 32 <= int(parameters["lstm_units_2"]) <= 128
    tuned = trials[0]["TunedHyperParameters"]
    assert set(tuned) == {"lstm_units_2", "batch_size", "dropout_rate", "learning_rate"}


def test_aborted_execution_alerts_though_no_state_could(deployed: Deployed, fleet: str) -> None:
    deployed.plan(fleet, hold=True)
    deployed.put_trio(make_trio(fleet))
    [execution] = until("execution", lambda: deployed.executions(fleet) or None)
    deployed.client("stepfunctions").stop_execution(executionArn=execution["executionArn"])

    message = deployed.alert(f"{execution['name']} ended ABORTED")["Message"]
    assert execution["executionArn"] in message
    assert deployed.packages(fleet) == []


def test_job_names_are_unique_and_carry_the_fleet(deployed: Deployed, fleet: str) -> None:
    deployed.put_trio(make_trio(fleet))
    run = deployed.ended(fleet)["output"]["run"]

    assert re.fullmatch(rf"onwing-{fleet}-[0-9a-f]{{8}}", run)
    sagemaker = deployed.client("sagemaker")
    for name in (f"{run}-process-00", f"{run}-evaluate-00"):
        assert sagemaker.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"] == "Completed"
