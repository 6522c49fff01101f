"""Hyperparameter tuning jobs: a search that starts training jobs and learns from their objective metric."""

from __future__ import annotations

import copy
import queue
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud import listing
from localcloud.api import echo, project, service_model
from localcloud.errors import ApiError, ResourceInUse, ResourceNotFound, ValidationException
from localcloud.job_family import JobFamily, JobNames
from localcloud.jobs import TERMINAL, Live, Platform
from localcloud.store import Record, Scope, now
from localcloud.tags import Tags
from localcloud.training_jobs import NAMES as TRAINING
from localcloud.training_jobs import TrainingJobs, check_request
from localcloud.tuning import Search, SearchExhausted, Trial, TuningError

NAMES = JobNames(
    kind="hyper-parameter-tuning-job",
    stem="HyperParameterTuningJob",
    spoken="hyperparameter tuning job",
    end_time="HyperParameterTuningEndTime",
    event="SageMaker HyperParameter Tuning Job State Change",
)
# SageMaker gives up after so many training jobs without a single success.
ATTEMPTS_WITHOUT_SUCCESS = 5
# What SageMaker lets a tuning job run when the request sets no limit.
MOST_TRAINING_JOBS = 750


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

    def __init__(self, platform: Platform, tags: Tags, training: TrainingJobs) -> None:
        super().__init__(platform, tags)
        self.training = training

    # --- operations ---

    def create_hyper_parameter_tuning_job(self, scope: Scope, request: Record) -> Record:
        """Start a tuning job."""
        plan = self._plan(scope, request)
        record = self.new_record(scope, request["HyperParameterTuningJobName"])
        record.update(echo(request, "CreateHyperParameterTuningJob", "DescribeHyperParameterTuningJob"))
        self.register(scope, record, request.get("Tags", []))
        self.launch(scope, record, lambda live: _Run(self, scope, record, live, plan).run())
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
        best = _best(children, _objective(record))
        if best is not None:
            described["BestTrainingJob"] = _child_summary(best)
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

    def _plan(self, scope: Scope, request: Record) -> Plan:
        """The search and the training job's request behind a tuning job.

        Raises:
            ValidationException: what SageMaker refuses, or what localcloud has not.
        """
        config = request["HyperParameterTuningJobConfig"]
        definition = _definition(request)
        objective = definition.get("TuningObjective") or config.get("HyperParameterTuningJobObjective")
        ranges = definition.get("HyperParameterRanges") or config.get("ParameterRanges")
        metrics = definition["AlgorithmSpecification"].get("MetricDefinitions", [])
        if objective is None or objective["MetricName"] not in [metric["Name"] for metric in metrics]:
            raise ValidationException(
                "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
                "definitions."
            )
        if not ranges:
            raise ValidationException("HyperParameter ranges are required for this hyperparameter tuning job.")
        limits = config["ResourceLimits"]
        bounded = "MaxNumberOfTrainingJobs" in limits or "MaxRuntimeInSeconds" in limits
        if not bounded and config["Strategy"] != "Grid":
            raise ValidationException("MaxNumberOfTrainingJobs is required in ResourceLimits.")
        most = limits.get("MaxNumberOfTrainingJobs", MOST_TRAINING_JOBS)
        if limits["MaxParallelTrainingJobs"] > most:
            raise ValidationException(
                f"MaxParallelTrainingJobs ({limits['MaxParallelTrainingJobs']}) must not be greater than "
                f"MaxNumberOfTrainingJobs ({most})."
            )
        training = _training_request(definition)
        check_request(training)
        self.platform.image(training["AlgorithmSpecification"]["TrainingImage"])
        try:
            search = Search(
                strategy=config["Strategy"],
                ranges=ranges,
                objective_type=objective["Type"],
                seed=config.get("RandomSeed"),
                static=dict(definition.get("StaticHyperParameters", {})),
                max_jobs=most,
                early_stopping=config.get("TrainingJobEarlyStoppingType", "Off"),
                warm_start=self._parents(scope, request),
                hyperband=config.get("StrategyConfig", {}).get("HyperbandStrategyConfig"),
            )
        except TuningError as error:
            raise ValidationException(str(error)) from error
        return Plan(
            search=search,
            training=training,
            metric=objective["MetricName"],
            objective_type=objective["Type"],
            parallel=limits["MaxParallelTrainingJobs"],
            seconds=limits.get("MaxRuntimeInSeconds"),
            criteria=config.get("TuningJobCompletionCriteria", {}),
            tags=request.get("Tags", []),
            definition_name=definition.get("DefinitionName"),
        )

    def _parents(self, scope: Scope, request: Record) -> list[tuple[dict[str, str], float]]:
        results = []
        with self.store.lock:
            for parent in request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", []):
                record = self.find(scope, parent["HyperParameterTuningJobName"])
                if record["HyperParameterTuningJobStatus"] not in TERMINAL:
                    raise ValidationException(
                        f"The parent tuning job {parent['HyperParameterTuningJobName']} has not ended yet."
                    )
                for child in self.children(scope, record):
                    value = _value(child)
                    if value is not None:
                        results.append((child["TunedHyperParameters"], value))
        return results


