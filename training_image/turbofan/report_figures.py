"""The figures of the report page, as SVG: sharp on a screen and on paper, and drawn in milliseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from turbofan import report_html as html
from turbofan.report_html import BAR_WIDTH, CALM, EARLY, GRID, INK, LATE, MUTED

PSI_MODERATE, PSI_SEVERE = 0.1, 0.25  # the plan's severity bands
# Bars end here: beyond it, a ratio says "far above" and its figure how far.
RATIO_SHOWN = 4.0
WINDOW_BUCKETS = 12


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
        found = found[np.isfinite(found)]
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


def bar(ratio: Any, top: float, violated: bool) -> Element:
    """A ratio as a bar with the threshold's line; what goes beyond the scale ends in an arrow."""
    width, height = BAR_WIDTH, 16.0
    value = html.finite(ratio)
    end = min(value, top) / top * width
    colour = LATE if violated else CALM
    parts = [html.shape("rect", x=0, y=3, width=width, height=10, fill="#f1f4f6")]
    if value > top:
        tip = f"0,3 {width - 8:.1f},3 {width:.1f},8 {width - 8:.1f},13 0,13"
        parts.append(html.shape("polygon", points=tip, fill=colour))
    else:
        parts.append(html.shape("rect", x=0, y=3, width=max(end, 1.0), height=10, fill=colour))
    line = width / top
    parts.append(html.shape("line", x1=line, x2=line, y1=0, y2=height, stroke=INK, **{"stroke-width": "1.6"}))
    return html.svg(width, height, f"{html.number(value)} of the threshold", parts)


def scale(features: Sequence[Mapping[str, Any]]) -> float:
    """Where the bars of these features end."""
    return min(RATIO_SHOWN, max(1.25, *(html.finite(feature.get("ratio")) * 1.05 for feature in features)))


def share_bar(share: float) -> Element:
    """A share of 1 as a bar."""
    fill = html.shape("rect", x=0, y=3, width=max(1.0, 160 * min(max(share, 0.0), 1.0)), height=8, fill=CALM)
    return html.svg(160.0, 14.0, html.percent(share), [fill])


def histogram(each: Distribution, colour: str) -> Element:
    """A sensor's distribution in the baseline and, in `colour`, in the window; areas are equal."""
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
        html.shape("text", each.name, x=left, y=14, class_="axis strong"),
        html.shape("polygon", points=outline(levels[0]), fill=CALM, stroke=CALM, **{"fill-opacity": "0.45"}),
        html.shape("polygon", points=outline(levels[1]), fill=colour, stroke=colour, **{"fill-opacity": "0.18"}),
        html.shape("line", x1=left, x2=width - left, y1=base, y2=base, stroke=MUTED),
    ]
    for tick in _ticks(low, high, 5):
        if low <= tick <= high:
            parts.append(html.shape("text", f"{tick:g}", x=x(tick), y=base + 15, class_="axis middle"))
            parts.append(html.shape("line", x1=x(tick), x2=x(tick), y1=base, y2=base + 4, stroke=MUTED))
    parts.append(html.shape("text", each.axis, x=width / 2, y=base + 32, class_="axis middle"))
    return html.svg(width, height, f"{each.name}: baseline and window", parts)


def psi_scale(psi: float) -> Element:
    """Where the PSI stands among the severity bands."""
    width, height, top = 520.0, 74.0, 0.5
    parts = []
    bands = [(0.0, PSI_MODERATE, "#dbe7e5", "none"), (PSI_MODERATE, PSI_SEVERE, "#f6e3c0", "moderate")]
    for low, high, colour, word in [*bands, (PSI_SEVERE, top, "#f0cdc8", "severe")]:
        a, b = low / top * width, high / top * width
        parts.append(html.shape("rect", x=a, y=24, width=b - a, height=20, fill=colour))
        parts.append(html.shape("text", word, x=(a + b) / 2, y=39, class_="axis middle"))
        parts.append(html.shape("text", f"{low:g}", x=a, y=62, class_="axis middle" if low else "axis"))
    place = min(max(psi / top * width, 6.0), width - 6.0)
    parts.append(html.shape("polygon", points=f"{place - 6:.1f},10 {place + 6:.1f},10 {place:.1f},23", fill=INK))
    parts.append(html.shape("line", x1=place, x2=place, y1=20, y2=46, stroke=INK, **{"stroke-width": "2"}))
    return html.svg(width, height, f"PSI {html.number(psi)}", parts)


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


