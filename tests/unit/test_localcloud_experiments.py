"""Experiments, trials and components: made by hand, and by jobs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers.processes import ContainerSpec
from localcloud.errors import ResourceLimitExceeded, ResourceNotFound, ValidationException
from localcloud.sagemaker.quotas import TRIAL_COMPONENTS

from .localcloud_bench import SCOPE, Bench, channel


def group(bench: Bench, experiment: str = "exp", trial: str = "try") -> None:
    bench.call("CreateExperiment", ExperimentName=experiment, Description="why")
    bench.call("CreateTrial", ExperimentName=experiment, TrialName=trial)


def names(bench: Bench, operation: str, **request: Any) -> list[str]:
    stem = operation.removeprefix("List").removesuffix("s")
    return [each[f"{stem}Name"] for each in bench.call(operation, **request)[f"{stem}Summaries"]]


def test_experiments_are_described_updated_and_listed(bench: Bench) -> None:
    group(bench)
    bench.call("CreateExperiment", ExperimentName="other", Tags=[{"Key": "team", "Value": "x"}])
    bench.call("UpdateExperiment", ExperimentName="exp", DisplayName="An-experiment")
    described = bench.call("DescribeExperiment", ExperimentName="exp")
    assert (described["DisplayName"], described["Description"]) == ("An-experiment", "why")
    assert described["ExperimentArn"] == f"arn:aws:sagemaker:eu-west-1:{SCOPE.account}:experiment/exp"
    assert names(bench, "ListExperiments", SortBy="Name", SortOrder="Ascending") == ["exp", "other"]
    assert names(bench, "ListExperiments", CreatedAfter=4e9) == []
    assert names(bench, "ListTrials", ExperimentName="exp") == ["try"]
    assert names(bench, "ListTrials", ExperimentName="other") == []
    arn = bench.call("DescribeExperiment", ExperimentName="other")["ExperimentArn"]
    assert bench.call("ListTags", ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "x"}]


def test_names_are_unique_and_unknown_ones_are_not_found(bench: Bench) -> None:
    group(bench)
    with pytest.raises(ValidationException, match="already exists"):
        bench.call("CreateExperiment", ExperimentName="exp")
    with pytest.raises(ResourceNotFound, match="experiment/nobody' does not exist"):
        bench.call("CreateTrial", ExperimentName="nobody", TrialName="t")
    with pytest.raises(ResourceNotFound):
        bench.call("DescribeTrialComponent", TrialComponentName="nobody")


def test_deletion_goes_from_the_inside_outwards(bench: Bench) -> None:
    group(bench)
    bench.call("CreateTrialComponent", TrialComponentName="run")
    bench.call("AssociateTrialComponent", TrialComponentName="run", TrialName="try")
    bench.call("AssociateTrialComponent", TrialComponentName="run", TrialName="try")
    for operation, member in (("Experiment", "exp"), ("Trial", "try"), ("TrialComponent", "run")):
        with pytest.raises(ValidationException, match="cannot be deleted"):
            bench.call(f"Delete{operation}", **{f"{operation}Name": member})
    bench.call("DisassociateTrialComponent", TrialComponentName="run", TrialName="try")
    with pytest.raises(ResourceNotFound, match="not associated"):
        bench.call("DisassociateTrialComponent", TrialComponentName="run", TrialName="try")
    for operation, member in (("TrialComponent", "run"), ("Trial", "try"), ("Experiment", "exp")):
        bench.call(f"Delete{operation}", **{f"{operation}Name": member})
    assert names(bench, "ListExperiments") == []


def test_parameters_of_a_component_are_merged_and_removed(bench: Bench) -> None:
    bench.call("CreateTrialComponent", TrialComponentName="run", Parameters={"a": {"NumberValue": 1.0}})
    bench.call(
        "UpdateTrialComponent",
        TrialComponentName="run",
        Parameters={"b": {"StringValue": "x"}},
        Status={"PrimaryStatus": "Completed"},
    )
    bench.call("UpdateTrialComponent", TrialComponentName="run", ParametersToRemove=["a"])
    described = bench.call("DescribeTrialComponent", TrialComponentName="run")
    assert described["Parameters"] == {"b": {"StringValue": "x"}}
    assert described["Status"] == {"PrimaryStatus": "Completed"}


def test_measurements_become_statistics(bench: Bench) -> None:
    bench.call("CreateTrialComponent", TrialComponentName="run")
    when = datetime(2026, 1, 1, tzinfo=UTC)
    points = [("loss", value, when) for value in (4.0, 2.0, 3.0)]
    bench.sagemaker.trial_components.put_metrics(SCOPE, "run", points)
    [metric] = bench.call("DescribeTrialComponent", TrialComponentName="run")["Metrics"]
    assert (metric["Min"], metric["Max"], metric["Last"], metric["Avg"], metric["Count"]) == (2.0, 4.0, 3.0, 3.0, 3)
    assert metric["StdDev"] == pytest.approx((2 / 3) ** 0.5)


def test_a_trial_takes_fifty_components_made_by_hand(tmp_path: Path) -> None:
    bench = Bench(tmp_path, quotas={TRIAL_COMPONENTS: 1})
    group(bench)
    for name in ("one", "two"):
        bench.call("CreateTrialComponent", TrialComponentName=name)
    bench.call("AssociateTrialComponent", TrialComponentName="one", TrialName="try")
    with pytest.raises(ResourceLimitExceeded, match=r"allowed in a single trial.* is 1 Trial Components"):
        bench.call("AssociateTrialComponent", TrialComponentName="two", TrialName="try")
    bench.sagemaker.close()


def test_training_job_is_a_component_of_its_trial(bench: Bench) -> None:
    group(bench)
    bench.s3.objects = {"s3://bucket/data/x": b""}

    def act(spec: ContainerSpec, say: Any) -> int:
        say("loss=4")
        say("loss=2")
        (spec.base_dir / "model/m").write_text("weights")
        return 0

    bench.runtime.act = act
    bench.train(
        HyperParameters={"depth": "3", "kind": "tree"},
        InputDataConfig=[channel("s3://bucket/data/", ContentType="text/csv")],
        ExperimentConfig={"ExperimentName": "exp", "TrialName": "try", "TrialComponentDisplayName": "First"},
    )
    job = bench.ended()
    assert names(bench, "ListTrialComponents", TrialName="try") == ["job-aws-training-job"]
    assert names(bench, "ListTrialComponents", SourceArn=job["TrainingJobArn"]) == ["job-aws-training-job"]
    described = bench.call("DescribeTrialComponent", TrialComponentName="job-aws-training-job")
    assert described["DisplayName"] == "First"
    assert described["Source"] == {"SourceArn": job["TrainingJobArn"], "SourceType": "SageMakerTrainingJob"}
    assert described["Status"] == {
        "PrimaryStatus": "Completed",
        "Message": "Status: Completed, secondary status: Completed, failure reason: .",
    }
    assert (described["StartTime"], described["EndTime"]) == (job["TrainingStartTime"], job["TrainingEndTime"])
    parameters = described["Parameters"]
    assert (parameters["depth"], parameters["kind"]) == ({"NumberValue": 3.0}, {"StringValue": "tree"})
    assert parameters["SageMaker.InstanceType"] == {"StringValue": "ml.m5.large"}
    assert described["InputArtifacts"]["train"] == {"Value": "s3://bucket/data/", "MediaType": "text/csv"}
    assert described["InputArtifacts"]["SageMaker.ImageUri"] == {"Value": "stub:1"}
    assert described["OutputArtifacts"]["SageMaker.ModelArtifact"]["Value"].endswith("/job/output/model.tar.gz")
    [metric] = described["Metrics"]
    assert (metric["MetricName"], metric["Min"], metric["Max"], metric["Last"], metric["Count"]) == (
        *("loss", 2.0, 4.0, 2.0),
        2,
    )
    [result] = bench.call(
        "Search",
        Resource="ExperimentTrialComponent",
        SearchExpression={"Filters": [{"Name": "Parents.ExperimentName", "Operator": "Equals", "Value": "exp"}]},
    )["Results"]
    assert result["TrialComponent"]["Parents"] == [{"ExperimentName": "exp", "TrialName": "try"}]
    assert result["TrialComponent"]["SourceDetail"]["TrainingJob"]["TrainingJobName"] == "job"


def test_processing_job_without_a_trial_gets_one_and_a_failed_one_says_so(bench: Bench) -> None:
    group(bench)
    bench.runtime.act = lambda spec, say: 3
    target = {"S3Uri": "s3://bucket/out", "LocalPath": "/opt/ml/processing/out", "S3UploadMode": "EndOfJob"}
    bench.process(
        ExperimentConfig={"ExperimentName": "exp"},
        ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": target}]},
    )
    bench.ended(kind="Processing")
    assert names(bench, "ListTrials", TrialComponentName="job-aws-processing-job") == ["job-aws-trial"]
    assert names(bench, "ListTrialComponents", ExperimentName="exp") == ["job-aws-processing-job"]
    described = bench.call("DescribeTrialComponent", TrialComponentName="job-aws-processing-job")
    assert described["OutputArtifacts"] == {"out": {"Value": "s3://bucket/out"}}
    assert described["Status"]["PrimaryStatus"] == "Failed"
    assert "AlgorithmError" in described["Status"]["Message"]


def test_job_of_an_experiment_that_is_not_there_does_not_start(bench: Bench) -> None:
    with pytest.raises(ResourceNotFound):
        bench.train(ExperimentConfig={"ExperimentName": "nobody"}, Tags=[{"Key": "k", "Value": "v"}])
    assert bench.call("ListTrainingJobs")["TrainingJobSummaries"] == []
    assert names(bench, "ListTrialComponents") == []


def test_component_of_a_job_that_a_restart_cut_off_has_failed(bench: Bench, tmp_path: Path) -> None:
    group(bench)
    bench.runtime.act = lambda spec, say: None
    bench.train(ExperimentConfig={"ExperimentName": "exp", "TrialName": "try"})
    kept = bench.sagemaker.platform.store.snapshot()
    restarted = Bench(tmp_path / "restarted")
    restarted.sagemaker.platform.store.restore(kept)
    restarted.sagemaker.restored()
    described = restarted.call("DescribeTrialComponent", TrialComponentName="job-aws-training-job")
    assert described["Status"]["PrimaryStatus"] == "Failed"
    assert "localcloud was stopped while the job ran" in described["Status"]["Message"]
    assert names(restarted, "ListTrialComponents", TrialName="try") == ["job-aws-training-job"]
    restarted.sagemaker.close()
