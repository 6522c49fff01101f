"""The model quality job: truth joined with predictions, figures against the registered ones, and what is told."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from turbofan.quality_check import Predictions, Registered, familywise
from turbofan.truth import join

from tests.unit.turbofan_data import Job

CEILING = 125.0
START = datetime(2026, 9, 1, tzinfo=UTC)


def registered(engines: int = 200, spread: float = 10.0, bias: float = 0.0, seed: int = 0) -> Registered:
    """An evaluation: engines cut off once each, errors normal."""
    random = np.random.default_rng(seed)
    true = random.uniform(1, 150, engines)
    predicted = np.clip(np.minimum(true, CEILING) + bias + random.normal(0, spread, engines), 0, CEILING)
    return Registered(CEILING, random.integers(31, 300, engines), true, predicted)


def production(n: int, shift: float = 0.0, spread: float = 10.0, seed: int = 1, every: int = 5) -> Predictions:
    """Engines that are asked until they fail; an engine's error stays with it."""
    random = np.random.default_rng(seed)
    true = np.tile(np.arange(140.0, 0.0, -every), n)
    engine = np.repeat(np.arange(n), len(true) // n)
    error = np.repeat(random.normal(0, spread, n), len(true) // n)
    return Predictions(engine, true, np.clip(np.minimum(true, CEILING) + error + shift, 0, CEILING))


# ---- the check ----


def test_model_as_good_as_registered_is_seldom_called_worse() -> None:
    known = registered()
    alarms = [any(figure.violated for figure in known.check(production(10, seed=seed))) for seed in range(60)]
    assert sum(alarms) <= 6  # 3 % expected; more than 6 of 60 would be a chance of 1 in 300


@pytest.mark.parametrize(("shift", "side"), [(20.0, "late"), (-20.0, "early")])
def test_biased_model_is_found_on_either_side(shift: float, side: str) -> None:
    figures = {figure.name: figure for figure in registered().check(production(10, shift))}
    assert figures["bias"].violated
    assert (figures["bias"].value > figures["bias"].registered) == (side == "late")
    assert figures["bias"].ratio > 1
    assert not any(figure.violated for figure in registered().check(production(10)))


def test_engine_weighs_the_same_however_often_it_was_asked() -> None:
    known = registered()
    once = Predictions(np.array([0, 1]), np.array([50.0, 50.0]), np.array([60.0, 40.0]))
    often = Predictions(np.array([0] * 99 + [1]), np.full(100, 50.0), np.array([60.0] * 99 + [40.0]))
    assert known.measure(once) == pytest.approx(known.measure(often))
    assert known.thresholds(once) == pytest.approx(known.thresholds(often))


def test_registered_figures_are_those_of_the_same_mix_of_remaining_life() -> None:
    """A model that is good near the end and bad before: engines near their end are no surprise."""
    true = np.concatenate([np.full(50, 10.0), np.full(50, 80.0)])
    error = np.concatenate([np.tile([-2.0, 2.0], 25), np.tile([-30.0, 30.0], 25)])
    known = Registered(CEILING, np.full(100, 100), true, true + error)
    near, far = (Predictions(np.arange(8), np.full(8, rul), np.full(8, rul + 2)) for rul in (10.0, 80.0))
    assert known.expected(near)[0] == pytest.approx(2)
    assert known.expected(far)[0] == pytest.approx(30)
    assert known.check(near)[0].threshold < 5 < 20 < known.check(far)[0].threshold


def test_only_predictions_with_enough_registered_ones_of_their_kind_are_compared() -> None:
    true = np.array([10.0] * 5 + [30.0] * 4 + [80.0] * 5)
    known = Registered(CEILING, np.full(14, 40), true, true)
    asked = Predictions(np.arange(5), np.array([5.0, 30.0, 60.0, 60.0, 130.0]), np.zeros(5))
    assert known.comparable(asked, np.array([50, 50, 50, 39, 50])).tolist() == [True, False, True, False, False]


def test_more_engines_make_the_threshold_tighter() -> None:
    known = registered()
    few, many = (known.thresholds(production(n)) for n in (5, 80))
    assert (many < few).all()


def test_tail_of_phm08_beyond_the_registered_does_not_decide() -> None:
    """One engine 90 cycles late has a score of 8102; the evaluation's largest is what it counts."""
    known = registered()
    one = production(40)
    late = Predictions(one.engine, one.true, np.where(one.engine == 0, 125.0, one.predicted))
    assert known.check(late)[2].value < 3 * known.check(one)[2].value


def test_familywise_thresholds_are_exceeded_by_the_given_share() -> None:
    samples = np.random.default_rng(0).normal(size=(3, 4000)) * [[1], [10], [100]]
    share = (samples > familywise(samples, 0.03)[:, None]).any(axis=0).mean()
    assert 0.025 < share <= 0.03
    equal = np.tile(np.random.default_rng(0).normal(size=4000), (3, 1))  # not a third each: they go together
    assert 0.028 < (equal > familywise(equal, 0.03)[:, None]).any(axis=0).mean() <= 0.03


# ---- truth and predictions ----


@dataclass
class Files:
    """The inputs truth and predictions."""

    truth: Path
    predictions: Path

    def say(self, name: str, *rows: tuple[Any, ...], header: str = "unit,cycle,rul") -> None:
        """A file of ground truth."""
        (self.truth / name).write_text(table(header, rows))

    def captured(self, *rows: tuple[Any, ...], name: str = "20260901T000000Z.csv") -> None:
        """A window's predictions."""
        (self.predictions / name).write_text(table("unit,cycle,rul,time,event_id", rows))


def table(header: str, rows: Iterable[tuple[Any, ...]]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in [(header,), *rows])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "truth", tmp_path / "predictions")
    made.truth.mkdir()
    made.predictions.mkdir()
    return made


def test_truth_at_one_cycle_is_truth_at_every_cycle(files: Files) -> None:
    files.say("a.csv", (17, 200, 0), (18, 150, 30))
    files.captured((17, 120, 70.5, "2026-09-01T00:00:00Z", "a"), (18, 170, 9, "2026-09-01T00:00:00.5+00:00", "b"))
    joined = join(files.truth, files.predictions)
    assert [(match.prediction.unit, match.true) for match in joined.matches] == [(17, 80), (18, 10)]
    assert joined.problems == []


def test_repeated_predictions_count_once_and_the_newest_does(files: Files) -> None:
    files.say("a.csv", (17, 200, 0))
    files.captured((17, 120, 70, "2026-09-01T00:00:00Z", "a"), (17, 120, 70, "2026-09-01T00:00:00Z", "a"))
    files.captured((17, 120, 60, "2026-09-02T00:00:00Z", "b"), name="20260902T000000Z.csv")
    joined = join(files.truth, files.predictions)
    assert [match.prediction.rul for match in joined.matches] == [60]
    assert (joined.predictions, joined.repeated) == (3, 2)


def test_two_truths_of_one_engine_leave_it_out_and_are_named(files: Files) -> None:
    files.say("a.csv", (17, 200, 0), (18, 100, 5))
    files.say("b.csv", (17, 150, 20), (18, 90, 15))
    files.captured((17, 120, 70, "2026-09-01T00:00:00Z", "a"), (18, 80, 20, "2026-09-01T00:00:00Z", "b"))
    joined = join(files.truth, files.predictions)
    assert [match.prediction.unit for match in joined.matches] == [18]  # whose two truths agree
    [problem] = joined.problems
    assert problem.where == "engine 17"
    assert "cycle 170 (b.csv, line 2) and cycle 200 (a.csv, line 2)" in problem.what
    assert joined.excluded == 1


def test_engine_that_was_asked_about_after_its_end_is_left_out_and_named(files: Files) -> None:
    files.say("a.csv", (17, 200, 0))
    files.captured((17, 120, 70, "2026-09-01T00:00:00Z", "a"), (17, 201, 1, "2026-09-01T00:00:00Z", "b"))
    joined = join(files.truth, files.predictions)
    assert joined.matches == []
    [problem] = joined.problems
    assert problem.where == "engine 17"
    assert "cycle 201, but its life ended at cycle 200 (a.csv, line 2)" in problem.what
    assert joined.excluded == 2


def test_engines_without_a_counterpart_are_counted_and_named(files: Files) -> None:
    files.say("a.csv", (17, 200, 0), (99, 10, 3))
    files.captured((17, 120, 70, "2026-09-01T00:00:00Z", "a"), (5, 10, 80, "2026-09-01T00:00:00Z", "b"))
    joined = join(files.truth, files.predictions)
    assert joined.engines_without_predictions == [99]
    assert joined.without_truth == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"unit;cycle;rul\n", "line 1 is not the header unit,cycle,rul"),
        (b"unit,cycle,rul\n1,2\n", "line 2 has 2 fields instead of 3"),
        (b"unit,cycle,rul\n1,2,3\n\n1,x,3\n", "line 4, cycle: 'x' is no number"),
        (b"unit,cycle,rul\n1.5,2,3\n", "line 2, unit: '1.5' is no whole number"),
        (b"unit,cycle,rul\n1,2,-3\n", "line 2, rul: '-3' is no number from 0"),
        (b"unit,cycle,rul\n1,2,nan\n", "line 2, rul: 'nan' is no number"),
        (b"unit,cycle,rul\n1,2,1e400\n", "line 2, rul: '1e400' is no number"),
        (b"unit,cycle,rul\n1,2,\xff\n", "is not UTF-8 text"),
        (b'unit,cycle,rul\n"1,2,3\n', "cannot be read"),
    ],
)
def test_broken_file_is_named_and_stops_no_other(files: Files, content: bytes, reason: str) -> None:
    files.say("good.csv", (17, 200, 0))
    (files.truth / "bad.csv").write_bytes(content)
    files.captured((17, 120, 70, "2026-09-01T00:00:00Z", "a"))
    joined = join(files.truth, files.predictions)
    assert len(joined.matches) == 1
    [problem] = joined.problems
    assert problem.where == "bad.csv"
    assert reason in problem.what
    assert not joined.unreadable


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1,2", "line 3 has 2 fields instead of 3"),
        ("1,two,3", "line 3, cycle: 'two' is no number from 1 to 2147483647"),
        ("2147483648,2,3", "line 3, unit: '2147483648' is no number from 1 to 2147483647"),
        ("0,2,3", "line 3, unit: '0' is no number from 1 to 2147483647"),
        ("1,2,100001", "line 3, rul: '100001' is no number from 0 to 100000"),
    ],
)
def test_line_of_truth_that_is_wrong_is_left_out_and_named_and_the_others_count(
    files: Files, row: str, reason: str
) -> None:
    (files.truth / "a.csv").write_text(f"unit,cycle,rul\n17,200,0\n{row}\n2147483647,200,100000\n")
    files.captured((17, 120, 70, "2026-09-01T00:00:00Z", "a"), (2**31 - 1, 1, 70, "2026-09-01T00:00:00Z", "b"))
    joined = join(files.truth, files.predictions)
    assert [(match.prediction.unit, match.true) for match in joined.matches] == [(17, 80), (2**31 - 1, 100_199)]
    [problem] = joined.problems
    assert problem.where == "a.csv"
    assert problem.what == f"1 of 3 lines are left out: {reason}"
    assert (joined.truth_files, joined.broken_truth_files) == (1, 0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((2**31, 120, 70, "2026-09-01T00:00:00Z", "b"), "unit: '2147483648'"),
        ((17, 0, 70, "2026-09-01T00:00:00Z", "b"), "cycle: '0'"),
        ((17, 121, -1e6, "2026-09-01T00:00:00Z", "b"), "rul: '-1000000.0'"),
        ((17, 121, "nan", "2026-09-01T00:00:00Z", "b"), "rul: 'nan'"),
        ((17, 121, 70, "yesterday", "b"), "time: 'yesterday'"),
    ],
)
def test_captured_prediction_out_of_limits_is_counted_and_takes_no_other_with_it(
    files: Files, row: tuple[Any, ...], reason: str
) -> None:
    files.say("a.csv", (17, 200, 0))
    files.captured(row, (17, 120, 70, "2026-09-01T00:00:00Z", "a"), (17, 130, -4, "2026-09-01T00:00:00Z", "c"))
    joined = join(files.truth, files.predictions)
    assert [match.prediction.rul for match in joined.matches] == [70, -4]
    assert (joined.predictions, joined.out_of_limits, joined.repeated) == (3, 1, 0)
    assert joined.first_out_of_limits.startswith(f"20260901T000000Z.csv, line 2, {reason} is no ")
    assert joined.problems == []  # there is nothing that anybody could mend


