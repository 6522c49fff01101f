"""report.html: what a monitoring job found, for people. One file, nothing loaded from elsewhere, made from report.json.

The page is built as a tree of elements, so that every text is escaped by the serialiser and none can be forgotten.
Figures are SVG: sharp on a screen and on paper, and drawn in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

import numpy as np

DISTRIBUTIONS_SHOWN, ENGINES_SHOWN, VIOLATIONS_SHOWN, PROBLEMS_SHOWN = 6, 12, 100, 50
PSI_MODERATE, PSI_SEVERE = 0.1, 0.25  # the plan's severity bands
# Bars end here: beyond it, a ratio says "far above" and its figure how far. Below the other, it is not worth a line.
RATIO_SHOWN, RATIO_NAMED = 4.0, 0.01
WINDOW_BUCKETS = 12

INK, MUTED, GRID, CALM, LATE, EARLY = "#1b3a57", "#66717b", "#e3e7eb", "#7f9bb3", "#c0392b", "#2a8c82"
TITLES = {"data": "Data drift", "quality": "Model quality"}
# Outcome (and severity) → class of the headline, sign, words. No verdict looks like neither good nor bad.
HEADLINES = {
    "ok": ("ok", "✓", {"data": "No drift", "quality": "As good as registered"}),
    "moderate": ("moderate", "!", {"quality": "Worse than registered"}),
    "severe": ("severe", "!!", {"quality": "Much worse than registered"}),
    "insufficient": ("insufficient", "?", {"data": "No verdict: not enough engines"}),
    "unreadable": ("unreadable", "✕", {"data": "No verdict: input cannot be read"}),
}
CAUSES = {
    "data": ("Broken input", "the input is broken; neither retraining nor a rollback helps"),
    "drift": ("Drift", "the engines, or how they are flown, have changed"),
    "model": ("Predictions have shifted", "the model; its inputs look as they should"),
}
RECORDS = {
    "delivered": "delivered",
    "used": "used",
    "probes": "probes, left out",
    "failed": "answered with an error",
    "unreadable": "unreadable",
}


@dataclass(frozen=True)
class Distribution:
    """How often which value was seen of one sensor, in the baseline and in the window."""

    name: str
    edges: Sequence[float]  # (k + 1,), ascending
    baseline: Sequence[float]  # (k,): counts or shares
    window: Sequence[float]  # (k,): counts or shares
    axis: str = ""  # what the edges measure, e.g. "σ from the regime's mean"

    @classmethod
    def of(
        cls, name: str, edges: Sequence[float], baseline: Sequence[float], values: Sequence[float], axis: str = ""
    ) -> Distribution:
        """The window's `values` beside a baseline's buckets, with buckets of their own where they lie beyond those."""
        found = np.asarray(values, dtype=np.float64)
        low, high = float(edges[0]), float(edges[-1])
        ends, counts = [float(edge) for edge in edges], [float(count) for count in baseline]
        if low == high:  # a sensor that stood still has a bucket all the same
            ends = [low - 0.5, low + 0.5]
        bucket = (ends[-1] - ends[0]) / len(counts)
        below, above = found[found < ends[0]], found[found > ends[-1]]
        if len(below):
            last = max(float(below.max()) + bucket / WINDOW_BUCKETS, float(below.min()) + bucket)
            more = [x for x in np.linspace(below.min(), last, WINDOW_BUCKETS).tolist() if x < ends[0]]
            ends, counts = [*more, *ends], [0.0] * len(more) + counts
        if len(above):
            last = max(float(above.max()), float(above.min()) + bucket)
            more = [x for x in np.linspace(above.min(), last, WINDOW_BUCKETS).tolist() if x > ends[-1]]
            ends, counts = [*ends, *more], counts + [0.0] * len(more)
        return cls(name, ends, counts, np.histogram(found, bins=ends)[0].tolist(), axis)


def write_html(
    report: Mapping[str, Any],
    path: Path,
    *,
    distributions: Sequence[Distribution] = (),
    identity: Mapping[str, str] | None = None,
) -> None:
    """Write the page of `report`, the content of a report.json of kind data or quality and of any outcome.

    `distributions` are shown in their order, the first DISTRIBUTIONS_SHOWN of them; `identity` says which model and
    baseline were compared. What the report does not hold is left out of the page.
    """
    path.write_text(page(report, distributions, identity or {}), encoding="utf-8", errors="replace")


def page(report: Mapping[str, Any], distributions: Sequence[Distribution], identity: Mapping[str, str]) -> str:
    """That page's text."""
    kind = "quality" if report.get("kind") == "quality" else "data"
    title = " · ".join(_text(part) for part in (TITLES[kind], report.get("fleet"), report.get("variant")) if part)
    verdict = report.get("outcome") in ("ok", "violations")
    sections = [
        _headline(report, kind, title),
        _problems([*(report.get("problems") or []), *_unreadable(report.get("unreadable") or [])]),
        _tiles(report, kind),
        _quality_figures(report) if kind == "quality" else _sensors(report),
        _distributions(distributions, report.get("features") or []),
        *(_quality(report.get("quality") or {}) if kind == "quality" else [_predictions(report.get("predictions"))]),
        _affected(report.get("affected") or {}, report.get("outcome") == "violations") if kind == "data" else None,
        _violations(report.get("violations") or []) if verdict else None,
        _counted(report, identity),
        _reading(kind),
    ]
    head = _e(
        "head",
        _e("meta", charset="utf-8"),
        _e("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _e("title", title),
        _e("style", CSS),
    )
    body = _e("body", _e("main", *(section for section in sections if section is not None)))
    return "<!DOCTYPE html>\n" + tostring(_e("html", head, body, lang="en"), encoding="unicode", method="html") + "\n"


# ---- sections ----


def _headline(report: Mapping[str, Any], kind: str, title: str) -> Element:
    outcome = str(report.get("outcome"))
    if outcome == "violations":
        outcome = "severe" if report.get("severity") == "severe" else "moderate"
    look, sign, words = HEADLINES.get(outcome, ("unreadable", "?", {"data": f"Unknown outcome: {outcome}"}))
    if outcome == "insufficient" and kind == "quality":
        words = {"data": "No verdict: the truth of too few engines is known"}
    words, why = dict(words), ""
    if outcome in ("moderate", "severe"):
        drift, cause = CAUSES.get(str(report.get("cause")), ("Violations", "unknown"))
        words["data"] = f"Severe {drift.lower()}" if outcome == "severe" and drift == "Drift" else drift
        # Quality is about the model by definition.
        why = f"Severity: {outcome}." + (f" Cause: {cause}." if kind == "data" else "")
    if report.get("simulated"):
        title = f"SIMULATED DATA · {title}"
    window = report.get("window") or {}
    return _e(
        "header",
        _e("div", sign, class_="sign"),
        _e(
            "div",
            _e("p", title, class_="title"),
            _e("h1", words.get(kind, words["data"])),
            _e("p", _text(report.get("summary")), class_="summary"),
            _e("p", _e("b", "What to do. "), _text(report.get("what_to_do")), class_="do")
            if report.get("what_to_do")
            else None,
            _e("p", why, class_="cause") if why else None,
            _e("p", f"{_text(report.get('endpoint'))} · {_time(window.get('start'))} to {_time(window.get('end'))}"),
        ),
        class_=f"headline {look}",
    )


def _tiles(report: Mapping[str, Any], kind: str) -> Element:
    records = report.get("records") or {}
    verdict = report.get("outcome") in ("ok", "violations")
    least = report.get("min_engines")
    tiles = [
        ("Largest ratio", _number(report.get("drift")) if verdict else "–", "1 is the threshold" if verdict else ""),
        ("Engines", _whole(report.get("engines")), f"at least {_whole(least)} needed" if least is not None else ""),
    ]
    if kind == "quality":
        tiles.append(("Predictions with truth", _whole(report.get("rows")), ""))
    else:
        tiles.append(("Records used", _whole(records.get("used")), f"of {_whole(records.get('delivered'))} delivered"))
        tiles.append(("Rows judged", _whole(report.get("rows")), "of each engine's newest history"))
    tiles.append(("Violations", _whole(len(report.get("violations") or [])) if verdict else "–", ""))
    return _e(
        "section",
        *(
            _e("div", _e("p", name), _e("p", value, class_="figure"), _e("p", note, class_="note"), class_="tile")
            for name, value, note in tiles
        ),
        class_="tiles",
    )


def _sensors(report: Mapping[str, Any]) -> Element | None:
    features = sorted(report.get("features") or [], key=lambda feature: -_float(feature.get("ratio"), -1.0))
    if not features:
        return None
    top = _scale(features)
    rows = [
        _e(
            "tr",
            _e("th", _text(feature.get("name")), scope="row"),
            _e("td", _text(feature.get("what")) or "–"),
            _e("td", _bar(feature.get("ratio"), top, bool(feature.get("violated"))), class_="bar"),
            _e("td", _times(feature.get("ratio")), class_="number strong" if feature.get("violated") else "number"),
            *(_e("td", _number(feature.get(name)), class_="number") for name in ("ks", "wasserstein", "psi")),
            class_="violated" if feature.get("violated") else None,
        )
        for feature in features
        if feature.get("violated") or _float(feature.get("ratio")) >= RATIO_NAMED
    ]
    quiet = [_text(feature.get("name")) for feature in features][len(rows) :]
    names = [("Sensor", ""), ("What changed", ""), ("", "bar"), ("Ratio", "number")]
    names += [(name, "number") for name in ("KS", "Wasserstein", "PSI")]
    return _card(
        "Sensors, largest ratio first",
        "The bar is each sensor's statistic as a share of its calibrated threshold (the line). KS, Wasserstein (in "
        "standard deviations) and PSI are shown beside it; they decide nothing.",
        _table(names, rows, axis=top),
        *([_e("p", f"Below {RATIO_NAMED} of the threshold: {', '.join(quiet)}.", class_="note")] if quiet else []),
    )


def _quality_figures(report: Mapping[str, Any]) -> Element | None:
    features = list(report.get("features") or [])
    if not features:
        return None
    top = _scale(features)
    rows = [
        _e(
            "tr",
            _e("th", _text(feature.get("what") or feature.get("name")), scope="row"),
            *(_e("td", text, class_="number") for text in _compared(feature)),
            _e("td", _bar(feature.get("ratio"), top, bool(feature.get("violated"))), class_="bar"),
            _e("td", _times(feature.get("ratio")), class_="number strong" if feature.get("violated") else "number"),
            class_="violated" if feature.get("violated") else None,
        )
        for feature in features
    ]
    numbers = [(name, "number") for name in ("In production", "Registered, same mix", "Threshold")]
    return _card(
        "In production against the registered model",
        "RMSE and mean error in cycles. Every engine weighs the same, however often it was asked about. "
        "Registered: the evaluation's errors in the "
        "same mix of remaining life. Threshold: what whole engines drawn from them stay below.",
        _table([("Figure", ""), *numbers, ("", "bar"), ("Ratio", "number")], rows, axis=top),
    )


def _compared(feature: Mapping[str, Any]) -> list[str]:
    """In production, registered and threshold; the mean error may be off to either side of the registered one."""
    value, registered = feature.get("value", feature.get("statistic")), feature.get("registered")
    if feature.get("figure") != "bias":
        return [_number(value), _number(registered), _number(feature.get("threshold"))]
    reach, middle = _float(feature.get("threshold")), _float(registered)
    return [_signed(value), _signed(registered), f"{middle - reach:+.1f} to {middle + reach:+.1f}"]


def _distributions(distributions: Sequence[Distribution], features: Sequence[Mapping[str, Any]]) -> Element | None:
    if not distributions:
        return None
    violated = [each.get("name") for each in features if each.get("violated")]
    shown = distributions[:DISTRIBUTIONS_SHOWN]
    figures = [_histogram(each, LATE if each.name in violated else EARLY) for each in shown]
    keys = [_key(CALM, "baseline")]
    keys += [_key(LATE, "this window, beyond the threshold")] if any(each.name in violated for each in shown) else []
    keys += [_key(EARLY, "this window, within it")] if any(each.name not in violated for each in shown) else []
    legend = _e("p", *keys, class_="keys")
    return _card("Largest ratios: baseline beside window", "", legend, _e("div", *figures, class_="figures"))


def _predictions(predictions: Mapping[str, Any] | None) -> Element | None:
    if not predictions:
        return None
    psi, band = _float(predictions.get("psi")), _text(predictions.get("band"))
    words = {"none": "no shift", "moderate": "moderate shift", "severe": "severe shift"}.get(band, band)
    facts = [
        ("Population stability index (PSI)", f"{_number(psi)}: {words}"),
        ("Ratio to its calibrated threshold", _times(predictions.get("ratio"))),
        ("Mean predicted RUL", f"{_number(predictions.get('mean'))} cycles"),
        ("In the baseline", f"{_number(predictions.get('baseline_mean'))} cycles"),
    ]
    return _card("Predictions", "", _e("div", _facts(facts), _psi_scale(psi), class_="columns"))


def _affected(affected: Mapping[str, Any], violated: bool) -> Element | None:
    engines, regimes = affected.get("engines") or [], affected.get("regimes") or []
    tables = []
    if engines:
        top = max(_float(engine.get("score")) for engine in engines) or 1.0
        rows = [
            _e(
                "tr",
                _e("th", _text(engine.get("unit")), scope="row"),
                _e("td", _share_bar(_float(engine.get("score")) / top), class_="bar"),
                _e("td", _number(engine.get("score")), class_="number"),
            )
            for engine in engines[:ENGINES_SHOWN]
        ]
        more = len(engines) - ENGINES_SHOWN
        tables.append(
            _e(
                "div",
                _table([("Engine", ""), ("", "bar"), ("Score", "number")], rows),
                _e("p", f"and {more} more in report.json", class_="note") if more > 0 else None,
            )
        )
    if regimes:
        rows = [
            _e(
                "tr",
                _e("th", _text(regime.get("regime")), scope="row"),
                _e("td", _percent(regime.get("share")), class_="number"),
                _e("td", _percent(regime.get("baseline_share")), class_="number"),
                _e("td", _number(regime.get("score")), class_="number"),
            )
            for regime in regimes
        ]
        names = [("Regime", ""), ("Rows now", "number"), ("Rows in baseline", "number"), ("Score", "number")]
        tables.append(_e("div", _table(names, rows)))
    if not tables:
        return None
    title = "Who is affected" if violated else "Furthest from the baseline"
    return _card(title, "", _e("div", *tables, class_="columns"))


def _violations(violations: Sequence[Mapping[str, Any]]) -> Element | None:
    if not violations:
        return None
    rows = [
        _e(
            "tr",
            _e("th", _text(violation.get("feature_name") or violation.get("metric_name")), scope="row"),
            _e("td", _e("code", _text(violation.get("constraint_check_type")))),
            _e("td", _text(violation.get("description"))),
        )
        # A broken input comes first: it explains the rest.
        for violation in sorted(violations, key=lambda v: v.get("constraint_check_type") == "baseline_drift_check")
    ][:VIOLATIONS_SHOWN]
    more = len(violations) - len(rows)
    return _card(
        f"Violations: {len(violations)}",
        f"The first {VIOLATIONS_SHOWN}; all are in constraint_violations.json." if more > 0 else "",
        _table([("Where", ""), ("Check", ""), ("What", "")], rows),
    )


def _problems(problems: Sequence[Mapping[str, Any]]) -> Element | None:
    if not problems:
        return None
    items = [
        _e(
            "li",
            _e("b", _text(problem.get("where"))),
            f": {_text(problem.get('what')).rstrip('.')}. ",
            _text(problem.get("do")),
        )
        for problem in problems[:PROBLEMS_SHOWN]
    ]
    more = len(problems) - len(items)
    return _e(
        "section",
        _e("h2", f"Left out, and to be mended: {len(problems)}"),
        _e("ul", *items),
        _e("p", f"and {more} more in report.json", class_="note") if more > 0 else None,
        class_="card problems",
    )


def _unreadable(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Capture that cannot be read, as problems."""
    return [
        {"where": f"{_text(each.get('file'))}, line {_text(each.get('line'))}", "what": _text(each.get("reason"))}
        for each in entries
    ]


def _counted(report: Mapping[str, Any], identity: Mapping[str, str]) -> Element:
    records = report.get("records") or {}
    window = report.get("window") or {}
    who = [
        ("Fleet", _text(report.get("fleet"))),
        ("Endpoint", _text(report.get("endpoint"))),
        ("Variant", _text(report.get("variant"))),
        ("From", _time(window.get("start"))),
        ("To", _time(window.get("end"))),
        *((_text(name), _text(value)) for name, value in identity.items()),
    ]
    names = {**RECORDS, **{name: name.replace("_", " ") for name in records if name not in RECORDS}}
    counts = [(words, _whole(records[name])) for name, words in names.items() if name in records]
    tables = [_facts(who)]
    if counts:
        tables.append(_facts(counts, "Records"))
    return _card("What was compared, and counted", "", _e("div", *tables, class_="columns"))


def _reading(kind: str) -> Element:
    if kind == "quality":
        text = (
            "True RUL is joined with the predictions that were captured, by engine and cycle. Errors are predicted "
            "minus true, the true RUL clipped at the model's ceiling: above zero is late, the dangerous side. "
            "RMSE, |mean error| and PHM08 share one family-wise error rate."
        )
    else:
        text = (
            "Operating regime and life stage are taken out before sensors are compared, so degradation is no drift. "
            "Thresholds were calibrated at training time by drawing whole engines, as many as a window holds; all "
            "sensors share one family-wise error rate. A window with too few engines gets no verdict."
        )
    return _e("footer", _e("b", "How to read this. "), text)


# ---- quality: over time, by band, by engine ----


def _quality(quality: Mapping[str, Any]) -> list[Element]:
    cards = []
    periods = quality.get("periods") or []
    if periods:
        cards.append(
            _card(
                "Over time",
                "By the day or week of the prediction; the dashed line is the registered figure in that period's mix "
                "of remaining life. Periods of few engines scatter: the verdict is over all of them.",
                _e("div", _periods(periods, "rmse"), _periods(periods, "bias"), class_="figures"),
            )
        )
    bands = quality.get("bands") or []
    if bands:
        rows = [
            _e(
                "tr",
                _e("th", f"{_text(band.get('band'))} cycles", scope="row"),
                *(
                    _e("td", value, class_="number")
                    for value in (
                        _whole(band.get("engines")),
                        _whole(band.get("predictions")),
                        _number(band.get("rmse")),
                        _number(band.get("registered_rmse")),
                        _signed(band.get("bias")),
                        _signed(band.get("registered_bias")),
                        _whole(band.get("registered_engines")),
                    )
                ),
                _e("td", "" if band.get("compared") else "not compared: too few registered engines"),
            )
            for band in bands
        ]
        names = ("Engines", "Predictions", "RMSE", "Registered", "Mean error", "Registered", "Registered engines")
        columns = [("True RUL", ""), *((name, "number") for name in names), ("", "")]
        cards.append(_card("By remaining life", "", _table(columns, rows)))
    engines = quality.get("engines") or []
    if engines:
        cards.append(
            _card(
                "Every engine",
                "Mean error of each engine's predictions in cycles, latest first. Red: predicted to live longer than "
                "it did.",
                _engine_errors(engines),
            )
        )
    return cards


def _periods(periods: Sequence[Mapping[str, Any]], name: str) -> Element:
    width, height, left, bottom = 540.0, 230.0, 46.0, 44.0
    right = width - 30
    title = {"rmse": "RMSE (cycles)", "bias": "Mean error (cycles; above 0 is late)"}[name]
    values = [_float(period.get(name)) for period in periods]
    expected = [_float(period.get(f"registered_{name}")) for period in periods]
    low, high = min(0.0, *values, *expected), max(1.0, *values, *expected)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def x(i: int) -> float:
        return left + (i + 0.5) * (right - left) / len(periods)

    def y(value: float) -> float:
        return 26 + (high - value) / (high - low) * (height - bottom - 26)

    parts = [_s("text", title, x=0, y=12, class_="axis strong")]
    for tick in ticks:
        parts.append(_s("line", x1=left, x2=right, y1=y(tick), y2=y(tick), stroke=MUTED if tick == 0 else GRID))
        parts.append(_s("text", f"{tick:g}", x=left - 8, y=y(tick) + 4, class_="axis end"))
    step = (right - left) / len(periods)
    for i, level in enumerate(expected):
        parts.append(
            _s("line", x1=x(i) - step / 2, x2=x(i) + step / 2, y1=y(level), y2=y(level), stroke=INK,
               **{"stroke-dasharray": "5 4", "stroke-width": "1.5"})
        )  # fmt: skip
    line = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
    parts.append(_s("polyline", points=line, fill="none", stroke=LATE, **{"stroke-width": "2"}))
    every = max(1, math.ceil(len(periods) / 6))
    for i, period in enumerate(periods):
        note = f"{_text(period.get('period'))}: {_number(values[i])}, {_whole(period.get('engines'))} engines"
        parts.append(_s("circle", _s("title", note), cx=x(i), cy=y(values[i]), r=4, fill=LATE))
        if i % every == 0:
            parts.append(_s("text", _text(period.get("period")), x=x(i), y=height - 24, class_="axis middle"))
            parts.append(_s("text", f"n = {_whole(period.get('engines'))}", x=x(i), y=height - 9, class_="axis middle"))
    return _svg(width, height, f"{title} over time", parts)


def _engine_errors(engines: Sequence[Mapping[str, Any]]) -> Element:
    ordered = sorted(engines, key=lambda engine: -_float(engine.get("error")))
    width, height, left = 1120.0, 230.0, 46.0
    values = [_float(engine.get("error")) for engine in ordered]
    ticks = _ticks(min(0.0, *values), max(1.0, *values))
    low, high = min(*values, ticks[0]), max(*values, ticks[-1])
    step = min(40.0, (width - left - 8) / len(values))

    def y(value: float) -> float:
        return 10 + (high - value) / (high - low) * (height - 40)

    parts = []
    for tick in ticks:
        parts.append(_s("line", x1=left, x2=width - 8, y1=y(tick), y2=y(tick), stroke=MUTED if tick == 0 else GRID))
        parts.append(_s("text", f"{tick:g}", x=left - 8, y=y(tick) + 4, class_="axis end"))
    every = max(1, math.ceil(30 / step))
    for i, (engine, value) in enumerate(zip(ordered, values, strict=True)):
        x = left + i * step
        note = (
            f"engine {_text(engine.get('unit'))}: {value:+.1f} cycles, {_whole(engine.get('predictions'))} predictions"
        )
        bar = {"width": max(1.0, step * 0.72), "height": max(1.0, abs(y(0) - y(value)))}
        parts.append(
            _s("rect", _s("title", note), x=x + step * 0.14, y=min(y(0), y(value)), fill=LATE if value > 0 else EARLY,
               **bar)
        )  # fmt: skip
        if i % every == 0:
            parts.append(_s("text", _text(engine.get("unit")), x=x + step / 2, y=height - 8, class_="axis middle"))
    return _svg(width, height, "Mean error of every engine", parts)


# ---- figures ----


def _bar(ratio: Any, top: float, violated: bool) -> Element:
    """A ratio as a bar with the threshold's line; what goes beyond the scale ends in an arrow."""
    width, height = 300.0, 16.0
    value = _float(ratio)
    end = min(value, top) / top * width
    colour = LATE if violated else CALM
    parts = [_s("rect", x=0, y=3, width=width, height=10, fill="#f1f4f6")]
    if value > top:
        tip = f"0,3 {width - 8:.1f},3 {width:.1f},8 {width - 8:.1f},13 0,13"
        parts.append(_s("polygon", points=tip, fill=colour))
    else:
        parts.append(_s("rect", x=0, y=3, width=max(end, 1.0), height=10, fill=colour))
    line = width / top
    parts.append(_s("line", x1=line, x2=line, y1=0, y2=height, stroke=INK, **{"stroke-width": "1.6"}))
    return _svg(width, height, f"{_number(value)} of the threshold", parts)


def _scale(features: Sequence[Mapping[str, Any]]) -> float:
    return min(RATIO_SHOWN, max(1.25, *(_float(feature.get("ratio")) * 1.05 for feature in features)))


def _share_bar(share: float) -> Element:
    fill = _s("rect", x=0, y=3, width=max(1.0, 160 * min(max(share, 0.0), 1.0)), height=8, fill=CALM)
    return _svg(160.0, 14.0, _percent(share), [fill])


def _histogram(each: Distribution, colour: str) -> Element:
    width, height, base, left = 356.0, 170.0, 132.0, 6.0
    edges = np.asarray(each.edges, dtype=np.float64)
    shares = [_shares(each.baseline), _shares(each.window)]
    # Shares per unit of the axis: bins may differ in width.
    widths = np.maximum(np.diff(edges), 1e-12)
    levels = [share / widths for share in shares]
    top = max(float(level.max(initial=0.0)) for level in levels) or 1.0
    low, high = float(edges[0]), float(edges[-1])

    def x(value: float) -> float:
        return left + (value - low) / ((high - low) or 1.0) * (width - 2 * left)

    def outline(level: Any) -> str:
        points = [f"{x(low):.1f},{base:.1f}"]
        for a, b, value in zip(edges[:-1], edges[1:], level, strict=True):
            y = base - float(value) / top * (base - 26)
            points += [f"{x(float(a)):.1f},{y:.1f}", f"{x(float(b)):.1f},{y:.1f}"]
        return " ".join([*points, f"{x(high):.1f},{base:.1f}"])

    parts = [
        _s("text", each.name, x=left, y=14, class_="axis strong"),
        _s("polygon", points=outline(levels[0]), fill=CALM, stroke=CALM, **{"fill-opacity": "0.45"}),
        _s("polygon", points=outline(levels[1]), fill=colour, stroke=colour, **{"fill-opacity": "0.18"}),
        _s("line", x1=left, x2=width - left, y1=base, y2=base, stroke=MUTED),
    ]
    for tick in _ticks(low, high, 5):
        if low <= tick <= high:
            parts.append(_s("text", f"{tick:g}", x=x(tick), y=base + 15, class_="axis middle"))
            parts.append(_s("line", x1=x(tick), x2=x(tick), y1=base, y2=base + 4, stroke=MUTED))
    parts.append(_s("text", each.axis, x=width / 2, y=base + 32, class_="axis middle"))
    return _svg(width, height, f"{each.name}: baseline and window", parts)


def _psi_scale(psi: float) -> Element:
    """Where the PSI stands among the severity bands."""
    width, height, top = 520.0, 74.0, 0.5
    parts = []
    bands = [(0.0, PSI_MODERATE, "#dbe7e5", "none"), (PSI_MODERATE, PSI_SEVERE, "#f6e3c0", "moderate")]
    for low, high, colour, word in [*bands, (PSI_SEVERE, top, "#f0cdc8", "severe")]:
        a, b = low / top * width, high / top * width
        parts.append(_s("rect", x=a, y=24, width=b - a, height=20, fill=colour))
        parts.append(_s("text", word, x=(a + b) / 2, y=39, class_="axis middle"))
        parts.append(_s("text", f"{low:g}", x=a, y=62, class_="axis middle" if low else "axis"))
    place = min(max(psi / top * width, 6.0), width - 6.0)
    parts.append(_s("polygon", points=f"{place - 6:.1f},10 {place + 6:.1f},10 {place:.1f},23", fill=INK))
    parts.append(_s("line", x1=place, x2=place, y1=20, y2=46, stroke=INK, **{"stroke-width": "2"}))
    return _svg(width, height, f"PSI {_number(psi)}", parts)


def _shares(values: Sequence[float]) -> Any:
    counts = np.asarray(values, dtype=np.float64)
    return counts / (counts.sum() or 1.0)


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that span `low` to `high`."""
    span = (high - low) or 1.0
    step = 10.0 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


# ---- elements and texts ----


def _e(tag: str, *children: Element | str | None, **attributes: str | None) -> Element:
    """An element; None among children or attributes is left out, and `class_` is class."""
    element = Element(tag, {name.rstrip("_"): value for name, value in attributes.items() if value is not None})
    last: Element | None = None
    for child in children:
        if isinstance(child, str):
            if last is None:
                element.text = (element.text or "") + child
            else:
                last.tail = (last.tail or "") + child
        elif child is not None:
            element.append(child)
            last = child
    return element


def _s(tag: str, *children: Element | str, **attributes: str | float) -> Element:
    """An element of a figure: numbers to a tenth of a pixel."""
    return _e(tag, *children, **{name: v if isinstance(v, str) else f"{v:.1f}" for name, v in attributes.items()})


def _svg(width: float, height: float, label: str, parts: Sequence[Element]) -> Element:
    box = f"0 0 {width:g} {height:g}"
    size = {"width": f"{width:g}", "height": f"{height:g}"}
    return _e("svg", *parts, viewBox=box, role="img", **size, **{"aria-label": label})


def _card(title: str, note: str, *content: Element) -> Element:
    return _e("section", _e("h2", title), _e("p", note, class_="note") if note else None, *content, class_="card")


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[Element], axis: float | None = None) -> Element:
    """`columns`: (name, class); the head of a column of class bar carries the bars' axis up to `axis`."""
    heads = [
        _e("th", _bar_axis(axis) if look == "bar" and axis else name, class_=look or None, scope="col")
        for name, look in columns
    ]
    return _e("table", _e("thead", _e("tr", *heads)), _e("tbody", *rows))


def _bar_axis(top: float) -> Element:
    line = 300.0 / top
    return _svg(300.0, 16.0, "threshold", [_s("text", "threshold", x=line, y=12, class_="axis middle")])


def _facts(facts: Sequence[tuple[str, str]], title: str = "") -> Element:
    head = _e("thead", _e("tr", _e("th", title, colspan="2"))) if title else None
    rows = (_e("tr", _e("th", name, scope="row"), _e("td", value)) for name, value in facts if value)
    return _e("table", head, _e("tbody", *rows), class_="facts")


def _key(colour: str, name: str) -> Element:
    return _e("span", _e("i", style=f"background:{colour}"), name)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _time(value: Any) -> str:
    return _text(value).replace("T", " ").replace("+00:00", " UTC").replace("Z", " UTC") or "?"


def _float(value: Any, default: float = 0.0) -> float:
    """`value` as a finite number, else `default`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return number if math.isfinite(number) else default


def _number(value: Any) -> str:
    """About three significant digits, never scientific; a dash for what is no number."""
    number = _float(value, math.nan)
    if math.isnan(number):
        return "–"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}" if abs(number) >= 0.1 else f"{number:.3f}"


def _signed(value: Any) -> str:
    return f"{_float(value):+.1f}" if value is not None else "–"


def _whole(value: Any) -> str:
    return f"{int(_float(value)):,}" if value is not None else "–"


def _times(value: Any) -> str:
    return f"{_number(value)} ×" if value is not None else "–"


def _percent(value: Any) -> str:
    return f"{100 * _float(value):.0f} %" if value is not None else "–"


CSS = """
* { box-sizing: border-box; }
body { margin: 0; background: #eef1f4; color: #1f2a33; font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
main { max-width: 1200px; margin: 0 auto; padding: 28px 20px 40px; }
p { margin: 0; } h1, h2 { margin: 0; line-height: 1.25; color: inherit; }
h1 { font-size: 32px; } h2 { font-size: 18px; color: #1b3a57; }
svg { display: block; max-width: 100%; height: auto; }
.headline { display: flex; gap: 24px; padding: 26px 30px; border-radius: 10px; color: #fff; }
.headline .sign { flex: none; width: 72px; height: 72px; border-radius: 50%; background: rgba(255,255,255,.2);
  font-size: 38px; font-weight: 700; display: flex; align-items: center; justify-content: center; }
.headline .title { font-weight: 600; opacity: .9; }
.headline .summary { font-size: 17px; margin: 8px 0; }
.headline .do { background: rgba(255,255,255,.16); border-radius: 6px; padding: 8px 12px; margin: 8px 0; }
.headline .cause { font-style: italic; }
.ok { background: #23756c; } .moderate { background: #a85b00; } .severe { background: #a3271b; }
.insufficient { color: #2c3840; border: 3px dashed #7d8892;
  background: repeating-linear-gradient(135deg, #dfe4e8 0 14px, #e9edf0 14px 28px); }
.insufficient .sign { background: #fff; } .insufficient .do { background: rgba(255,255,255,.75); }
.unreadable { border: 3px dashed #c9b8ea; background-clip: padding-box !important;
  background: repeating-linear-gradient(135deg, #4a3575 0 14px, #543d84 14px 28px); }
.tiles { display: flex; gap: 14px; margin: 16px 0; flex-wrap: wrap; }
.tile { flex: 1 1 170px; background: #fff; border-radius: 10px; padding: 14px 18px; }
.tile .figure { font-size: 28px; font-weight: 700; color: #1b3a57; line-height: 1.3; }
.card { background: #fff; border-radius: 10px; padding: 20px 24px; margin: 16px 0; }
.note { color: #66717b; font-size: 13.5px; } h2 + .note { margin: 2px 0 10px; max-width: 900px; }
.problems { border-left: 6px solid #a85b00; } .problems ul { margin: 8px 0 0; padding-left: 20px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid #e8ecef; vertical-align: middle;
  font-weight: 400; overflow-wrap: anywhere; }
thead th { color: #66717b; font-size: 13px; overflow-wrap: normal; } tbody th { font-weight: 600; }
tr { break-inside: avoid; } tbody tr:last-child > * { border-bottom: 0; }
th.bar, td.bar { width: 320px; } .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.violated > * { background: #fdf3f1; } .strong { font-weight: 700; } .violated .strong { color: #a3271b; }
.facts th { width: 36%; color: #66717b; font-weight: 400; }
.columns { display: flex; gap: 36px; flex-wrap: wrap; align-items: flex-start; margin-top: 6px; }
.columns > * { flex: 1 1 400px; min-width: 0; }
.figures { display: flex; gap: 22px; flex-wrap: wrap; margin-top: 6px; }
.figures svg { flex: 0 1 auto; min-width: 0; }
.keys span { margin-right: 18px; color: #66717b; font-size: 13.5px; }
.keys i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px;
  vertical-align: -1px; }
.axis { font-size: 12px; fill: #66717b; } .axis.strong { font-size: 14px; fill: #1b3a57; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
code { font-size: 13px; white-space: nowrap; } tbody th { min-width: 70px; }
footer { color: #66717b; font-size: 13.5px; padding: 6px 4px; max-width: 980px; }
@media print { @page { size: A4; margin: 12mm; } body { background: #fff; font-size: 12px; } main { padding: 0; }
  .card, .tile { border: 1px solid #d9dfe4; } .card { break-inside: avoid-page; padding: 12px 14px; }
  th.bar, td.bar { width: 200px; } }
"""
