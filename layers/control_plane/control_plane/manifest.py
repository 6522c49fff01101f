"""What a data set version is: its three files, its name, and the manifest that is written for it."""

from __future__ import annotations

import hashlib
from typing import Literal

from cmapss import ROLES, Role
from pydantic import BaseModel, ConfigDict, Field

VERSIONS_PREFIX = "data/versions/"


class DatasetFile(BaseModel):
    """One checked object under data/raw/ at the version of it that was read."""

    model_config = ConfigDict(frozen=True)

    role: Role
    fleet: str
    name: str = Field(description="file name without the prefix")
    key: str
    version_id: str
    bytes: int
    sha256: str = Field(description="of the uncompressed text, so train.txt and train.txt.gz are the same content")
    simulated: bool = Field(default=False, description="uploaded with the object metadata simulated=true")
    validated: bool = Field(description="False: too large for the function; the processing job checks its rows")
    rows: int | None = None
    engines: int | None = None


class Manifest(BaseModel):
    """The record of one data set version, `data/versions/<version>.json`."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    fleet: str
    version: str
    files: dict[Role, DatasetFile]
    pinned: dict[Role, str] = Field(description="key of each file's copy, which no later upload changes")
    simulated: bool = Field(description="True when any of the files is simulated")
    problems: list[str] = Field(default_factory=list, description="checks across the files that failed")

    @property
    def key(self) -> str:
        """The manifest's own key."""
        return f"{VERSIONS_PREFIX}{self.version}.json"


def version_of(files: dict[Role, DatasetFile]) -> str:
    """Return the version of a complete trio: SHA-256 over the fleet's name and its files' SHA-256, as hex.

    The fleet's name is part of it so that two fleets with the same files have manifests of their own.
    """
    fleet = files["train"].fleet
    return hashlib.sha256("\n".join([fleet, *(files[role].sha256 for role in ROLES)]).encode()).hexdigest()


def problems_across(files: dict[Role, DatasetFile]) -> list[str]:
    """Return what does not fit between the files of a trio; only files whose rows were checked can be compared."""
    test, rul = files["test"], files["RUL"]
    if test.engines is None or rul.rows is None or test.engines == rul.rows:
        return []
    return [
        f"{rul.name} has {rul.rows} rows but {test.name} has {test.engines} engines: one true RUL for each test engine "
        f"is needed. Upload the file that belongs to the other one; the pair is then checked again."
    ]


def make_manifest(files: dict[Role, DatasetFile]) -> Manifest:
    """Build the manifest of a complete trio."""
    version = version_of(files)
    return Manifest(
        fleet=files["train"].fleet,
        version=version,
        files=files,
        pinned={role: f"{VERSIONS_PREFIX}{version}/{files[role].name}" for role in ROLES},
        simulated=any(file.simulated for file in files.values()),
        problems=problems_across(files),
    )
