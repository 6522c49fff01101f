"""What processing, training, tuning and transform jobs have in common: they differ by their members' names."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from localcloud.containers.container_contract import ContractError
from localcloud.containers.processes import ContainerError
from localcloud.errors import ApiError, ResourceInUse, ValidationException
from localcloud.jobs.platform import TERMINAL, Live, Platform, limited
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import project, service_model
from localcloud.sagemaker.tags import Tags
from localcloud.store import Record, Scope, now


@dataclass(frozen=True)
class JobNames:
    """What one kind of job is called.

    Args:
        kind: in ARNs and in the store (``training-job``).
        stem: of operations, shapes and members (``TrainingJob``).
        spoken: in messages (``training job``).
        end_time: the member that says when it ended.
        event: the detail type of its events.
    """

    kind: str
    stem: str
    spoken: str
    end_time: str
    event: str

    @property
    def member(self) -> str:
        """The member that holds the job's name."""
        return f"{self.stem}Name"

    @property
    def arn(self) -> str:
        """The member that holds its ARN."""
        return f"{self.stem}Arn"

    @property
    def status(self) -> str:
        """The member that holds its status."""
        return f"{self.stem}Status"

    @property
    def create(self) -> str:
        """The operation that starts one."""
        return f"Create{self.stem}"

    @property
    def describe(self) -> str:
        """The operation that describes one."""
        return f"Describe{self.stem}"

    @property
    def stop(self) -> str:
        """The operation that stops one."""
        return f"Stop{self.stem}"