@dataclass
class Plan:
    """What a tuning job does: its search, and the training job that each trial starts."""

    search: Search
    training: Record
    metric: str
    objective_type: str
    parallel: int
    seconds: int | None
    criteria: Mapping[str, Any]
    tags: list[dict[str, str]]
    definition_name: str | None


class _Run:
    """One tuning job's thread."""

    def __init__(self, jobs: TuningJobs, scope: Scope, record: Record, live: Live, plan: Plan) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._training = jobs.training
        self._platform = jobs.platform
        self._scope = scope
        self._record = record
        self._live = live
        self._plan = plan
        self._ended: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self._running: dict[int, Record] = {}
        self._since_best = 0
        self._full = False  # no more trials: the search is over, or a criterion was met
        self._out_of_time = False

    def run(self) -> None:
        """Run to the end; whatever goes wrong ends the job."""
        threading.Thread(target=self._watch_cancel, name="localcloud-tuning-stop", daemon=True).start()
        try:
            self._loop()
        except Exception as error:
            self._stop_children()
            self._jobs.end(self._scope, self._record, "Failed", f"InternalServerError: {type(error).__name__}: {error}")
            raise
        finally:
            self._live.cancelled.set()  # lets the watcher go

    def _watch_cancel(self) -> None:
        self._live.cancelled.wait()
        self._ended.put(None)

    def _loop(self) -> None:
        deadline = None if self._plan.seconds is None else time.monotonic() + self._plan.seconds
        while True:
            while not self._closed and len(self._running) < self._plan.parallel and self._start_one():
                pass
            if not self._running:
                break
            trial = self._next_ended(deadline)
            if trial is None:
                self._stop_children()
                deadline = None
                continue
            self._conclude(trial, self._running.pop(trial.id))
        self._end()

    @property
    def _closed(self) -> bool:
        return self._full or self._out_of_time or self._live.cancelled.is_set() or self._hopeless is not None

    def _next_ended(self, deadline: float | None) -> Trial | None:
        """The next trial that has ended; None when the job is to stop or its time is over."""
        try:
            return self._ended.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            self._out_of_time = True
            return None

    def _start_one(self) -> bool:
        """Start the next trial; False when there is none."""
        try:
            trial = self._plan.search.ask()
        except SearchExhausted:
            self._full = True
            return False
        number = len(self._record.setdefault("_children", [])) + 1
        name = f"{self._record['HyperParameterTuningJobName']}-{number:03d}-{secrets.token_hex(4)}"
        request = {
            **copy.deepcopy(self._plan.training),
            "TrainingJobName": name,
            # SageMaker tells the container which metric counts, among its hyperparameters.
            "HyperParameters": {**trial.hyperparameters, "_tuning_objective_metric": self._plan.metric},
            "Tags": self._plan.tags,
        }
        extra = {"TuningJobArn": self._record["Arn"], "TunedHyperParameters": trial.tuned, "ObjectiveStatus": "Pending"}
        if self._plan.definition_name:
            extra["TrainingJobDefinitionName"] = self._plan.definition_name
        try:
            record, _ = self._training.start(
                self._scope,
                request,
                on_metric=lambda metric, value: self._report(trial, metric, value),
                then=lambda: self._ended.put(trial),
                **extra,
            )
        except ApiError:
            self._plan.search.tell(trial.id, None, failed=True)
            raise
        self._running[trial.id] = record
        with self._store.changing(self._record):
            self._record["_children"].append(name)
        return True

    def _report(self, trial: Trial, metric: str, value: float) -> None:
        if metric == self._plan.metric and self._plan.search.report(trial.id, value):
            with self._store.lock:
                record = self._running.get(trial.id)
                if record is not None:
                    self._training.stop(self._scope, record)

    def _conclude(self, trial: Trial, child: Record) -> None:
        with self._store.lock:
            status = child["TrainingJobStatus"]
            final = {metric["MetricName"]: metric["Value"] for metric in child.get("FinalMetricDataList", [])}
            value = final.get(self._plan.metric) if status != "Failed" else None
            before = self._plan.search.best()
            if value is None:
                child["ObjectiveStatus"] = "Failed"
            else:
                child["ObjectiveStatus"] = "Succeeded"
                child["FinalHyperParameterTuningJobObjectiveMetric"] = {
                    "Type": self._plan.objective_type,
                    "MetricName": self._plan.metric,
                    "Value": value,
                }
            self._record["LastModifiedTime"] = now()
        self._plan.search.tell(trial.id, value, failed=value is None)
        self._check_criteria(value, before)

    def _check_criteria(self, value: float | None, before: tuple[int, float] | None) -> None:
        criteria = self._plan.criteria
        if value is not None:
            better = before is None or self._better(value, before[1])
            self._since_best = 0 if better else self._since_best + 1
            target = criteria.get("TargetObjectiveMetricValue")
            if target is not None and (value == target or self._better(value, target)):
                self._full = True
        patience = criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving")
        if patience is not None and self._since_best >= patience:
            self._full = True
        if self._full and criteria:
            with self._store.changing(self._record):
                self._record["TuningJobCompletionDetails"] = {
                    "NumberOfTrainingJobsObjectiveNotImproving": self._since_best
                }
            self._stop_children()

    def _better(self, value: float, other: float) -> bool:
        return value < other if self._plan.objective_type == "Minimize" else value > other

    def _stop_children(self) -> None:
        with self._store.lock:
            for child in list(self._running.values()):
                self._training.stop(self._scope, child)

    @property
    def _hopeless(self) -> str | None:
        """Why the job cannot succeed any more, once SageMaker would give up."""
        with self._store.lock:
            children = self._jobs.children(self._scope, self._record)
            ended = [child for child in children if child["ObjectiveStatus"] != "Pending"]
            if any(child["ObjectiveStatus"] == "Succeeded" for child in ended):
                return None
            over = bool(ended) and len(ended) == len(children) and self._plan.search.exhausted()
            if not over and len(ended) < ATTEMPTS_WITHOUT_SUCCESS:
                return None
            if all(child["TrainingJobStatus"] == "Failed" for child in ended):
                if len(ended) < ATTEMPTS_WITHOUT_SUCCESS:
                    return (
                        "All training jobs failed. Please take a look at the training job failures to get more details."
                    )
                return (
                    f"No training job succeeded after {ATTEMPTS_WITHOUT_SUCCESS} attempts. Please take a look at the "
                    "training job failures to get more details."
                )
            return (
                f"No objective metrics found after running {len(ended)} training jobs. Please ensure that the custom "
                "algorithm is emitting the objective metric as defined by the regular expression provided."
            )

    def _end(self) -> None:
        if self._live.cancelled.is_set() or self._out_of_time:
            self._jobs.end(self._scope, self._record, "Stopped")
        elif (reason := self._hopeless) is not None:
            self._jobs.end(self._scope, self._record, "Failed", reason)
        else:
            self._jobs.end(self._scope, self._record, "Completed")


