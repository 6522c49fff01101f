"""One hyperparameter tuning job's search: which hyperparameters to try next. By Optuna, without any AWS call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class TuningError(ValueError):
    """A search that SageMaker would refuse with a ValidationException."""


class SearchExhausted(RuntimeError):
    """ask() after the last trial."""


@dataclass(frozen=True)
class Trial:
    """One training job to run. Values are strings, as on AWS; static ones are included."""

    id: int
    hyperparameters: dict[str, str]
    tuned: dict[str, str]  # only those in the ranges: TunedHyperParameters


class Search:
    """Asks and tells, safe to use from several threads."""

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
        Maximize; `warm_start`: (hyperparameters, final value) of parent jobs; `hyperband`: HyperbandStrategyConfig.
        """
        raise NotImplementedError

    def ask(self) -> Trial:
        """The next trial. Raises SearchExhausted after the last."""
        raise NotImplementedError

    def report(self, trial_id: int, value: float) -> bool:
        """An intermediate objective value of a running trial; True when it should be stopped early."""
        raise NotImplementedError

    def tell(self, trial_id: int, value: float | None, failed: bool = False) -> None:
        """The final objective value of a trial; None or `failed` when it has none."""
        raise NotImplementedError

    def best(self) -> tuple[int, float] | None:
        """Id and value of the best trial so far."""
        raise NotImplementedError

    def exhausted(self) -> bool:
        """Whether every trial was asked for: the whole grid, or max_jobs."""
        raise NotImplementedError
