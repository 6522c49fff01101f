"""Hyperparameter tuning jobs: a search that starts training jobs and learns from their objective metric."""

from __future__ import annotations

import copy
from collections import Counter
from typing import ClassVar

from localcloud.errors import ApiError, ResourceInUse, ResourceNotFound
from localcloud.jobs.job_family import JobFamily, JobNames
from localcloud.jobs.platform import TERMINAL, Platform
from localcloud.jobs.training_jobs import NAMES as TRAINING
from localcloud.jobs.training_jobs import TrainingJobs
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import echo, project, service_model
from localcloud.sagemaker.quotas import TRAINING_JOBS, TUNING_JOBS
from localcloud.sagemaker.tags import Tags
from localcloud.store import Record, Scope
from localcloud.tuning import tuning_request, warm_start
from localcloud.tuning.tuning_request import Lessons, definitions, objective, training_request
from localcloud.tuning.tuning_run import TuningRun

NAMES = JobNames(
    kind="hyper-parameter-tuning-job",
    stem="HyperParameterTuningJob",
    spoken="hyperparameter tuning job",
    end_time="HyperParameterTuningEndTime",
    event="SageMaker HyperParameter Tuning Job State Change",
)


class TuningJobs(JobFamily):
    """CreateHyperParameterTuningJob and its family."""

    names = NAMES
    operations = (
        "CreateHyperParameterTuningJob",
        "DescribeHyperParameterTuningJob",
        "ListHyperParameterTuningJobs",
        "StopHyperParameterTuningJob",
        "DeleteHyperParameterTuningJob",
        "ListTrainingJobsForHyperParameterTuningJob",
    )

    partial: ClassVar[dict[str, str]] = {
        "CreateHyperParameterTuningJob": "Bayesian search is Optuna's tree-structured Parzen estimator, Hyperband its "
        "pruner; how a budget is divided among several definitions, when a search has converged and what Autotune "
        "makes of a ValueHint are localcloud's own. Of several InstanceConfigs the first is used.",
    }

    def __init__(self, platform: Platform, tags: Tags, training: TrainingJobs) -> None:
        super().__init__(platform, tags)
        self.training = training

    # --- operations ---

    def create_hyper_parameter_tuning_job(self, scope: Scope, request: Record) -> Record:
        """Start a tuning job."""
        plan = tuning_request.read(request, self.platform.quotas)
        for definition in plan.definitions:
            self.platform.image(definition.training["AlgorithmSpecification"]["TrainingImage"])
        lessons: Lessons = {}
        if "WarmStartConfig" in request:
            with self.store.lock:
                parents = self._parents(scope, request)
                warm_start.check(request, parents)
                lessons = warm_start.lessons(request, parents)
                launched = sum(len(parent.children) for parent in parents)
            # the parents' training jobs count too
            self.platform.quotas.check(TRAINING_JOBS, launched, plan.most, "Training Jobs")
        search = plan.search(lessons)
        record = self.new_record(scope, request["HyperParameterTuningJobName"])
        record.update(echo(request, "CreateHyperParameterTuningJob", "DescribeHyperParameterTuningJob"))
        self.register(scope, record, request.get("Tags", []))
        self.launch(scope, record, lambda live: TuningRun(self, scope, record, live, plan, search).run())
        return {"HyperParameterTuningJobArn": record["Arn"]}

    describe_hyper_parameter_tuning_job = JobFamily.describe_job
    list_hyper_parameter_tuning_jobs = JobFamily.list_jobs
    stop_hyper_parameter_tuning_job = JobFamily.stop_job  # its training jobs are stopped too
    delete_hyper_parameter_tuning_job = JobFamily.delete_job  # its training jobs stay

    def list_training_jobs_for_hyper_parameter_tuning_job(self, scope: Scope, request: Record) -> Record:
        """The training jobs that a tuning job has started."""
        with self.store.lock:
            record = self.find(scope, request["HyperParameterTuningJobName"])
            children = [{**child, "FinalObjectiveMetricValue": _value(child)} for child in self.children(scope, record)]
            found = listing.select(children, request, name="TrainingJobName", status="TrainingJobStatus")
            sort = {
                "Name": "TrainingJobName",
                "CreationTime": "CreationTime",
                "Status": "TrainingJobStatus",
                "FinalObjectiveMetricValue": "FinalObjectiveMetricValue",
            }
            chosen, token = listing.page(found, request, sort=sort, default_sort="Name", default_order="Ascending")
            return {"TrainingJobSummaries": [_child_summary(child) for child in chosen], "NextToken": token}

    # --- in a tuning job's own words ---

    def check_quotas(self, scope: Scope, record: Record) -> None:
        """How many tuning jobs run, and the instances that this one's training jobs will want at once."""
        table = self.store.table(scope, NAMES.kind)
        running = sum(each[NAMES.status] not in TERMINAL for each in table.values())
        self.platform.quotas.check(TUNING_JOBS, running, 1, "Tuning Jobs")
        parallel = record["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxParallelTrainingJobs"]
        wanted: Counter[str] = Counter()
        for definition in definitions(record):
            for name, count in self.training.instances(training_request(definition)).items():
                wanted[name] = max(wanted[name], count * parallel)  # all at once may be of one definition
        self.training.check_instances(scope, wanted)

    def request_tags(self, scope: Scope, record: Record) -> list[dict[str, str]]:
        """The tags that a tuning job hands on to its training jobs."""
        with self.store.lock:
            return [{"Key": key, "Value": value} for key, value in self.tags.of(scope, record["Arn"]).items()]

    def children(self, scope: Scope, record: Record) -> list[Record]:
        """The training jobs of a tuning job, in order. The caller holds the lock."""
        table = self.store.table(scope, TRAINING.kind)
        return [table[name] for name in record.get("_children", []) if name in table]

    def describe(self, scope: Scope, record: Record) -> Record:
        """A copy of the record as DescribeHyperParameterTuningJob gives it. The caller holds the lock."""
        described = super().describe(scope, record)
        children = self.children(scope, record)
        described.update(_counters(children))
        described["ConsumedResources"] = {
            "RuntimeInSeconds": sum(child.get("TrainingTimeInSeconds", 0) for child in children)
        }
        best = _best(children, _objective_type(record))
        if best is not None:
            described["BestTrainingJob"] = _child_summary(best)
        if record.get("WarmStartConfig", {}).get("WarmStartType") == warm_start.IDENTICAL:
            overall = self._overall_best(scope, record)
            if overall is not None:
                described["OverallBestTrainingJob"] = overall
        return described

    def summary(self, scope: Scope, record: Record) -> Record:
        """A copy of the record as the list gives it. The caller holds the lock."""
        shape = service_model("sagemaker").shape_for("HyperParameterTuningJobSummary")
        summary = project(shape, self.describe(scope, record))  # type: ignore[arg-type]
        config = record["HyperParameterTuningJobConfig"]
        return {**summary, "Strategy": config["Strategy"], "ResourceLimits": dict(config["ResourceLimits"])}

    def event_detail(self, scope: Scope, record: Record) -> Record:
        """The event does not tell the best training job: one must describe the tuning job."""
        detail = self.describe(scope, record)
        detail.pop("BestTrainingJob", None)
        return detail

    def unknown(self, name: str) -> ApiError:
        """The error for a job that there is not."""
        return ResourceNotFound(f"Amazon SageMaker can't find a tuning job called {name}. Type another name.")

    def taken(self, record: Record) -> ApiError:
        """The error for a name that a job has already."""
        return ResourceInUse(
            f"A hyperparameter tuning job with the name, {record[NAMES.member]}, already exists. Choose a different "
            "name."
        )

    def busy(self, record: Record) -> ApiError:
        """The error for the deletion of a job that has not ended."""
        return self.not_in_this_status(record)

    # --- inside ---

    def _overall_best(self, scope: Scope, record: Record) -> Record | None:
        """The best training job of a tuning job and its parents, as far as they are still there."""
        table = self.store.table(scope, NAMES.kind)
        parents = [
            table[parent["HyperParameterTuningJobName"]]
            for parent in record["WarmStartConfig"]["ParentHyperParameterTuningJobs"]
            if parent["HyperParameterTuningJobName"] in table
        ]
        owners = {
            child["TrainingJobName"]: (child, owner[NAMES.member])
            for owner in (record, *parents)
            for child in self.children(scope, owner)
        }
        best = _best([child for child, _ in owners.values()], _objective_type(record))
        if best is None:
            return None
        return {**_child_summary(best), "TuningJobName": owners[best["TrainingJobName"]][1]}

    def _parents(self, scope: Scope, request: Record) -> list[warm_start.Parent]:
        """The tuning jobs that a warm start names, checked. The caller holds the lock."""
        names = [
            parent["HyperParameterTuningJobName"]
            for parent in request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
        ]
        records = [self.find(scope, name) for name in names]
        return [warm_start.Parent(record, self.children(scope, record)) for record in records]


