"""Pipe mode: a channel as a FIFO per epoch, through which all its objects flow once.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-access-training-data.html and, for the format of RecordIO,
https://mxnet.apache.org/versions/1.9.1/api/architecture/note_data_loading
"""

from __future__ import annotations

import errno
import gzip
import os
import random
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localcloud.containers.container_contract import ContractError, S3Transfer

_CHUNK = 1 << 20
_MAGIC = 0xCED7230A  # RecordIO's
_LOOK_SECONDS = 0.02


class Pipe:
    """Feeds one channel from a thread of its own: ``<channel>_0``, then ``<channel>_1``, for as long as it is read.

    Args:
        folder: where the FIFOs stand (input/data).
        channel: as in InputDataConfig.
        transfer: S3 under the job's role.
    """

    def __init__(self, folder: Path, channel: Mapping[str, Any], transfer: S3Transfer) -> None:
        self._folder = folder
        self._channel = channel
        self._transfer = transfer
        self._stopped = threading.Event()
        source = channel["DataSource"]["S3DataSource"]
        self._objects = transfer.objects(source["S3Uri"], source["S3DataType"])
        self._seed: int | None = channel.get("ShuffleConfig", {}).get("Seed")
        self.error: ContractError | None = None
        self._make(0)
        self._thread = threading.Thread(target=self._run, name="localcloud-pipe", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop feeding; the container has ended, so that nothing blocks any more."""
        self._stopped.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        epoch = 0
        try:
            while (writer := self._open(epoch)) is not None:
                self._make(epoch + 1)  # before the end of this one, at which the container may ask for the next
                with os.fdopen(writer, "wb") as pipe:
                    self._feed(pipe, epoch)
                epoch += 1
        except ContractError as error:
            self.error = error

    def _make(self, epoch: int) -> None:
        os.mkfifo(self._path(epoch))

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{self._channel['ChannelName']}_{epoch}"

    def _open(self, epoch: int) -> int | None:
        """The writing end as soon as somebody reads; None when nobody will any more."""
        while not self._stopped.wait(_LOOK_SECONDS):
            try:
                writer = os.open(self._path(epoch), os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nobody reads it yet
                    continue
                return None  # the job's directory is gone
            os.set_blocking(writer, True)
            return writer
        return None

    def _feed(self, pipe: Any, epoch: int) -> None:
        objects = list(self._objects)
        if self._seed is not None:
            random.Random(self._seed + epoch).shuffle(objects)
        wrap = self._channel.get("RecordWrapperType") == "RecordIO"
        try:
            for bucket, key in objects:
                if wrap:
                    pipe.write(record_io(b"".join(self._read(bucket, key))))
                    continue
                for chunk in self._read(bucket, key):
                    pipe.write(chunk)
            pipe.flush()
        except BrokenPipeError:
            return  # it has read enough of this epoch

    def _read(self, bucket: str, key: str) -> Iterator[bytes]:
        body = self._transfer.open(bucket, key)
        if self._channel.get("CompressionType") == "Gzip":
            body = gzip.GzipFile(fileobj=body)
        try:
            while chunk := body.read(_CHUNK):
                yield chunk
        except (gzip.BadGzipFile, EOFError) as error:
            raise ContractError(f"ClientError: s3://{bucket}/{key} is no gzip file: {error}") from error


def record_io(content: bytes) -> bytes:
    """One record of MXNet's RecordIO: magic number, length, content, filled up to four bytes."""
    return struct.pack("<II", _MAGIC, len(content)) + content + b"\0" * (-len(content) % 4)
