"""A layer is unpacked once for all workers of all functions, as Lambda mounts one read-only /opt.

docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html: Lambda extracts the layer contents into the /opt directory.
MiniStack unpacks every layer anew for each worker, in the server's process, and each worker compiles the modules again:
seconds of each cold start for a layer that holds boto3.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcloud import hooks

LAYER_DIRECTORY = "layer_"  # what MiniStack calls the folder that it unpacks a worker's n-th layer into


class _Layers:
    """The unpacked layers, by the hash of their content."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def unpacked(self, layer: io.BytesIO | io.BufferedReader) -> Path:
        """The folder that holds the layer; unpacks it if nobody has yet.

        Twenty workers may start at once: a layer, which may be large, is not read into memory for each.
        """
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        target = Path(tempfile.gettempdir()) / f"layer-{digest[:16]}"
        with self._guard:
            lock = self._locks.setdefault(digest, threading.Lock())
        with lock:
            if not target.exists():
                unfinished = Path(tempfile.mkdtemp(prefix="layer-unfinished-"))
                with zipfile.ZipFile(layer) as archive:
                    archive.extractall(unfinished)
                try:
                    unfinished.rename(target)
                except OSError:  # another localcloud of this machine was faster
                    if not target.exists():
                        raise
                    shutil.rmtree(unfinished, ignore_errors=True)
                else:
                    _compile(target)
        return target


def _compile(folder: Path) -> None:
    """Compile the modules in the background: the first cold starts find them done."""
    subprocess.Popen(
        [sys.executable, "-m", "compileall", "-q", "-q", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def shared_zip_file(layers: _Layers) -> type[zipfile.ZipFile]:
    """A ZipFile that unpacks a layer by linking to it, and anything else as ever."""

    class SharedZipFile(zipfile.ZipFile):
        def namelist(self) -> list[str]:
            """Of a layer what is linked: MiniStack resolves every name anew, which takes it 0.3 s for boto3's."""
            names = super().namelist()
            if self.filename is None or not Path(self.filename).name.startswith(LAYER_DIRECTORY):
                return names
            return list(dict.fromkeys(name.partition("/")[0] for name in names))

        def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
            if path is None or not Path(path).name.startswith(LAYER_DIRECTORY):
                super().extractall(path, members, pwd)
                return
            assert self.filename is not None
            with Path(self.filename).open("rb") as layer:
                unpacked = layers.unpacked(layer)
            for entry in unpacked.iterdir():
                os.symlink(entry, Path(path) / entry.name)

    return SharedZipFile


def install() -> None:
    """Unpack a layer when a stack makes it, and link it into each worker's folder."""
    layers = _Layers()
    shared = shared_zip_file(layers)

    def shared_zipfile(module: types.ModuleType) -> types.SimpleNamespace:
        return types.SimpleNamespace(**{**vars(module), "ZipFile": shared})

    handlers = hooks.get("cloudformation.types")["AWS::Lambda::LayerVersion"]
    create = handlers["create"]

    def created(logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
        arn, attributes = create(logical_id, props, stack_name)
        if content := hooks.get("lambda.layer")(arn):
            threading.Thread(target=layers.unpacked, args=(io.BytesIO(content),), daemon=True).start()
        return arn, attributes

    handlers["create"] = created
    hooks.replace("lambda.zipfile", shared_zipfile)
