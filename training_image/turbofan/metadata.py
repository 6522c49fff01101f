"""metadata.json: what a model needs to be used and where it comes from, in one versioned schema."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from turbofan.errors import InputError

FILE = "metadata.json"
SCHEMA = 1
LIBRARIES = ("numpy", "tensorflow", "tensorflow-cpu", "keras", "onnx", "onnxruntime", "tf2onnx", "matplotlib")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that shape a model, of those installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_json(path: Path, content: dict[str, Any], indent: int | None = 2) -> None:
    """Write JSON that any reader takes: NaN and infinity are errors here, not there."""
    path.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n", encoding="utf-8")


def parse(text: str | bytes, where: str) -> dict[str, Any]:
    """The content of a metadata.json. Raises InputError if it is not JSON of this schema."""
    do = "Use the metadata.json that the process job wrote, with an image of the same schema."
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{FILE} is not JSON ({error})", where, do) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise InputError(f"{FILE} has schema {found!r}, this image reads {SCHEMA}", where, do)
    return content


def read(folder: Path) -> dict[str, Any]:
    """`folder`/metadata.json. Raises InputError."""
    path = folder / FILE
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"{FILE} cannot be read ({error.strerror})", str(path), "Check the inputs.") from error


def load_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the file cannot be read as JSON ({error})", str(path), "Check the inputs.") from error
    if not isinstance(content, dict):
        raise InputError("the file holds no JSON object", str(path), "Check the inputs.")
    return content
