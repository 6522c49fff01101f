"""`onwing drift status` and `onwing drift report`: how monitoring looks on a screen."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cmapss
from rich.markup import escape

from onwing import deployments, endpoints, monitoring
from onwing.command import Context
from onwing.console import SIMULATED, Output, clock, figure, table
from onwing.deployments import moment
from onwing.errors import Exit, NotFound
from onwing.monitoring import Decision, Episode, Monitored, Watched, Window

STATES = {
    monitoring.OK: "[green]ok[/]",
    monitoring.VIOLATIONS: "[red]violations[/]",
    monitoring.INSUFFICIENT: "[yellow]insufficient[/]",
    monitoring.UNREADABLE: "[red]unreadable[/]",
    monitoring.NEVER: "[yellow]never[/]",
    monitoring.OVERDUE: "[red]overdue[/]",
    monitoring.FAILED: "[red]failed[/]",
    monitoring.OFF: "[dim]off[/]",
}
SHOWN = 10  # sensors, engines or regimes in a list
_QUANTITIES = {column.name: column.quantity for column in cmapss.MEASUREMENTS}


def status(context: Context, fleet: str | None) -> Exit:
    """Each variant's last window, then what there is to know of it."""
    out = context.out
    found = monitoring.read(context.target, context.stack, fleet)
    out.document(found)
    if not found:
        out.line("No endpoints yet: there is nothing to monitor.")
        out.next("onwing approve FLEET   (deploys its newest package)", "onwing models")
        return Exit.OK
    out.show(status_table(found))
    for item in found:
        for text in _notes(item):
            out.line(text)
    out.line()
    odd = next((item for item in found if item.state != monitoring.OK), None)
    worse = next((item for item in found if _is_violated(item.quality)), None)
    if odd is not None and odd.last is not None and odd.last.report:
        out.next(monitoring.report_command(odd.fleet, _other(odd)), "onwing alerts")
    elif worse is not None:
        out.next(monitoring.report_command(worse.fleet, _other(worse), quality=True), "onwing alerts")
    else:
        out.next(f"onwing drift run {found[0].fleet}", "onwing status   (monitoring coverage)")
    return Exit.OK


def status_table(found: Sequence[Monitored], title: str | None = None) -> Any:
    """A line a variant; ★ is the champion. "DataDrift" is in thresholds."""
    numbers = ("DataDrift", "Engines", "Records")
    made = table("Endpoint", "Variant", "Monitoring", *numbers, "Window", "Open since", right=numbers, title=title)
    for item in found:
        last = item.last or Window()
        made.add_row(
            escape(item.endpoint),
            escape(item.variant) + (" [bold]★[/]" if item.champion else ""),
            STATES.get(item.state, escape(item.state)) + ("  [cyan]▶[/]" if item.running else ""),
            figure(last.drift) if item.last else "",
            str(last.engines) if item.last else "",
            str(last.records) if item.last else "",
            _span(last),
            _clock(item.open_since),
        )
    return made


def _notes(item: Monitored) -> list[str]:
    """What the table has no room for."""
    name = f"{item.fleet} {item.variant}"
    notes = []
    if item.running:
        notes.append(f"the open window is being judged: {escape(item.running)}")
    if item.so_far is not None:
        notes.append(f"so far {item.so_far.engines} engines in the open window: {escape(item.so_far.summary)}")
    if item.last is not None and item.last.summary and item.state != monitoring.OK:
        notes.append(escape(item.last.summary))
    if item.episode is not None:
        notes.append(episode_line(item.episode))
    if item.decision is not None and (item.episode is not None or item.state == monitoring.VIOLATIONS):
        notes.append(decision_line(item.decision))
    if item.what_to_do:
        notes.append(_todo(item.what_to_do))
    notes += [f"model quality: {note}" for note in _of_quality(item)]
    for watched in item.schedules:
        notes += [f"Model Monitor, {escape(watched.schedule)}: {note}" for note in _of_schedule(watched)]
    if not notes:
        return []
    return [f"\n[bold]{escape(name)}[/]", *(f"  {note}" for note in notes)]