def test_advice_is_what_can_be_done(files: Files) -> None:
    """No command runs a closed window again, and `onwing drift truth` never writes the same key twice."""
    (files.truth / "a.csv").write_text("unit,cycle,rul\n17,200,x\n")
    files.say("b.csv", (18, 200, 0))
    files.say("c.csv", (18, 300, 0))
    (files.predictions / "20260901T000000Z.csv").write_text("not a CSV of ours\n")
    joined = join(files.truth, files.predictions)
    truth, predictions, engine = joined.problems
    assert (joined.broken_truth_files, joined.broken_prediction_files) == (1, 1)
    for problem in (truth, engine):
        assert "below monitoring/ground-truth/ (aws s3 cp)" in problem.do
        assert "delete it there (aws s3 rm)" in problem.do
    assert "delete it (aws s3 rm)" in predictions.do
    assert "again" not in predictions.do


def test_spreadsheets_mark_and_line_ends_are_read(files: Files) -> None:
    (files.truth / "excel.csv").write_bytes(b"\xef\xbb\xbfunit,cycle,rul\r\n 17 , 200 , 0 \r\n")
    files.captured((17, 120, 70, "2026-09-01T00:00:00Z", "a"))
    assert len(join(files.truth, files.predictions).matches) == 1


# ---- the job ----


