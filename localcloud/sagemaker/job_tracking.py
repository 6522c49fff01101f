"""Jobs in Experiments: every training, processing and transform job is a trial component, by itself.

What a component holds: https://docs.aws.amazon.com/sagemaker/latest/dg/experiments.html; which trial it goes to:
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ExperimentConfig.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localcloud.sagemaker.experiments import COMPONENT, EXPERIMENT, TRIAL, Entities
from localcloud.sagemaker.trial_components import add_points, associate
from localcloud.store import Record, Scope

_LONGEST = 2500  # characters of a parameter; an artefact's address may have 2048
_MOST_PARAMETERS, _MOST_ARTEFACTS = 300, 60


class JobTracking:
    """Keeps each job's trial component as the job goes on."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    def begin(self, stem: str, scope: Scope, job: Record) -> None:
        """Make a new job's component; the caller holds the lock.

        Args:
            stem: TrainingJob, ProcessingJob or TransformJob; other jobs are not tracked.

        Raises:
            ResourceNotFound: the experiment or trial that the job names is not there.
        """
        if stem not in _CONTENTS:
            return
        config = job.get("ExperimentConfig", {})
        trial = self._trial(scope, config, job, stem)
        name = component_name(stem, job)
        if name in self._entities.store.table(scope, COMPONENT.kind):  # of a deleted job of the same name
            self._entities.drop(scope, COMPONENT, name)
        request = {"TrialComponentName": name, "DisplayName": config.get("TrialComponentDisplayName", name)}
        component = self._entities.add(scope, COMPONENT, request)
        component["Source"] = {"SourceArn": job["Arn"], "SourceType": f"SageMaker{stem}"}
        if "RunName" in config:
            component["RunName"] = config["RunName"]
        if trial is not None:
            associate(component, trial)

    def follow(self, stem: str, scope: Scope, job: Record) -> None:
        """Bring a job's component up to date, unless somebody has deleted it; the caller holds the lock."""
        if stem not in _CONTENTS:
            return
        component = self._entities.store.table(scope, COMPONENT.kind).get(component_name(stem, job))
        if component is None or component.get("Source", {}).get("SourceArn") != job["Arn"]:
            return
        with self._entities.store.changing(component):
            _CONTENTS[stem](component, job)
            _follow_status(component, job, stem)

    def _trial(self, scope: Scope, config: Mapping[str, str], job: Record, stem: str) -> Record | None:
        experiment, trial = config.get("ExperimentName"), config.get("TrialName")
        if experiment:
            self._entities.find(scope, EXPERIMENT, experiment)
        if trial:
            return self._entities.find(scope, TRIAL, trial)
        if experiment:  # SageMaker makes a trial when it is given an experiment only
            name = f"{job[f'{stem}Name']}-aws-trial"
            existing = self._entities.store.table(scope, TRIAL.kind).get(name)
            return existing or self._entities.add(scope, TRIAL, {"TrialName": name, "ExperimentName": experiment})
        return None


def component_name(stem: str, job: Record) -> str:
    """The name that SageMaker gives a job's component."""
    return f"{job[f'{stem}Name']}-aws-{stem.removesuffix('Job').lower()}-job"


def _follow_status(component: Record, job: Record, stem: str) -> None:
    status = job[f"{stem}Status"]
    said = [f"Status: {status}"]
    if "SecondaryStatus" in job:
        said.append(f"secondary status: {job['SecondaryStatus']}")
    said.append(f"failure reason: {job.get('FailureReason', '')}")
    component["Status"] = {"PrimaryStatus": status, "Message": f"{', '.join(said)}."[:1024]}
    what = stem.removesuffix("Job")
    for member in ("StartTime", "EndTime"):
        if f"{what}{member}" in job:
            component[member] = job[f"{what}{member}"]


def _training(component: Record, job: Record) -> None:
    resources = job["ResourceConfig"]
    component["Parameters"] = _parameters({**_cluster(resources), **job.get("HyperParameters", {})})
    component["InputArtifacts"] = _artefacts(
        {
            "SageMaker.ImageUri": (job["AlgorithmSpecification"]["TrainingImage"], None),
            **{
                channel["ChannelName"]: (channel["DataSource"]["S3DataSource"]["S3Uri"], channel.get("ContentType"))
                for channel in job.get("InputDataConfig", [])
            },
        }
    )
    model = job.get("ModelArtifacts", {}).get("S3ModelArtifacts")
    component["OutputArtifacts"] = _artefacts({"SageMaker.ModelArtifact": (model, None)} if model else {})
    add_points(component, job.pop("_history", []), job["Arn"])


def _processing(component: Record, job: Record) -> None:
    component["Parameters"] = _parameters(_cluster(job["ProcessingResources"]["ClusterConfig"]))
    inputs = {each["InputName"]: each.get("S3Input") for each in job.get("ProcessingInputs", [])}
    outputs = {
        each["OutputName"]: each.get("S3Output") for each in job.get("ProcessingOutputConfig", {}).get("Outputs", [])
    }
    component["InputArtifacts"] = _artefacts(
        {
            "SageMaker.ImageUri": (job["AppSpecification"]["ImageUri"], None),
            **{name: (source["S3Uri"], None) for name, source in inputs.items() if source},
        }
    )
    component["OutputArtifacts"] = _artefacts(
        {name: (target["S3Uri"], None) for name, target in outputs.items() if target}
    )


def _transform(component: Record, job: Record) -> None:
    resources = job["TransformResources"]
    component["Parameters"] = _parameters({**_cluster(resources), "SageMaker.ModelName": job["ModelName"]})
    source = job["TransformInput"]
    uri = source["DataSource"]["S3DataSource"]["S3Uri"]
    component["InputArtifacts"] = _artefacts({"SageMaker.TransformInput": (uri, source.get("ContentType"))})
    target = job["TransformOutput"]
    component["OutputArtifacts"] = _artefacts(
        {"SageMaker.TransformOutput": (target["S3OutputPath"], target.get("Accept"))}
    )


_CONTENTS: dict[str, Callable[[Record, Record], None]] = {
    "TrainingJob": _training,
    "ProcessingJob": _processing,
    "TransformJob": _transform,
}


def _cluster(resources: Mapping[str, Any]) -> dict[str, Any]:
    members = ("InstanceCount", "InstanceType", "VolumeSizeInGB")
    return {f"SageMaker.{member}": resources[member] for member in members if member in resources}


def _parameters(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Numbers as numbers, everything else as text."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in list(values.items())[:_MOST_PARAMETERS]:
        try:
            found[name] = {"NumberValue": float(value)}
        except ValueError:
            found[name] = {"StringValue": str(value)[:_LONGEST]}
    return found


def _artefacts(values: Mapping[str, tuple[str, str | None]]) -> dict[str, dict[str, str]]:
    return {
        name: {"Value": uri[:2048], **({"MediaType": media} if media else {})}
        for name, (uri, media) in list(values.items())[:_MOST_ARTEFACTS]
    }
