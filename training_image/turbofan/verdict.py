"""The verdict on a window of traffic: report.json of the monitoring job.

Unreadable capture comes before everything, because what is left of it is no fair sample. Broken input is judged
however few engines there are; drift only with engines enough. Anything else would call silence "no drift".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from cmapss import COLUMNS

from turbofan import outcome
from turbofan.capture import Capture
from turbofan.drift import LEAST_ENGINES, SIZES, Finding, Findings
from turbofan.drift_predictions import PredictionFindings, cause, severity
from turbofan.drift_summary import MIN_ROWS
from turbofan.monitor_settings import Settings
from turbofan.schema import SEVERE_SHARE, Problem
from turbofan.standard import Standard
from turbofan.traffic import Engine, Traffic, histories

RUL = "rul"  # the feature name of the predictions
DRIFT_CHECK = "baseline_drift_check"
ENGINES_SHOWN = 20
NAMED = 4  # violations in the summary; the report has them all
DO_NOTHING = "Nothing."
NO_THRESHOLDS = "no thresholds"
DO = {
    "data": "The input is broken, so neither retraining nor a rollback helps: find out who sends it (the report names "
    "columns and engines) and have it corrected at its source.",
    "drift": "The engines, or how they are flown, have changed. Look at the report; if the change is real and stays, "
    "upload run-to-failure data of such engines, so that the fleet is trained again.",
    "model": "The inputs look as they should, but the predictions do not: compare the model with its predecessor and "
    "roll back if that one is the better guess.",
    outcome.INSUFFICIENT: "Wait for more traffic. If there should be some: look whether the endpoint is asked "
    "(metric Invocations) and whether it captures (DescribeEndpoint, DataCaptureConfig).",
    NO_THRESHOLDS: f"More traffic does not help: thresholds are calibrated when the fleet is trained, on at least "
    f"{LEAST_ENGINES} engines that ran to failure. Upload a training file with so many (onwing ingest FOLDER), and "
    "approve the model that comes of it; the baseline is that model's.",
    outcome.UNREADABLE: "Look at the file that is named. If nothing else writes below the capture prefix, SageMaker's "
    "capture format has changed: deploy an image that reads it.",
}


@dataclass(frozen=True)
class Drift:
    """What the statistics say of a window with engines enough."""

    inputs: Findings
    predictions: PredictionFindings | None
    engines: int  # with rows enough in known regimes, of all: what is judged is a sample of them
    ranked: tuple[tuple[int, float], ...]  # units of all engines and their scores, worst first

    @property
    def is_violated(self) -> bool:
        """Whether anything is beyond its threshold."""
        return self.inputs.violated or (self.predictions is not None and self.predictions.violated)

    @property
    def ratio(self) -> float:
        """DataDrift: the largest statistic over its threshold."""
        return max(self.inputs.ratio, self.predictions.ratio if self.predictions else 0.0)

    @property
    def cause(self) -> str | None:
        """data, drift or model."""
        return cause(self.inputs, self.predictions)

    @property
    def severity(self) -> str:
        """The worse of both."""
        return severity(self.inputs, self.predictions)

    @classmethod
    def find(cls, standard: Standard, traffic: Traffic) -> Drift:
        """Hold the engines, at least one, against a baseline with thresholds.

        Thresholds are calibrated up to a number of engines, and beyond it the baseline's own error would be taken for
        drift: a larger window is judged by a sample of so many. Who is affected is said of all of them.
        """
        everyone, engines = traffic.engines(), traffic.sample(SIZES[-1])
        answered = [engine for engine in engines if engine.rul is not None]
        found = None
        if standard.predictions is not None and standard.predictions.calibrated and answered:
            rul = np.array([engine.rul for engine in answered], dtype=np.float64)
            found = standard.predictions.check(standard.inputs, *histories(answered), rul)
        inputs = standard.inputs.check(*histories(engines))
        rest = inputs if len(engines) == len(everyone) else standard.inputs.check(*histories(everyone))
        return cls(inputs, found, rest.engines, tuple((everyone[at].unit, score) for at, score in rest.engines_ranked))


def judge(settings: Settings, standard: Standard, capture: Capture, traffic: Traffic) -> dict[str, Any]:
    """The content of report.json, of a capture that has been read."""
    engines = traffic.engines()
    report = _frame(settings, standard, capture, traffic, engines)
    if capture.problem is not None:
        return report | {
            "outcome": outcome.UNREADABLE,
            "summary": f"What was captured cannot be judged: {capture.problem}.",
            "what_to_do": DO[outcome.UNREADABLE],
        }
    problems = traffic.schema.problems()
    lacking = _lacking(settings, standard, engines)
    found = None if lacking else Drift.find(standard, traffic)
    # Engines that fly where no baseline engine did cannot be judged, unless that itself is the news.
    if found and not found.is_violated and found.engines < settings.min_engines:
        lacking = (
            f"{found.engines} of {len(engines)} engines have {MIN_ROWS} recent rows in known regimes, at least "
            f"{settings.min_engines} are needed"
        )
        found = None
    if lacking and not problems:
        return report | {
            "outcome": outcome.INSUFFICIENT,
            "summary": f"{lacking}. {_counted(report)}.",
            "what_to_do": DO[outcome.INSUFFICIENT if standard.inputs.calibrated else NO_THRESHOLDS],
        }
    if found:
        report |= _statistics(found)
    violations = _violations(problems, found)
    if not violations:
        return report | {"outcome": outcome.OK, "summary": _calm(report), "what_to_do": DO_NOTHING}
    weight, reason = _weigh(problems, found)
    columns = [problem.feature for problem in problems if problem.feature in COLUMNS]
    report["affected"]["sensors"] = list(dict.fromkeys(columns + report["affected"]["sensors"]))
    return report | {
        "outcome": outcome.VIOLATIONS,
        "violations": violations,
        "severity": weight,
        "cause": reason,
        "summary": _alarm(report, problems, found, lacking),
        "what_to_do": DO[reason],
    }


def _frame(
    settings: Settings, standard: Standard, capture: Capture, traffic: Traffic, engines: list[Engine]
) -> dict[str, Any]:
    """The report before anything is judged."""
    return {
        "schema": outcome.SCHEMA,
        "kind": "data",
        "outcome": outcome.UNREADABLE,
        "fleet": settings.fleet,
        "endpoint": settings.endpoint,
        "variant": settings.variant,
        "window": {"start": settings.start, "end": settings.end},
        "simulated": standard.is_simulated,
        # delivered = probes + failed + unreadable + malformed + used; duplicates are not among them.
        "records": {
            "delivered": capture.delivered,
            "probes": traffic.probes,
            "failed": traffic.failed,
            "unreadable": capture.unreadable,
            "malformed": traffic.malformed,
            "used": traffic.used,
            "duplicates": capture.duplicates,
        },
        "engines": len(engines),
        "engines_seen": traffic.engines_seen,
        "rows": sum(len(engine.rows) for engine in engines),
        "min_engines": settings.min_engines,
        "severity": outcome.NONE,
        "cause": None,
        "drift": None,
        "features": [],
        "predictions": None,
        "affected": {"sensors": [], "engines": [], "regimes": []},
        "violations": [],
        "input": {
            "requests": traffic.schema.requests,
            "refused": traffic.schema.malformed,
            "tolerable": traffic.schema.allowed,
            "tolerated": [_rounded(asdict(problem)) for problem in traffic.schema.tolerated()],
            "completeness": traffic.schema.completeness,
        },
        "unreadable": [asdict(example) for example in capture.examples],
    }


def _lacking(settings: Settings, standard: Standard, engines: list[Engine]) -> str:
    """What a statistical verdict lacks; "" if nothing."""
    if not standard.inputs.calibrated:
        return f"The baseline has no thresholds: {standard.inputs.why_not}"
    enough = sum(len(engine.rows) >= MIN_ROWS for engine in engines)
    if enough < settings.min_engines:
        short = f" ({len(engines) - enough} more have fewer than {MIN_ROWS} rows)" if enough < len(engines) else ""
        return f"{enough} engine{'' if enough == 1 else 's'} asked{short}, at least {settings.min_engines} are needed"
    return ""


def _statistics(found: Drift) -> dict[str, Any]:
    """What the report says of the statistics."""
    inputs = found.inputs
    return {
        "drift": round(found.ratio, 4),
        "engines_judged": inputs.engines,
        "features": [_rounded(asdict(feature)) for feature in inputs.features],
        "predictions": _rounded(asdict(found.predictions)) if found.predictions else None,
        "affected": {
            "sensors": [feature.name for feature in inputs.violations if feature.name in COLUMNS],
            "engines": [{"unit": unit, "score": round(score, 3)} for unit, score in found.ranked[:ENGINES_SHOWN]],
            "regimes": [_rounded(asdict(regime)) for regime in inputs.regimes],
        },
    }


def _weigh(problems: list[Problem], found: Drift | None) -> tuple[str, str]:
    """Severity and cause of a window with violations.

    A few bad requests among many do not hide that the rest has drifted: broken input is the cause if it is severe, or
    if nothing but the broken columns has drifted.
    """
    if any(problem.share >= SEVERE_SHARE for problem in problems):
        return outcome.SEVERE, "data"
    if found is None or not found.is_violated:
        return outcome.MODERATE, "data"
    named = {problem.feature for problem in problems}
    is_only_named = problems and all(feature.name in named for feature in found.inputs.violations)
    return found.severity, "data" if is_only_named else found.cause or "drift"


def _violations(problems: list[Problem], found: Drift | None) -> list[dict[str, str]]:
    """What is wrong with the input, then what has drifted: not again the columns of which the input is broken."""
    entries = [problem.violation for problem in problems]
    named = {problem.feature for problem in problems}
    for feature in found.inputs.violations if found else ():
        if feature.name not in named:
            entries.append(outcome.violation(feature.name, DRIFT_CHECK, _describe(feature)))
    if found and found.predictions and found.predictions.violated:
        text = _describe_predictions(found.predictions)
        if problems or found.inputs.violated:
            text += " This may well follow from the inputs."
        entries.append(outcome.violation(RUL, DRIFT_CHECK, text))
    return entries


def _describe(feature: Finding) -> str:
    share = f", {feature.share:.0%} of the engines" if feature.share is not None else ""
    return f"{_capital(feature.what or feature.kind)}{share}: {_limit(feature)}."


def _describe_predictions(found: PredictionFindings) -> str:
    psi = f", PSI {found.psi:.2f} ({found.band})" if found.psi is not None else ""
    return f"{_capital(found.what)}{psi}: {_limit(found)}."


def _limit(found: Finding | PredictionFindings) -> str:
    return f"{found.ratio:.1f} times its threshold (statistic {found.statistic:.2f}, threshold {found.threshold:.2f})"


def _calm(report: dict[str, Any]) -> str:
    nearest = report["features"][0]["name"] if report["features"] else RUL
    if (given := report["predictions"]) and given["ratio"] > max((f["ratio"] for f in report["features"]), default=0.0):
        nearest = "the predictions"
    return (
        f"{report['engines']} engines, nothing beyond its threshold (nearest: {nearest}, at {report['drift']:.2f} of "
        f"it). {_counted(report)}."
    )


def _alarm(report: dict[str, Any], problems: list[Problem], found: Drift | None, lacking: str) -> str:
    named = {problem.feature for problem in problems}
    texts = [problem.short for problem in problems]
    for feature in found.inputs.violations if found else ():
        if feature.name not in named:
            texts.append(f"{feature.name} {feature.what or feature.kind} ({feature.ratio:.1f} × its threshold)")
    if found and found.predictions and found.predictions.violated:
        texts.append(f"{found.predictions.what} ({found.predictions.ratio:.1f} × its threshold)")
    more = f"; {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    unjudged = f" Drift was not judged: {lacking[:1].lower()}{lacking[1:]}." if lacking else ""
    return f"{'; '.join(texts[:NAMED])}{more}.{unjudged} {report['engines']} engines. {_counted(report)}."


def _counted(report: dict[str, Any]) -> str:
    records = report["records"]
    words = {
        "failed": "answered with an error",
        "unreadable": "unreadable",
        "malformed": "malformed",
        "probes": "probes",
    }
    others = [f"{records[name]} {word}" for name, word in words.items() if records[name]]
    tolerated = "; ".join(problem["short"] for problem in report["input"]["tolerated"][:NAMED])
    if tolerated:
        most = report["input"]["tolerable"]
        others.append(f"tolerated (up to {most} request{'s' if most > 1 else ''}): {tolerated}")
    return f"{records['delivered']} records delivered, {records['used']} used" + "".join(f", {each}" for each in others)


def _rounded(content: dict[str, Any]) -> dict[str, Any]:
    """Numbers of a report need no more digits, and JSON has no NaN."""
    return {
        name: (round(value, 4) if np.isfinite(value) else None) if isinstance(value, float) else value
        for name, value in content.items()
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
