"""CreateHyperParameterTuningJob's request, checked and understood: what is tuned, towards what, within which limits.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateHyperParameterTuningJob.html
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.errors import ResourceLimitExceeded, ValidationException
from localcloud.jobs.training_request import check_request
from localcloud.sagemaker.api import service_model
from localcloud.sagemaker.quotas import HYPERPARAMETERS, METRICS, PARALLEL, TRAINING_JOBS, Quotas
from localcloud.store import Record
from localcloud.tuning.search import Search, TuningError
from localcloud.tuning.tuning_portfolio import Portfolio

# Each categorical hyperparameter can have at most 30 different values; no quota raises it.
MOST_VALUES = 30
MOST_SECONDS = 30 * 86_400

Lessons = Mapping[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True)
class Definition:
    """One kind of training job that a tuning job starts.

    Args:
        name: None when there is one only, without a name.
        training: CreateTrainingJob's request, name and hyperparameters excepted.
        metric: the objective.
        ranges: ParameterRanges.
        static: hyperparameters that all trials share.
    """

    name: str | None
    training: Record
    metric: str
    ranges: Mapping[str, Any]
    static: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """What a tuning job does.

    Args:
        definitions: the kinds of training jobs.
        objective_type: Minimize or Maximize.
        most: training jobs at most.
        parallel: of them at once.
        seconds: how long it may run; None for ever.
        criteria: TuningJobCompletionCriteria.
        config: HyperParameterTuningJobConfig.
    """

    definitions: list[Definition]
    objective_type: str
    most: int
    parallel: int
    seconds: int | None
    criteria: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def minimize(self) -> bool:
        """Whether less is better."""
        return self.objective_type == "Minimize"

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another."""
        return value < other if self.minimize else value > other

    def search(self, lessons: Lessons) -> Portfolio:
        """The search over all definitions, with what parents have found.

        Raises:
            ValidationException: ranges or settings that SageMaker refuses.
        """
        strategy = self.config["Strategy"]
        try:
            searches = [
                Search(
                    strategy=strategy,
                    ranges=dict(definition.ranges),
                    objective_type=self.objective_type,
                    seed=self.config.get("RandomSeed"),
                    static=definition.static,
                    max_jobs=self.most,
                    early_stopping=self.config.get("TrainingJobEarlyStoppingType", "Off"),
                    warm_start=lessons.get(definition.name or "", []),
                    hyperband=self.config.get("StrategyConfig", {}).get("HyperbandStrategyConfig"),
                )
                for definition in self.definitions
            ]
        except TuningError as error:
            raise ValidationException(str(error)) from error
        return Portfolio(searches, self.most, self.minimize)


def read(request: Mapping[str, Any], quotas: Quotas) -> Plan:
    """What a request asks for.

    Raises:
        ValidationException: what SageMaker refuses, or what localcloud has not.
        ResourceLimitExceeded: more than a tuning job may have.
    """
    config = request["HyperParameterTuningJobConfig"]
    if config.get("StrategyConfig") and config["Strategy"] != "Hyperband":
        raise ValidationException("StrategyConfig can be given with the Hyperband strategy only.")
    given = definitions(request)
    understood = [_definition(definition, config, request, len(given) > 1) for definition in given]
    names = [definition.name for definition in understood]
    if len(set(names)) != len(names):
        raise ValidationException("DefinitionName must be unique among the TrainingJobDefinitions.")
    for definition in understood:
        _check_counts(definition, quotas)
    types = {objective(definition, config)["Type"] for definition in given}
    if len(types) > 1:
        raise ValidationException("All TrainingJobDefinitions must have the same objective type.")
    limits = config["ResourceLimits"]
    most = _most(config, understood)
    parallel = limits["MaxParallelTrainingJobs"]
    quotas.check(PARALLEL, 0, parallel, "Training Jobs")
    quotas.check(TRAINING_JOBS, 0, most, "Training Jobs")
    if parallel > most:
        raise ValidationException(
            f"MaxParallelTrainingJobs ({parallel}) must not be greater than MaxNumberOfTrainingJobs ({most})."
        )
    if limits.get("MaxRuntimeInSeconds", 0) > MOST_SECONDS:
        raise ValidationException(f"MaxRuntimeInSeconds of a tuning job must be at most {MOST_SECONDS} (30 days).")
    return Plan(
        definitions=understood,
        objective_type=types.pop(),
        most=most,
        parallel=parallel,
        seconds=limits.get("MaxRuntimeInSeconds"),
        criteria=config.get("TuningJobCompletionCriteria", {}),
        config=config,
    )


