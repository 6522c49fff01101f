"""When a tuning job has found enough: TuningJobCompletionCriteria.

https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-progress.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localcloud.store import Record, now
from localcloud.tuning.tuning_request import Plan

# AWS does not say what it takes for convergence. Here: so many jobs in a row that better the best by less than this.
CONVERGED_AFTER = 10
CONVERGED_WITHIN = 0.001


class Criteria:
    """Counts what the trials have brought; one tuning job's."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._criteria: Mapping[str, Any] = plan.criteria
        self._best: float | None = None
        self._not_improving = 0
        self._nearly = 0  # jobs in a row without an improvement to speak of

    def met(self, value: float | None, record: Record) -> bool:
        """Whether the tuning job is to end after a trial with this value (None when it has none).

        Args:
            record: the tuning job's, where the details are noted; the caller holds the lock.
        """
        if value is not None:
            self._count(value)
        details = record.setdefault("TuningJobCompletionDetails", {})
        details["NumberOfTrainingJobsObjectiveNotImproving"] = self._not_improving
        if self._converged:
            details["ConvergenceDetectedTime"] = now()
        return self._on_target(value) or self._out_of_patience or self._converged

    def _count(self, value: float) -> None:
        best = self._best
        better = best is None or self._plan.better(value, best)
        self._not_improving = 0 if better else self._not_improving + 1
        much = best is None or (better and abs(value - best) > CONVERGED_WITHIN * abs(best))
        self._nearly = 0 if much else self._nearly + 1
        if better:
            self._best = value

    def _on_target(self, value: float | None) -> bool:
        target = self._criteria.get("TargetObjectiveMetricValue")
        return value is not None and target is not None and (value == target or self._plan.better(value, target))

    @property
    def _out_of_patience(self) -> bool:
        patience = self._criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        return patience is not None and self._not_improving >= patience

    @property
    def _converged(self) -> bool:
        wanted = self._criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence") == "Enabled"
        return wanted and self._nearly >= CONVERGED_AFTER
