"""The model quality job: captured predictions against what became of the engines, beside the registered figures.

A violation is a success of this job; it fails only if it cannot do its work at all: no registered figures, or none that
can be read. It is no container of Model Monitor's model quality schedules: those hand over one label for each request,
joined by its id; here one truth belongs to every prediction ever made for an engine.

Source of the files' form: "Model quality metrics" in SageMaker's Model Monitor documentation.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import environ
from pathlib import Path
from typing import Any

import numpy as np

from turbofan import drift_report, metadata, outcome
from turbofan import quality_tables as tables
from turbofan.container import Paths, setting
from turbofan.errors import InputError, SettingError
from turbofan.features import Floats
from turbofan.quality_check import FIGURES, LEVEL, Figure, Predictions, Registered
from turbofan.quality_tables import Sample
from turbofan.truth import Joined, join

MIN_ENGINES = 5
# With twice as many, the newest are judged by themselves too: what went wrong lately drowns in a long past.
RECENT_ENGINES = 20
# Figures of RMSE or bias this far beyond the threshold are severe.
SEVERE_RATIO = 1.5
BOOTSTRAPS = 200
NAMES_LISTED, PROBLEMS_LISTED = 100, 100  # the state machine reads the report: a state holds 256 KiB
NAMES_TOLD = 3
WORDS = dict(zip(FIGURES, ("RMSE", "mean error", "PHM08 per engine"), strict=True))
NEWEST = f" of the newest {RECENT_ENGINES} engines"


@dataclass(frozen=True)
class Settings:
    """What the job is told by its environment."""

    endpoint: str
    variant: str
    fleet: str
    start: str  # of the window, for the report; nothing is left out by it
    end: str
    min_engines: int

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises SettingError."""
        named = {name: environ.get(name, "").strip() for name in ("ENDPOINT", "VARIANT", "FLEET")}
        for name, value in named.items():
            if not value:
                raise SettingError(f"{name} is not set", f"environment {name}", "Name what is judged.")
        return cls(
            endpoint=named["ENDPOINT"],
            variant=named["VARIANT"],
            fleet=named["FLEET"],
            start=environ.get("WINDOW_START", "").strip(),
            end=environ.get("WINDOW_END", "").strip(),
            min_engines=int(setting("MIN_ENGINES", MIN_ENGINES, 1, 1e6, whole=True)),
        )


def quality(paths: Paths) -> None:
    """Run the job. Raises TurbofanError."""
    settings = Settings.from_environment()
    registered, evaluation = read_registered(paths.processing_input("evaluation"))
    joined = join(paths.processing_input("truth"), paths.processing_input("predictions"))
    sample = Sample.of(joined.matches)
    compared = sample.where(registered.comparable(sample.predictions, sample.cycles))
    report = judge(settings, registered, evaluation, joined, sample, compared)

    folder = paths.processing_output("report")
    metadata.write_json(folder / "statistics.json", statistics(registered, compared))
    metadata.write_json(folder / "constraints.json", constraints(report["features"]))
    identity = {"Model": f"sha256 {evaluation['artifact']['sha256'][:12]}…"} if evaluation.get("artifact") else {}
    if version := str(evaluation.get("dataset_version") or ""):
        identity["Data set"] = version[:12]
    drift_report.write_html(report, folder / "report.html", identity=identity)
    outcome.write(folder, report, paths.message)
    print(f"{report['outcome']}: {report['summary']}", flush=True)
    for problem in joined.problems:
        print(f"{problem.where}: {problem.what}. {problem.do}", flush=True)


def read_registered(folder: Path) -> tuple[Registered, dict[str, Any]]:
    """The evaluation's errors and its report. Raises InputError."""
    do = "Give the job the folder that the evaluation of this model's version left."
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        ceiling = float(report["max_rul"])
        path = folder / "predictions.csv"
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [
                (int(row["cycles"]), float(row["true_rul"]), float(row["predicted_rul"]))
                for row in csv.DictReader(stream)
            ]
    except OSError as error:
        raise InputError(f"the registered figures cannot be read ({error.strerror})", str(path), do) from error
    except (ValueError, KeyError, TypeError) as error:
        what = f"the registered figures are broken ({type(error).__name__}: {error})"
        raise InputError(what, str(path), do) from error
    if not rows:
        raise InputError("the evaluation has no engines", str(path), do)
    cycles, true, predicted = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    return Registered(ceiling, cycles.astype(np.int64), true, predicted), report


