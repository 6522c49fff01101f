"""The table and the figure of docs/drift.md from what bench_drift measured: `python -m benchmarks.drift_docs`.

Reads .onwing/bench.json, which `make bench ARGS=drift` wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE, FIGURE = Path("docs/drift.md"), Path("docs/drift.png")
BEGIN, END = "<!-- measured: begin (make bench ARGS=drift) -->", "<!-- measured: end -->"
RULES = {
    "onwing": "this project",
    "plan": "KS, p < 0.05, any feature",
    "evidently": "Evidently's defaults",
    "sagemaker": "SageMaker's default",
}


def write(result: dict[str, Any]) -> None:
    """Put the measured table between the marks of docs/drift.md, and draw docs/drift.png."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + table(result) + "\n" + END + rest.split(END)[1], encoding="utf-8")
    figure(result)


def table(result: dict[str, Any]) -> str:
    """Markdown: a row for each scenario and window size, a column for each rule, shares of windows that alarmed."""
    lines = [
        f"{result['partitions']} partitions, {result['draws']} windows of each size and fleet in each; in brackets the "
        "95 % interval of a bootstrap over partitions.",
        "",
        "| Windows | engines | " + " | ".join(RULES.values()) + " |",
        "| --- | --- |" + " --- |" * len(RULES),
    ]
    for where in ("all", "FD001", "FD002", "FD003", "FD004"):
        for size, each in result["false"].items():
            name = "**no drift** (false alarms)" if where == "all" else f"no drift, {where}"
            lines.append(f"| {name} | {size} | " + " | ".join(_interval(each[where][rule]) for rule in RULES) + " |")
    for scenario in result["detected"]["5"]:
        for size in result["detected"]:
            rates = result["detected"][size][scenario]
            least = min((rates[fleet]["onwing"]["rate"], fleet) for fleet in rates if fleet != "all")
            cells = [_percent(rates["all"][rule]["rate"]) for rule in RULES]
            cells[0] += (
                f" (least: {least[1]} {_percent(least[0])})" if least[0] < rates["all"]["onwing"]["rate"] else ""
            )
            lines.append(f"| {scenario} | {size} | " + " | ".join(cells) + " |")
    for name, rates in result["fleets"].items():
        lines.append(f"| FD001 → {name} | 20 | " + " | ".join(_percent(rates[rule]["rate"]) for rule in RULES) + " |")
    pooled, ramp = result["false_pooled"], result["ramp"]
    lines += [
        "",
        f"False alarms over both sizes and all fleets: {_interval(pooled)}. A bias of one sensor that grows by "
        f"{ramp['sigma_per_window']} σ from window to window is seen after "
        + " and ".join(
            f"{ramp[size]['median']:g} windows of {size} engines (median; nine tenths after {ramp[size]['p90']:g})"
            for size in ("5", "20")
        )
        + ".",
        "Bars that were missed: " + ("; ".join(result["missed"]) or "none") + ".",
    ]
    return "\n".join(lines)


def figure(result: dict[str, Any]) -> None:
    """Bars: false alarms and detection of each rule, at 5 and at 20 engines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ["no drift", *result["detected"]["5"]]
    panels, axes = plt.subplots(1, 2, figsize=(11, 6.5), sharey=True)
    for axis, size in zip(axes, ("5", "20"), strict=True):
        for number, (rule, label) in enumerate(RULES.items()):
            rates = [result["false"][size]["all"][rule]["rate"]]
            rates += [each["all"][rule]["rate"] for each in result["detected"][size].values()]
            places = [row + 0.2 * (number - 1.5) for row in range(len(names))]
            axis.barh(places, [100 * rate for rate in rates], height=0.18, label=label)
        axis.axhline(0.5, color="black", linewidth=0.8)
        axis.axvline(90, color="grey", linestyle=":", linewidth=1)
        axis.axvline(5, color="grey", linestyle=":", linewidth=1)
        axis.set(title=f"{size} engines in a window", xlabel="windows that alarm, %", xlim=(0, 100))
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    panels.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=len(RULES), fontsize=9, frameon=False)
    panels.suptitle(
        "Above the line alarms are false; below it they are right (dotted: the bars, 5 % and 90 %)", fontsize=10
    )
    panels.tight_layout(rect=(0, 0.04, 1, 1))
    panels.savefig(FIGURE, dpi=110)
    plt.close(panels)


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _interval(rate: dict[str, float]) -> str:
    return f"{_percent(rate['rate'])} ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})"


if __name__ == "__main__":
    write(json.loads(Path(".onwing/bench.json").read_text(encoding="utf-8"))["drift"])