class JobFamily:
    """One kind of job: registered once, described, listed, stopped, deleted, and ended once whatever happens.

    A subclass has ``names``, its create operation, and its operations under their own names, such as
    ``describe_training_job = JobFamily.describe_job``.
    """

    names: JobNames
    # a filter of the List operation's own → the member that it is compared with
    filters: ClassVar[dict[str, str]] = {}
    # operation → what of it localcloud has not, for the table in the documentation
    partial: ClassVar[dict[str, str]] = {}

    def __init__(self, platform: Platform, tags: Tags) -> None:
        self.platform = platform
        self.store = platform.store
        self.tags = tags

    # --- operations, alike for every kind ---

    def describe_job(self, scope: Scope, request: Record) -> Record:
        """Everything about one job."""
        with self.store.lock:
            return self.describe(scope, self.find(scope, request[self.names.member]))

    def list_jobs(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        names = self.names
        with self.store.lock:
            records = self.store.table(scope, names.kind).values()
            found = listing.select(records, request, name=names.member, status=names.status, extra=self.filters)
            sort = {"Name": names.member, "CreationTime": "CreationTime", "Status": names.status}
            chosen, token = listing.page(found, request, sort=sort)
            return {
                f"{names.stem}Summaries": [self.summary(scope, record) for record in chosen],
                "NextToken": token,
            }

    def stop_job(self, scope: Scope, request: Record) -> Record:
        """Ask a job to stop."""
        with self.store.lock:
            record = self.find(scope, request[self.names.member])
            if record[self.names.status] in TERMINAL:
                raise self.not_in_this_status(record)
            self.stop(scope, record)
        return {}

    def delete_job(self, scope: Scope, request: Record) -> Record:
        """Delete a job that has ended."""
        names = self.names
        with self.store.lock:
            record = self.find(scope, request[names.member])
            if record[names.status] not in TERMINAL:
                raise self.busy(record)
            del self.store.table(scope, names.kind)[request[names.member]]
            self.tags.drop(scope, record["Arn"])
        return {}

    # --- what a kind may say in its own way ---

    def describe(self, scope: Scope, record: Record) -> Record:
        """A copy of the record as the Describe operation gives it. The caller holds the lock."""
        shape = service_model("sagemaker").operation_model(self.names.describe).output_shape
        return copy.deepcopy(project(shape, record))  # type: ignore[arg-type]

    def summary(self, scope: Scope, record: Record) -> Record:
        """A copy of the record as the List operation gives it. The caller holds the lock."""
        shape = service_model("sagemaker").shape_for(f"{self.names.stem}Summary")
        return copy.deepcopy(project(shape, record))  # type: ignore[arg-type]

    def event_detail(self, scope: Scope, record: Record) -> Record:
        """What an event tells of the job, tags excepted. The caller holds the lock."""
        return self.describe(scope, record)

    def instances(self, record: Record) -> Counter[str]:
        """The instances that a job occupies while it runs, by the quota that they count against."""
        return Counter()

    def check_quotas(self, scope: Scope, record: Record) -> None:
        """Refuse a new job that would go over a quota. The caller holds the lock."""
        self.check_instances(scope, self.instances(record))

    def unknown(self, name: str) -> ApiError:
        """The error for a job that there is not."""
        return ValidationException(f"Could not find requested job with name: {name}")

    def taken(self, record: Record) -> ApiError:
        """The error for a name that a job has already."""
        return ResourceInUse(
            "Job name must be unique within an AWS account and region, and a job with this name already exists "
            f"({record['Arn']})"
        )

    def busy(self, record: Record) -> ApiError:
        """The error for the deletion of a job that has not ended."""
        names = self.names
        return ResourceInUse(
            f"The {names.spoken} {record[names.member]} is in status {record[names.status]} and cannot be deleted."
        )

    def not_in_this_status(self, record: Record) -> ApiError:
        """The error for a request that does not fit the job's status."""
        return ValidationException(
            f"The request was rejected because the {self.names.spoken} is in status {record[self.names.status]}."
        )

    def stopping(self, record: Record) -> None:
        """Called when a job has been asked to stop. The caller holds the lock."""

    # --- a job's life ---

    def new_record(self, scope: Scope, name: str) -> Record:
        """What every job's record begins with."""
        names = self.names
        arn = scope.arn(names.kind, name)
        return {
            "Arn": arn,
            names.member: name,
            names.arn: arn,
            names.status: "InProgress",
            "CreationTime": now(),
            "LastModifiedTime": now(),
        }

    def register(self, scope: Scope, record: Record, tags: list[dict[str, str]]) -> None:
        """Put a new job into the store and tell EventBridge.

        Raises:
            ApiError: the name is taken, a quota is used up, its experiment is not there, or the tags are wrong.
        """
        name = record[self.names.member]
        with self.store.lock:
            table = self.store.table(scope, self.names.kind)
            if name in table:
                raise self.taken(table[name])
            self.check_quotas(scope, record)
            self.tags.put(scope, record["Arn"], tags)
            try:
                if self.platform.tracking is not None:
                    self.platform.tracking.begin(self.names.stem, scope, record)
            except ApiError:
                self.tags.drop(scope, record["Arn"])
                raise
            table[name] = record
        self.emit(scope, record)

    def launch(
        self, scope: Scope, record: Record, run: Callable[[Live], None], then: Callable[[], object] | None = None
    ) -> Live:
        """Run a registered job in a thread of its own; ``then`` is called after its end."""
        live = self.platform.launch(scope, self.names.kind, record[self.names.member], run, then)
        with self.store.lock:
            if record[self.names.status] == "Stopping":  # asked for when there was nothing to stop yet
                live.stop()
        return live

    def run_in_slot(self, scope: Scope, record: Record, live: Live, work: Callable[[Path], None]) -> None:
        """Wait for a slot, then do a job's work in a directory of its own; whatever goes wrong ends the job."""
        if not self.platform.take_slot(live):
            self.end(scope, record, "Stopped")
            return
        base = self.platform.base_directory(record[self.names.member])
        try:
            work(base)
        except (ContractError, ContainerError) as error:
            self.fail(scope, record, live, str(error))
        except Exception as error:
            self.fail(scope, record, live, f"InternalServerError: {type(error).__name__}: {error}")
            raise
        finally:
            self.platform.give_slot()
            self.platform.discard(base)

    def stop(self, scope: Scope, record: Record) -> None:
        """Ask a job to stop; one that has ended or is stopping already is left alone. The caller holds the lock."""
        if record[self.names.status] != "InProgress":
            return
        with self.store.changing(record):
            record[self.names.status] = "Stopping"
            self.stopping(record)
        self.emit(scope, record)
        live = self.platform.live(scope, self.names.kind, record[self.names.member])
        if live is not None:
            live.stop()

    def end(self, scope: Scope, record: Record, status: str, reason: str | None = None) -> None:
        """Put a job into its final status and tell EventBridge."""
        with self.store.lock:  # for both: whoever sees that it has ended finds its trial component up to date
            with self.store.changing(record):
                record[self.names.status] = status
                record[self.names.end_time] = now()
                if reason:
                    record["FailureReason"] = limited(reason)
            self.emit(scope, record)

    def fail(self, scope: Scope, record: Record, live: Live, reason: str) -> None:
        """End a job that went wrong; one that was asked to stop has stopped."""
        if live.cancelled.is_set():
            self.end(scope, record, "Stopped")
        else:
            self.end(scope, record, "Failed", reason)

    def interrupt(self, reason: str) -> list[tuple[Scope, Record]]:
        """Fail every job that a restart has cut off."""
        interrupted = []
        with self.store.lock:
            for scope, kind, table in self.store.tables():
                for record in table.values() if kind == self.names.kind else ():
                    if record[self.names.status] not in TERMINAL:
                        self.end(scope, record, "Failed", reason)
                        interrupted.append((scope, record))
        return interrupted

    def find(self, scope: Scope, name: str) -> Record:
        """A job's record, to be read under the lock.

        Raises:
            ApiError: there is no such job.
        """
        record = self.store.table(scope, self.names.kind).get(name)
        if record is None:
            raise self.unknown(name)
        return record

    def occupied(self, scope: Scope) -> Counter[str]:
        """The instances of all running jobs of this kind, by quota. The caller holds the lock."""
        used: Counter[str] = Counter()
        for record in self.store.table(scope, self.names.kind).values():
            if record[self.names.status] not in TERMINAL:
                used += self.instances(record)
        return used

    def check_instances(self, scope: Scope, more: Counter[str]) -> None:
        """Refuse a job whose instances would go over a quota. The caller holds the lock.

        Raises:
            ResourceLimitExceeded: in AWS's words.
        """
        used, quotas = self.occupied(scope), self.platform.quotas
        for name, count in more.items():
            quotas.check(name, used[name], count)
        total = f"Number of instances across all {self.names.spoken}s"
        quotas.check(total, used.total(), more.total())

    def emit(self, scope: Scope, record: Record) -> None:
        """Tell EventBridge what has become of a job."""
        with self.store.lock:
            if self.store.table(scope, self.names.kind).get(record[self.names.member]) is not record:
                return  # forgotten by a reset
            if self.platform.tracking is not None:
                self.platform.tracking.follow(self.names.stem, scope, record)
            detail: dict[str, Any] = self.event_detail(scope, record)
            detail["Tags"] = self.tags.of(scope, record["Arn"])
        self.platform.events.emit(scope, self.names.event, record["Arn"], detail)