def judge(
    settings: Settings,
    registered: Registered,
    evaluation: Mapping[str, Any],
    joined: Joined,
    sample: Sample,
    compared: Sample,
) -> dict[str, Any]:
    """report.json; `sample`: all predictions with truth, `compared`: those that have registered ones of their kind."""
    engines = compared.predictions.engines
    features: list[dict[str, Any]] = []
    if joined.unreadable:
        verdict = outcome.UNREADABLE
    elif engines < settings.min_engines:
        verdict = outcome.INSUFFICIENT
    else:
        features = check(registered, compared)
        verdict = outcome.VIOLATIONS if any(feature["violated"] for feature in features) else outcome.OK
    violated = [feature for feature in features if feature["violated"]]
    severe = any(feature["ratio"] >= SEVERE_RATIO for feature in violated if feature["figure"] != "phm08")
    times = [each.isoformat(timespec="seconds") for each in sorted(sample.times)] or [""]
    summary, what_to_do = _told(verdict, settings, joined, features, engines)
    return {
        "schema": outcome.SCHEMA,
        "kind": "quality",
        "outcome": verdict,
        "fleet": settings.fleet,
        "endpoint": settings.endpoint,
        "variant": settings.variant,
        "window": {"start": settings.start or times[0], "end": settings.end or times[-1]},
        "records": {
            "delivered": joined.predictions,
            "used": len(compared.times),
            "out_of_limits": joined.out_of_limits,
            "repeated": joined.repeated,
            "without_truth": joined.without_truth,
            "truth_in_doubt": joined.excluded,
            "not_comparable": len(sample.times) - len(compared.times),
        },
        "engines": engines,
        "rows": len(compared.times),
        "min_engines": settings.min_engines,
        "severity": outcome.NONE if not violated else outcome.SEVERE if severe else outcome.MODERATE,
        "cause": "model" if violated else None,
        "drift": max((feature["ratio"] for feature in features), default=None),
        "features": features,
        "predictions": None,
        "affected": {"sensors": [], "engines": _worst(registered, compared) if violated else [], "regimes": []},
        "violations": [_violation(feature) for feature in violated],
        "summary": summary,
        "what_to_do": what_to_do,
        "problems": [problem._asdict() for problem in joined.problems[:PROBLEMS_LISTED]],
        "problems_count": len(joined.problems),
        "quality": {
            "ceiling": registered.ceiling,
            "level": LEVEL,
            "registered": {name: evaluation.get("metrics", {}).get(name) for name in ("clipped", "unclipped")},
            "found": tables.metrics(registered, sample),
            "bands": tables.bands(registered, sample),
            "periods": tables.periods(registered, compared),
            "engines": tables.engines(registered, sample),
            "engines_without_predictions": joined.engines_without_predictions[:NAMES_LISTED],
            "engines_without_predictions_count": len(joined.engines_without_predictions),
        },
        "simulated": bool(evaluation.get("simulated")),
    }


def check(registered: Registered, compared: Sample) -> list[dict[str, Any]]:
    """The figures of all engines, and of the newest when there are many, at one error rate together."""
    scopes = [("", compared)]
    engines = compared.predictions.engines
    if engines >= 2 * RECENT_ENGINES:
        last = [max(times) for times in _by_engine(compared)]
        newest = np.argsort(np.array([time.timestamp() for time in last]), kind="stable")[-RECENT_ENGINES:]
        chosen = np.isin(compared.predictions.engine, newest)
        scopes.append((NEWEST, compared.where(chosen)))
    return [
        _feature(figure, scope)
        for scope, sample in scopes
        for figure in registered.check(sample.predictions, LEVEL / len(scopes))
    ]


