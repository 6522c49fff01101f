"""What a tuning job's request asks for, and what is refused before anything starts."""

from typing import Any

import pytest

from localcloud.errors import ApiError, ResourceLimitExceeded, ValidationException
from localcloud.sagemaker.quotas import PARALLEL, Quotas
from localcloud.tuning.search import SearchExhausted
from localcloud.tuning.tuning_criteria import CONVERGED_AFTER, Criteria
from localcloud.tuning.tuning_request import Plan, read

OBJECTIVE = {"Type": "Minimize", "MetricName": "loss"}
RANGES = {"IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "99"}]}


def definition(**more: Any) -> dict[str, Any]:
    return {
        "AlgorithmSpecification": {
            "TrainingImage": "stub",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        },
        "RoleArn": "arn:aws:iam::123456789012:role/job-role",
        "OutputDataConfig": {"S3OutputPath": "s3://b/m"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **more,
    }


def several(*names: str) -> dict[str, Any]:
    return {
        "TrainingJobDefinitions": [
            definition(DefinitionName=name, TuningObjective=OBJECTIVE, HyperParameterRanges=RANGES) for name in names
        ]
    }


def request(*, without: tuple[str, ...] = (), given: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    whole = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": OBJECTIVE,
        "ParameterRanges": RANGES,
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 10, "MaxParallelTrainingJobs": 2},
        **config,
    }
    for member in without:
        del whole[member]
    return {"HyperParameterTuningJobConfig": whole, **(given or {"TrainingJobDefinition": definition()})}


def plan(*, without: tuple[str, ...] = (), given: dict[str, Any] | None = None, **config: Any) -> Plan:
    return read(request(without=without, given=given, **config), Quotas())


IN_DEFINITIONS = ("HyperParameterTuningJobObjective", "ParameterRanges")


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (request(given={"Tags": []}), ValidationException, "Either TrainingJobDefinition or TrainingJobDefinitions"),
        (request(given=several("a")), ValidationException, "are given in each definition"),
        (request(without=IN_DEFINITIONS, given=several("a", "a")), ValidationException, "must be unique"),
        (
            request(without=IN_DEFINITIONS, given={"TrainingJobDefinition": definition(), **several("a")}),
            ValidationException,
            "can't specify both",
        ),
        (
            request(ResourceLimits={"MaxNumberOfTrainingJobs": 90, "MaxParallelTrainingJobs": 11}),
            ResourceLimitExceeded,
            f"'{PARALLEL}' is 10 Training Jobs",
        ),
        (
            request(ResourceLimits={"MaxNumberOfTrainingJobs": 751, "MaxParallelTrainingJobs": 1}),
            ResourceLimitExceeded,
            "is 750 Training Jobs",
        ),
        (
            request(ResourceLimits={"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 2}),
            ValidationException,
            "must not be greater",
        ),
        (request(ResourceLimits={"MaxParallelTrainingJobs": 2}), ValidationException, "is required"),
        (
            request(StrategyConfig={"HyperbandStrategyConfig": {"MaxResource": 9}}),
            ValidationException,
            "Hyperband strategy only",
        ),
        (
            request(ParameterRanges={"AutoParameters": [{"Name": "n", "ValueHint": "8"}]}),
            ValidationException,
            "need Autotune",
        ),
        (
            request(
                ParameterRanges={
                    "CategoricalParameterRanges": [{"Name": "c", "Values": [str(number) for number in range(31)]}]
                }
            ),
            ResourceLimitExceeded,
            "at most 30",
        ),
        (
            request(
                ParameterRanges={
                    "IntegerParameterRanges": [
                        {"Name": f"n{number}", "MinValue": "1", "MaxValue": "2"} for number in range(20)
                    ],
                    "CategoricalParameterRanges": [{"Name": f"c{number}", "Values": ["a"]} for number in range(11)],
                }
            ),
            ResourceLimitExceeded,
            "request delta of 31 Hyperparameters",
        ),
    ],
)
def test_what_sagemaker_refuses_is_refused(wrong: dict[str, Any], kind: type[ApiError], message: str) -> None:
    with pytest.raises(kind) as error:
        read(wrong, Quotas())
    assert message in error.value.message


def test_grid_runs_every_combination_and_no_other_number() -> None:
    ranges = {
        "CategoricalParameterRanges": [{"Name": "a", "Values": ["1", "2"]}, {"Name": "b", "Values": ["x", "y", "z"]}]
    }
    grid = {"Strategy": "Grid", "ParameterRanges": ranges}
    assert plan(**grid, ResourceLimits={"MaxParallelTrainingJobs": 2}).most == 6
    with pytest.raises(ValidationException, match="number of combinations of the grid, 6"):
        plan(**grid, ResourceLimits={"MaxParallelTrainingJobs": 2, "MaxNumberOfTrainingJobs": 5})


def test_hints_become_ranges_around_them() -> None:
    ranges = {"AutoParameters": [{"Name": "n", "ValueHint": "32"}, {"Name": "rate", "ValueHint": "0.01"}]}
    wanted = {**request(ParameterRanges=ranges), "Autotune": {"Mode": "Enabled"}}
    [understood] = read(wanted, Quotas()).definitions
    [whole] = understood.ranges["IntegerParameterRanges"]
    [real] = understood.ranges["ContinuousParameterRanges"]
    assert (whole["MinValue"], whole["MaxValue"]) == ("3", "320")
    assert (float(real["MinValue"]), float(real["MaxValue"])) == (pytest.approx(0.001), pytest.approx(0.1))


def test_definitions_share_one_budget_and_the_better_one_gets_more_of_it() -> None:
    search = plan(without=IN_DEFINITIONS, given=several("good", "bad")).search({})
    asked = []
    for _ in range(10):
        which, trial = search.ask()
        asked.append(which)
        search.tell(trial.id, float(which))
    assert set(asked) == {0, 1}
    assert asked.count(0) > asked.count(1)
    assert search.best() == 0.0
    with pytest.raises(SearchExhausted):
        search.ask()


def test_hyperband_finds_the_number_of_epochs_itself() -> None:
    without = plan(Strategy="Hyperband")
    with pytest.raises(ValidationException, match="MaxResource is required"):
        without.search({})
    given = {"TrainingJobDefinition": definition(StaticHyperParameters={"n_epochs": "3"})}
    search = plan(Strategy="Hyperband", given=given).search({})
    _, trial = search.ask()
    for _ in range(3):
        assert not search.report(trial.id, 1.0)
    assert search.report(trial.id, 1.0)  # beyond MaxResource


def criteria(**given: Any) -> Criteria:
    return Criteria(plan(TuningJobCompletionCriteria=given))


def test_target_ends_the_tuning_job() -> None:
    counted = criteria(TargetObjectiveMetricValue=1.0)
    assert not counted.met(1.1, {})
    assert counted.met(1.0, {})


def test_patience_ends_the_tuning_job_and_is_told() -> None:
    counted, record = criteria(BestObjectiveNotImproving={"MaxNumberOfTrainingJobsNotImproving": 3}), {}
    assert [counted.met(value, record) for value in (2.0, 3.0, 1.0, 1.0, 5.0)] == [False] * 5
    assert counted.met(4.0, record)
    assert record["TuningJobCompletionDetails"]["NumberOfTrainingJobsObjectiveNotImproving"] == 3


def test_convergence_ends_the_tuning_job_when_asked_for() -> None:
    record: dict[str, Any] = {}
    counted = criteria(ConvergenceDetected={"CompleteOnConvergence": "Enabled"})
    values = [5.0, *(1.0 - number * 1e-6 for number in range(CONVERGED_AFTER + 1))]
    met = [counted.met(value, record) for value in values]
    assert met == [False] * (len(values) - 1) + [True]
    assert "ConvergenceDetectedTime" in record["TuningJobCompletionDetails"]
    deaf = criteria(ConvergenceDetected={"CompleteOnConvergence": "Disabled"})
    assert not any(deaf.met(value, {}) for value in values)
