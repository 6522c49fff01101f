"""The report page: every outcome tells itself apart, everything is escaped, nothing is loaded from elsewhere."""

from __future__ import annotations

import copy
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from turbofan.drift_report import HEADLINES, Distribution, write_html

VOID = {"meta", "br", "link", "img"}

DATA: dict[str, Any] = {
    "schema": 1,
    "kind": "data",
    "outcome": "violations",
    "severity": "moderate",
    "cause": "drift",
    "fleet": "FD001",
    "endpoint": "onwing-FD001",
    "variant": "v7",
    "window": {"start": "2026-11-23T12:00:00Z", "end": "2026-11-23T13:00:00Z"},
    "records": {"delivered": 412, "probes": 24, "failed": 3, "unreadable": 0, "used": 385},
    "engines": 22,
    "rows": 660,
    "min_engines": 5,
    "drift": 9.3,
    "features": [
        {"name": "s4", "ratio": 0.4, "violated": False, "what": "", "ks": 0.03, "wasserstein": 0.02, "psi": 0.01},
        {"name": "s11", "ratio": 9.3, "violated": True, "what": "bias +1.1 σ", "ks": 0.4, "wasserstein": 1.1, "psi": 2},
    ],
    "predictions": {"psi": 0.31, "band": "severe", "ratio": 1.4, "violated": True, "mean": 61.2, "baseline_mean": 83.9},
    "affected": {
        "sensors": ["s11"],
        "engines": [{"unit": unit, "score": 9.0 - unit / 10} for unit in range(1, 23)],
        "regimes": [{"regime": 0, "share": 1.0, "baseline_share": 1.0, "score": 1.2}],
    },
    "violations": [
        {"feature_name": "s11", "constraint_check_type": "baseline_drift_check", "description": "shifted by 1.1 σ"},
        {"feature_name": "s20", "constraint_check_type": "missing_column_check", "description": "25 columns"},
    ],
    "summary": "1 of 14 sensors drifted.",
    "what_to_do": "Look at s11.",
}
QUALITY: dict[str, Any] = DATA | {
    "kind": "quality",
    "cause": "model",
    "features": [
        {"name": "rmse", "figure": "rmse", "what": "RMSE", "value": 22.5, "registered": 15.6, "statistic": 22.5,
         "threshold": 19.6, "ratio": 1.15, "violated": True},
        {"name": "bias", "figure": "bias", "what": "mean error", "value": 11.9, "registered": 1.2, "statistic": 10.7,
         "threshold": 6.5, "ratio": 1.65, "violated": True},
    ],
    "predictions": None,
    "violations": [
        {"metric_name": "rmse", "constraint_check_type": "GreaterThanThreshold", "description": "RMSE is 22.5"}
    ],
    "problems": [{"where": "june.csv", "what": "line 3, rul: 'x' is no number", "do": "Correct the file."}],
    "quality": {
        "periods": [
            {"period": f"2026-W{week}", "engines": 9, "rmse": 20.0 + week / 10, "bias": week - 45.0,
             "registered_rmse": 15.0, "registered_bias": 1.0}
            for week in range(40, 50)
        ],
        "bands": [
            {"band": "0-20", "engines": 9, "predictions": 80, "rmse": 9.1, "bias": 1.1, "registered_engines": 16,
             "registered_rmse": 7.0, "registered_bias": 0.5, "compared": True},
            {"band": ">125", "engines": 2, "predictions": 8, "rmse": 9.1, "bias": 1.1, "registered_engines": 2,
             "registered_rmse": 7.0, "registered_bias": 0.5, "compared": False},
        ],
        "engines_without_predictions": [501, 502],
        "engines": [{"unit": 31, "predictions": 4, "error": 18.2, "rmse": 20.1}, {"unit": 8, "error": -3.0}],
    },
}  # fmt: skip
EMPTY = {"features": [], "predictions": None, "violations": [], "affected": {}, "severity": "none", "drift": None}