def statistics(registered: Registered, compared: Sample) -> dict[str, Any]:
    """statistics.json in the form of Model Monitor's for regression; every engine weighs the same."""
    metrics: dict[str, Any] = {}
    if compared.predictions.engines:
        costs = _regression(registered, compared.predictions)
        random = np.random.default_rng(1)
        draws = random.integers(costs.shape[1], size=(BOOTSTRAPS, costs.shape[1]))
        spread = np.array([_regression_metrics(costs[:, draw]) for draw in draws]).std(axis=0)
        metrics = {
            name: {"value": float(value), "standard_deviation": float(deviation)}
            for name, value, deviation in zip(
                ("mae", "mse", "rmse", "r2"), _regression_metrics(costs), spread, strict=True
            )
        }
    times = sorted(compared.times)
    return {
        "version": 0.0,
        "dataset": {
            "item_count": len(compared.times),
            "start_time": times[0].isoformat() if times else None,
            "end_time": times[-1].isoformat() if times else None,
            "evaluation_time": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "regression_metrics": metrics,
    }


def constraints(features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """constraints.json in the form of Model Monitor's for regression; without a verdict there are none."""
    return {
        "version": 0.0,
        "regression_constraints": {
            feature["name"]: {"threshold": feature["threshold"], "comparison_operator": "GreaterThanThreshold"}
            for feature in features
        },
    }


def _feature(figure: Figure, scope: str) -> dict[str, Any]:
    return {
        "name": figure.name + ("_newest" if scope else ""),
        "figure": figure.name,
        "what": WORDS[figure.name] + scope,
        "value": float(figure.value),
        "registered": float(figure.registered),
        "statistic": float(figure.statistic),
        "threshold": float(figure.threshold),
        "ratio": float(figure.ratio),
        "violated": bool(figure.violated),
        "ks": None,
        "wasserstein": None,
        "psi": None,
    }


def _violation(feature: Mapping[str, Any]) -> dict[str, Any]:
    if feature["figure"] == "bias":
        side = "late" if feature["value"] > feature["registered"] else "early"
        detail = f"{feature['value']:+.2f} against the registered {feature['registered']:+.2f}, predicted too {side}"
    else:
        detail = f"the registered is {feature['registered']:.2f} in the same mix of remaining life"
    return {
        "constraint_check_type": "GreaterThanThreshold",
        "description": (
            f"Metric {feature['name']} with {feature['statistic']:.4f} was GreaterThanThreshold "
            f"'{feature['threshold']:.4f}': {feature['what']}: {detail}"
        ),
        "metric_name": feature["name"],
    }


def _told(
    verdict: str, settings: Settings, joined: Joined, features: Sequence[Mapping[str, Any]], engines: int
) -> tuple[str, str]:
    """Summary and what to do."""
    mend = joined.problems
    more = ""
    if mend:
        names = "; ".join(f"{problem.where} {problem.what}" for problem in mend[:NAMES_TOLD])
        rest = f"; and {len(mend) - NAMES_TOLD} more" if len(mend) > NAMES_TOLD else ""
        more = f" Left out: {names}{rest}."
    if joined.out_of_limits:
        are = "s are" if joined.out_of_limits > 1 else " is"
        more += f" {joined.out_of_limits} captured prediction{are} out of limits and left out, the first: "
        more += f"{joined.first_out_of_limits}."
    if verdict == outcome.UNREADABLE:
        which = "ground truth" if joined.truth_files == 0 and joined.broken_truth_files else "captured predictions"
        return (
            f"No file of {which} can be read, so nothing is known of the model's quality.{more}",
            mend[0].do if mend else "Correct the files and upload them again.",
        )
    if verdict == outcome.INSUFFICIENT:
        return (
            f"The true RUL of {engines} engine(s) with comparable predictions is known, {settings.min_engines} are "
            f"needed: this says nothing about the model's quality.{more}",
            f"Upload the true RUL of engines that failed or were removed: onwing drift truth {settings.fleet} FILE.",
        )
    by_name = {feature["name"]: feature for feature in features}
    # Of the newest engines, if they alone are predicted worse.
    is_recent = any(f["violated"] for f in features) and not any(by_name[name]["violated"] for name in FIGURES)
    rmse, bias = (by_name[name + ("_newest" if is_recent else "")] for name in ("rmse", "bias"))
    judged = f"the newest {RECENT_ENGINES} of {engines} engines" if is_recent else f"{engines} engines"
    figures = (
        f"RMSE {rmse['value']:.1f} cycles over {judged} (registered {rmse['registered']:.1f} in the same mix "
        f"of remaining life, threshold {rmse['threshold']:.1f}), mean error {bias['value']:+.1f} "
        f"(registered {bias['registered']:+.1f})"
    )
    if verdict == outcome.OK:
        return f"As good as registered: {figures}.{more}", mend[0].do if mend else "Nothing."
    names = ", ".join(feature["what"] for feature in features if feature["violated"])
    late = any(f["violated"] and f["figure"] == "bias" and f["value"] > f["registered"] for f in features)
    caution = "Engines fail EARLIER than it says: plan by less than the predicted RUL. " if late else ""
    return (
        f"Worse than registered: {figures}; beyond the threshold: {names}.{more}",
        f"{caution}See whether the inputs drifted too: onwing drift report {settings.fleet}. If they did not, upload "
        "the histories of engines that failed since, so that the model is trained again, or go back to the model "
        f"before: onwing rollback {settings.fleet}.",
    )


def _by_engine(sample: Sample) -> list[list[datetime]]:
    times: list[list[datetime]] = [[] for _ in sample.units]
    for engine, time in zip(sample.predictions.engine, sample.times, strict=True):
        times[engine].append(time)
    return times


def _worst(registered: Registered, compared: Sample) -> list[dict[str, Any]]:
    return [{"unit": row["unit"], "score": row["rmse"]} for row in tables.engines(registered, compared)[:NAMES_LISTED]]


def _regression(registered: Registered, predictions: Predictions) -> Floats:
    """Each engine's means of |error|, squared error, true RUL and its square, (4, engines); true RUL clipped."""
    true = np.minimum(predictions.true, registered.ceiling)
    error = predictions.predicted - true
    counts = np.bincount(predictions.engine)
    costs = (np.abs(error), error**2, true, true**2)
    return np.stack([np.bincount(predictions.engine, weights=cost) / counts for cost in costs])


def _regression_metrics(costs: Floats) -> list[float]:
    """mae, mse, rmse, r2 of those, every engine weighing the same; r2 is 0 where there is no variance to explain."""
    absolute, squared, true, square = costs.mean(axis=1)
    variance = square - true**2
    return [absolute, squared, float(np.sqrt(squared)), 1 - squared / variance if variance > 1e-9 else 0.0]
