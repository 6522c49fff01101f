"""A copy of what `onwing` works on, so that nothing it does there meets the checkout that is worked in."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("template.yaml", "samconfig.toml", "statemachines", "functions", "layers", "training_image")


def copy(folder: Path) -> None:
    """Copy it into a folder that exists."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
