"""The baseline that a window of traffic is held against: of the data set, and of the model where there is one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbofan import drift, drift_predictions
from turbofan.container import is_simulated
from turbofan.drift import DriftBaseline
from turbofan.drift_predictions import PredictionBaseline
from turbofan.errors import InputError
from turbofan.schema import Constraints

DO = "Train the fleet again: the process job writes the baseline under monitoring/baseline/<fleet>/<data set version>/."


@dataclass(frozen=True)
class Standard:
    """What healthy traffic looks like."""

    inputs: DriftBaseline
    predictions: PredictionBaseline | None
    constraints: Constraints
    statistics: Mapping[str, Any]  # statistics.json, {} where there is none
    model: Mapping[str, str]  # what the evaluation's report says the model is, for people; {} where there is none
    is_simulated: bool

    @classmethod
    def load(cls, places: tuple[Path, ...], *, needs_constraints: bool) -> Standard:
        """From files and folders of files. Raises InputError for a part that is missing or broken."""
        found: dict[str, dict[str, Any]] = {}
        for path in _files(places):
            content = _read(path)
            found.setdefault(_kind(content), content)
        where = ", ".join(map(str, places)) or "environment baseline_statistics, baseline_constraints"
        if drift.KIND not in found:
            raise InputError("the baseline is missing: there is no drift.json", where, DO)
        if needs_constraints and "constraints" not in found:
            raise InputError("the baseline is incomplete: there is no constraints.json", where, DO)
        predictions = found.get(drift_predictions.KIND)
        statistics = found.get("statistics", {})
        return cls(
            inputs=DriftBaseline.from_dict(found[drift.KIND]),
            predictions=PredictionBaseline.from_dict(predictions) if predictions else None,
            constraints=Constraints.from_dict(found.get("constraints", {"features": []}), statistics),
            statistics=statistics,
            model=_model(found.get("evaluation", {})),
            is_simulated=is_simulated() or any(bool(content.get("simulated")) for content in found.values()),
        )


def _files(places: tuple[Path, ...]) -> Iterator[Path]:
    for place in places:
        yield from sorted(place.glob("*.json")) if place.is_dir() else [place] if place.is_file() else []


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"a file of the baseline cannot be read ({error})", str(path), DO) from error
    if not isinstance(content, dict):
        raise InputError("a file of the baseline is no JSON object", str(path), DO)
    return content


def _model(report: Mapping[str, Any]) -> dict[str, str]:
    """Of an evaluation's report.json; it is shown, so that what it does not say is left out."""
    artifact = report.get("artifact")
    found = {"Model artefact": artifact.get("sha256") if isinstance(artifact, dict) else None}
    found["Data set"] = report.get("dataset_version")
    return {name: str(value)[:12] for name, value in found.items() if value}


def _kind(content: Mapping[str, Any]) -> str:
    """What a file is, by its content: Model Monitor has two places for a baseline, for any two of four files."""
    if isinstance(kind := content.get("kind"), str):
        return kind
    if "artifact" in content and "metrics" in content:
        return "evaluation"
    features = content.get("features")
    if not isinstance(features, list) or "schema" in content:
        return "other"
    if any(isinstance(each, dict) and "numerical_statistics" in each for each in features):
        return "statistics"
    return "constraints"