def evaluation(folder: Path, known: Registered) -> None:
    """What the evaluation job leaves of a model."""
    folder.mkdir(parents=True)
    figures = {"rmse": 10.0, "mae": 8.0, "phm08": 300.0}
    (folder / "report.json").write_text(
        json.dumps(
            {
                "max_rul": CEILING,
                "dataset_version": "d" * 64,
                "artifact": {"sha256": "a" * 64},
                "metrics": {"clipped": figures, "unclipped": figures},
            }
        )
    )
    with (folder / "predictions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["unit", "cycles", "true_rul", "true_rul_clipped", "predicted_rul", "error", "error_clipped"])
        for unit, (cycles, true, predicted) in enumerate(
            zip(known.cycles, known.true, known.predicted, strict=True), 1
        ):
            writer.writerow([unit, cycles, true, min(true, CEILING), predicted, predicted - true, 0])


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    made = Job(tmp_path, monkeypatch)
    for name in ("truth", "predictions"):
        (tmp_path / "processing/input" / name).mkdir(parents=True)
    evaluation(tmp_path / "processing/input/evaluation", registered())
    return made


def inputs(job: Job) -> Files:
    folder = job.base / "processing/input"
    return Files(folder / "truth", folder / "predictions")


def fly(job: Job, engines: int, shift: float = 0.0, spoilt_from: int = 0) -> None:
    """Engines that were asked about until they failed at cycle 250, one after the other; late from one on."""
    truth, captured = [], []
    errors = np.random.default_rng(1).normal(0, 10, engines)
    for unit in range(1, engines + 1):
        truth.append((unit, 250, 0))
        for cycle in range(110, 250, 10):
            rul = min(250 - cycle, 125) + errors[unit - 1] + (shift if unit > spoilt_from else 0)
            time = START + timedelta(days=unit, hours=cycle / 24)
            captured.append((unit, cycle, round(float(np.clip(rul, 0, 125)), 3), time.isoformat(), f"{unit}-{cycle}"))
    inputs(job).say("a.csv", *truth)
    inputs(job).captured(*captured)


def run(job: Job, **more: str) -> dict[str, Any]:
    """Run it; report.json."""
    environment = {"ENDPOINT": "onwing-FD001", "VARIANT": "v7", "FLEET": "FD001", "MIN_ENGINES": "5"} | more
    assert job.run("quality", **environment) == 0, job.message
    found: dict[str, Any] = job.json("processing/output/report/report.json")
    return found


def violations(job: Job) -> Any:
    return job.json("processing/output/report/constraint_violations.json")


def test_good_model_is_ok_and_its_violations_file_is_empty(job: Job) -> None:
    fly(job, 12)
    report = run(job, WINDOW_START="", WINDOW_END="2026-10-01T00:00:00Z")
    assert (report["kind"], report["outcome"], report["severity"], report["cause"]) == ("quality", "ok", "none", None)
    assert (report["engines"], report["rows"], report["min_engines"]) == (12, 12 * 14, 5)
    assert 0 < report["drift"] < 1
    assert report["window"] == {"start": "2026-09-02T04:35:00+00:00", "end": "2026-10-01T00:00:00Z"}
    assert violations(job)["violations"] == []
    assert violations(job)["onwing"]["kind"] == "quality"
    assert job.message.startswith("Completed: ")
    assert {path.name for path in (job.outputs / "report").iterdir()} == {
        "report.json", "report.html", "statistics.json", "constraints.json", "constraint_violations.json",
    }  # fmt: skip


def test_late_model_is_a_violation_in_model_monitors_form(job: Job) -> None:
    fly(job, 12, shift=40)
    report = run(job)
    assert (report["outcome"], report["severity"], report["cause"]) == ("violations", "severe", "model")
    found = violations(job)["violations"]
    assert {"rmse", "bias"} <= {each["metric_name"] for each in found}
    assert found == report["violations"]
    for each in found:
        assert set(each) == {"constraint_check_type", "description", "metric_name"}
        assert each["constraint_check_type"] == "GreaterThanThreshold"
        assert each["description"].startswith(f"Metric {each['metric_name']} with ")
    assert "predicted too late" in next(each["description"] for each in found if each["metric_name"] == "bias")
    assert "EARLIER" in report["what_to_do"]
    assert job.message.startswith("CompletedWithViolations: ")
    limits = job.json("processing/output/report/constraints.json")["regression_constraints"]
    statistics = job.json("processing/output/report/statistics.json")
    rmse = statistics["regression_metrics"]["rmse"]["value"]
    assert rmse > limits["rmse"]["threshold"]
    assert limits["rmse"]["comparison_operator"] == "GreaterThanThreshold"
    assert statistics["dataset"]["item_count"] == report["rows"]
    assert set(statistics["regression_metrics"]) == {"mae", "mse", "rmse", "r2"}
    assert "Much worse than registered" in (job.outputs / "report/report.html").read_text()


def test_model_that_went_bad_lately_is_found_by_the_newest_engines(job: Job) -> None:
    fly(job, 300, shift=15, spoilt_from=280)
    report = run(job)
    ratios = {feature["name"]: feature["ratio"] for feature in report["features"]}
    assert ratios["bias_newest"] > 1 > ratios["bias"]
    assert report["outcome"] == "violations"
    periods = report["quality"]["periods"]
    assert (periods[0]["period"], periods[-1]["period"]) == ("2026-W36", "2027-W26")
    assert "over the newest 20 of 300 engines" in report["summary"]
    assert periods[-1]["bias"] - periods[-1]["registered_bias"] > 10 > periods[0]["bias"]


def test_too_few_engines_are_no_verdict(job: Job) -> None:
    fly(job, 4, shift=60)
    report = run(job)
    assert (report["outcome"], report["severity"], report["drift"]) == ("insufficient", "none", None)
    assert report["engines"] == 4
    assert not (job.outputs / "report/constraint_violations.json").exists()
    assert "nothing was judged" in job.message
    assert "onwing drift truth FD001 FILE" in report["what_to_do"]
    assert "No verdict" in (job.outputs / "report/report.html").read_text()


def test_nothing_captured_or_no_truth_is_insufficient(job: Job) -> None:
    report = run(job)
    assert (report["outcome"], report["engines"], report["rows"]) == ("insufficient", 0, 0)
    inputs(job).say("a.csv", (1, 200, 0))
    assert run(job)["outcome"] == "insufficient"


def test_truth_that_cannot_be_read_is_not_too_little(job: Job) -> None:
    fly(job, 12)
    inputs(job).say("a.csv", (1, 2), header="nonsense")
    report = run(job)
    assert report["outcome"] == "unreadable"
    assert "a.csv" in report["summary"]
    assert "Unreadable" in job.message
    assert not (job.outputs / "report/constraint_violations.json").exists()


def test_broken_truth_beside_good_is_told_in_report_and_message(job: Job) -> None:
    fly(job, 12)
    inputs(job).say("june.csv", ("x", 2, 3))
    inputs(job).say("july.csv", (3, 100, 3))
    report = run(job)
    assert (report["outcome"], report["engines"]) == ("ok", 11)
    assert [problem["where"] for problem in report["problems"]] == ["june.csv", "engine 3"]
    for words in ("june.csv", "engine 3 has two ends of life"):
        assert words in job.message
        assert words in report["summary"]
    assert report["records"]["truth_in_doubt"] == 14
    page = (job.outputs / "report/report.html").read_text()
    assert "to be mended: 2" in page


def test_client_that_numbers_engines_beyond_the_limit_leaves_the_verdict_to_the_others(job: Job) -> None:
    fly(job, 12)
    path = inputs(job).predictions / "20260901T000000Z.csv"
    path.write_text(path.read_text() + "3000000000,110,70,2026-09-01T00:00:00Z,other\n")
    report = run(job)
    assert (report["outcome"], report["engines"], report["records"]["out_of_limits"]) == ("ok", 12, 1)
    assert report["problems"] == []
    assert (
        "1 captured prediction is out of limits and left out, the first: 20260901T000000Z.csv, line 170"
        in (report["summary"])
    )
    assert "out of limits" in (job.outputs / "report/report.html").read_text()


def test_every_prediction_is_counted_once(job: Job) -> None:
    fly(job, 12)
    inputs(job).captured(
        (1, 110, 90, "2026-10-01T00:00:00Z", "again"),
        (77, 110, 90, "2026-10-01T00:00:00Z", "no truth"),
        (2, 5, 90, "2026-10-01T00:00:00Z", "younger than any that was evaluated"),
        (3, 110, 1e9, "2026-10-01T00:00:00Z", "out of limits"),
        name="20261001T000000Z.csv",
    )
    records = run(job)["records"]
    assert records == {
        "delivered": 12 * 14 + 4, "used": 12 * 14, "out_of_limits": 1, "repeated": 1, "without_truth": 1,
        "truth_in_doubt": 0, "not_comparable": 1,
    }  # fmt: skip
    assert records["delivered"] == sum(records.values()) - records["delivered"]


def test_report_stays_small_however_many_engines(job: Job) -> None:
    fly(job, 1200)
    inputs(job).say("unknown.csv", *((unit, 10, 3) for unit in range(5000, 9000)))
    inputs(job).say("contradicts.csv", *((unit, 10, 3) for unit in range(1, 400)))
    report = run(job)
    assert (job.outputs / "report/report.json").stat().st_size < 150_000
    assert (job.outputs / "report/constraint_violations.json").stat().st_size < 110_000
    assert report["quality"]["engines_without_predictions_count"] == 4000
    assert report["problems_count"] == 399


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("report.json", None),
        ("report.json", "{"),
        ("report.json", "{}"),
        ("predictions.csv", None),
        ("predictions.csv", "unit,cycles\n1,2\n"),
        ("predictions.csv", "unit,cycles,true_rul,predicted_rul\n"),
    ],
)
def test_job_without_registered_figures_fails(job: Job, file: str, content: str | None) -> None:
    path = job.base / "processing/input/evaluation" / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert job.run("quality", ENDPOINT="e", VARIANT="v1", FLEET="FD001") == 1
    assert file in job.message
    assert "evaluation" in job.message


def test_job_that_is_not_told_what_it_judges_fails(job: Job) -> None:
    assert job.run("quality", ENDPOINT="e", FLEET="FD001") == 1
    assert "VARIANT is not set" in job.message
