"""Where the project's files are: the folder with template.yaml, and .onwing/ beside it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onwing.errors import OnwingError, UsageError


@dataclass(frozen=True)
class Project:
    """A checkout of the project. Only `up`, `deploy`, `down`, `doctor` and `demo` need its files."""

    root: Path

    @property
    def state(self) -> Path:
        """Where this program keeps what it writes: logs, reports, the embedded cloud's state."""
        return self.root / ".onwing"

    @property
    def cloud_dir(self) -> Path:
        """The embedded cloud's folder."""
        return self.state / "localcloud"

    @property
    def samconfig(self) -> Path:
        """samconfig.toml: the environments and their parameters."""
        return self.root / "samconfig.toml"

    def environment(self, name: str) -> dict[str, Any]:
        """The deploy parameters of one environment in samconfig.toml; UsageError when there is none of that name."""
        if not self.samconfig.is_file():
            return {}
        try:
            config = tomllib.loads(self.samconfig.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise OnwingError(
                f"samconfig.toml cannot be read: {error}", where=str(self.samconfig), todo="Mend the file."
            ) from error
        names = sorted(key for key, value in config.items() if isinstance(value, dict) and key != "default")
        if name not in names:
            raise UsageError(
                f"There is no environment '{name}'.",
                where=str(self.samconfig),
                todo=f"Use one of: {', '.join(names)}.",
            )
        section = config[name]
        merged: dict[str, Any] = {}
        for command in ("global", "deploy"):
            merged.update(section.get(command, {}).get("parameters", {}))
        return merged


def find_project(start: Path | None = None) -> Project:
    """The project around the current folder, or else the checkout that this package is installed from."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "template.yaml").is_file() and (folder / "statemachines").is_dir():
            return Project(folder)
    checkout = Path(__file__).resolve().parent.parent
    return Project(checkout if (checkout / "template.yaml").is_file() else here)