class Page(HTMLParser):
    """The page as a browser sees it: balanced tags, classes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.title = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["h1"]:
            self.title += data
        if self.open[-1:] != ["style"]:
            self.text += data + "\n"

    @property
    def look(self) -> str:
        """The class of the headline."""
        [found] = [attrs["class"] for tag, attrs in self.tags if tag == "header"]
        return (found or "").removeprefix("headline ")


def page(tmp_path: Path, report: dict[str, Any], **more: Any) -> Page:
    write_html(report, tmp_path / "report.html", **more)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_drift_is_told_in_words_figures_and_order(tmp_path: Path) -> None:
    found = page(tmp_path, DATA, identity={"Model package": "onwing-FD001/7"})
    assert found.look == "moderate"
    for words in ("1 of 14 sensors drifted.", "Look at s11.", "bias +1.1 σ", "9.30 ×", "onwing-FD001/7", "412"):
        assert words in found.text, words
    assert "2026-11-23 12:00:00 UTC to 2026-11-23 13:00:00 UTC" in found.text
    assert found.text.index("s11\nbias") < found.text.index("s4\n–")  # the largest ratio first
    assert found.text.index("missing_column_check") < found.text.index("baseline_drift_check")  # broken input explains
    assert "and 10 more in report.json" in found.text  # of 22 engines


def test_model_quality_is_told_with_its_limits_over_time_by_band_and_by_engine(tmp_path: Path) -> None:
    found = page(tmp_path, QUALITY)
    for words in ("Worse than registered", "22.5", "15.6", "19.6", "+11.9", "-5.3 to +7.7", "2026-W40", "0-20 cycles"):
        assert words in found.text, words
    assert "not compared: too few registered engines" in found.text
    assert "june.csv" in found.text
    assert "501, 502" in found.text
    assert "Correct the file." in found.text
    assert "engine 31: +18.2 cycles, 4 predictions" in found.text
    assert "Cause" not in found.text


@pytest.mark.parametrize("kind", [DATA, QUALITY])
def test_no_two_outcomes_look_alike_and_only_ok_is_green(tmp_path: Path, kind: dict[str, Any]) -> None:
    cases = {
        "ok": kind | EMPTY | {"outcome": "ok"},
        "moderate": kind,
        "severe": kind | {"severity": "severe"},
        "insufficient": kind | EMPTY | {"outcome": "insufficient"},
        "unreadable": kind | EMPTY | {"outcome": "unreadable"},
    }
    assert set(cases) == set(HEADLINES)
    pages = {name: page(tmp_path, report) for name, report in cases.items()}
    assert {name: found.look for name, found in pages.items()} == {name: name for name in cases}
    assert len({found.title for found in pages.values()}) == len(cases)
    for name in ("insufficient", "unreadable"):
        assert "No verdict" in pages[name].text
        assert "No drift" not in pages[name].text
        assert "Violations\n–" in pages[name].text  # not 0: nothing was judged


def test_outcome_nobody_knows_is_no_green_page(tmp_path: Path) -> None:
    assert page(tmp_path, DATA | {"outcome": "splendid"}).look == "unreadable"


def test_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    for report in (DATA, QUALITY):
        found = page(tmp_path, report)
        assert not {tag for tag, _ in found.tags} & {"script", "link", "img", "iframe", "object", "a", "form"}
        text = (tmp_path / "report.html").read_text()
        assert "url(" not in text
        assert "@import" not in text
        assert "http" not in text


def test_whatever_the_report_holds_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>&amp;\"'</style>"

    def spoilt(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoilt(each) for key, each in value.items()}
        if isinstance(value, list):
            return [spoilt(each) for each in value]
        return evil if isinstance(value, str) else value

    for report in (DATA, QUALITY):
        broken = spoilt(copy.deepcopy(report)) | {"kind": report["kind"], "outcome": "violations"}
        shown = Distribution(evil, [0, 1, 2], [1, 2], [2, 1], evil)
        found = page(tmp_path, broken, distributions=[shown], identity={evil: evil})
        assert "script" not in {tag for tag, _ in found.tags}
        assert evil in found.text


def test_figures_that_are_missing_or_not_finite_are_dashes(tmp_path: Path) -> None:
    odd = {"name": "s2", "ratio": float("inf"), "violated": True, "ks": float("nan"), "psi": None}
    found = page(tmp_path, {"kind": "data", "outcome": "violations", "features": [odd, {}], "drift": float("nan")})
    assert "nan" not in found.text.lower()
    assert "s2" in found.text
    assert page(tmp_path, {}).look == "unreadable"
    assert page(tmp_path, {"kind": "quality", "outcome": "ok", "quality": {}}).look == "ok"


def test_distributions_are_drawn_by_density_also_of_a_sensor_that_stands_still(tmp_path: Path) -> None:
    shown = [
        Distribution("s11", [-2, -1, 0, 4], [10, 20, 10], [0, 0, 5], "σ"),
        Distribution("s1", [518.67, 518.67], [5], [3]),
        Distribution("s5", [0.0, 1.0], [0], [0]),
        *(Distribution(f"s{i}", [0, 1], [1], [1]) for i in range(12, 20)),
    ]
    found = page(tmp_path, DATA, distributions=shown)
    drawn = [attrs["aria-label"] for tag, attrs in found.tags if tag == "svg" and "baseline" in str(attrs)]
    assert drawn == [f"{name}: baseline and window" for name in ("s11", "s1", "s5", "s12", "s13", "s14")]
    assert "nan" not in (tmp_path / "report.html").read_text()


def test_values_beyond_the_baselines_buckets_get_buckets_of_their_own() -> None:
    far = Distribution.of("s2", [640, 641, 642], [5, 5], [356.0, 357.0, 641.5, 900.0])
    assert list(far.edges) == sorted(set(far.edges))
    assert (far.edges[0], far.edges[-1]) == (356.0, 901.0)
    assert len(far.baseline) == len(far.window) == len(far.edges) - 1
    assert (sum(far.baseline), sum(far.window)) == (10, 4)
    widths = [b - a for a, b in pairwise(far.edges)]
    assert max(width for width, count in zip(widths, far.window, strict=True) if count) <= 1  # seen, not smeared
    still = Distribution.of("s1", [518.67, 518.67], [9], [518.67, 518.67])
    assert list(still.window) == [2]
    odd = Distribution.of("s2", [640, 641, 642], [5, 5], [float("nan"), float("inf"), 641.5])
    assert list(odd.window) == [0, 1]
    inside = Distribution.of("s2", [640, 641, 642], [5, 5], [640.0, 642.0])
    assert (list(inside.edges), list(inside.window)) == ([640, 641, 642], [1, 1])


def test_capture_that_cannot_be_read_and_simulated_data_are_told(tmp_path: Path) -> None:
    lines = [{"file": "12/a.jsonl", "line": 3, "reason": "is not JSON"}]
    found = page(tmp_path, DATA | {"unreadable": lines, "simulated": True})
    assert "12/a.jsonl, line 3" in found.text
    assert "SIMULATED DATA" in found.text
    assert "SIMULATED" not in page(tmp_path, DATA | {"simulated": False}).text


@pytest.mark.parametrize(("cause", "words"), [("data", "Broken input"), ("drift", "Drift"), ("model", "Predictions")])
def test_headline_names_the_cause(tmp_path: Path, cause: str, words: str) -> None:
    assert page(tmp_path, DATA | {"cause": cause}).title.startswith(words)


def test_bar_far_beyond_the_scale_ends_in_an_arrow(tmp_path: Path) -> None:
    found = page(tmp_path, DATA)
    bars = [attrs["points"] for tag, attrs in found.tags if tag == "polygon" and "0,3" in (attrs.get("points") or "")]
    assert len(bars) == 1
