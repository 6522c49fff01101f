"""What the installed packages import is among their declared requirements, so that they run where nothing else is."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in PROJECT["dependencies"]}
# Imported under another name than the package's, or part of a declared one.
PACKAGES = {
    "yaml": "pyyaml",
    "jsonpath_ng": "jsonpath-ng",
    "botocore": "boto3",
    "sagemaker": "sagemaker-core",
    "boto3": "boto3",
}
OWN = {"localcloud", "onwing", "cmapss", "control_plane", "turbofan"}


def imported(package: Path) -> Iterator[tuple[str, str]]:
    """Every third-party package that is imported, with the file that does it."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - OWN - sys.stdlib_module_names:
                yield name, path.name


@pytest.mark.parametrize("package", ["localcloud", "onwing"])
def test_every_import_is_a_declared_requirement(package: str) -> None:
    found = {(name, file) for name, file in imported(ROOT / package) if PACKAGES.get(name, name) not in DECLARED}
    assert found == set(), f"to be declared in pyproject.toml, then `make lock`; declared are {sorted(DECLARED)}"


def test_every_folder_of_localcloud_is_packaged() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "localcloud").rglob("__init__.py")}
    assert {".".join(folder.parts) for folder in folders} <= listed


def test_lock_has_every_declared_requirement() -> None:
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert locked >= DECLARED