def _of_quality(item: Monitored) -> Iterator[str]:
    """The last comparison with ground truth, and what was decided on it."""
    if item.quality is None:
        return
    yield f"{STATES.get(item.quality.outcome, escape(item.quality.outcome))}  {escape(item.quality.summary)}"
    if item.quality_episode is not None:
        yield episode_line(item.quality_episode)
    if item.quality_decision is not None and (item.quality_episode is not None or _is_violated(item.quality)):
        yield decision_line(item.quality_decision)
        if item.quality_decision.what_to_do:
            yield _todo(item.quality_decision.what_to_do)


def _of_schedule(watched: Watched) -> Iterator[str]:
    """What a schedule of Model Monitor has found, and what was decided on it."""
    yield episode_line(watched.episode)
    decision = watched.decision
    if decision is not None:
        named = ", ".join(decision.features[:SHOWN]) + (" …" if len(decision.features) > SHOWN else "")
        yield f"{decision.count} violations{f' ({escape(named)})' if named else ''} in {escape(decision.report)}"
        yield decision_line(decision)
        if decision.what_to_do:
            yield _todo(decision.what_to_do)


def _is_violated(window: Window | None) -> bool:
    return window is not None and window.outcome == monitoring.VIOLATIONS


def _todo(text: str) -> str:
    return f"[bold]→[/] {escape(text)}"


def _other(item: Monitored) -> str:
    """The variant, where commands have to name it."""
    return "" if item.champion else item.variant


def episode_line(episode: Episode) -> str:
    """How long it has gone on, in one line."""
    windows = f"{episode.consecutive} windows in a row" if episode.consecutive > 1 else "one window"
    since = _clock(episode.since)
    return f"violations in {windows}" + (f", since {since}" if since else "")


def decision_line(decision: Decision) -> str:
    """What was decided, and why, in one line."""
    level = f" ({decision.level})" if decision.level else ""
    run = f"  [dim]{escape(decision.execution.rpartition(':')[2])}[/]" if decision.execution else ""
    because = f": {escape('; '.join(decision.reasons))}" if decision.reasons else ""
    return f"decided at {_clock(decision.at)}: {escape(decision.decision)}{level}{because}{run}"


def report(
    context: Context,
    fleet: str,
    *,
    named: str | None,
    variant: str | None,
    quality: bool,
    folder: Path | None,
    opened: bool,
) -> Exit:
    """One window's report: on the screen in short, and its page as a file."""
    out, target, stack = context.out, context.target, context.stack
    variant = variant or _champion(context, fleet)
    window, found, newer = _find(context, fleet, variant, named, quality)
    decision = monitoring.decision_on(target, stack, fleet, window)
    folder = folder or context.project.state / "drift" / f"{endpoints.name_of(stack, fleet)}-{variant}-{window.id}"
    page = _save(context, window, folder)
    out.document({"window": window, "report": found, "decision": decision, "page": page, "newer_without_report": newer})
    if newer:
        more = f", nor have {len(newer) - 1} more before it" if len(newer) > 1 else ""
        why = escape(monitoring.why_no_report(newer[0]))
        out.line(
            f"[yellow]![/] The newest window, {_span(newer[0])}, has no report{more}: {why} This is the last one:\n"
        )
    show_report(out, found)
    decided = decision is not None and decision.decision != monitoring.NOTHING
    if decision is not None and decided:
        out.line()
        out.line(decision_line(decision))
        for guard in decision.guards:
            mark = "[green]✓[/]" if guard.get("passed") else "[red]✗[/]"
            out.line(f"  {mark} {escape(str(guard.get('message') or guard.get('guard', '')))}")
    todo = (decision.what_to_do if decision and decided else "") or str(found.get("what_to_do") or "")
    if todo and found.get("outcome") != monitoring.OK:
        out.line(f"[bold]→[/] {escape(todo)}")
    out.line(f"\nThe whole report, with figures: {escape(str(page))}")
    if opened:
        webbrowser.open(page.absolute().as_uri())
    out.next(f"onwing drift status {fleet}", f"onwing alerts --fleet {fleet}")
    return Exit.OK