def objective(definition: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Which metric counts in a definition: its own, or the tuning job's; {} when neither says."""
    found: Mapping[str, Any] = definition.get("TuningObjective") or config.get("HyperParameterTuningJobObjective") or {}
    return found


def definitions(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The one or several training job definitions of a request.

    Raises:
        ValidationException: there is none, or there are both kinds.
    """
    single, several = request.get("TrainingJobDefinition"), request.get("TrainingJobDefinitions", [])
    if single is not None and several:
        raise ValidationException(
            "You can't specify both TrainingJobDefinition and TrainingJobDefinitions in one request."
        )
    if single is None and not several:
        raise ValidationException("Either TrainingJobDefinition or TrainingJobDefinitions must be specified.")
    config = request["HyperParameterTuningJobConfig"]
    if several and ("HyperParameterTuningJobObjective" in config or "ParameterRanges" in config):
        raise ValidationException(
            "With TrainingJobDefinitions, TuningObjective and HyperParameterRanges are given in each definition, not "
            "in HyperParameterTuningJobConfig."
        )
    return [single] if single is not None else list(several)


def _definition(
    given: Mapping[str, Any], config: Mapping[str, Any], request: Mapping[str, Any], several: bool
) -> Definition:
    if several and "DefinitionName" not in given:
        raise ValidationException("DefinitionName is required in each of several TrainingJobDefinitions.")
    metric = objective(given, config).get("MetricName")
    metrics = given["AlgorithmSpecification"].get("MetricDefinitions", [])
    if metric not in [each["Name"] for each in metrics]:
        raise ValidationException(
            "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
            "definitions."
        )
    ranges = given.get("HyperParameterRanges") or config.get("ParameterRanges")
    if not ranges:
        raise ValidationException("HyperParameter ranges are required for this hyperparameter tuning job.")
    if ranges.get("AutoParameters"):
        if request.get("Autotune", {}).get("Mode") != "Enabled":
            raise ValidationException("AutoParameters need Autotune with Mode Enabled.")
        ranges = _with_hints(ranges)
    training = training_request(given)
    check_request(training)
    return Definition(
        given.get("DefinitionName"), training, str(metric), ranges, dict(given.get("StaticHyperParameters", {}))
    )


def training_request(definition: Mapping[str, Any]) -> Record:
    """CreateTrainingJob's request for one trial, name and hyperparameters excepted."""
    members = service_model("sagemaker").operation_model("CreateTrainingJob").input_shape.members  # type: ignore[union-attr]
    request = {name: copy.deepcopy(value) for name, value in definition.items() if name in members}
    alternative = definition.get("HyperParameterTuningResourceConfig")
    if alternative and "ResourceConfig" in definition:
        raise ValidationException("Only one of ResourceConfig and HyperParameterTuningResourceConfig can be specified.")
    if alternative:
        if "InstanceConfigs" in alternative and "InstanceType" in alternative:
            raise ValidationException("Only one of InstanceConfigs and InstanceType can be specified.")
        chosen = alternative if "InstanceType" in alternative else alternative.get("InstanceConfigs", [{}])[0]
        request["ResourceConfig"] = {
            "InstanceType": chosen.get("InstanceType", "ml.m5.large"),
            "InstanceCount": chosen.get("InstanceCount", 1),
            "VolumeSizeInGB": chosen.get("VolumeSizeInGB", alternative.get("VolumeSizeInGB", 1)),
        }
    return request


def _with_hints(ranges: Mapping[str, Any]) -> dict[str, Any]:
    """AutoParameters as ranges: a tenth to ten times the hint, on a logarithmic scale; AWS does not say its own."""
    found = {kind: list(items) for kind, items in ranges.items() if kind != "AutoParameters"}
    for item in ranges["AutoParameters"]:
        name, hint = item["Name"], item["ValueHint"]
        try:
            value = float(hint)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value <= 0:
            raise ValidationException(
                f"The ValueHint {hint!r} of the AutoParameter {name} is no number above 0: give it a range of its own."
            )
        if hint.strip().isdigit():
            kind, low, high = "IntegerParameterRanges", str(max(1, int(hint) // 10)), str(int(hint) * 10)
        else:
            kind, low, high = "ContinuousParameterRanges", repr(value / 10), repr(value * 10)
        bounds = {"Name": name, "MinValue": low, "MaxValue": high, "ScalingType": "Logarithmic"}
        found.setdefault(kind, []).append(bounds)
    return found


def _check_counts(definition: Definition, quotas: Quotas) -> None:
    names = [item["Name"] for items in definition.ranges.values() for item in items]
    quotas.check(HYPERPARAMETERS, 0, len(names), "Hyperparameters")
    metrics = definition.training["AlgorithmSpecification"].get("MetricDefinitions", [])
    quotas.check(METRICS, 0, len(metrics), "Metrics")
    for item in definition.ranges.get("CategoricalParameterRanges", []):
        if len(item["Values"]) > MOST_VALUES:
            raise ResourceLimitExceeded(
                f"The categorical hyperparameter {item['Name']} has {len(item['Values'])} values; it can have at most "
                f"{MOST_VALUES}."
            )


def _most(config: Mapping[str, Any], definitions: list[Definition]) -> int:
    """How many training jobs there may be; the grid says it itself."""
    limits = config["ResourceLimits"]
    told: int | None = limits.get("MaxNumberOfTrainingJobs")
    if config["Strategy"] == "Grid":
        combinations = sum(
            math.prod(len(item["Values"]) for item in definition.ranges.get("CategoricalParameterRanges", []))
            for definition in definitions
        )
        if told is not None and told != combinations:
            raise ValidationException(
                f"MaxNumberOfTrainingJobs ({told}) must be the number of combinations of the grid, {combinations}; it "
                "need not be given."
            )
        return combinations
    if told is None and "MaxRuntimeInSeconds" not in limits and not config.get("TuningJobCompletionCriteria"):
        raise ValidationException("MaxNumberOfTrainingJobs is required in ResourceLimits.")
    return 750 if told is None else told
