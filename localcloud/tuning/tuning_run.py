"""One tuning job's thread: trials started as slots of its own come free, judged by their objective, and its end."""

from __future__ import annotations

import copy
import queue
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from localcloud.errors import ApiError
from localcloud.jobs.platform import Live
from localcloud.store import Record, Scope, now
from localcloud.tuning.search import SearchExhausted, Trial
from localcloud.tuning.tuning_criteria import Criteria
from localcloud.tuning.tuning_portfolio import Portfolio
from localcloud.tuning.tuning_request import Definition, Plan

if TYPE_CHECKING:
    from localcloud.tuning.tuning_jobs import TuningJobs

# SageMaker gives up after so many training jobs without a single success.
ATTEMPTS_WITHOUT_SUCCESS = 5


class TuningRun:
    """One tuning job's thread."""

    def __init__(
        self, jobs: TuningJobs, scope: Scope, record: Record, live: Live, plan: Plan, search: Portfolio
    ) -> None:
        self._jobs = jobs
        self._store = jobs.store
        self._training = jobs.training
        self._platform = jobs.platform
        self._scope = scope
        self._record = record
        self._live = live
        self._plan = plan
        self._search = search
        self._criteria = Criteria(plan)
        self._ended: queue.SimpleQueue[Trial | None] = queue.SimpleQueue()
        self._running: dict[int, tuple[Definition, Record]] = {}
        self._tags = jobs.request_tags(scope, record)
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
            self._conclude(trial, *self._running.pop(trial.id))
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
            which, trial = self._search.ask()
        except SearchExhausted:
            self._full = True
            return False
        number = len(self._record.setdefault("_children", [])) + 1
        name = f"{self._record['HyperParameterTuningJobName']}-{number:03d}-{secrets.token_hex(4)}"
        definition = self._plan.definitions[which]
        extra = {"TuningJobArn": self._record["Arn"], "TunedHyperParameters": trial.tuned, "ObjectiveStatus": "Pending"}
        if definition.name:
            extra["TrainingJobDefinitionName"] = definition.name
        try:
            with self._store.lock:  # a metric may come at once, and is to find its trial among those that run
                record, _ = self._training.start(
                    self._scope,
                    self._request(name, definition, trial),
                    on_metric=lambda metric, value: self._report(definition, trial, metric, value),
                    then=lambda: self._ended.put(trial),
                    **extra,
                )
                self._running[trial.id] = (definition, record)
        except ApiError:
            self._search.tell(trial.id, None, failed=True)
            raise
        with self._store.changing(self._record):
            self._record["_children"].append(name)
        return True

    def _request(self, name: str, definition: Definition, trial: Trial) -> Record:
        """CreateTrainingJob's request for one trial."""
        request: dict[str, Any] = {
            **copy.deepcopy(definition.training),
            "TrainingJobName": name,
            # SageMaker tells the container which metric counts, among its hyperparameters.
            "HyperParameters": {**trial.hyperparameters, "_tuning_objective_metric": definition.metric},
            "Tags": self._tags,
        }
        if "CheckpointConfig" in request:  # trials must not take each other's checkpoints for their own
            checkpoints = request["CheckpointConfig"]
            checkpoints["S3Uri"] = f"{checkpoints['S3Uri'].rstrip('/')}/{name}"
        return request

    def _report(self, definition: Definition, trial: Trial, metric: str, value: float) -> None:
        if metric == definition.metric and self._search.report(trial.id, value):
            with self._store.lock:
                running = self._running.get(trial.id)
                if running is not None:
                    self._training.stop(self._scope, running[1])

    def _conclude(self, trial: Trial, definition: Definition, child: Record) -> None:
        with self._store.lock:
            status = child["TrainingJobStatus"]
            final = {metric["MetricName"]: metric["Value"] for metric in child.get("FinalMetricDataList", [])}
            value = final.get(definition.metric) if status != "Failed" else None
            if value is None:
                child["ObjectiveStatus"] = "Failed"
            else:
                child["ObjectiveStatus"] = "Succeeded"
                child["FinalHyperParameterTuningJobObjectiveMetric"] = {
                    "Type": self._plan.objective_type,
                    "MetricName": definition.metric,
                    "Value": value,
                }
            self._record["LastModifiedTime"] = now()
        self._search.tell(trial.id, value, failed=value is None)
        with self._store.changing(self._record):
            met = self._criteria.met(value, self._record)
        if met:
            self._full = True
            self._stop_children()

    def _stop_children(self) -> None:
        with self._store.lock:
            for _, child in list(self._running.values()):
                self._training.stop(self._scope, child)

    @property
    def _hopeless(self) -> str | None:
        """Why the job cannot succeed any more, once SageMaker would give up."""
        with self._store.lock:
            children = self._jobs.children(self._scope, self._record)
            ended = [child for child in children if child["ObjectiveStatus"] != "Pending"]
            if any(child["ObjectiveStatus"] == "Succeeded" for child in ended):
                return None
            over = bool(ended) and len(ended) == len(children) and self._search.exhausted()
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
        """Its own time being over completes a tuning job: MaxRuntimeInSeconds is one of its completion criteria.

        https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-progress.html
        """
        if self._live.cancelled.is_set():
            self._jobs.end(self._scope, self._record, "Stopped")
        elif (reason := self._hopeless) is not None:
            self._jobs.end(self._scope, self._record, "Failed", reason)
        else:
            self._jobs.end(self._scope, self._record, "Completed")
