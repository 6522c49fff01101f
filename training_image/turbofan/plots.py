"""The evaluation figure: four views of the same predictions, for people who decide on a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from turbofan import scoring
from turbofan.features import Floats

TRUE_COLOUR, PREDICTED_COLOUR, LATE_COLOUR, MUTED = "#1b3a57", "#2a9d8f", "#d1495b", "#8a939b"


def evaluation_figure(path: Path, true: Floats, predicted: Floats, ceiling: float, title: str, simulated: bool) -> None:
    """Write a PNG: predicted against true, histogram of errors, errors by RUL band, engines in order of true RUL.

    Errors are predicted minus true (engines,), the true RUL clipped at `ceiling`; late predictions, which are the
    dangerous ones, are red throughout.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    clipped = np.minimum(true, ceiling)
    style = {
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e6e9ec",
        "grid.linewidth": 0.8,
        "xtick.color": "#444b52",
        "ytick.color": "#444b52",
        "legend.frameon": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(12, 8.6), dpi=130, facecolor="white")
        axes = figure.subplots(2, 2)
        _scatter(axes[0, 0], clipped, predicted, ceiling)
        _histogram(axes[0, 1], predicted - clipped)
        _bands(axes[1, 0], clipped, predicted, ceiling)
        _sorted_engines(axes[1, 1], clipped, predicted)
        figure.suptitle(
            ("SIMULATED DATA: " if simulated else "") + title,
            x=0.012, y=0.985, ha="left", fontsize=14, fontweight="bold",
            color=LATE_COLOUR if simulated else TRUE_COLOUR,
        )  # fmt: skip
        figure.text(0.012, 0.938, _subtitle(true, clipped, predicted, ceiling), ha="left", va="top", color="#444b52")
        figure.tight_layout(rect=(0, 0, 1, 0.935), h_pad=2.0, w_pad=2.0)
        figure.savefig(path)


def _subtitle(true: Floats, clipped: Floats, predicted: Floats, ceiling: float) -> str:
    return (
        f"True RUL clipped at {ceiling:g}: RMSE {scoring.rmse(clipped, predicted):.2f} cycles, "
        f"MAE {scoring.mae(clipped, predicted):.2f}, PHM08 {scoring.phm08(clipped, predicted):,.0f}.   "
        f"Unclipped: RMSE {scoring.rmse(true, predicted):.2f}, PHM08 {scoring.phm08(true, predicted):,.0f}."
    )


def _scatter(axes: Any, true: Floats, predicted: Floats, ceiling: float) -> None:
    top = ceiling * 1.04
    axes.fill_between([0, top], [0, top], [top, top], color=LATE_COLOUR, alpha=0.045, linewidth=0)
    axes.plot([0, top], [0, top], color=TRUE_COLOUR, linewidth=1.2)
    axes.scatter(true, predicted, s=26, color=_colours(predicted - true), alpha=0.75, linewidths=0)
    axes.text(0.03, 0.95, "late: engine fails earlier than predicted", color=LATE_COLOUR, transform=axes.transAxes)
    axes.text(0.97, 0.04, "early: life is given away", color=PREDICTED_COLOUR, ha="right", transform=axes.transAxes)
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="true RUL (cycles)", ylabel="predicted RUL (cycles)")
    axes.set_title("Predicted against true")


def _histogram(axes: Any, errors: Floats) -> None:
    reach = max(10.0, 5.0 * np.ceil(np.abs(errors).max() / 5.0))
    edges = np.arange(-reach, reach + 5.0, 5.0)
    counts, _ = np.histogram(errors, edges)
    axes.bar(edges[:-1], counts, width=5.0, align="edge", color=_colours(edges[:-1] + 2.5), edgecolor="white")
    axes.axvline(0, color=TRUE_COLOUR, linewidth=1.2)
    bias = float(errors.mean())
    axes.axvline(bias, color=MUTED, linewidth=1.2, linestyle="--", label=f"mean error {bias:+.1f} cycles")
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="predicted − true (cycles)", ylabel="engines")
    axes.legend(loc="upper right")
    axes.set_title("Errors")


def _bands(axes: Any, true: Floats, predicted: Floats, ceiling: float) -> None:
    rows = scoring.bands(true, predicted, ceiling)
    places = np.arange(len(rows))
    values = [row["rmse"] or 0.0 for row in rows]
    axes.bar(places - 0.19, values, width=0.36, color=TRUE_COLOUR, label="RMSE")
    biases = [round(row["bias"] or 0.0, 1) + 0.0 for row in rows]  # + 0.0: no "-0.0" in the labels
    axes.bar(places + 0.19, biases, width=0.36, color=_colours(np.array(biases)))
    axes.bar([0], [0], color=MUTED, label="mean error")
    for place, row, value, bias in zip(places, rows, values, biases, strict=True):
        if row["engines"]:
            axes.annotate(f"{value:.1f}", (place - 0.19, value), (0, 3), textcoords="offset points", ha="center")
            offset = (0, 3) if bias >= 0 else (0, -12)
            axes.annotate(f"{bias:+.1f}", (place + 0.19, bias), offset, textcoords="offset points", ha="center")
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.set_xticks(places, [f"{row['band']}\n{row['engines']} engines" for row in rows])
    axes.margins(y=0.18)
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="true RUL (cycles)", ylabel="cycles")
    axes.legend(loc="lower right", bbox_to_anchor=(1.01, 0.99), ncol=2, columnspacing=1.2)
    axes.set_title("Errors by remaining life")


def _sorted_engines(axes: Any, true: Floats, predicted: Floats) -> None:
    order = np.argsort(true, kind="stable")[::-1]
    places = np.arange(len(order))
    errors = (predicted - true)[order]
    axes.vlines(places, true[order], predicted[order], color=_colours(errors), alpha=0.55, linewidth=1.4)
    axes.plot(places, true[order], color=TRUE_COLOUR, linewidth=1.8, drawstyle="steps-mid", label="true")
    axes.scatter(places, predicted[order], s=14, color=_colours(errors), linewidths=0, zorder=3, label="predicted")
    axes.set(xlabel="test engines, longest remaining life first", ylabel="RUL (cycles)", ylim=(0, None))
    axes.margins(x=0.01)
    axes.legend(loc="lower left")
    axes.set_title("Every engine")


def _colours(errors: Floats) -> list[str]:
    return [LATE_COLOUR if error > 0 else PREDICTED_COLOUR for error in errors]
