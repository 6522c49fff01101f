"""What the report page is made of: elements that escape all text, numbers for people, and the page's style.

A page is built as a tree, so that every text is escaped by the serialiser and none can be forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element

INK, MUTED, GRID, CALM, LATE, EARLY = "#1b3a57", "#66717b", "#e3e7eb", "#7f9bb3", "#c0392b", "#2a8c82"
BAR_WIDTH = 300.0


def element(tag: str, *children: Element | str | None, **attributes: str | None) -> Element:
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


def shape(tag: str, *children: Element | str, **attributes: str | float) -> Element:
    """An element of a figure: numbers to a tenth of a pixel."""
    return element(tag, *children, **{name: v if isinstance(v, str) else f"{v:.1f}" for name, v in attributes.items()})


def svg(width: float, height: float, label: str, parts: Sequence[Element]) -> Element:
    """A figure; `label` says what it shows to who cannot see it."""
    box = f"0 0 {width:g} {height:g}"
    size = {"width": f"{width:g}", "height": f"{height:g}"}
    return element("svg", *parts, viewBox=box, role="img", **size, **{"aria-label": label})


def card(title: str, note: str, *content: Element) -> Element:
    """A section with a title and, below it, a note, unless that is empty."""
    return element(
        "section", element("h2", title), element("p", note, class_="note") if note else None, *content, class_="card"
    )


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Element], axis: float | None = None) -> Element:
    """`columns`: (name, class); the head of a column of class bar carries the bars' axis up to `axis`."""
    heads = [
        element("th", _bar_axis(axis) if look == "bar" and axis else name, class_=look or None, scope="col")
        for name, look in columns
    ]
    return element("table", element("thead", element("tr", *heads)), element("tbody", *rows))


def _bar_axis(top: float) -> Element:
    line = BAR_WIDTH / top
    return svg(BAR_WIDTH, 16.0, "threshold", [shape("text", "threshold", x=line, y=12, class_="axis middle")])


def facts(facts: Sequence[tuple[str, str]], title: str = "") -> Element:
    """A table of (name, value); a fact without a value is left out."""
    head = element("thead", element("tr", element("th", title, colspan="2"))) if title else None
    rows = (element("tr", element("th", name, scope="row"), element("td", value)) for name, value in facts if value)
    return element("table", head, element("tbody", *rows), class_="facts")


def key(colour: str, name: str) -> Element:
    """What a colour means."""
    return element("span", element("i", style=f"background:{colour}"), name)


def text(value: Any) -> str:
    """`value` in words; nothing for None."""
    return "" if value is None else str(value)


def time(value: Any) -> str:
    """An ISO 8601 time as people read it."""
    return text(value).replace("T", " ").replace("+00:00", " UTC").replace("Z", " UTC") or "?"


def finite(value: Any, default: float = 0.0) -> float:
    """`value` as a finite number, else `default`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return number if math.isfinite(number) else default


def number(value: Any) -> str:
    """About three significant digits, never scientific; a dash for what is no number."""
    number = finite(value, math.nan)
    if math.isnan(number):
        return "–"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}" if abs(number) >= 0.1 else f"{number:.3f}"


def signed(value: Any) -> str:
    """A number with its sign, to a tenth."""
    return f"{finite(value):+.1f}" if value is not None else "–"


def whole(value: Any) -> str:
    """A count."""
    return f"{int(finite(value)):,}" if value is not None else "–"


def times(value: Any) -> str:
    """A ratio."""
    return f"{number(value)} ×" if value is not None else "–"


def percent(value: Any) -> str:
    """A share in per cent."""
    return f"{100 * finite(value):.0f} %" if value is not None else "–"


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
code { font-size: 13px; white-space: nowrap; } tbody th { overflow-wrap: break-word; }
footer { color: #66717b; font-size: 13.5px; padding: 6px 4px; max-width: 980px; }
@media print { @page { size: A4; margin: 10mm; } body { background: #fff; zoom: .66; } main { padding: 0; }
  .card, .tile { border: 1px solid #d9dfe4; } h2, h2 + .note, thead { break-after: avoid; }
  svg, .tile { break-inside: avoid; } }
"""
