"""One hyperparameter tuning job's search: which hyperparameters to try next. By Optuna, without any AWS call."""

from __future__ import annotations

import itertools
import math
import statistics
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.errors import LocalcloudError

if TYPE_CHECKING:
    import optuna

STRATEGIES = ("Bayesian", "Random", "Grid", "Hyperband")
SCALINGS = ("Auto", "Linear", "Logarithmic", "ReverseLogarithmic")

# Where Hyperband looks for the number of epochs, and the most that there may be.
_EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_MOST_RESOURCE = 20_000

# ScalingType Auto searches a positive range on a logarithmic scale from this ratio of its ends on.
_AUTO_LOG_RATIO = 100.0


class TuningError(LocalcloudError, ValueError):
    """A search that SageMaker would refuse with a ValidationException."""


class SearchExhausted(LocalcloudError, RuntimeError):
    """ask() after the last trial."""


@dataclass(frozen=True)
class Trial:
    """One training job to run. Values are strings, as on AWS; static ones are included."""

    id: int
    hyperparameters: dict[str, str]
    tuned: dict[str, str]  # only those in the ranges: TunedHyperParameters


@dataclass
class _State:
    """What is known of a trial that was asked for."""

    optuna: optuna.trial.Trial | None  # None with Grid
    curve: list[float] = field(default_factory=list)
    value: float | None = None
    ended: bool = False


