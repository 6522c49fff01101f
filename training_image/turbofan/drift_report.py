"""report.html: what a monitoring job found, for people. One file, made from report.json; it loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

from turbofan import report_figures as figures
from turbofan import report_html as html
from turbofan.report_figures import Distribution
from turbofan.report_html import CALM, CSS, EARLY, LATE

__all__ = ["Distribution", "write_html"]

DISTRIBUTIONS_SHOWN, ENGINES_SHOWN, VIOLATIONS_SHOWN, PROBLEMS_SHOWN = 6, 12, 100, 50
RATIO_NAMED = 0.01  # below it, a sensor is not worth a line
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
    title = " · ".join(html.text(part) for part in (TITLES[kind], report.get("fleet"), report.get("variant")) if part)
    verdict = report.get("outcome") in ("ok", "violations")
    sections = [
        _headline(report, kind, title),
        _problems(
            [
                *(report.get("problems") or []),
                *_unreadable(report.get("unreadable") or []),
                *_tolerated(report.get("input") or {}),
            ]
        ),
        _tiles(report, kind),
        _quality_figures(report) if kind == "quality" else _sensors(report),
        _distributions(distributions, report.get("features") or []),
        *(_quality(report.get("quality") or {}) if kind == "quality" else [_predictions(report.get("predictions"))]),
        _affected(report.get("affected") or {}, report.get("outcome") == "violations") if kind == "data" else None,
        _violations(report.get("violations") or []) if verdict else None,
        _counted(report, identity),
        _reading(kind),
    ]
    head = html.element(
        "head",
        html.element("meta", charset="utf-8"),
        html.element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        html.element("title", title),
        html.element("style", CSS),
    )
    body = html.element("body", html.element("main", *(section for section in sections if section is not None)))
    return (
        "<!DOCTYPE html>\n"
        + tostring(html.element("html", head, body, lang="en"), encoding="unicode", method="html")
        + "\n"
    )


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
    between = f"{html.time(window.get('start'))} to {html.time(window.get('end'))}"
    return html.element(
        "header",
        html.element("div", sign, class_="sign"),
        html.element(
            "div",
            html.element("p", title, class_="title"),
            html.element("h1", words.get(kind, words["data"])),
            html.element("p", html.text(report.get("summary")), class_="summary"),
            html.element("p", html.element("b", "What to do. "), html.text(report.get("what_to_do")), class_="do")
            if report.get("what_to_do")
            else None,
            html.element("p", why, class_="cause") if why else None,
            html.element("p", f"{html.text(report.get('endpoint'))} · {between}"),
        ),
        class_=f"headline {look}",
    )


def _tiles(report: Mapping[str, Any], kind: str) -> Element:
    records = report.get("records") or {}
    verdict = report.get("outcome") in ("ok", "violations")
    least = report.get("min_engines")
    tiles = [
        (
            "Largest ratio",
            html.number(report.get("drift")) if verdict else "–",
            "1 is the threshold" if verdict else "",
        ),
        (
            "Engines",
            html.whole(report.get("engines")),
            f"at least {html.whole(least)} needed" if least is not None else "",
        ),
    ]
    if kind == "quality":
        tiles.append(("Predictions with truth", html.whole(report.get("rows")), ""))
    else:
        tiles.append(
            ("Records used", html.whole(records.get("used")), f"of {html.whole(records.get('delivered'))} delivered")
        )
        tiles.append(("Rows judged", html.whole(report.get("rows")), "of each engine's newest history"))
    tiles.append(("Violations", html.whole(len(report.get("violations") or [])) if verdict else "–", ""))
    return html.element(
        "section",
        *(
            html.element(
                "div",
                html.element("p", name),
                html.element("p", value, class_="figure"),
                html.element("p", note, class_="note"),
                class_="tile",
            )
            for name, value, note in tiles
        ),
        class_="tiles",
    )


def _sensors(report: Mapping[str, Any]) -> Element | None:
    features = sorted(report.get("features") or [], key=lambda feature: -html.finite(feature.get("ratio"), -1.0))
    if not features:
        return None
    top = figures.scale(features)
    rows = [
        html.element(
            "tr",
            html.element("th", html.text(feature.get("name")), scope="row"),
            html.element("td", html.text(feature.get("what")) or "–"),
            html.element("td", figures.bar(feature.get("ratio"), top, bool(feature.get("violated"))), class_="bar"),
            html.element(
                "td", html.times(feature.get("ratio")), class_="number strong" if feature.get("violated") else "number"
            ),
            *(
                html.element("td", html.number(feature.get(name)), class_="number")
                for name in ("ks", "wasserstein", "psi")
            ),
            class_="violated" if feature.get("violated") else None,
        )
        for feature in features
        if feature.get("violated") or html.finite(feature.get("ratio")) >= RATIO_NAMED
    ]
    quiet = [html.text(feature.get("name")) for feature in features][len(rows) :]
    names = [("Sensor", ""), ("What changed", ""), ("", "bar"), ("Ratio", "number")]
    names += [(name, "number") for name in ("KS", "Wasserstein", "PSI")]
    return html.card(
        "Sensors, largest ratio first",
        "The bar is each sensor's statistic as a share of its calibrated threshold (the line). KS, Wasserstein (in "
        "standard deviations) and PSI are shown beside it; they decide nothing.",
        html.table(names, rows, axis=top),
        *(
            [html.element("p", f"Below {RATIO_NAMED} of the threshold: {', '.join(quiet)}.", class_="note")]
            if quiet
            else []
        ),
    )


def _quality_figures(report: Mapping[str, Any]) -> Element | None:
    features = list(report.get("features") or [])
    if not features:
        return None
    top = figures.scale(features)
    rows = [
        html.element(
            "tr",
            html.element("th", html.text(feature.get("what") or feature.get("name")), scope="row"),
            *(html.element("td", text, class_="number") for text in _compared(feature)),
            html.element("td", figures.bar(feature.get("ratio"), top, bool(feature.get("violated"))), class_="bar"),
            html.element(
                "td", html.times(feature.get("ratio")), class_="number strong" if feature.get("violated") else "number"
            ),
            class_="violated" if feature.get("violated") else None,
        )
        for feature in features
    ]
    numbers = [(name, "number") for name in ("In production", "Registered, same mix", "Threshold")]
    return html.card(
        "In production against the registered model",
        "RMSE and mean error in cycles. Every engine weighs the same, however often it was asked about. "
        "Registered: the evaluation's errors in the "
        "same mix of remaining life. Threshold: what whole engines drawn from them stay below.",
        html.table([("Figure", ""), *numbers, ("", "bar"), ("Ratio", "number")], rows, axis=top),
    )


def _compared(feature: Mapping[str, Any]) -> list[str]:
    """In production, registered and threshold; the mean error may be off to either side of the registered one."""
    value, registered = feature.get("value", feature.get("statistic")), feature.get("registered")
    if feature.get("figure") != "bias":
        return [html.number(value), html.number(registered), html.number(feature.get("threshold"))]
    reach, middle = html.finite(feature.get("threshold")), html.finite(registered)
    return [html.signed(value), html.signed(registered), f"{middle - reach:+.1f} to {middle + reach:+.1f}"]


def _distributions(distributions: Sequence[Distribution], features: Sequence[Mapping[str, Any]]) -> Element | None:
    if not distributions:
        return None
    violated = [each.get("name") for each in features if each.get("violated")]
    shown = distributions[:DISTRIBUTIONS_SHOWN]
    drawn = [figures.histogram(each, LATE if each.name in violated else EARLY) for each in shown]
    keys = [html.key(CALM, "baseline")]
    keys += (
        [html.key(LATE, "this window, beyond the threshold")] if any(each.name in violated for each in shown) else []
    )
    keys += [html.key(EARLY, "this window, within it")] if any(each.name not in violated for each in shown) else []
    legend = html.element("p", *keys, class_="keys")
    return html.card(
        "Largest ratios: baseline beside window", "", legend, html.element("div", *drawn, class_="figures")
    )


def _predictions(predictions: Mapping[str, Any] | None) -> Element | None:
    if not predictions:
        return None
    psi, band = html.finite(predictions.get("psi")), html.text(predictions.get("band"))
    words = {"none": "no shift", "moderate": "moderate shift", "severe": "severe shift"}.get(band, band)
    facts = [
        ("Population stability index (PSI)", f"{html.number(psi)}: {words}"),
        ("Ratio to its calibrated threshold", html.times(predictions.get("ratio"))),
        ("Mean predicted RUL", f"{html.number(predictions.get('mean'))} cycles"),
        ("In the baseline", f"{html.number(predictions.get('baseline_mean'))} cycles"),
    ]
    return html.card(
        "Predictions", "", html.element("div", html.facts(facts), figures.psi_scale(psi), class_="columns")
    )


def _affected(affected: Mapping[str, Any], violated: bool) -> Element | None:
    engines, regimes = affected.get("engines") or [], affected.get("regimes") or []
    tables = []
    if engines:
        top = max(html.finite(engine.get("score")) for engine in engines) or 1.0
        rows = [
            html.element(
                "tr",
                html.element("th", html.text(engine.get("unit")), scope="row"),
                html.element("td", figures.share_bar(html.finite(engine.get("score")) / top), class_="bar"),
                html.element("td", html.number(engine.get("score")), class_="number"),
            )
            for engine in engines[:ENGINES_SHOWN]
        ]
        more = len(engines) - ENGINES_SHOWN
        tables.append(
            html.element(
                "div",
                html.table([("Engine", ""), ("", "bar"), ("Score", "number")], rows),
                html.element("p", f"and {more} more in report.json", class_="note") if more > 0 else None,
            )
        )
    if regimes:
        rows = [
            html.element(
                "tr",
                html.element("th", html.text(regime.get("regime")), scope="row"),
                html.element("td", html.percent(regime.get("share")), class_="number"),
                html.element("td", html.percent(regime.get("baseline_share")), class_="number"),
                html.element("td", html.number(regime.get("score")), class_="number"),
            )
            for regime in regimes
        ]
        names = [("Regime", ""), ("Rows now", "number"), ("Rows in baseline", "number"), ("Score", "number")]
        tables.append(html.element("div", html.table(names, rows)))
    if not tables:
        return None
    title = "Who is affected" if violated else "Furthest from the baseline"
    return html.card(title, "", html.element("div", *tables, class_="columns"))


def _violations(violations: Sequence[Mapping[str, Any]]) -> Element | None:
    if not violations:
        return None
    rows = [
        html.element(
            "tr",
            html.element("th", html.text(violation.get("feature_name") or violation.get("metric_name")), scope="row"),
            html.element("td", html.element("code", html.text(violation.get("constraint_check_type")))),
            html.element("td", html.text(violation.get("description"))),
        )
        # A broken input comes first: it explains the rest.
        for violation in sorted(violations, key=lambda v: v.get("constraint_check_type") == "baseline_drift_check")
    ][:VIOLATIONS_SHOWN]
    more = len(violations) - len(rows)
    return html.card(
        f"Violations: {len(violations)}",
        f"The first {VIOLATIONS_SHOWN}; all are in constraint_violations.json." if more > 0 else "",
        html.table([("Where", ""), ("Check", ""), ("What", "")], rows),
    )


def _problems(problems: Sequence[Mapping[str, Any]]) -> Element | None:
    if not problems:
        return None
    items = [
        html.element(
            "li",
            html.element("b", html.text(problem.get("where"))),
            f": {html.text(problem.get('what')).rstrip('.')}. ",
            html.text(problem.get("do")),
        )
        for problem in problems[:PROBLEMS_SHOWN]
    ]
    more = len(problems) - len(items)
    return html.element(
        "section",
        html.element("h2", f"Left out, and to be mended: {len(problems)}"),
        html.element("ul", *items),
        html.element("p", f"and {more} more in report.json", class_="note") if more > 0 else None,
        class_="card problems",
    )


def _unreadable(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Capture that cannot be read, as problems."""
    return [
        {
            "where": f"{html.text(each.get('file'))}, line {html.text(each.get('line'))}",
            "what": html.text(each.get("reason")),
        }
        for each in entries
    ]