def show_report(out: Output, found: Mapping[str, Any]) -> None:
    """What report.json says, in short."""
    window, records = found.get("window") or {}, found.get("records") or {}
    marker = f"  {SIMULATED}" if found.get("simulated") else ""
    outcome = str(found.get("outcome", ""))
    severity = f", {found['severity']}" if found.get("severity") not in (None, "none") else ""
    is_quality = found.get("kind") == "quality"  # which is about the model, whatever its inputs are
    has_cause = found.get("cause") and not is_quality
    cause = f", cause: {_CAUSES.get(str(found['cause']), found['cause'])}" if has_cause else ""
    out.line(
        f"[bold]{escape(str(found.get('endpoint', '')))} {escape(str(found.get('variant', '')))}[/], "
        f"{_clock(str(window.get('start', '')))} to {_clock(str(window.get('end', '')))}: "
        f"{STATES.get(outcome, escape(outcome))}{escape(severity)}{escape(cause)}{marker}"
    )
    if found.get("summary"):
        out.line(escape(str(found["summary"])))
    counted = [f"{records[name]} {said}" for name, said in _RECORDS.items() if records.get(name)]
    what, largest = ("predictions", "largest ratio") if is_quality else ("records", "DataDrift")
    drift = f"; {largest} {found['drift']:.2f} (1 is the threshold)" if _is_number(found.get("drift")) else ""
    out.line(f"{found.get('engines', 0)} engines; {what}: {', '.join(counted) or 'none'}{drift}")
    known = _show_figures(out, found) if is_quality else _show_features(out, found)
    _show_violations(out, found, known)
    if found.get("outcome") == monitoring.VIOLATIONS:
        _show_affected(out, found.get("affected") or {}, "largest RMSE" if is_quality else "most affected")
    _show_predictions(out, found.get("predictions"))
    for problem in list(found.get("problems") or [])[:SHOWN]:
        out.warn(escape(f"{problem.get('where', '')}: {problem.get('what', '')}. {problem.get('do', '')}"))


_CAUSES = {
    "data": "broken input, not a changed world",
    "drift": "the world has changed",
    "model": "the model, while its inputs are as ever",
}
_RECORDS = {
    "used": "used",
    "probes": "probes left out",
    "failed": "failed requests",
    "unreadable": "unreadable",
    "malformed": "malformed",
    "duplicates": "delivered twice",
    "repeated": "of the same engine and cycle before them",
    "without_truth": "without a true RUL",
    "out_of_limits": "out of limits",
    "truth_in_doubt": "with a true RUL in doubt",
    "not_comparable": "with no registered ones of their kind",
}


def _show_features(out: Output, found: Mapping[str, Any]) -> set[str]:
    """The sensors that have changed; returns whose names were shown."""
    features = [feature for feature in found.get("features") or [] if _is_number(feature.get("ratio"))]
    ranked = sorted(features, key=lambda feature: float(feature["ratio"]), reverse=True)
    shown = [feature for feature in ranked if feature.get("violated")][:SHOWN] or ranked[:3]
    if shown:
        numbers = ("Ratio", "KS", "Wasserstein", "PSI")
        made = table("Sensor", "What it measures", *numbers, "What", right=numbers, fold=("What",))
        for feature in shown:
            name = str(feature.get("name", ""))
            colour = "red" if feature.get("violated") else "dim"
            made.add_row(
                f"[{colour}]{escape(name)}[/]",
                escape(_QUANTITIES.get(name, "")),
                figure(feature["ratio"]),
                *(figure(feature.get(key)) for key in ("ks", "wasserstein", "psi")),
                escape(str(feature.get("what") or "")),
            )
        out.line()
        out.show(made)
    return {str(feature.get("name")) for feature in shown}


def _show_figures(out: Output, found: Mapping[str, Any]) -> set[str]:
    """Model quality: each figure beside the registered one and its limit; returns whose names were shown."""
    features = list(found.get("features") or [])
    if features:
        numbers = ("Measured", "Registered", "Limit", "Ratio")
        made = table("Figure", *numbers, right=numbers)
        for feature in features:
            what = escape(str(feature.get("what") or feature.get("name", "")))
            values = [feature.get(key) for key in ("value", "registered", "threshold", "ratio")]
            measured, registered, limit, ratio = (figure(value) for value in values)
            if feature.get("figure") == "bias" and all(map(_is_number, values)):
                # Its limit is a distance from the registered one, to either side.
                middle, reach = values[1], values[2]
                measured, registered = f"{values[0]:+.2f}", f"{middle:+.2f}"
                limit = f"{middle - reach:+.2f} to {middle + reach:+.2f}"
            name = f"[red]✗ {what}[/]" if feature.get("violated") else f"[green]✓[/] {what}"
            made.add_row(name, measured, registered, limit, ratio)
        out.line()
        out.show(made)
        out.line("[dim]registered: the evaluation's errors in the same mix of remaining life[/]")
    return {str(feature.get("name")) for feature in features}


