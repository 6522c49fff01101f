"""Search expressions over resources' properties."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.containers.processes import ContainerSpec
from localcloud.errors import ValidationException

from .localcloud_bench import Bench, channel


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Three jobs: a with loss 1, b with loss 2, c failed."""
    directory: Path = tmp_path_factory.mktemp("search")
    bench = Bench(directory)
    bench.s3.objects = {"s3://bucket/a/x": b"", "s3://bucket/b/x": b"", "s3://bucket/c/x": b""}

    def act(spec: ContainerSpec, say: Any) -> int:
        loss = {"a": "1", "b": "2"}.get(spec.name)
        if loss is None:
            return 1
        say(f"loss={loss}")
        return 0

    bench.runtime.act = act
    for number, name in enumerate("abc"):
        bench.train(
            name,
            HyperParameters={"depth": str(number), "kind.of": "tree"},
            InputDataConfig=[
                channel(f"s3://bucket/{name}/"),
                channel("s3://bucket/a/", "other", ContentType=f"t/{name}"),
            ],
            Tags=[{"Key": "team", "Value": "x" if name == "a" else "y"}],
        )
        bench.ended(name)
    yield bench
    bench.sagemaker.close()


def found(bench: Bench, *filters: tuple[str, ...], resource: str = "TrainingJob", **more: Any) -> str:
    """Names of what a search finds; filters: name, operator, value."""
    members = ("Name", "Operator", "Value")
    expression = {"Filters": [dict(zip(members, each, strict=False)) for each in filters], **more.pop("expression", {})}
    if not filters:
        del expression["Filters"]
    if expression:
        more["SearchExpression"] = expression
    answer = bench.call("Search", Resource=resource, SortOrder="Ascending", **more)
    assert answer["TotalHits"]["Value"] == len(answer["Results"])
    return "".join(result["TrainingJob"]["TrainingJobName"] for result in answer["Results"])


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (("TrainingJobName", "Equals", "b"), "b"),
        (("TrainingJobStatus", "NotEquals", "Failed"), "ab"),
        (("TrainingJobStatus", "In", "Failed, Stopped"), "c"),
        (("AlgorithmSpecification.TrainingImage", "Contains", "STUB"), "abc"),
        (("HyperParameters.depth", "GreaterThan", "0"), "bc"),
        (("HyperParameters.kind.of", "Equals", "tree"), "abc"),
        (("Metrics.loss", "LessThanOrEqualTo", "1"), "a"),
        (("Metrics.loss", "Exists"), "ab"),
        (("FailureReason", "NotExists"), "ab"),
        (("CreationTime", "GreaterThan", "2020-01-01T00:00:00Z"), "abc"),
        (("Tags.team", "Equals", "y"), "bc"),
        (("InputDataConfig.ContentType", "Equals", "t/c"), "c"),
        (("NoSuchThing", "Equals", "1"), ""),
    ],
)
def test_conditions(jobs: Bench, condition: tuple[str, ...], names: str) -> None:
    assert found(jobs, condition) == names


def test_conditions_are_joined_by_and_unless_or_is_asked_for(jobs: Bench) -> None:
    one, other = ("TrainingJobName", "Equals", "a"), ("TrainingJobStatus", "Equals", "Failed")
    assert found(jobs, one, other) == ""
    assert found(jobs, one, other, expression={"Operator": "Or"}) == "ac"
    inner = {"Filters": [{"Name": "TrainingJobName", "Value": "b"}]}
    assert found(jobs, one, expression={"Operator": "Or", "SubExpressions": [inner]}) == "ab"


def test_nested_filters_hold_for_one_element(jobs: Bench) -> None:
    def nested(content: str) -> dict[str, Any]:
        uri = "InputDataConfig.DataSource.S3DataSource.S3Uri"
        filters = [
            {"Name": uri, "Operator": "Equals", "Value": "s3://bucket/a/"},
            {"Name": "InputDataConfig.ContentType", "Operator": "Equals", "Value": content},
        ]
        return {"NestedFilters": [{"NestedPropertyName": "InputDataConfig", "Filters": filters}]}

    assert found(jobs, expression=nested("t/b")) == "b"
    assert found(jobs, expression=nested("t/none")) == ""


