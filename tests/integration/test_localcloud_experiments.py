"""Experiments through boto3: jobs in trials, measurements through the metrics service, Search."""

import datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from .localcloud_requests import ended, processing, training, unique
from .test_client_sagemaker_sdk import run

pytestmark = pytest.mark.timeout(1800)  # the SDK's imports take their time, on a busy machine


def test_jobs_of_an_experiment_are_found_with_what_they_measured(localcloud: Cloud, bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    experiment, trial = unique("exp"), unique("trial")
    sagemaker.create_experiment(ExperimentName=experiment)
    sagemaker.create_trial(TrialName=trial, ExperimentName=experiment)
    config = {"ExperimentName": experiment, "TrialName": trial}
    sagemaker.create_training_job(
        **training(first := unique("job"), bucket, hyperparameters={"x": "2"}, ExperimentConfig=config)
    )
    sagemaker.create_processing_job(**processing(second := unique("job"), bucket, ExperimentConfig=config))
    ended(localcloud, "Training", first)
    ended(localcloud, "Processing", second)

    pages = sagemaker.get_paginator("list_trial_components").paginate(TrialName=trial, PaginationConfig={"PageSize": 1})
    names = [each["TrialComponentName"] for page in pages for each in page["TrialComponentSummaries"]]
    assert names == [f"{second}-aws-processing-job", f"{first}-aws-training-job"]
    condition = {"Name": "Metrics.val:rmse.Min", "Operator": "LessThanOrEqualTo", "Value": "1.0"}
    parents = {"Name": "Parents.TrialName", "Operator": "Equals", "Value": trial}
    [found] = sagemaker.search(Resource="ExperimentTrialComponent", SearchExpression={"Filters": [condition, parents]})[
        "Results"
    ]
    assert found["TrialComponent"]["TrialComponentName"] == f"{first}-aws-training-job"


def test_measurements_reach_a_component_through_the_metrics_service(localcloud: Cloud) -> None:
    sagemaker, metrics = localcloud.client("sagemaker"), localcloud.client("sagemaker-metrics")
    name = unique("run")
    sagemaker.create_trial_component(TrialComponentName=name)
    when = datetime.datetime.now(datetime.UTC)
    points = [{"MetricName": "loss", "Value": value, "Timestamp": when, "Step": 1} for value in (3.0, 1.0)]
    assert metrics.batch_put_metrics(TrialComponentName=name, MetricData=points)["Errors"] == []
    [metric] = sagemaker.describe_trial_component(TrialComponentName=name)["Metrics"]
    assert (metric["MetricName"], metric["Min"], metric["Last"], metric["Count"]) == ("loss", 1.0, 1.0, 2)
    with pytest.raises(ClientError) as error:
        metrics.batch_put_metrics(TrialComponentName="nobody", MetricData=points)
    assert error.value.response["Error"]["Code"] == "ResourceNotFound"


def test_runs_of_the_sagemaker_sdk_are_tracked_and_can_be_deleted(
    localcloud: Cloud, bucket: str, tmp_path: Path
) -> None:
    said = run(localcloud, tmp_path, "runs.py", experiment := unique("sdk"), bucket)
    assert said["parameters"] == {
        "depth": {"NumberValue": 3.0},
        "kind": {"StringValue": "tree"},
        "again": {"NumberValue": 1.0},
    }
    assert said["metrics"] == {"loss": [0.25, 0.25, 2]}
    assert said["artefacts"] == ["confusion"]
    left = localcloud.client("sagemaker").list_experiments(SortBy="Name")["ExperimentSummaries"]
    assert experiment not in [each["ExperimentName"] for each in left]
