"""Warm start: which tuning jobs may teach another one, and what they teach it.

The rules: https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-warm-start.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localcloud.errors import ValidationException
from localcloud.jobs.platform import TERMINAL
from localcloud.store import Record

IDENTICAL = "IdenticalDataAndAlgorithm"
# Hyperparameters that may turn from tunable to static, or the other way round, over all parents.
MOST_CHANGES = 10


@dataclass(frozen=True)
class Parent:
    """An ended tuning job and its training jobs."""

    record: Record
    children: Sequence[Record]

    @property
    def name(self) -> str:
        """The tuning job's name."""
        return str(self.record["HyperParameterTuningJobName"])


def check(request: Mapping[str, Any], parents: Sequence[Parent]) -> None:
    """Refuse a warm start that SageMaker refuses.

    Args:
        request: CreateHyperParameterTuningJob's, with a WarmStartConfig.
        parents: those that it names.

    Raises:
        ValidationException: says which parent, and what must not differ.
    """
    identical = request["WarmStartConfig"]["WarmStartType"] == IDENTICAL
    own = _definitions(request)
    for parent in parents:
        if parent.record["HyperParameterTuningJobStatus"] not in TERMINAL:
            raise ValidationException(f"The parent tuning job {parent.name} has not ended yet.")
        theirs = _definitions(parent.record)
        if own.keys() != theirs.keys():
            raise ValidationException(f"The parent tuning job {parent.name} has other training job definitions.")
        for name, definition in own.items():
            _compare(definition, theirs[name], parent.name, identical)


def lessons(request: Mapping[str, Any], parents: Sequence[Parent]) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What the parents found: by definition name, hyperparameters and objective value."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {name: [] for name in _definitions(request)}
    for parent in parents:
        for child in parent.children:
            metric = child.get("FinalHyperParameterTuningJobObjectiveMetric")
            results = found.get(child.get("TrainingJobDefinitionName", ""))
            if metric is not None and results is not None:
                results.append((dict(child.get("HyperParameters", {})), metric["Value"]))
    return found


def _compare(own: _Definition, theirs: _Definition, parent: str, identical: bool) -> None:
    if own.metric != theirs.metric:
        raise ValidationException(
            f"The objective metric must be that of the parent tuning job {parent}: {theirs.metric}, not {own.metric}."
        )
    if len(own.tunable | own.static) != len(theirs.tunable | theirs.static):
        raise ValidationException(
            "The total number of static and tunable hyperparameters must be the same as in the parent tuning job "
            f"{parent}."
        )
    if len(own.tunable - theirs.tunable) + len(theirs.tunable - own.tunable) > MOST_CHANGES:
        raise ValidationException(
            f"At most {MOST_CHANGES} hyperparameters may change between static and tunable, compared with the parent "
            f"tuning job {parent}."
        )
    if identical and own.image != theirs.image:
        raise ValidationException(
            f"With {IDENTICAL}, the training image must be that of the parent tuning job {parent}: {theirs.image}."
        )
    if identical and own.data != theirs.data:
        raise ValidationException(f"With {IDENTICAL}, the input data must be that of the parent tuning job {parent}.")


@dataclass(frozen=True)
class _Definition:
    """What of a training job definition the rules compare."""

    metric: str
    tunable: frozenset[str]
    static: frozenset[str]
    image: str
    data: Any


def _definitions(request: Mapping[str, Any]) -> dict[str, _Definition]:
    config = request["HyperParameterTuningJobConfig"]
    found = {}
    for definition in _given(request):
        objective = definition.get("TuningObjective") or config.get("HyperParameterTuningJobObjective", {})
        ranges = definition.get("HyperParameterRanges") or config.get("ParameterRanges", {})
        algorithm = definition["AlgorithmSpecification"]
        found[definition.get("DefinitionName", "")] = _Definition(
            metric=objective.get("MetricName", ""),
            tunable=frozenset(item["Name"] for items in ranges.values() for item in items),
            static=frozenset(definition.get("StaticHyperParameters", {})),
            image=algorithm.get("TrainingImage", ""),
            data=definition.get("InputDataConfig", []),
        )
    return found


def _given(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "TrainingJobDefinition" in request:
        yield request["TrainingJobDefinition"]
    yield from request.get("TrainingJobDefinitions", [])
