"""Experiments and trials: what groups the tracked runs of jobs.

https://docs.aws.amazon.com/sagemaker/latest/dg/experiments.html
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, NamedTuple

from localcloud.errors import ApiError, ResourceNotFound, ValidationException
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import project, service_model
from localcloud.sagemaker.tags import Tags
from localcloud.store import Record, Scope, Store, now


class Kind(NamedTuple):
    """One kind of entity.

    Args:
        kind: in ARNs and in the store.
        stem: of operations and members.
        spoken: in messages.
    """

    kind: str
    stem: str
    spoken: str

    @property
    def member(self) -> str:
        """The member that holds the name."""
        return f"{self.stem}Name"


EXPERIMENT = Kind("experiment", "Experiment", "Experiment")
TRIAL = Kind("experiment-trial", "Trial", "Trial")
COMPONENT = Kind("experiment-trial-component", "TrialComponent", "Trial Component")


class Entities:
    """What experiments, trials and trial components have in common: they differ by their names."""

    def __init__(self, store: Store, tags: Tags) -> None:
        self.store = store
        self.tags = tags

    def add(self, scope: Scope, kind: Kind, request: Record) -> Record:
        """A new entity. The caller holds the lock.

        Raises:
            ValidationException: the name is taken, or the tags are wrong.
        """
        name = request[kind.member]
        table = self.store.table(scope, kind.kind)
        if name in table:
            raise ValidationException(
                f"{kind.spoken} names must be unique within an AWS account and region. {kind.spoken} with name "
                f"({name}) already exists."
            )
        arn = scope.arn(kind.kind, name)
        record: Record = {
            "Arn": arn,
            f"{kind.stem}Arn": arn,
            "DisplayName": name,
            "CreationTime": now(),
            "LastModifiedTime": now(),
            "CreatedBy": {},
            "LastModifiedBy": {},
            **{member: copy.deepcopy(value) for member, value in request.items() if member != "Tags"},
        }
        self.tags.put(scope, arn, request.get("Tags", []))
        table[name] = record
        return record

    def find(self, scope: Scope, kind: Kind, name: str) -> Record:
        """An entity's record, by name or ARN. The caller holds the lock.

        Raises:
            ResourceNotFound: there is none.
        """
        record = self.store.table(scope, kind.kind).get(name.rsplit("/", 1)[-1])
        if record is None:
            arn = name if name.startswith("arn:") else scope.arn(kind.kind, name)
            raise ResourceNotFound(f"{kind.spoken} '{arn}' does not exist.")
        return record

    def all(self, scope: Scope, kind: Kind) -> list[Record]:
        """All entities of a kind, in order of creation. The caller holds the lock."""
        return list(self.store.table(scope, kind.kind).values())

    def describe(self, scope: Scope, kind: Kind, name: str) -> Record:
        """A copy as the Describe operation gives it."""
        shape = service_model("sagemaker").operation_model(f"Describe{kind.stem}").output_shape
        with self.store.lock:
            return copy.deepcopy(project(shape, self.find(scope, kind, name)))  # type: ignore[arg-type]

    def update(self, scope: Scope, kind: Kind, request: Record, members: tuple[str, ...]) -> Record:
        """Replace members; answers the ARN."""
        with self.store.changing(self.find(scope, kind, request[kind.member])) as record:
            record.update({member: copy.deepcopy(request[member]) for member in members if member in request})
            return {f"{kind.stem}Arn": record["Arn"]}

    def drop(self, scope: Scope, kind: Kind, name: str) -> Record:
        """Forget an entity; answers the ARN. The caller holds the lock."""
        record = self.find(scope, kind, name)
        del self.store.table(scope, kind.kind)[record[kind.member]]
        self.tags.drop(scope, record["Arn"])
        return {f"{kind.stem}Arn": record["Arn"]}

    def page(self, kind: Kind, records: list[Record], request: Record) -> Record:
        """One page of summaries, newest first."""
        times = {
            "CreationTimeAfter": request.get("CreatedAfter"),
            "CreationTimeBefore": request.get("CreatedBefore"),
        }
        found = listing.select(records, times, name=kind.member)
        chosen, token = listing.page(found, request, sort={"Name": kind.member, "CreationTime": "CreationTime"})
        shape: Any = service_model("sagemaker").shape_for(f"{kind.stem}Summary")
        summaries = []
        for record in chosen:
            summary = copy.deepcopy(project(shape, record))
            if "Source" in record:
                summary[f"{kind.stem}Source"] = copy.deepcopy(record["Source"])
            summaries.append(summary)
        return {f"{kind.stem}Summaries": summaries, "NextToken": token}


class Experiments:
    """CreateExperiment, CreateTrial and their families."""

    operations = (
        *(f"{verb}Experiment" for verb in ("Create", "Describe", "Update", "Delete")),
        "ListExperiments",
        *(f"{verb}Trial" for verb in ("Create", "Describe", "Update", "Delete")),
        "ListTrials",
    )
    partial: ClassVar[dict[str, str]] = {}

    def __init__(self, entities: Entities) -> None:
        self._entities = entities
        self._store = entities.store

    def create_experiment(self, scope: Scope, request: Record) -> Record:
        """Create an experiment."""
        with self._store.lock:
            return {"ExperimentArn": self._entities.add(scope, EXPERIMENT, request)["Arn"]}

    def describe_experiment(self, scope: Scope, request: Record) -> Record:
        """Everything about one experiment."""
        return self._entities.describe(scope, EXPERIMENT, request["ExperimentName"])

    def update_experiment(self, scope: Scope, request: Record) -> Record:
        """Change its display name or description."""
        return self._entities.update(scope, EXPERIMENT, request, ("DisplayName", "Description"))

    def delete_experiment(self, scope: Scope, request: Record) -> Record:
        """Delete an experiment without trials."""
        name = request["ExperimentName"]
        with self._store.lock:
            self._entities.find(scope, EXPERIMENT, name)
            trials = [trial for trial in self._entities.all(scope, TRIAL) if trial["ExperimentName"] == name]
            if trials:
                raise _in_use(f"Experiment {name}", f"its {len(trials)} trials must be deleted first")
            return self._entities.drop(scope, EXPERIMENT, name)

    def list_experiments(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        with self._store.lock:
            return self._entities.page(EXPERIMENT, self._entities.all(scope, EXPERIMENT), request)

    def create_trial(self, scope: Scope, request: Record) -> Record:
        """Create a trial of an experiment."""
        with self._store.lock:
            self._entities.find(scope, EXPERIMENT, request["ExperimentName"])
            return {"TrialArn": self._entities.add(scope, TRIAL, request)["Arn"]}

    def describe_trial(self, scope: Scope, request: Record) -> Record:
        """Everything about one trial."""
        return self._entities.describe(scope, TRIAL, request["TrialName"])

    def update_trial(self, scope: Scope, request: Record) -> Record:
        """Change its display name."""
        return self._entities.update(scope, TRIAL, request, ("DisplayName",))

    def delete_trial(self, scope: Scope, request: Record) -> Record:
        """Delete a trial without trial components."""
        name = request["TrialName"]
        with self._store.lock:
            self._entities.find(scope, TRIAL, name)
            components = [each for each in self._entities.all(scope, COMPONENT) if name in each.get("_trials", {})]
            if components:
                raise _in_use(f"Trial {name}", f"its {len(components)} trial components must be disassociated first")
            return self._entities.drop(scope, TRIAL, name)

    def list_trials(self, scope: Scope, request: Record) -> Record:
        """Summaries, of one experiment or of those that have a component, newest first."""
        experiment, component = request.get("ExperimentName"), request.get("TrialComponentName")
        with self._store.lock:
            found = self._entities.all(scope, TRIAL)
            if experiment:
                self._entities.find(scope, EXPERIMENT, experiment)
                found = [trial for trial in found if trial["ExperimentName"] == experiment]
            if component:
                trials = self._entities.find(scope, COMPONENT, component).get("_trials", {})
                found = [trial for trial in found if trial["TrialName"] in trials]
            return self._entities.page(TRIAL, found, request)


def _in_use(what: str, why: str) -> ApiError:
    return ValidationException(f"{what} cannot be deleted: {why}.")
