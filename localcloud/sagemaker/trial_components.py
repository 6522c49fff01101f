"""Trial components: one tracked run each, with its parameters, artefacts and metrics, in any number of trials."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar

from localcloud.errors import ResourceNotFound, ValidationException
from localcloud.sagemaker.experiments import COMPONENT, TRIAL, Entities
from localcloud.sagemaker.quotas import TRIAL_COMPONENTS, Quotas
from localcloud.store import Record, Scope

_MAPS = ("Parameters", "InputArtifacts", "OutputArtifacts")


class TrialComponents:
    """CreateTrialComponent, AssociateTrialComponent and their families."""

    operations = (
        *(f"{verb}TrialComponent" for verb in ("Create", "Describe", "Update", "Delete")),
        "ListTrialComponents",
        "AssociateTrialComponent",
        "DisassociateTrialComponent",
    )
    partial: ClassVar[dict[str, str]] = {}

    def __init__(self, entities: Entities, quotas: Quotas) -> None:
        self._entities = entities
        self._store = entities.store
        self._quotas = quotas

    def create_trial_component(self, scope: Scope, request: Record) -> Record:
        """Create a component by hand; those of jobs come by themselves."""
        with self._store.lock:
            return {"TrialComponentArn": self._entities.add(scope, COMPONENT, request)["Arn"]}

    def describe_trial_component(self, scope: Scope, request: Record) -> Record:
        """Everything about one component, by name or ARN."""
        return self._entities.describe(scope, COMPONENT, request["TrialComponentName"])

    def update_trial_component(self, scope: Scope, request: Record) -> Record:
        """Change it; parameters and artefacts are added to those that there are."""
        with self._store.lock:
            record = self._entities.find(scope, COMPONENT, request["TrialComponentName"])
            for member in _MAPS:
                if member in request or f"{member}ToRemove" in request:
                    merged = {**record.get(member, {}), **request.get(member, {})}
                    for key in request.get(f"{member}ToRemove", []):
                        merged.pop(key, None)
                    record[member] = merged
            return self._entities.update(scope, COMPONENT, request, ("DisplayName", "Status", "StartTime", "EndTime"))

    def delete_trial_component(self, scope: Scope, request: Record) -> Record:
        """Delete a component that is in no trial."""
        name = request["TrialComponentName"]
        with self._store.lock:
            trials = self._entities.find(scope, COMPONENT, name).get("_trials", {})
            if trials:
                raise ValidationException(
                    f"Trial Component {name} cannot be deleted: it must be disassociated from its trials first "
                    f"({', '.join(trials)})."
                )
            return self._entities.drop(scope, COMPONENT, name)

    def list_trial_components(self, scope: Scope, request: Record) -> Record:
        """Summaries, of one experiment, trial or source, newest first."""
        experiment, trial, source = (request.get(each) for each in ("ExperimentName", "TrialName", "SourceArn"))
        if sum(each is not None for each in (experiment, trial, source)) > 1:
            raise ValidationException("Only one of ExperimentName, TrialName and SourceArn can be specified.")
        with self._store.lock:
            found = self._entities.all(scope, COMPONENT)
            if trial:
                self._entities.find(scope, TRIAL, trial)
                found = [each for each in found if trial in each.get("_trials", {})]
            if experiment:
                trials = {
                    each["TrialName"]
                    for each in self._entities.all(scope, TRIAL)
                    if each["ExperimentName"] == experiment
                }
                found = [each for each in found if trials & each.get("_trials", {}).keys()]
            if source:
                found = [each for each in found if each.get("Source", {}).get("SourceArn") == source]
            return self._entities.page(COMPONENT, found, request)

    def associate_trial_component(self, scope: Scope, request: Record) -> Record:
        """Put a component into a trial; doing it twice changes nothing."""
        with self._store.lock:
            component = self._entities.find(scope, COMPONENT, request["TrialComponentName"])
            trial = self._entities.find(scope, TRIAL, request["TrialName"])
            self._quotas.check(TRIAL_COMPONENTS, self._by_hand(scope, trial["TrialName"]), 1, "Trial Components")
            associate(component, trial)
            return {"TrialComponentArn": component["Arn"], "TrialArn": trial["Arn"]}

    def disassociate_trial_component(self, scope: Scope, request: Record) -> Record:
        """Take a component out of a trial."""
        with self._store.lock:
            component = self._entities.find(scope, COMPONENT, request["TrialComponentName"])
            trial = self._entities.find(scope, TRIAL, request["TrialName"])
            if component.get("_trials", {}).pop(trial["TrialName"], None) is None:
                raise ResourceNotFound(
                    f"Trial Component '{component['Arn']}' is not associated with the Trial '{trial['Arn']}'."
                )
            return {"TrialComponentArn": component["Arn"], "TrialArn": trial["Arn"]}

    def put_metrics(self, scope: Scope, name: str, points: list[tuple[str, float, datetime]]) -> None:
        """Take measurements (name, value, time): BatchPutMetrics.

        Raises:
            ResourceNotFound: there is no such component.
        """
        with self._store.changing(self._entities.find(scope, COMPONENT, name)) as record:
            for metric, value, when in points:
                add_point(record, metric, value, when, record["Arn"])

    def _by_hand(self, scope: Scope, trial: str) -> int:
        """How many components of a trial were not made by SageMaker."""
        components = self._entities.all(scope, COMPONENT)
        return sum(trial in each.get("_trials", {}) and "Source" not in each for each in components)


def associate(component: Record, trial: Record) -> None:
    """Put a component into a trial; the caller holds the lock."""
    component.setdefault("_trials", {})[trial["TrialName"]] = trial["ExperimentName"]


def add_point(record: Record, metric: str, value: float, when: datetime, source: str) -> None:
    """Take one measurement into a component's Metrics: statistics over all of them. The caller holds the lock."""
    sums = record.setdefault("_sums", {}).setdefault(metric, {"total": 0.0, "squares": 0.0})
    metrics: list[dict[str, Any]] = record.setdefault("Metrics", [])
    summary = next((each for each in metrics if each["MetricName"] == metric), None)
    if summary is None:
        summary = {"MetricName": metric, "SourceArn": source, "Count": 0, "Min": value, "Max": value}
        metrics.append(summary)
    sums["total"] += value
    sums["squares"] += value * value
    count = summary["Count"] + 1
    mean = sums["total"] / count
    summary.update(
        Count=count,
        Min=min(summary["Min"], value),
        Max=max(summary["Max"], value),
        Last=value,
        Avg=mean,
        StdDev=math.sqrt(max(0.0, sums["squares"] / count - mean * mean)),
        TimeStamp=when,
    )


def add_points(record: Record, history: Iterable[tuple[str, float, float]], source: str) -> None:
    """The same for several (name, value, seconds since the epoch)."""
    for metric, value, when in history:
        add_point(record, metric, value, datetime.fromtimestamp(when, UTC).replace(microsecond=0), source)