def _tolerated(requests: Mapping[str, Any]) -> list[dict[str, str]]:
    """Requests that were broken, but too few for a violation, as problems."""
    most = html.whole(requests.get("tolerable"))
    return [
        {
            "where": html.text(each.get("feature")),
            "what": html.text(each.get("description")),
            "do": f"No violation: of this window's requests, {most} may be broken.",
        }
        for each in requests.get("tolerated") or []
    ]


def _counted(report: Mapping[str, Any], identity: Mapping[str, str]) -> Element:
    records = report.get("records") or {}
    window = report.get("window") or {}
    who = [
        ("Fleet", html.text(report.get("fleet"))),
        ("Endpoint", html.text(report.get("endpoint"))),
        ("Variant", html.text(report.get("variant"))),
        ("From", html.time(window.get("start"))),
        ("To", html.time(window.get("end"))),
        *((html.text(name), html.text(value)) for name, value in identity.items()),
    ]
    names = {**RECORDS, **{name: name.replace("_", " ") for name in records if name not in RECORDS}}
    counts = [(words, html.whole(records[name])) for name, words in names.items() if name in records]
    tables = [html.facts(who)]
    if counts:
        tables.append(html.facts(counts, "Records"))
    return html.card("What was compared, and counted", "", html.element("div", *tables, class_="columns"))


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
    return html.element("footer", html.element("b", "How to read this. "), text)