def _objective_type(record: Record) -> str:
    found = objective(definitions(record)[0], record["HyperParameterTuningJobConfig"])
    return str(found.get("Type", "Minimize"))


def _value(child: Record) -> float | None:
    metric = child.get("FinalHyperParameterTuningJobObjectiveMetric")
    return None if metric is None else metric["Value"]


def _best(children: list[Record], objective_type: str) -> Record | None:
    scored = [
        (value, child)
        for child in children
        if child["TrainingJobStatus"] == "Completed" and (value := _value(child)) is not None
    ]
    if not scored:
        return None
    pick = min if objective_type == "Minimize" else max
    return pick(scored, key=lambda item: item[0])[1]


def _counters(children: list[Record]) -> Record:
    statuses = [child["TrainingJobStatus"] for child in children]
    objectives = [child["ObjectiveStatus"] for child in children]
    retryable = sum(
        child["TrainingJobStatus"] == "Failed" and child.get("FailureReason", "").startswith("InternalServerError")
        for child in children
    )
    return {
        "TrainingJobStatusCounters": {
            "Completed": statuses.count("Completed"),
            "InProgress": statuses.count("InProgress") + statuses.count("Stopping"),
            "RetryableError": retryable,
            "NonRetryableError": statuses.count("Failed") - retryable,
            "Stopped": statuses.count("Stopped"),
        },
        "ObjectiveStatusCounters": {
            "Succeeded": objectives.count("Succeeded"),
            "Pending": objectives.count("Pending"),
            "Failed": objectives.count("Failed"),
        },
    }


def _child_summary(child: Record) -> Record:
    shape = service_model("sagemaker").shape_for("HyperParameterTrainingJobSummary")
    return copy.deepcopy(project(shape, child))  # type: ignore[arg-type]
