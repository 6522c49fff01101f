"""Search: resources by expressions over their properties.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Search.html
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

from localcloud.errors import ValidationException
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import project, service_model
from localcloud.sagemaker.experiments import COMPONENT, EXPERIMENT, TRIAL
from localcloud.sagemaker.tags import Tags
from localcloud.store import Record, Scope, Store


class Kind(NamedTuple):
    """One kind of resource that can be searched for.

    Args:
        kind: in the store.
        member: of SearchRecord, whose shape has the same name unless ``shape`` says otherwise.
    """

    kind: str
    member: str
    shape: str | None = None


KINDS = {
    "TrainingJob": Kind("training-job", "TrainingJob"),
    "HyperParameterTuningJob": Kind(
        "hyper-parameter-tuning-job", "HyperParameterTuningJob", "HyperParameterTuningJobSearchEntity"
    ),
    "Experiment": Kind(EXPERIMENT.kind, "Experiment"),
    "ExperimentTrial": Kind(TRIAL.kind, "Trial"),
    "ExperimentTrialComponent": Kind(COMPONENT.kind, "TrialComponent"),
    "ModelPackage": Kind("model-package", "ModelPackage"),
    "ModelPackageGroup": Kind("model-package-group", "ModelPackageGroup"),
}

# What a trial component's source may be.
_JOBS = {"training-job": "TrainingJob", "processing-job": "ProcessingJob", "transform-job": "TransformJob"}

Describe = Callable[[str, Scope, Record], Record]


class Search:
    """Search."""

    operations = ("Search",)
    partial: ClassVar[dict[str, str]] = {
        "Search": f"resources {', '.join(sorted(KINDS))}. VisibilityConditions and CrossAccountFilterOption have no "
        "effect."
    }

    def __init__(self, store: Store, tags: Tags, describe: Describe) -> None:
        """``describe`` completes a record of a kind in the store as its Describe operation does."""
        self._store = store
        self._tags = tags
        self._describe = describe

    def search(self, scope: Scope, request: Record) -> Record:
        """Resources that an expression matches, those changed last first."""
        kind = KINDS.get(request["Resource"])
        if kind is None:
            raise ValidationException(
                f"localcloud does not search for the resource {request['Resource']}, but for "
                f"{', '.join(sorted(KINDS))}."
            )
        expression, by = request.get("SearchExpression"), request.get("SortBy", "LastModifiedTime")
        with self._store.lock:
            found = [self._document(scope, kind, record) for record in self._store.table(scope, kind.kind).values()]
            if expression is not None:
                found = [document for document in found if _matches(document, expression)]
            ordered = [{"_by": _sortable(document, by), "_document": document} for document in found]
            chosen, token = listing.page(ordered, {**request, "SortBy": "by"}, sort={"by": "_by"})
            return {
                "Results": [{kind.member: copy.deepcopy(each["_document"])} for each in chosen],
                "NextToken": token,
                "TotalHits": {"Value": len(found), "Relation": "EqualTo"},
            }

    def _document(self, scope: Scope, kind: Kind, record: Record) -> Record:
        """A resource as Search gives it, sharing what the store holds."""
        shape: Any = service_model("sagemaker").shape_for(kind.shape or kind.member)
        whole = {**record, **self._describe(kind.kind, scope, record)}
        whole["Tags"] = [{"Key": key, "Value": value} for key, value in self._tags.of(scope, record["Arn"]).items()]
        if kind.kind == COMPONENT.kind:
            trials = record.get("_trials", {})
            whole["Parents"] = [{"TrialName": trial, "ExperimentName": name} for trial, name in trials.items()]
            whole.update(self._source_detail(scope, record))
        if kind.kind == TRIAL.kind:
            whole["TrialComponentSummaries"] = self._components(scope, record["TrialName"])
        return project(shape, whole)

    def _source_detail(self, scope: Scope, component: Record) -> Record:
        """A component's job, in full."""
        source = component.get("Source", {}).get("SourceArn", "")
        kind, _, name = source.rpartition(":")[2].partition("/")
        stem = _JOBS.get(kind)
        job = self._store.table(scope, kind).get(name) if stem else None
        if stem is None or job is None:
            return {}
        shape: Any = service_model("sagemaker").shape_for(stem)
        return {"SourceDetail": {"SourceArn": source, stem: project(shape, job)}}

    def _components(self, scope: Scope, trial: str) -> list[Record]:
        shape: Any = service_model("sagemaker").shape_for("TrialComponentSimpleSummary")
        return [
            {**project(shape, each), **({"TrialComponentSource": each["Source"]} if "Source" in each else {})}
            for each in self._store.table(scope, COMPONENT.kind).values()
            if trial in each.get("_trials", {})
        ]


