"""One part of a data set (train, validation or test) as it lies between jobs: rows.npz, and the windows cut from it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from turbofan.errors import InputError
from turbofan.features import Floats, Floats32, Ints, window_rows

FILE = "rows.npz"


@dataclass(frozen=True)
class Rows:
    """Rows of whole engines: what rows.npz holds."""

    features: Floats32  # (n, k), normalised
    units: Ints  # (n_engines,): engine numbers in their file
    offsets: Ints  # (n_engines + 1,): where engines begin
    rul: Floats32  # (n,): true RUL in cycles, not clipped
    raw: Floats | None = None  # (n, 26) as read; None where a test made the part

    def save(self, folder: Path) -> None:
        """Write `folder`/rows.npz."""
        arrays: dict[str, Any] = {
            "features": self.features,
            "units": self.units.astype(np.int32),
            "offsets": self.offsets,
            "rul": self.rul,
        }
        if self.raw is not None:
            arrays["raw"] = self.raw
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / FILE, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Rows:
        """Read `folder`/rows.npz. Raises InputError if it is missing, broken or inconsistent."""
        path = folder / FILE
        do = "Give the job the output of the process job."
        try:
            with np.load(path, allow_pickle=False) as content:
                rows = cls(
                    features=content["features"],
                    units=content["units"],
                    offsets=content["offsets"],
                    rul=content["rul"],
                    raw=content["raw"] if "raw" in content.files else None,
                )
        except FileNotFoundError as error:
            raise InputError(f"{FILE} is missing", str(path), do) from error
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{FILE} cannot be read ({error})", str(path), do) from error
        n = len(rows.features)
        if n == 0 or rows.offsets[-1] != n or len(rows.rul) != n or len(rows.units) != len(rows.offsets) - 1:
            raise InputError(f"{FILE} is inconsistent: its arrays differ in length", str(path), do)
        return rows

    @classmethod
    def load_with_raw(cls, folder: Path) -> tuple[Rows, Floats]:
        """Those and their raw rows. Raises InputError, also if they are not there."""
        rows = cls.load(folder)
        if rows.raw is None:
            do = "Give a part that the process job wrote."
            raise InputError(f"{FILE} holds no raw rows", str(folder), do)
        return rows, rows.raw


@dataclass(frozen=True)
class WindowSet:
    """Windows and their labels, kept as row numbers: windows cut out overlap, and take 50 times the memory."""

    features: Floats32  # (n, k)
    rows: Ints  # (m, length): the rows of each window
    labels: Floats32  # (m,): RUL in cycles, clipped at the ceiling

    @classmethod
    def cut(cls, part: Rows, length: int, max_rul: float, stride: int = 1) -> WindowSet:
        """A window for every `stride`-th row of each engine, counted back from its last one."""
        last = np.repeat(part.offsets[1:] - 1, np.diff(part.offsets))
        ends = np.arange(len(part.features))
        ends = ends[(last - ends) % stride == 0]
        labels = np.minimum(part.rul[ends], np.float32(max_rul))
        return cls(part.features, window_rows(part.offsets, length, ends), labels)

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self, which: Ints | None = None) -> Floats32:
        """The windows themselves, float32 (m, length, k), all or those numbered `which`."""
        return self.features[self.rows if which is None else self.rows[which]]
