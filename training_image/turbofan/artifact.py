"""A trained model as it is released: raw rows in, RUL out, without the framework that trained it.

A training job leaves model.tar.gz; SageMaker unpacks it into /opt/ml/model before a container serves it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from turbofan import export, metadata
from turbofan.errors import InputError
from turbofan.features import Features, Floats, Floats32, Ints, to_rul, windows

MEMBERS = (metadata.FILE, export.FILE)
MEMBER_LIMIT = 1 << 30  # bytes: no model of this project is near, and a bomb is stopped before it fills memory
WINDOWS_AT_ONCE = 1024  # cut and run together: a bound for memory


@dataclass(frozen=True)
class Artifact:
    """One model with the feature parameters that it was trained with."""

    sha256: str  # of model.tar.gz; empty when it had been unpacked
    size: int  # bytes of model.tar.gz; 0 when it had been unpacked
    metadata: dict[str, Any]
    features: Features
    session: Any

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Read a model.tar.gz, of which nothing is unpacked to disk, or the folder of one. Raises InputError."""
        do = "Give the model.tar.gz of a training job of this project."
        content = b""
        try:
            if path.is_dir():
                members = {name: (path / name).read_bytes() for name in MEMBERS if (path / name).is_file()}
            else:
                content = path.read_bytes()
                members = _unpack(content)
        except FileNotFoundError as error:
            raise InputError("the model is missing", str(path), do) from error
        except (OSError, EOFError, tarfile.TarError) as error:
            raise InputError(f"the model cannot be read ({error})", str(path), do) from error
        if missing := [name for name in MEMBERS if name not in members]:
            raise InputError(f"the model is incomplete (no {missing[0]})", str(path), do)
        described = metadata.parse(members[metadata.FILE], str(path))
        features = Features.from_dict(described.get("features", {}))
        try:
            session = export.session(members[export.FILE])
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise InputError(f"{export.FILE} is no model that ONNX Runtime takes ({error})", str(path), do) from error
        return cls(hashlib.sha256(content).hexdigest() if content else "", len(content), described, features, session)

    @property
    def max_rul(self) -> float:
        """The ceiling of the labels that the model was trained with, in cycles."""
        return float(self.metadata["max_rul"])

    @property
    def window(self) -> int:
        """The rows that the model looks at."""
        return int(self.metadata["sequence_length"])

    def check(self) -> None:
        """Run the model once, which also makes its first real answer quick. Raises InputError if it cannot answer."""
        inputs = np.zeros((1, len(self.features.names)), np.float32)
        do = "Train and register the model again; the server needs one that answers."
        try:
            rul = self.infer(inputs, np.array([0, 1]))
        except Exception as error:  # as above
            raise InputError(f"the model does not run on its own features ({error})", export.FILE, do) from error
        if rul.shape != (1,) or not np.isfinite(rul).all():
            raise InputError(f"the model answers {rul.tolist()} to an average engine", export.FILE, do)

    def predict(self, raw: Floats, offsets: Ints) -> tuple[Floats, int]:
        """RUL after the last row of each engine, float64 (n_engines,), and how many rows fly in an unseen regime.

        `raw` (n, 26) holds each engine's history so far, `offsets` (n_engines + 1) where engines begin.
        """
        inputs, unseen = self.prepare(raw, offsets)
        return self.infer(inputs, offsets), int(unseen.sum())

    def prepare(self, raw: Floats, offsets: Ints) -> tuple[Floats32, Ints]:
        """Model inputs float32 (n, k), and how many rows of each engine fly in an unseen regime, (n_engines,)."""
        inputs, unseen = self.features.transform(raw, offsets)
        return inputs, np.add.reduceat(unseen, offsets[:-1], dtype=np.int64)

    def infer(self, inputs: Floats32, offsets: Ints) -> Floats:
        """RUL after the last row of each engine, float64 (n_engines,), of model inputs (n, k)."""
        ends = offsets[1:] - 1
        parts = [
            self.outputs(windows(inputs, offsets, self.window, ends[i : i + WINDOWS_AT_ONCE]))
            for i in range(0, len(ends), WINDOWS_AT_ONCE)
        ]
        return to_rul(np.concatenate(parts), self.max_rul)

    def outputs(self, cut: Floats32) -> Floats32:
        """Raw outputs in cycles, float32 (m,), of windows (m, window, k)."""
        return export.run(self.session, cut)


def _unpack(content: bytes) -> dict[str, bytes]:
    """Those of MEMBERS that the archive holds as plain files of sane size."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if name in MEMBERS and member.isfile() and member.size <= MEMBER_LIMIT:
                stream = archive.extractfile(member)
                if stream is not None:
                    found[name] = stream.read()
    return found
