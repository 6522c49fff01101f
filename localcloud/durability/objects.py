"""S3's objects stand on disk before their requests are answered, and an overwrite is all or nothing.

docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel: "Updates to a single key are atomic. …
a PUT either reads the old data or the new data, but never partial or corrupt data"; a successful answer means that it
is stored. MiniStack writes a body and then its description, so that a kill in between leaves one object's bytes under
another's description; it answers 200 when the disk is full; it keeps in memory the bodies of versioned objects and of
parts being uploaded, and forgets the latter.

Here the description is renamed to its commit name when both are written; from then on the object is kept: what a kill
cuts off is finished at the next start. Parts of multipart uploads are written to a folder of their upload.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from localcloud import hooks

logger = logging.getLogger("localcloud.durability.objects")

BODY = ".tmp"
DESCRIPTION = ".meta.json"
COMMIT = ".commit.tmp"
# What MiniStack's description of an object leaves out.
MORE = ("parts", "checksum_type", "replication_status", "restore")


def install(objects: Path, uploads: Path) -> None:
    """Keep objects below ``objects`` and uploads below ``uploads``; load what is there.

    MiniStack's S3 must have been imported with S3_PERSIST=0 and this S3_DATA_DIR.
    """
    recovered = recover(objects)
    if recovered:
        logger.info("%d object writes that were cut off are finished", recovered)
    hooks.replace("s3.persist", _persist)
    hooks.replace("s3.load_history", _load_more)
    hooks.replace("s3.uploads", lambda old: _uploads(type(old), uploads))
    hooks.replace("s3.persisting", lambda _: True)
    os.environ["S3_PERSIST"] = "1"  # read by MiniStack's reset
    hooks.get("s3.load")()


def recover(objects: Path) -> int:
    """Finish the writes that were committed and remove those that were not; gives how many were finished."""
    finished = 0
    left: list[Path] = []
    for folder, _, names in os.walk(objects):
        left += [Path(folder, name) for name in names if name.endswith(BODY)]
    for path in left:
        if path.name.endswith(COMMIT):
            _finish(str(path)[: -len(COMMIT)])
            finished += 1
    for path in left:
        path.unlink(missing_ok=True)
    return finished


def _finish(path: str) -> None:
    """Put a committed write in its place: body first, as the commit's name says that it is to be done."""
    if os.path.exists(path + BODY):
        os.replace(path + BODY, path)
    os.replace(path + COMMIT, path + DESCRIPTION)


def _write(path: str, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _persist(original: Callable[[str, str, Any], None]) -> Callable[[str, str, Any], None]:
    """Write an object in one step; what cannot be written is an error, so that the caller is not told it is stored."""

    def persist(bucket: str, key: str, record: Any) -> None:
        path = hooks.get("s3.path")(bucket, key)
        if path is None or not isinstance(record, dict):
            original(bucket, key, record)
            return
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        description = {
            "tags": {},  # so that MiniStack always loads the key's history, and with it what is below `more`
            **hooks.get("s3.describe")(record),
            **hooks.get("s3.history")(bucket, key),
            "key": key,
            "more": {name: record[name] for name in MORE if record.get(name)},
        }
        if record.get("body") is not None:
            _write(path + BODY, record["body"])
        _write(path + DESCRIPTION + BODY, json.dumps(description).encode())
        os.replace(path + DESCRIPTION + BODY, path + COMMIT)
        _finish(path)
        record["body"] = None
        version = record.get("version_id") or "null"
        for entry in hooks.get("s3.versions").get((bucket, key)) or ():
            if entry.get("data") is not None and (
                entry["version_id"] == version or hooks.get("s3.version_stands")(bucket, key, entry["version_id"])
            ):
                entry["data"] = None  # it is on disk

    return persist


def _load_more(original: Callable[..., None]) -> Callable[..., None]:
    def load(account_id: str, bucket: dict[str, Any], bucket_name: str, key: str, meta: Mapping[str, Any]) -> None:
        original(account_id, bucket, bucket_name, key, meta)
        if key in bucket["objects"]:
            bucket["objects"][key].update(meta.get("more", {}))

    return load


# --- multipart uploads ------------------------------------------------------------------------------------------------


class Part(dict[str, Any]):
    """A part's description; its body is read from the file that it stands in."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return Path(value).read_bytes() if name == "body" and isinstance(value, str) else value


class Parts(dict[int, Part]):
    """The parts of one upload by number; a part's body is written as it comes."""

    def __init__(self, folder: Path, parts: Mapping[Any, Any] | None = None) -> None:
        super().__init__()
        self._folder = folder
        for number, part in (parts or {}).items():
            super().__setitem__(int(number), Part(part))

    def __setitem__(self, number: int, part: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{number}"
        _write(f"{path}{BODY}", part["body"])
        os.replace(f"{path}{BODY}", path)
        super().__setitem__(number, Part({**part, "body": str(path)}))


def _uploads(base: type, folder: Path) -> Any:
    """MiniStack's table of uploads, whose entries keep their parts on disk and take them along when they go."""

    class Uploads(base):  # type: ignore[misc]
        """Uploads by id."""

        __slots__ = ()

        def __setitem__(self, upload: str, record: dict[str, Any]) -> None:
            super().__setitem__(upload, {**record, "parts": Parts(folder / upload, record["parts"])})

        def __delitem__(self, upload: str) -> None:
            super().__delitem__(upload)
            shutil.rmtree(folder / upload, ignore_errors=True)

        def clear(self) -> None:
            super().clear()
            shutil.rmtree(folder, ignore_errors=True)

        def update(self, other: Any) -> None:
            """Take back what a snapshot kept, as far as its parts are still there."""
            for (account, upload), record in other._data.items():
                parts = {number: part for number, part in record["parts"].items() if Path(part["body"]).exists()}
                self._data[account, upload] = {**record, "parts": Parts(folder / upload, parts)}
            for left in _folders(folder):
                if left.name not in {upload for _, upload in self._data}:
                    shutil.rmtree(left, ignore_errors=True)

    return Uploads()


def _folders(folder: Path) -> Iterator[Path]:
    if folder.exists():
        yield from folder.iterdir()
