"""A trained model as it is released (model.tar.gz): raw rows in, RUL out, without the framework that trained it."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbofan import export, metadata
from turbofan.errors import InputError
from turbofan.features import Features, Floats, Ints, to_rul, windows

MEMBER_LIMIT = 1 << 30  # bytes: no model of this project is near, and a bomb is stopped before it fills memory


@dataclass(frozen=True)
class Artifact:
    """One model with the feature parameters that it was trained with."""

    sha256: str  # of model.tar.gz
    size: int  # bytes of model.tar.gz
    metadata: dict[str, Any]
    features: Features
    session: Any

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Read a model.tar.gz; nothing is unpacked to disk. Raises InputError."""
        do = "Give the model.tar.gz of a training job of this project."
        try:
            content = path.read_bytes()
            with tarfile.open(path, "r:*") as archive:
                described = metadata.parse(_member(archive, metadata.FILE), str(path))
                model = _member(archive, export.FILE)
        except FileNotFoundError as error:
            raise InputError("the model is missing", str(path), do) from error
        except (OSError, EOFError, tarfile.TarError) as error:
            raise InputError(f"the model cannot be read ({error})", str(path), do) from error
        except KeyError as error:
            raise InputError(f"the model is incomplete ({error.args[0]})", str(path), do) from error
        return cls(
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            metadata=described,
            features=Features.from_dict(described["features"]),
            session=export.session(model),
        )

    @property
    def max_rul(self) -> float:
        """The ceiling of the labels that the model was trained with, in cycles."""
        return float(self.metadata["max_rul"])

    def predict(self, raw: Floats, offsets: Ints) -> tuple[Floats, int]:
        """RUL after the last row of each engine, float64 (n_engines,), and how many rows fly in an unseen regime.

        `raw` (n, 26) holds each engine's history so far, `offsets` (n_engines + 1) where engines begin.
        """
        inputs, unseen = self.features.transform(raw)
        cut = windows(inputs, offsets, int(self.metadata["sequence_length"]), offsets[1:] - 1)
        return to_rul(export.run(self.session, cut), self.max_rul), int(unseen.sum())


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Content of the file `name`. Raises KeyError if the archive does not hold it as a plain file of sane size."""
    for member in archive:
        if member.isfile() and member.name.removeprefix("./") == name and member.size <= MEMBER_LIMIT:
            stream = archive.extractfile(member)
            if stream is not None:
                return stream.read()
    raise KeyError(f"no {name}")
