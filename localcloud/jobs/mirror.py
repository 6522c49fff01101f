"""Directories that are kept in S3 while a job runs: checkpoints, TensorBoard's files, Continuous outputs."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from localcloud.containers.container_contract import S3Transfer, TransferError

logger = logging.getLogger("localcloud.jobs.platform")

# How often what has changed goes to S3.
SECONDS = 2.0


@dataclass(frozen=True)
class Folder:
    """A local directory and the S3 prefix that mirrors it."""

    path: Path
    uri: str
    kms_key: str | None = None


class Mirror:
    """Uploads new and changed files from a thread of its own, for the length of a block.

    A file that is being written goes up half and again when it is whole, as on AWS; files that are deleted stay in S3.
    """

    def __init__(self, transfer: Callable[[], S3Transfer], folders: Sequence[Folder], seconds: float = SECONDS) -> None:
        """``transfer`` is called in that thread, and by ``finish``."""
        self._transfer = transfer
        self._folders = list(folders)
        self._seconds = seconds
        self._sent: dict[tuple[str, Path], tuple[int, int]] = {}  # prefix and file → time of change and size, as sent
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Mirror:
        for folder in self._folders:
            for path in self._files(folder):  # what was there before the job, such as checkpoints from S3
                self._sent[folder.uri, path] = _state(path)
        if self._folders:
            self._thread = threading.Thread(target=self._run, name="localcloud-mirror", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def finish(self) -> None:
        """Upload what is left, after the block.

        Raises:
            TransferError: a file could not be uploaded.
        """
        self._pass()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._pass()
            except TransferError as error:  # it is tried again, at the latest by finish
                logger.info("a file is not in S3 yet: %s", error)

    def _pass(self) -> None:
        transfer: S3Transfer | None = None
        for folder in self._folders:
            for path in self._files(folder):
                try:
                    state = _state(path)
                except FileNotFoundError:
                    continue  # deleted meanwhile
                if self._sent.get((folder.uri, path)) == state:
                    continue
                transfer = transfer or self._transfer()
                name = path.relative_to(folder.path).as_posix()
                transfer.upload_file(path, f"{folder.uri.rstrip('/')}/{name}", folder.kms_key)
                self._sent[folder.uri, path] = state

    @staticmethod
    def _files(folder: Folder) -> list[Path]:
        """Every regular file below; os.walk passes over a directory that the job removes meanwhile."""
        paths = (Path(above, name) for above, _, names in os.walk(folder.path) for name in names)
        return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