class Search:
    """Asks and tells, safe to use from several threads.

    Bayesian is Optuna's tree-structured Parzen estimator over all hyperparameters jointly; trials that still run
    count as bad ones (constant liar), so that parallel trials differ. Its Gaussian process needs PyTorch.
    """

    def __init__(
        self,
        *,
        strategy: str,
        ranges: dict[str, Any],
        objective_type: str,
        seed: int | None,
        static: dict[str, str],
        max_jobs: int,
        early_stopping: str = "Off",
        warm_start: Sequence[tuple[dict[str, str], float]] = (),
        hyperband: dict[str, int] | None = None,
    ) -> None:
        """Raises TuningError for ranges or settings that SageMaker refuses.

        `strategy`: Bayesian, Random, Grid or Hyperband; `ranges`: ParameterRanges; `objective_type`: Minimize or
        Maximize; `early_stopping`: Off or Auto; `warm_start`: (hyperparameters, final value) of parent jobs;
        `hyperband`: HyperbandStrategyConfig. Grid tries every combination, whatever `max_jobs` says.
        """
        _require(strategy in STRATEGIES, f"Strategy {strategy!r} must be one of {_listed(STRATEGIES)}")
        _require(
            objective_type in ("Minimize", "Maximize"),
            f"Objective type {objective_type!r} must be Minimize or Maximize",
        )
        _require(
            early_stopping in ("Off", "Auto"), f"TrainingJobEarlyStoppingType {early_stopping!r} must be Off or Auto"
        )
        _require(
            strategy != "Hyperband" or early_stopping == "Off",
            "TrainingJobEarlyStoppingType must be Off with the Hyperband strategy, which stops jobs itself",
        )
        _require(max_jobs >= 1, f"MaxNumberOfTrainingJobs must be at least 1, not {max_jobs}")
        self._parameters = _parse(ranges)
        _require(bool(self._parameters), "At least one hyperparameter range is required")
        both = sorted(static.keys() & {parameter.name for parameter in self._parameters})
        _require(not both, f"Hyperparameters cannot be both static and tunable: {_listed(both)}")
        self._static = dict(static)
        self._minimize = objective_type == "Minimize"
        self._early_stopping = early_stopping == "Auto"
        self._hyperband = strategy == "Hyperband"
        self._lock = threading.Lock()
        self._trials: list[_State] = []
        self._grid: list[tuple[str, ...]] | None = None
        self._study: optuna.Study | None = None
        self._most_resource: int | None = None
        self.size = max_jobs
        if strategy == "Grid":
            continuous = [parameter.name for parameter in self._parameters if not isinstance(parameter, _Categorical)]
            _require(
                not continuous, f"The Grid strategy takes categorical hyperparameters only, not {_listed(continuous)}"
            )
            values = [parameter.values for parameter in self._parameters if isinstance(parameter, _Categorical)]
            self._grid = list(itertools.product(*values))
            self.size = len(self._grid)
        else:
            resources = _resources(hyperband or {}, static) if self._hyperband else (1, None)
            self._most_resource = resources[1]
            self._study = _study(strategy, objective_type, seed, max_jobs, resources)
            for hyperparameters, value in warm_start:
                self._learn(self._study, hyperparameters, value)

    def ask(self) -> Trial:
        """The next trial. Raises SearchExhausted after the last."""
        with self._lock:
            number = len(self._trials)
            if number >= self.size:
                raise SearchExhausted(f"All {self.size} trials of this search have been asked for")
            if self._grid is not None:
                tuned = {
                    parameter.name: value for parameter, value in zip(self._parameters, self._grid[number], strict=True)
                }
                self._trials.append(_State(None))
            else:
                assert self._study is not None
                trial = self._study.ask({parameter.name: parameter.distribution() for parameter in self._parameters})
                tuned = {parameter.name: parameter.text(trial.params[parameter.name]) for parameter in self._parameters}
                self._trials.append(_State(trial))
            return Trial(number, {**self._static, **tuned}, tuned)

    def report(self, trial_id: int, value: float) -> bool:
        """An intermediate objective value of a running trial; True when it should be stopped early.

        With early stopping Auto, after AWS's "How Early Stopping Works": when the trial is worse than the median of
        the running averages, up to the same epoch, of the trials that completed. With Hyperband, when successive
        halving drops it.
        """
        with self._lock:
            state = self._trials[trial_id]
            if state.ended or not math.isfinite(value):
                return False
            state.curve.append(value)
            epoch = len(state.curve)
            if self._hyperband and state.optuna is not None:
                if self._most_resource is not None and epoch > self._most_resource:
                    return True
                state.optuna.report(value, epoch)
                return bool(state.optuna.should_prune())
            if not self._early_stopping:
                return False
            averages = [
                statistics.fmean(other.curve[:epoch])
                for other in self._trials
                if other.value is not None and len(other.curve) >= epoch
            ]
            if not averages:
                return False
            median = statistics.median(averages)
            return value > median if self._minimize else value < median

    def tell(self, trial_id: int, value: float | None, failed: bool = False) -> None:
        """The final objective value of a trial; None or `failed` when it has none. A second call is ignored."""
        with self._lock:
            state = self._trials[trial_id]
            if state.ended:
                return
            state.ended = True
            if value is not None and math.isfinite(value) and not failed:
                state.value = value
            if self._study is None or state.optuna is None:
                return
            import optuna

            if state.value is None:
                self._study.tell(state.optuna, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(state.optuna, state.value)

    def best(self) -> tuple[int, float] | None:
        """Id and value of the best trial so far; the earlier one of equals."""
        with self._lock:
            told = [(number, state.value) for number, state in enumerate(self._trials) if state.value is not None]
        choose: Callable[..., tuple[int, float]] = min if self._minimize else max
        return choose(told, key=lambda item: item[1]) if told else None

    def exhausted(self) -> bool:
        """Whether every trial was asked for: the whole grid, or max_jobs."""
        with self._lock:
            return len(self._trials) >= self.size

    def _learn(self, study: optuna.Study, hyperparameters: dict[str, str], value: float) -> None:
        """Take over a trial of a parent job, if it lies within the ranges of this one."""
        import optuna

        known = {}
        for parameter in self._parameters:
            internal = parameter.internal(hyperparameters.get(parameter.name, ""))
            if internal is None:
                return
            known[parameter.name] = internal
        distributions = {parameter.name: parameter.distribution() for parameter in self._parameters}
        study.add_trial(optuna.create_trial(params=known, distributions=distributions, value=value))


@dataclass(frozen=True)
class _Categorical:
    name: str
    values: tuple[str, ...]

    def distribution(self) -> optuna.distributions.BaseDistribution:
        import optuna

        return optuna.distributions.CategoricalDistribution(self.values)

    def text(self, internal: Any) -> str:
        return str(internal)

    def internal(self, text: str) -> str | None:
        return text if text in self.values else None


@dataclass(frozen=True)
class _Integer:
    name: str
    low: int
    high: int
    log: bool

    def distribution(self) -> optuna.distributions.BaseDistribution:
        import optuna

        return optuna.distributions.IntDistribution(self.low, self.high, log=self.log)

    def text(self, internal: Any) -> str:
        return str(int(internal))

    def internal(self, text: str) -> int | None:
        try:
            value = int(text)
        except ValueError:
            return None
        return value if self.low <= value <= self.high else None


@dataclass(frozen=True)
class _Continuous:
    """ReverseLogarithmic is a logarithmic search of 1 - x."""

    name: str
    low: float
    high: float
    log: bool
    reverse: bool = False

    def distribution(self) -> optuna.distributions.BaseDistribution:
        import optuna

        low, high = (1 - self.high, 1 - self.low) if self.reverse else (self.low, self.high)
        return optuna.distributions.FloatDistribution(low, high, log=self.log)

    def text(self, internal: Any) -> str:
        value = 1 - float(internal) if self.reverse else float(internal)
        return repr(min(max(value, self.low), self.high))

    def internal(self, text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        if not self.low <= value <= self.high:
            return None
        return 1 - value if self.reverse else value


_Parameter = _Categorical | _Integer | _Continuous


def _parse(ranges: dict[str, Any]) -> list[_Parameter]:
    """ParameterRanges as parameters. Raises TuningError."""
    parameters: list[_Parameter] = []
    for item in ranges.get("IntegerParameterRanges") or []:
        parameters.append(_integer(item))
    for item in ranges.get("ContinuousParameterRanges") or []:
        parameters.append(_continuous(item))
    for item in ranges.get("CategoricalParameterRanges") or []:
        values = tuple(item["Values"])
        _require(bool(values), f"The categorical hyperparameter {item['Name']} has no values")
        _require(len(set(values)) == len(values), f"The values of the hyperparameter {item['Name']} are not unique")
        parameters.append(_Categorical(item["Name"], values))
    names = [parameter.name for parameter in parameters]
    twice = sorted({name for name in names if names.count(name) > 1})
    _require(not twice, f"Hyperparameter ranges must have unique names, not twice {_listed(twice)}")
    return parameters


def _integer(item: dict[str, Any]) -> _Integer:
    name, scaling = item["Name"], _scaling(item)
    low, high = _number(int, item, "MinValue"), _number(int, item, "MaxValue")
    _check_bounds(name, scaling, low, high)
    _require(
        scaling != "ReverseLogarithmic",
        f"ReverseLogarithmic scaling is for continuous hyperparameters, not for the integer {name}",
    )
    return _Integer(name, int(low), int(high), _logarithmic(scaling, low, high))


def _continuous(item: dict[str, Any]) -> _Continuous:
    name, scaling = item["Name"], _scaling(item)
    low, high = _number(float, item, "MinValue"), _number(float, item, "MaxValue")
    _check_bounds(name, scaling, low, high)
    reverse = scaling == "ReverseLogarithmic"
    return _Continuous(name, low, high, reverse or _logarithmic(scaling, low, high), reverse)


def _scaling(item: dict[str, Any]) -> str:
    scaling: str = item.get("ScalingType", "Auto")
    _require(scaling in SCALINGS, f"ScalingType {scaling!r} of {item['Name']} must be one of {_listed(SCALINGS)}")
    return scaling


def _number(kind: type[int] | type[float], item: dict[str, Any], key: str) -> float:
    try:
        value = kind(item[key])
    except ValueError:
        value = math.nan
    what = "an integer" if kind is int else "a number"
    _require(math.isfinite(value), f"The {key} {item[key]!r} of the hyperparameter {item['Name']} is not {what}")
    return value


def _check_bounds(name: str, scaling: str, low: float, high: float) -> None:
    _require(low <= high, f"The MinValue {low} of the hyperparameter {name} is greater than its MaxValue {high}")
    _require(
        scaling != "Logarithmic" or low > 0,
        f"Logarithmic scaling needs a MinValue greater than 0; the hyperparameter {name} has {low}",
    )
    _require(
        scaling != "ReverseLogarithmic" or (low >= 0 and high < 1),
        f"ReverseLogarithmic scaling needs a range within 0 <= x < 1; the hyperparameter {name} has {low} to {high}",
    )


def _logarithmic(scaling: str, low: float, high: float) -> bool:
    return scaling == "Logarithmic" or (scaling == "Auto" and low > 0 and high / low >= _AUTO_LOG_RATIO)


def _study(
    strategy: str, objective_type: str, seed: int | None, max_jobs: int, resources: tuple[int, int | None]
) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler: optuna.samplers.BaseSampler
    if strategy == "Bayesian":
        # A tuning job has some 20 trials: ten random ones to begin with, Optuna's default, would be half of it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=max(3, min(10, max_jobs // 4)), multivariate=True, constant_liar=True, seed=seed
            )
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if strategy == "Hyperband":
        least, most = resources
        pruner = optuna.pruners.HyperbandPruner(min_resource=least, max_resource=most or "auto", reduction_factor=3)
    return optuna.create_study(direction=objective_type.lower(), sampler=sampler, pruner=pruner)


def _resources(config: dict[str, int], static: dict[str, str]) -> tuple[int, int]:
    """MinResource and MaxResource; the latter is inferred from the number of epochs, as SageMaker does.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_HyperbandStrategyConfig.html
    """
    least, most = config.get("MinResource", 1), config.get("MaxResource")
    if most is None:
        told = [static[key] for key in _EPOCHS if static.get(key, "").isdigit()]
        _require(
            bool(told),
            "MaxResource is required in HyperbandStrategyConfig: it cannot be inferred from the static hyperparameters "
            f"({_listed(_EPOCHS)})",
        )
        most = int(told[0])
        least = min(least, most)
    _require(
        1 <= least <= most <= _MOST_RESOURCE,
        f"MaxResource {most} must be greater than MinResource {least}, and at most {_MOST_RESOURCE}",
    )
    return least, most


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise TuningError(message)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