def test_results_come_sorted_and_in_pages(jobs: Bench) -> None:
    first = jobs.call("Search", Resource="TrainingJob", SortBy="TrainingJobName", MaxResults=2)
    assert [each["TrainingJob"]["TrainingJobName"] for each in first["Results"]] == ["c", "b"]
    rest = jobs.call(
        "Search", Resource="TrainingJob", SortBy="TrainingJobName", MaxResults=2, NextToken=first["NextToken"]
    )
    assert [each["TrainingJob"]["TrainingJobName"] for each in rest["Results"]] == ["a"]


def test_results_are_sorted_by_values_of_any_type(bench: Bench) -> None:
    for name, value in (("a", {"NumberValue": 10.0}), ("b", {"StringValue": "ten"}), ("c", {"NumberValue": 9.0})):
        bench.call("CreateTrialComponent", TrialComponentName=name, Parameters={"p": value})
    bench.call("CreateTrialComponent", TrialComponentName="d")
    answer = bench.call("Search", Resource="ExperimentTrialComponent", SortBy="Parameters.p", SortOrder="Ascending")
    assert [each["TrialComponent"]["TrialComponentName"] for each in answer["Results"]] == ["d", "c", "a", "b"]


def test_what_cannot_be_searched_for_is_refused(jobs: Bench) -> None:
    with pytest.raises(ValidationException, match="does not search for the resource FeatureGroup"):
        jobs.call("Search", Resource="FeatureGroup")
    with pytest.raises(ValidationException, match="needs a Value"):
        found(jobs, ("TrainingJobName", "Equals"))


def test_every_kind_of_resource_can_be_searched_for(bench: Bench) -> None:
    bench.runtime.act = lambda spec, say: say("loss=1") or 0  # type: ignore[func-returns-value]
    bench.call("CreateExperiment", ExperimentName="exp")
    bench.call("CreateTrial", ExperimentName="exp", TrialName="try")
    bench.process("prepare", ExperimentConfig={"ExperimentName": "exp", "TrialName": "try"})
    bench.ended("prepare", "Processing")
    bench.tune()
    bench.ended("tune", "HyperParameterTuning")
    bench.call("CreateModelPackageGroup", ModelPackageGroupName="fleet", Tags=[{"Key": "team", "Value": "x"}])
    bench.call("CreateModelPackage", ModelPackageGroupName="fleet", CustomerMetadataProperties={"commit": "abc"})

    def one(
        resource: str, member: str, name: str, operator: str = "Exists", value: str | None = None
    ) -> dict[str, Any]:
        condition = {"Name": name, "Operator": operator} | ({"Value": value} if value else {})
        [found] = bench.call("Search", Resource=resource, SearchExpression={"Filters": [condition]})["Results"]
        document: dict[str, Any] = found[member]
        return document

    assert one("Experiment", "Experiment", "ExperimentName")["ExperimentName"] == "exp"
    [summary] = one("ExperimentTrial", "Trial", "TrialName")["TrialComponentSummaries"]
    assert summary["TrialComponentName"] == "prepare-aws-processing-job"
    detail = one("ExperimentTrialComponent", "TrialComponent", "Parents.TrialName", "Equals", "try")["SourceDetail"]
    assert detail["ProcessingJob"]["ProcessingJobName"] == "prepare"
    tuned = one("HyperParameterTuningJob", "HyperParameterTuningJob", "BestTrainingJob.TrainingJobName")
    assert tuned["TrainingJobStatusCounters"]["Completed"] == 4
    version = one("ModelPackage", "ModelPackage", "CustomerMetadataProperties.commit", "Equals", "abc")
    assert version["ModelPackageVersion"] == 1
    assert one("ModelPackageGroup", "ModelPackageGroup", "Tags.team", "Equals", "x")["ModelPackageGroupName"] == "fleet"