def _show_violations(out: Output, found: Mapping[str, Any], known: set[str]) -> None:
    """What the figures have not said already: schema, completeness."""
    for violation in list(found.get("violations") or [])[:SHOWN]:
        what = str(violation.get("feature_name") or violation.get("metric_name") or "")
        if what not in known:
            out.line(f"[red]✗[/] {escape(what)}: {escape(str(violation.get('description', '')))}")


def _show_affected(out: Output, affected: Mapping[str, Any], order: str) -> None:
    worst = list(affected.get("engines") or [])[:SHOWN]
    if worst:
        said = ", ".join(f"{engine.get('unit')} ({figure(engine.get('score'))})" for engine in worst)
        out.line(f"engines, {order} first: {escape(said)}")
    for regime in list(affected.get("regimes") or [])[:SHOWN]:
        share, before = regime.get("share"), regime.get("baseline_share")
        if _is_number(share) and _is_number(before) and len(affected["regimes"]) > 1:
            out.line(f"regime {escape(str(regime.get('regime')))}: {share:.0%} of the flights, {before:.0%} before")


def _show_predictions(out: Output, found: Mapping[str, Any] | None) -> None:
    if not found:
        return
    mark = "[red]✗[/]" if found.get("violated") else "[green]✓[/]"
    band = f" ({found['band']})" if found.get("band") else ""
    out.line(
        f"{mark} predictions: mean RUL {figure(found.get('mean'), 1)}, {figure(found.get('baseline_mean'), 1)} before; "
        f"PSI {figure(found.get('psi'))}{escape(band)}, ratio {figure(found.get('ratio'))}"
    )


def _champion(context: Context, fleet: str) -> str:
    champion = deployments.read(context.target, context.stack, fleet).champion
    if champion is None:
        raise NotFound(
            f"Fleet {fleet} has no model in service: nothing is monitored.",
            where=f"control table, fleet {fleet}",
            todo=f"Deploy one: `onwing approve {fleet}`. Another variant's reports: --variant v1",
        )
    return champion.variant


def _find(
    context: Context, fleet: str, variant: str, named: str | None, quality: bool
) -> tuple[Window, dict[str, Any], list[Window]]:
    """The window meant by its id or how that begins, or the newest with a report; report.json; newer ones without."""
    read = monitoring.qualities if quality else monitoring.windows
    without: list[Window] = []
    for window in read(context.target, context.stack, fleet, variant):
        if named and not window.id.startswith(named):
            without.append(window)
            continue
        try:
            # A report's prefix is recorded where nothing was captured, too: only its file says that there is one.
            return window, monitoring.document(context.target, context.stack, window), [] if named else without
        except NotFound:
            if named:
                raise
            without.append(window)
    if quality and not without:
        raise NotFound(
            f"{variant} of {fleet} was not compared with any ground truth yet.",
            where=f"control table, fleet {fleet}",
            todo=f"Upload true RULs: `onwing drift truth {fleet} FILE`; then: `onwing drift run {fleet}`",
        )
    has = f"It has: {', '.join(window.id for window in without[:5])}" if named else "See: onwing drift status"
    raise NotFound(
        f"{variant} of {fleet} has no window{f' {named}' if named else ' with a report'}.",
        where=f"control table, fleet {fleet}",
        todo=has if without else f"onwing drift run {fleet}",
    )


def _save(context: Context, window: Window, folder: Path) -> Path:
    """The report's page as a file."""
    content = monitoring.content(context.target, context.stack, window, monitoring.PAGE)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / monitoring.PAGE
    path.write_bytes(content)
    return path


def _span(window: Window) -> str:
    start, end = _clock(window.start), _clock(window.end)
    return f"{start} to {end}" if start and end else ""


def _clock(text: str) -> str:
    at = moment(text)
    return clock(at) if at else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