# ---- quality: over time, by band, by engine ----


def _quality(quality: Mapping[str, Any]) -> list[Element]:
    cards = []
    periods = quality.get("periods") or []
    if periods:
        cards.append(
            html.card(
                "Over time",
                "By the day or week of the prediction; the dashed line is the registered figure in that period's mix "
                "of remaining life. Periods of few engines scatter: the verdict is over all of them.",
                html.element(
                    "div", figures.over_time(periods, "rmse"), figures.over_time(periods, "bias"), class_="figures"
                ),
            )
        )
    bands = quality.get("bands") or []
    if bands:
        rows = [
            html.element(
                "tr",
                html.element("th", f"{html.text(band.get('band'))} cycles", scope="row"),
                *(
                    html.element("td", value, class_="number")
                    for value in (
                        html.whole(band.get("engines")),
                        html.whole(band.get("predictions")),
                        html.number(band.get("rmse")),
                        html.number(band.get("registered_rmse")),
                        html.signed(band.get("bias")),
                        html.signed(band.get("registered_bias")),
                        html.whole(band.get("registered_engines")),
                    )
                ),
                html.element("td", "" if band.get("compared") else "not compared: too few registered engines"),
            )
            for band in bands
        ]
        names = ("Engines", "Predictions", "RMSE", "Registered", "Mean error", "Registered", "Registered engines")
        columns = [("True RUL", ""), *((name, "number") for name in names), ("", "")]
        cards.append(html.card("By remaining life", "", html.table(columns, rows)))
    unknown = quality.get("engines_without_predictions") or []
    if unknown:
        count = html.whole(quality.get("engines_without_predictions_count", len(unknown)))
        note = "This variant was never asked about them: another one was, or the number is wrong."
        listed = html.element("p", ", ".join(html.text(unit) for unit in unknown))
        cards.append(html.card(f"Truth without a prediction: {count} engines", note, listed))
    engines = quality.get("engines") or []
    if engines:
        cards.append(
            html.card(
                "Every engine",
                "Mean error of each engine's predictions in cycles, latest first. Red: predicted to live longer than "
                "it did.",
                figures.engine_errors(engines),
            )
        )
    return cards
