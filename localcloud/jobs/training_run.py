"""One training job's thread: data in, container, metrics, checkpoints, artefacts out."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.cloudwatch import metrics
from localcloud.containers import container_contract as contract
from localcloud.containers.processes import ContainerError, ContainerSpec, command_for
from localcloud.jobs.mirror import Folder, Mirror
from localcloud.jobs.pipe_mode import Pipe
from localcloud.jobs.platform import End, Live, run_container, seconds_between
from localcloud.jobs.training_request import DEFAULT_RUNTIME
from localcloud.store import Record, Scope, now

if TYPE_CHECKING:
    from localcloud.jobs.training_jobs import TrainingJobs

logger = logging.getLogger("localcloud.jobs.platform")

# The log group, and the namespace of the metrics.
GROUP = "/aws/sagemaker/TrainingJobs"

# Of a job's metrics, what its trial component's statistics are made of.
MOST_POINTS = 1000

OnMetric = Callable[[str, float], None]


class TrainingRun:
    """One training job's thread."""

    def __init__(
        self, jobs: TrainingJobs, scope: Scope, record: Record, live: Live, on_metric: OnMetric | None
    ) -> None:
        self._jobs = jobs
        self._platform = jobs.platform
        self._scope = scope
        self._record = record
        self._live = live
        self._on_metric = on_metric
        self._deadline = 0.0
        self._over = "MaxRuntimeExceeded"  # what it means when the deadline has come

    def run(self, image: Any) -> None:
        """Run to the end; whatever goes wrong ends the job."""
        if self._platform.full:
            self._secondary("Pending")
        waiting = None
        if (longest := self._record["StoppingCondition"].get("MaxWaitTimeInSeconds")) is not None:
            waiting = threading.Timer(longest, self._waited_too_long)
            waiting.daemon = True
            waiting.start()
        try:
            self._jobs.run_in_slot(self._scope, self._record, self._live, lambda base: self._attempts(base, image))
        finally:
            if waiting is not None:
                waiting.cancel()

    def _waited_too_long(self) -> None:
        """A spot job that has not begun within MaxWaitTimeInSeconds is given up."""
        with self._jobs.store.lock:
            if "TrainingStartTime" not in self._record:
                self._record["_gave_up"] = "MaxWaitTimeExceeded"
                self._live.stop()

    def _attempts(self, base: Path, image: Any) -> None:
        """Once, and again after an InternalServerError as often as RetryStrategy says; the clock runs on."""
        record = self._record
        seconds = record["StoppingCondition"].get("MaxRuntimeInSeconds", DEFAULT_RUNTIME)
        with self._jobs.store.changing(record):
            record["TrainingStartTime"] = now()
            if (longest := record["StoppingCondition"].get("MaxWaitTimeInSeconds")) is not None:
                left = longest - seconds_between(record["CreationTime"], record["TrainingStartTime"])
                if left < seconds:  # a spot job's waiting and running together have a limit too
                    seconds, self._over = left, "MaxWaitTimeExceeded"
        self._deadline = time.monotonic() + seconds
        for left in range(record.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0), -1, -1):
            try:
                self._run_in(base, image)
                return
            except (contract.ContractError, ContainerError):
                raise  # the container's or the caller's fault: no InternalServerError
            except Exception:
                if not left or self._live.cancelled.is_set() or time.monotonic() > self._deadline:
                    raise
                logger.exception("%s is tried again after an error of localcloud itself", record["TrainingJobName"])
                self._secondary("Restarting")
                for path in base.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _run_in(self, base: Path, image: Any) -> None:
        record, scope = self._record, self._scope
        self._secondary("Downloading")
        environment = contract.training_environment(
            job_name=record["TrainingJobName"],
            job_arn=record["TrainingJobArn"],
            region=scope.region,
            environment=record.get("Environment", {}),
        )
        algorithm = record["AlgorithmSpecification"]
        channels = [
            {**channel, "InputMode": channel.get("InputMode", algorithm["TrainingInputMode"])}
            for channel in record.get("InputDataConfig", [])
        ]
        contract.prepare_training(
            base,
            job_name=record["TrainingJobName"],
            hyperparameters=record.get("HyperParameters", {}),
            input_data_config=channels,
            resource_config=record["ResourceConfig"],
            environment=environment,
        )
        folders = self._folders(base)
        self._download(base, channels)
        command = command_for(
            image, algorithm.get("ContainerEntrypoint"), algorithm.get("ContainerArguments"), ["train"]
        )
        self._secondary("Training")
        log = self._platform.open_log(scope, GROUP, record["TrainingJobName"])
        scraper = contract.MetricScraper(algorithm.get("MetricDefinitions", []))

        def on_line(line: str) -> None:
            log.write(line)
            self._measure(scraper.feed(line, time.time()))

        spec = ContainerSpec(
            image=image,
            command=command,
            environment={**self._platform.environment(scope, record["RoleArn"]), **environment},
            base_dir=base,
            name=record["TrainingJobName"],
            isolated=bool(record.get("EnableNetworkIsolation")),
        )
        mirror = Mirror(self._transfer, folders)
        try:
            with mirror, self._pipes(base, channels):
                end, code = run_container(
                    self._platform, self._live, spec, on_line, max(0.0, self._deadline - time.monotonic())
                )
        finally:
            log.close()
        if not self._live.forgotten:
            mirror.finish()
            self._finish(base, end, code, scraper)

    def _transfer(self) -> contract.S3Transfer:
        return self._platform.transfer(self._scope, self._record["RoleArn"])

    def _download(self, base: Path, channels: Sequence[Mapping[str, Any]]) -> None:
        """Every channel but those in Pipe mode; and what an earlier job has left as checkpoints."""
        transfer = self._transfer()
        for channel in channels:
            if channel["InputMode"] != "Pipe":  # FastFile too: files are files, wherever they come from
                source = channel["DataSource"]["S3DataSource"]
                destination = base / "input" / "data" / channel["ChannelName"]
                transfer.download_prefix(source["S3Uri"], destination, source["S3DataType"])
        checkpoints = self._record.get("CheckpointConfig")
        if checkpoints:
            folder = f"{checkpoints['S3Uri'].rstrip('/')}/"
            if transfer.exists(folder):
                transfer.download_prefix(folder, _path(base, checkpoints, "checkpoints"))

    @contextmanager
    def _pipes(self, base: Path, channels: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        """The channels in Pipe mode, fed for the length of the block."""
        pipes: list[Pipe] = []
        try:
            for channel in channels:
                if channel["InputMode"] == "Pipe":
                    pipes.append(Pipe(base / "input" / "data", channel, self._transfer()))
            yield
        finally:
            for pipe in pipes:
                pipe.close()
        for pipe in pipes:
            if pipe.error is not None:
                raise pipe.error

    def _folders(self, base: Path) -> list[Folder]:
        """What goes to S3 while the job runs."""
        name = self._record["TrainingJobName"]
        folders = []
        if checkpoints := self._record.get("CheckpointConfig"):
            folders.append(Folder(_path(base, checkpoints, "checkpoints"), checkpoints["S3Uri"]))
        for member, default, prefix in (
            ("TensorBoardOutputConfig", "output/tensorboard", "tensorboard-output"),
            ("DebugHookConfig", "output/tensors", "debug-output"),
        ):
            if config := self._record.get(member):
                uri = f"{config['S3OutputPath'].rstrip('/')}/{name}/{prefix}"
                folders.append(Folder(_path(base, config, default), uri))
        for folder in folders:
            folder.path.mkdir(parents=True, exist_ok=True)
        return folders

    def _measure(self, found: list[tuple[str, float]]) -> None:
        """Metrics from the log, to CloudWatch and to the tuning job."""
        dimensions = {"TrainingJobName": self._record["TrainingJobName"]}
        for name, value in found:
            metrics.put(self._scope, GROUP, name, value, "None", dimensions)
            if self._on_metric is not None:
                self._on_metric(name, value)

    def _finish(self, base: Path, end: End, code: int, scraper: contract.MetricScraper) -> None:
        final = _final_metrics(scraper)
        with self._jobs.store.changing(self._record):
            if final:
                self._record["FinalMetricDataList"] = final
                self._record["_history"] = [list(point) for point in scraper.history[-MOST_POINTS:]]
        if end == "exited" and code != 0:
            self._upload_output(base)
            reason = contract.training_failure_reason(base, code)
            self._jobs.fail(self._scope, self._record, self._live, reason)
            return
        if end == "exited":
            self._secondary("Uploading")
        self._upload_output(base)
        self._upload_model(base)
        if end == "stopped":
            self._jobs.end(self._scope, self._record, "Stopped")
        elif end == "timed out":
            self._jobs.end(self._scope, self._record, "Stopped", secondary=self._over)
        else:
            self._jobs.end(self._scope, self._record, "Completed")

    def _upload_model(self, base: Path) -> None:
        output = self._record["OutputDataConfig"]
        prefix = f"{output['S3OutputPath'].rstrip('/')}/{self._record['TrainingJobName']}/output"
        transfer = self._transfer()
        if output.get("CompressionType") == "NONE":
            uri = f"{prefix}/model/"
            transfer.upload_tree(base / "model", uri, output.get("KmsKeyId"))
        else:
            packed = base / "model.tar.gz"
            uri = f"{prefix}/model.tar.gz"
            if not contract.pack_model(base, packed):
                return
            transfer.upload_file(packed, uri, output.get("KmsKeyId"))
        with self._jobs.store.changing(self._record):
            self._record["ModelArtifacts"] = {"S3ModelArtifacts": uri}

    def _upload_output(self, base: Path) -> None:
        output = self._record["OutputDataConfig"]
        packed = base / "output.tar.gz"
        if contract.pack_output(base, packed):
            uri = f"{output['S3OutputPath'].rstrip('/')}/{self._record['TrainingJobName']}/output/output.tar.gz"
            self._transfer().upload_file(packed, uri, output.get("KmsKeyId"))

    def _secondary(self, status: str) -> None:
        with self._jobs.store.lock:
            if self._record["TrainingJobStatus"] != "InProgress":
                return  # Stopping stands until the end
            self._jobs.transition(self._record, status)
        self._jobs.emit(self._scope, self._record)


def _path(base: Path, config: Mapping[str, Any], default: str) -> Path:
    """A directory that the request may put elsewhere under /opt/ml."""
    return contract.local_path(base, config["LocalPath"]) if config.get("LocalPath") else base / default


def _final_metrics(scraper: contract.MetricScraper) -> list[dict[str, Any]]:
    last: dict[str, tuple[float, float]] = {}
    for name, value, when in scraper.history:
        last[name] = (value, when)
    return [
        {"MetricName": name, "Value": value, "Timestamp": datetime.fromtimestamp(int(when), UTC)}
        for name, (value, when) in last.items()
    ]
