"""What a monitoring job is told: by the control plane, or by Model Monitor when it runs as a schedule's container.

Source of the latter: "Container Contract Inputs" in SageMaker's Model Monitor documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from os import environ
from pathlib import Path

from turbofan import traffic
from turbofan.capture import instant
from turbofan.container import Paths, is_scheduled, setting
from turbofan.errors import SettingError

MIN_ENGINES = 5
METRICS_FILE = "output/metrics/cloudwatch/cloudwatch_metrics.jsonl"


@dataclass(frozen=True)
class Settings:
    """One window of one endpoint's variant, and where everything stands."""

    endpoint: str
    variant: str
    fleet: str
    start: str
    end: str
    min_engines: int
    capture: Path
    baseline: tuple[Path, ...]  # files and folders of files: what each file is shows in its content
    report: Path
    predictions: Path  # the CSV file
    schedule: str = ""  # of Model Monitor; "" for the control plane's own job
    metrics: Path | None = None
    interval: tuple[datetime, datetime] | None = None  # Model Monitor may give more files than the window has

    @classmethod
    def from_environment(cls, paths: Paths) -> Settings:
        """Raises SettingError."""
        return cls._of_schedule(paths) if is_scheduled() else cls._of_control_plane(paths)

    @classmethod
    def _of_control_plane(cls, paths: Paths) -> Settings:
        start, end = _needed("WINDOW_START"), _needed("WINDOW_END")
        window = _time("WINDOW_START", start).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        _time("WINDOW_END", end)
        return cls(
            endpoint=_needed("ENDPOINT"),
            variant=_needed("VARIANT"),
            fleet=_needed("FLEET"),
            start=start,
            end=end,
            min_engines=_min_engines(),
            capture=paths.processing_input("capture"),
            baseline=(paths.processing_input("baseline"), paths.processing_input("evaluation")),
            report=paths.processing_output("report"),
            predictions=paths.processing_output("predictions") / f"{window}.csv",
        )

    @classmethod
    def _of_schedule(cls, paths: Paths) -> Settings:
        # Blanks are dropped: the documentation's own example has them ("2019-12-01T16: 20: 00Z").
        start, end = (_needed(name).replace(" ", "") for name in ("start_time", "end_time"))
        endpoint = _needed("sagemaker_endpoint_name")
        folder, report = paths.local(_needed("dataset_source")) / endpoint, paths.local(_needed("output_path"))
        report.mkdir(parents=True, exist_ok=True)
        # A schedule watches the whole endpoint, so its variants are judged as one unless one is named.
        variant = _given("VARIANT")
        variants = [variant] if variant else sorted(each.name for each in folder.glob("*") if each.is_dir())
        baseline = [_given(name) for name in ("baseline_statistics", "baseline_constraints")]
        is_published = _given("publish_cloudwatch_metrics").lower() == "enabled"
        return cls(
            endpoint=endpoint,
            variant=", ".join(variants),
            fleet=_given("FLEET"),
            start=start,
            end=end,
            min_engines=_min_engines(),
            capture=folder / variant,
            baseline=tuple(paths.local(path) for path in baseline if path),
            report=report,
            predictions=report / "predictions.csv",
            schedule=_given("sagemaker_monitoring_schedule_name"),
            metrics=paths.base / METRICS_FILE if is_published else None,
            interval=(_time("start_time", start), _time("end_time", end)),
        )


def _given(name: str) -> str:
    return environ.get(name, "").strip()


def _needed(name: str) -> str:
    value = _given(name)
    if not value:
        raise SettingError("the variable is missing", f"environment {name}", "Give it to the job.")
    return value


def _time(name: str, text: str) -> datetime:
    try:
        return instant(text)
    except ValueError:
        raise SettingError(
            f"{text[:40]!r} is not a time", f"environment {name}", "Give ISO 8601: 2026-01-31T12:00:00Z."
        ) from None


def _min_engines() -> int:
    # No more are kept of a window: with a higher number none would ever be judged.
    return int(setting("MIN_ENGINES", MIN_ENGINES, 1, traffic.MOST_ENGINES, whole=True))
