"""The evaluation job: the official test engines, once, after every choice has been made.

It reports; the verdict is the state machine's, so a missed gate is a success of this job. Beside the report it leaves
probes.json, by which a deployment recognises the model that was evaluated, and drift_predictions.json, by which
monitoring knows what this model answers while nothing has changed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any

import numpy as np

from turbofan import drift, drift_predictions, metadata, plots, probes, scoring
from turbofan.artifact import WINDOWS_AT_ONCE, Artifact
from turbofan.container import Paths, is_simulated, setting
from turbofan.dataset import Rows
from turbofan.drift import DriftBaseline, cut_ages
from turbofan.drift_predictions import PredictionBaseline
from turbofan.features import Floats, Ints, to_rul, windows

SCHEMA = 1


@dataclass(frozen=True)
class TestEngines:
    """The official test set: histories that were cut off, and what was left of each life."""

    __test__ = False  # pytest: this is not a test class

    units: Ints
    offsets: Ints
    raw: Floats
    rul: Floats  # (engines,): true RUL after the last row, not clipped

    @classmethod
    def load(cls, folder: Path) -> TestEngines:
        """From the test part of the process job. Raises InputError."""
        rows, raw = Rows.load_with_raw(folder)
        return cls(rows.units, rows.offsets, raw, rows.rul[rows.offsets[1:] - 1].astype(np.float64))


def evaluate(paths: Paths) -> None:
    """Run the job. Raises TurbofanError."""
    rmse_threshold = setting("RMSE_THRESHOLD", 20.0, 0.0, 1e9)
    phm08_threshold = setting("PHM08_THRESHOLD", 500.0, 0.0, 1e12)
    tolerance = setting("CHAMPION_TOLERANCE", 0.0, 0.0, 1e3)
    engines = TestEngines.load(paths.processing_input("test"))
    validation = Rows.load_with_raw(paths.processing_input("validation"))
    challenger = Artifact.open(paths.processing_input("model") / "model.tar.gz")
    predicted, unseen = challenger.predict(engines.raw, engines.offsets)
    ceiling = challenger.max_rul

    champion: dict[str, Any] | None = None
    champion_predicted: Floats | None = None
    champion_path = paths.processing_input("champion") / "model.tar.gz"
    if champion_path.exists():
        artifact = Artifact.open(champion_path)
        # On the challenger's terms: the same engines, clipped at the same ceiling.
        champion_predicted, _ = artifact.predict(engines.raw, engines.offsets)
        champion = {
            "artifact_sha256": artifact.sha256,
            "metrics": both_metrics(engines.rul, champion_predicted, ceiling),
        }

    figures = both_metrics(engines.rul, predicted, ceiling)
    clipped = np.minimum(engines.rul, ceiling)
    simulated = is_simulated() or bool(challenger.metadata.get("simulated"))
    fleet = environ.get("FLEET") or str(challenger.metadata["fleet"])
    version = environ.get("DATASET_VERSION") or str(challenger.metadata["dataset_version"])
    report = {
        "schema": SCHEMA,
        "fleet": fleet,
        "dataset_version": version,
        "engines": len(engines.units),
        "artifact": {"sha256": challenger.sha256, "bytes": challenger.size},
        "metrics": figures,
        "bands": {
            "clipped": scoring.bands(clipped, predicted, ceiling),
            "unclipped": scoring.bands(engines.rul, predicted, ceiling),
        },
        "champion": champion,
        "gates": gates(figures, champion and champion["metrics"], rmse_threshold, phm08_threshold, tolerance),
        "max_rul": ceiling,
        "validation_rmse": challenger.metadata.get("metrics", {}).get("val_rmse"),
        "unseen_regime_rows": unseen,
        "library_versions": metadata.library_versions(),
        "simulated": simulated,
    }
    folder = paths.processing_output("evaluation")
    metadata.write_json(folder / "report.json", report)
    metadata.write_json(folder / probes.FILE, probes.make(challenger, *validation, fleet, version))
    baseline = paths.processing_input("baseline") / drift.FILE
    if baseline.exists():
        healthy = DriftBaseline.from_dict(metadata.load_json(baseline))
        learning = Rows.load_with_raw(paths.processing_input("train"))
        learnt = prediction_baseline(challenger, healthy, [(raw, rows.offsets) for rows, raw in (learning, validation)])
        content = {"simulated": simulated, "artifact_sha256": challenger.sha256, **learnt.to_dict()}
        metadata.write_json(folder / drift_predictions.FILE, content, indent=None)
    else:  # a data set that was processed before there was one
        print(f"No {drift.FILE} in the baseline: predictions of this model will not be monitored", flush=True)
    write_predictions(folder / "predictions.csv", engines, predicted, ceiling, champion_predicted)
    title = f"{fleet}, data set {version[:12] or 'unnamed'}: {len(engines.units)} test engines"
    plots.evaluation_figure(folder / "evaluation.png", engines.rul, predicted, ceiling, title, simulated)
    _print_summary(report)


def prediction_baseline(
    model: Artifact, healthy: DriftBaseline, parts: list[tuple[Floats, Ints]]
) -> PredictionBaseline:
    """What the model answers to the engines of the training file, of all ages; the official test engines stay out.

    `parts` are raw rows (n, 26) with the offsets of their engines. It does not matter that the model learnt from some:
    what it answers is compared with what it answers, and true RUL has no part in it.
    """
    raw = np.concatenate([rows for rows, _ in parts])
    starts = np.cumsum([0] + [len(rows) for rows, _ in parts])
    offsets = np.concatenate([[0]] + [part[1:] + start for (_, part), start in zip(parts, starts, strict=False)])
    ends = cut_ages(offsets, np.random.default_rng(1), drift_predictions.CUTS)
    inputs, _ = model.features.transform(raw, offsets)
    last = ends.ravel() - 1
    outputs = [
        model.outputs(windows(inputs, offsets, model.window, last[i : i + WINDOWS_AT_ONCE]))
        for i in range(0, len(last), WINDOWS_AT_ONCE)
    ]
    rul = to_rul(np.concatenate(outputs), model.max_rul).reshape(ends.shape)
    return PredictionBaseline.fit(healthy, raw, offsets, ends, rul)


def both_metrics(true: Floats, predicted: Floats, ceiling: float) -> dict[str, Any]:
    """Metrics with the true RUL clipped at the ceiling (the gate's figures) and as it is."""
    return {
        "clipped": scoring.metrics(np.minimum(true, ceiling), predicted),
        "unclipped": scoring.metrics(true, predicted),
    }


def gates(
    challenger: dict[str, Any],
    champion: dict[str, Any] | None,
    rmse_threshold: float,
    phm08_threshold: float,
    tolerance: float = 0.0,
) -> list[dict[str, Any]]:
    """What the report says of the gates: both figures below their thresholds, the RMSE near the champion's or better.

    `tolerance` is how much worse than the champion's it may be, as a fraction.
    """
    figures = challenger["clipped"]
    rows = [
        _gate("rmse", figures["rmse"], rmse_threshold, figures["rmse"] < rmse_threshold),
        _gate("phm08", figures["phm08"], phm08_threshold, figures["phm08"] < phm08_threshold),
    ]
    if champion is not None:
        limit = champion["clipped"]["rmse"] * (1 + tolerance)
        rows.append(_gate("champion", figures["rmse"], limit, figures["rmse"] <= limit))
    return rows


def write_predictions(
    path: Path, engines: TestEngines, predicted: Floats, ceiling: float, champion: Floats | None
) -> None:
    """One row per test engine, as CSV; errors are predicted minus true."""
    header = ["unit", "cycles", "true_rul", "true_rul_clipped", "predicted_rul", "error", "error_clipped"]
    columns = [
        engines.units,
        np.diff(engines.offsets),
        engines.rul.astype(np.int64),
        np.minimum(engines.rul, ceiling).astype(np.int64),
        np.round(predicted, 3),
        np.round(predicted - engines.rul, 3),
        np.round(predicted - np.minimum(engines.rul, ceiling), 3),
    ]
    if champion is not None:
        header.append("champion_predicted_rul")
        columns.append(np.round(champion, 3))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))


def _gate(name: str, figure: float, threshold: float, passed: bool) -> dict[str, Any]:
    return {"name": name, "figure": figure, "threshold": threshold, "passed": bool(passed)}


def _print_summary(report: dict[str, Any]) -> None:
    for kind in ("clipped", "unclipped"):
        figures = report["metrics"][kind]
        print(f"Test RMSE ({kind}): {figures['rmse']:.4f}\nTest PHM08 ({kind}): {figures['phm08']:.4f}")
    for gate in report["gates"]:
        verdict = "passed" if gate["passed"] else "MISSED"
        print(f"Gate {gate['name']}: {gate['figure']:.4f} against {gate['threshold']:.4f}, {verdict}", flush=True)