def _sortable(document: Record, path: str) -> tuple[int, Any] | None:
    """A property's value such that values of different types can be ordered."""
    value = next(_values(document, path), None)
    if value is None:
        return None
    if isinstance(value, datetime):
        return 0, value.timestamp()
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _matches(document: Record, expression: Mapping[str, Any]) -> bool:
    """Whether all of an expression's conditions hold, or with Or any."""
    results = [
        *(_passes(document, each) for each in expression.get("Filters", [])),
        *(_nested(document, each) for each in expression.get("NestedFilters", [])),
        *(_matches(document, each) for each in expression.get("SubExpressions", [])),
    ]
    if not results:
        raise ValidationException("A SearchExpression needs Filters, NestedFilters or SubExpressions.")
    return any(results) if expression.get("Operator") == "Or" else all(results)


def _nested(document: Record, nested: Mapping[str, Any]) -> bool:
    """Whether one element of a list satisfies all filters, whose names begin with the list's."""
    prefix = nested["NestedPropertyName"]
    for element in _values(document, prefix, whole=True):
        if all(
            _passes(element, {**each, "Name": each["Name"].removeprefix(f"{prefix}.")}) for each in nested["Filters"]
        ):
            return True
    return False


def _passes(document: Any, condition: Mapping[str, Any]) -> bool:
    name, operator, wanted = condition["Name"], condition.get("Operator", "Equals"), condition.get("Value")
    values = list(_values(document, name))
    if operator == "Exists":
        return bool(values)
    if operator == "NotExists":
        return not values
    if wanted is None:
        raise ValidationException(f"The filter {name} with the operator {operator} needs a Value.")
    if operator == "NotEquals":
        return not any(_equal(value, wanted) for value in values)
    if operator == "In":
        return any(_equal(value, each.strip()) for value in values for each in wanted.split(","))
    compare = _OPERATORS[operator]
    return any(compare(value, wanted) for value in values)


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return str(value).lower() == wanted.lower()
    if isinstance(value, str):
        return value == wanted
    return _ordered(value, wanted, lambda first, second: first == second)


def _ordered(value: Any, wanted: str, compare: Callable[[Any, Any], bool]) -> bool:
    """Compare as numbers or times, whichever the value is; a text that looks like neither never passes."""
    try:
        if isinstance(value, datetime):
            when = datetime.fromisoformat(wanted)
            return compare(value, when if when.tzinfo else when.replace(tzinfo=UTC))
        return compare(float(value), float(wanted))
    except (TypeError, ValueError):
        return False


_OPERATORS: dict[str, Callable[[Any, str], bool]] = {
    "Equals": _equal,
    "Contains": lambda value, wanted: isinstance(value, str) and wanted.lower() in value.lower(),
    "GreaterThan": lambda value, wanted: _ordered(value, wanted, lambda first, second: first > second),
    "GreaterThanOrEqualTo": lambda value, wanted: _ordered(value, wanted, lambda first, second: first >= second),
    "LessThan": lambda value, wanted: _ordered(value, wanted, lambda first, second: first < second),
    "LessThanOrEqualTo": lambda value, wanted: _ordered(value, wanted, lambda first, second: first <= second),
}

# Lists whose elements a property names by their own name: Tags.team, Metrics.loss.Min, and the member that a plain
# Metrics.loss of a training job means.
_NAMED_BY = {
    "Tags": ("Key", "Value"),
    "Metrics": ("MetricName", "Last"),
    "FinalMetricDataList": ("MetricName", "Value"),
}


def _values(document: Any, path: str, whole: bool = False) -> Iterator[Any]:
    """What stands at a dotted path; lists give each of their elements. Names may have dots themselves."""
    if not path:
        if isinstance(document, list):
            for element in document:
                yield from _values(element, "", whole)
        elif whole or not isinstance(document, dict):
            yield document
        elif set(document) <= {"StringValue", "NumberValue"}:  # a parameter
            yield from document.values()
        return
    if isinstance(document, list):
        for element in document:
            yield from _values(element, path, whole)
        return
    if not isinstance(document, dict):
        return
    head, _, rest = path.partition(".")
    if head == "Metrics" and "FinalMetricDataList" in document:
        head = "FinalMetricDataList"
    if head in _NAMED_BY and rest and isinstance(document.get(head), list):
        yield from _named(document[head], rest, *_NAMED_BY[head])
        return
    for key, value in document.items():
        if path == key or path.startswith(f"{key}."):
            yield from _values(value, path[len(key) + 1 :], whole)


def _named(elements: list[Record], rest: str, name: str, plain: str) -> Iterator[Any]:
    for element in elements:
        if rest == element[name] and plain in element:
            yield element[plain]
        elif rest.startswith(f"{element[name]}."):
            yield from _values(element, rest[len(element[name]) + 1 :])
        elif rest in element:  # Tags.Key
            yield element[rest]