def _definition(request: Mapping[str, Any]) -> Mapping[str, Any]:
    single, several = request.get("TrainingJobDefinition"), request.get("TrainingJobDefinitions", [])
    if single is not None and several:
        raise ValidationException(
            "You can't specify both TrainingJobDefinition and TrainingJobDefinitions in one request."
        )
    if single is not None:
        return dict(single)
    if len(several) == 1:
        return dict(several[0])
    if several:
        raise ValidationException("localcloud tunes one training job definition at a time.")
    raise ValidationException("Either TrainingJobDefinition or TrainingJobDefinitions must be specified.")


def _training_request(definition: Mapping[str, Any]) -> Record:
    """CreateTrainingJob's request for one trial, name and hyperparameters excepted."""
    members = service_model("sagemaker").operation_model("CreateTrainingJob").input_shape.members  # type: ignore[union-attr]
    request = {name: copy.deepcopy(value) for name, value in definition.items() if name in members}
    resources = definition.get("ResourceConfig")
    if resources is None and (alternative := definition.get("HyperParameterTuningResourceConfig")):
        chosen = alternative if "InstanceType" in alternative else alternative.get("InstanceConfigs", [{}])[0]
        resources = {
            "InstanceType": chosen.get("InstanceType", "ml.m5.large"),
            "InstanceCount": chosen.get("InstanceCount", 1),
            "VolumeSizeInGB": chosen.get("VolumeSizeInGB", alternative.get("VolumeSizeInGB", 1)),
        }
    if resources is not None:
        request["ResourceConfig"] = dict(resources)
    return request


def _objective(record: Record) -> str:
    definition = _definition(record)
    objective = definition.get("TuningObjective") or record["HyperParameterTuningJobConfig"].get(
        "HyperParameterTuningJobObjective", {}
    )
    return str(objective.get("Type", "Minimize"))


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
    return {
        "TrainingJobStatusCounters": {
            "Completed": statuses.count("Completed"),
            "InProgress": statuses.count("InProgress") + statuses.count("Stopping"),
            "RetryableError": 0,
            "NonRetryableError": statuses.count("Failed"),
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