def over_time(periods: Sequence[Mapping[str, Any]], name: str) -> Element:
    """A figure (rmse or bias) of each period as a line, its registered value in the same mix as dashes."""
    width, height, left, bottom = 540.0, 230.0, 46.0, 44.0
    right = width - 30
    title = {"rmse": "RMSE (cycles)", "bias": "Mean error (cycles; above 0 is late)"}[name]
    values = [html.finite(period.get(name)) for period in periods]
    expected = [html.finite(period.get(f"registered_{name}")) for period in periods]
    low, high = min(0.0, *values, *expected), max(1.0, *values, *expected)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def x(i: int) -> float:
        return left + (i + 0.5) * (right - left) / len(periods)

    def y(value: float) -> float:
        return 26 + (high - value) / (high - low) * (height - bottom - 26)

    parts = [html.shape("text", title, x=0, y=12, class_="axis strong")]
    for tick in ticks:
        parts.append(html.shape("line", x1=left, x2=right, y1=y(tick), y2=y(tick), stroke=MUTED if tick == 0 else GRID))
        parts.append(html.shape("text", f"{tick:g}", x=left - 8, y=y(tick) + 4, class_="axis end"))
    step = (right - left) / len(periods)
    for i, level in enumerate(expected):
        parts.append(
            html.shape(
                "line",
                x1=x(i) - step / 2,
                x2=x(i) + step / 2,
                y1=y(level),
                y2=y(level),
                stroke=INK,
                **{"stroke-dasharray": "5 4", "stroke-width": "1.5"},
            )
        )
    line = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(values))
    parts.append(html.shape("polyline", points=line, fill="none", stroke=LATE, **{"stroke-width": "2"}))
    every = max(1, math.ceil(len(periods) / 6))
    for i, period in enumerate(periods):
        note = (
            f"{html.text(period.get('period'))}: {html.number(values[i])}, {html.whole(period.get('engines'))} engines"
        )
        parts.append(html.shape("circle", html.shape("title", note), cx=x(i), cy=y(values[i]), r=4, fill=LATE))
        if i % every == 0:
            parts.append(
                html.shape("text", html.text(period.get("period")), x=x(i), y=height - 24, class_="axis middle")
            )
            parts.append(
                html.shape(
                    "text", f"n = {html.whole(period.get('engines'))}", x=x(i), y=height - 9, class_="axis middle"
                )
            )
    return html.svg(width, height, f"{title} over time", parts)


def engine_errors(engines: Sequence[Mapping[str, Any]]) -> Element:
    """The mean error of each engine, at least one, the latest prediction first."""
    ordered = sorted(engines, key=lambda engine: -html.finite(engine.get("error")))
    width, height, left = 1120.0, 230.0, 46.0
    values = [html.finite(engine.get("error")) for engine in ordered]
    ticks = _ticks(min(0.0, *values), max(1.0, *values))
    low, high = min(*values, ticks[0]), max(*values, ticks[-1])
    step = min(40.0, (width - left - 8) / len(values))

    def y(value: float) -> float:
        return 10 + (high - value) / (high - low) * (height - 40)

    parts = []
    for tick in ticks:
        parts.append(
            html.shape("line", x1=left, x2=width - 8, y1=y(tick), y2=y(tick), stroke=MUTED if tick == 0 else GRID)
        )
        parts.append(html.shape("text", f"{tick:g}", x=left - 8, y=y(tick) + 4, class_="axis end"))
    every = max(1, math.ceil(30 / step))
    for i, (engine, value) in enumerate(zip(ordered, values, strict=True)):
        x = left + i * step
        asked = html.whole(engine.get("predictions"))
        note = f"engine {html.text(engine.get('unit'))}: {value:+.1f} cycles, {asked} predictions"
        bar = {"width": max(1.0, step * 0.72), "height": max(1.0, abs(y(0) - y(value)))}
        parts.append(
            html.shape(
                "rect",
                html.shape("title", note),
                x=x + step * 0.14,
                y=min(y(0), y(value)),
                fill=LATE if value > 0 else EARLY,
                **bar,
            )
        )
        if i % every == 0:
            parts.append(
                html.shape("text", html.text(engine.get("unit")), x=x + step / 2, y=height - 8, class_="axis middle")
            )
    return html.svg(width, height, "Mean error of every engine", parts)
