"""SageMaker's side of a job: where files stand, what was asked for, and how a failure is told.

Source: SageMaker's container contracts for training (/opt/ml/input, /opt/ml/model, /opt/ml/output/failure) and
processing (/opt/ml/processing, /opt/ml/output/message).
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbofan.errors import InputError, SettingError, TurbofanError

BASE_VARIABLE = "SAGEMAKER_BASE_DIR"
# SageMaker cuts FailureReason and ExitMessage at 1024 characters: what matters has to stand before that.
MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class Paths:
    """The folders of one job under its base directory (/opt/ml, or elsewhere so that jobs run side by side)."""

    base: Path

    @classmethod
    def from_environment(cls) -> Paths:
        """The base directory from SAGEMAKER_BASE_DIR, by default /opt/ml."""
        return cls(Path(os.environ.get(BASE_VARIABLE) or "/opt/ml"))

    @property
    def model(self) -> Path:
        """What a training job leaves here becomes model.tar.gz."""
        return self.base / "model"

    @property
    def failure(self) -> Path:
        """FailureReason of a training job."""
        return self.base / "output" / "failure"

    @property
    def message(self) -> Path:
        """ExitMessage of a processing job."""
        return self.base / "output" / "message"

    def channel(self, name: str) -> Path:
        """Input channel `name` of a training job."""
        return self.base / "input" / "data" / name

    def processing_input(self, name: str) -> Path:
        """Input `name` of a processing job."""
        return self.base / "processing" / "input" / name

    def processing_output(self, name: str) -> Path:
        """Output `name` of a processing job; the folder is made."""
        path = self.base / "processing" / "output" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def local(self, path: str) -> Path:
        """A path under /opt/ml as SageMaker names it, where it stands for this job; any other path as it is."""
        root = Path("/opt/ml")
        return self.base / Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path(path)

    def hyperparameters(self) -> dict[str, str]:
        """The hyperparameters as SageMaker passes them: every value a string. No file means none were given."""
        path = self.base / "input" / "config" / "hyperparameters.json"
        if not path.exists():
            return {}
        try:
            content: Any = json.loads(path.read_text())
        except ValueError as error:
            raise SettingError(f"hyperparameters are not JSON ({error})", str(path), "Pass a JSON object.") from error
        if not isinstance(content, dict):
            raise SettingError("hyperparameters are not a JSON object", str(path), "Pass a JSON object of strings.")
        return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in content.items()}


def need_file(path: Path, purpose: str) -> Path:
    """`path` if it is a file. Raises InputError that says what it should have been."""
    if not path.is_file():
        raise InputError(f"{purpose} is missing", str(path), "Check the inputs of the job.")
    return path


def setting(name: str, default: float, low: float, high: float, whole: bool = False) -> float:
    """A number from the environment within `low` and `high`. Raises SettingError."""
    text = os.environ.get(name, "").strip()
    return number(text, f"environment {name}", low, high, whole) if text else default


def number(text: str, where: str, low: float, high: float, whole: bool = False) -> float:
    """`text` as a finite number within `low` and `high`, whole if asked for. Raises SettingError."""
    kind = "a whole number" if whole else "a number"
    try:
        value = float(text)
    except ValueError:
        raise SettingError(f"{text!r} is not {kind}", where, f"Give {kind} from {low:g} to {high:g}.") from None
    if not low <= value <= high or (whole and value != int(value)):
        raise SettingError(f"{text} is out of range", where, f"Give {kind} from {low:g} to {high:g}.")
    return value


def is_simulated() -> bool:
    """Whether the data is simulated (environment SIMULATED=true), which every output then has to say."""
    return os.environ.get("SIMULATED", "").strip().lower() in ("true", "1", "yes")


def is_scheduled() -> bool:
    """Whether Model Monitor started this container, which tells a job what to do in variables of its own."""
    return "dataset_source" in os.environ


def compute_threads() -> int:
    """Threads that this job may compute with: OMP_NUM_THREADS, by default every core."""
    return int(setting("OMP_NUM_THREADS", os.cpu_count() or 1, 1, 1024, whole=True))


def run_job(job: Callable[[Paths], None], report: Callable[[Paths], Path | None]) -> int:
    """Run `job` and give its exit code; a failure is written to the file `report` names, if any, and standard error."""
    paths = Paths.from_environment()
    try:
        job(paths)
    except TurbofanError as error:
        message = str(error)
        print(f"ERROR: {message}", file=sys.stderr, flush=True)
    except Exception as error:  # noqa: BLE001  the last frame of the job: whatever it is must reach the operator
        traceback.print_exc()
        head = f"Unexpected {type(error).__name__}: {error}"[: MESSAGE_LIMIT // 2]
        message = f"{head}\n{traceback.format_exc()[-(MESSAGE_LIMIT - len(head) - 1) :]}"
    else:
        return 0
    path = report(paths)
    if path is None:
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(message[:MESSAGE_LIMIT], encoding="utf-8")
    return 1
