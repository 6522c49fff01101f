"""The monitoring job: four outcomes that are four different things, and what each leaves."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from turbofan import traffic

from tests import captured
from tests.unit.turbofan_data import Job

ENVIRONMENT = {
    "ENDPOINT": "onwing-FD001",
    "VARIANT": "v7",
    "FLEET": "FD001",
    "WINDOW_START": "2026-11-23T11:00:00Z",
    "WINDOW_END": "2026-11-23T12:00:00Z",
}
SIX = {
    "data_type_check",
    "completeness_check",
    "baseline_drift_check",
    "missing_column_check",
    "extra_column_check",
    "categorical_values_check",
}
FILES = {"report.json", "report.html", "statistics.json", "constraints.json"}


@dataclass
class Monitor(Job):
    """A monitoring job with the baseline in place."""

    def capture(self, given: Iterable[dict[str, Any]] | bytes, name: str = "2026/11/23/11/a.jsonl") -> None:
        """Put a capture file into place."""
        path = self.base / "processing/input/capture" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(given if isinstance(given, bytes) else captured.as_file(given))

    def judge(self, **environment: str) -> dict[str, Any]:
        """Run it; gives the report."""
        assert self.run("monitor", **{**ENVIRONMENT, **environment}) == 0, self.message
        return dict(self.json("processing/output/report/report.json"))

    @property
    def files(self) -> set[str]:
        """The names of what is in the report's folder."""
        return {path.name for path in (self.outputs / "report").iterdir()}

    @property
    def violations(self) -> list[dict[str, str]]:
        """Of constraint_violations.json."""
        return list(self.json("processing/output/report/constraint_violations.json")["violations"])

    def found(self, feature: str) -> dict[str, str]:
        """The one violation of a feature."""
        [entry] = [each for each in self.violations if each["feature_name"] == feature]
        return entry


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Monitor:
    folder = tmp_path / "processing/input/baseline"
    folder.mkdir(parents=True)
    for name, content in captured.baseline_files().items():
        (folder / name).write_text(content)
    return Monitor(tmp_path, monkeypatch)


def refused(body: bytes, kind: str = "text/csv") -> dict[str, Any]:
    """A request that the server answered with an error."""
    return captured.record(body, b'{"error": {"code": "columns", "message": "no", "where": "line 1"}}', kind=kind)


def refused_often(body: bytes, kind: str = "text/csv") -> list[dict[str, Any]]:
    """The same request again, so that it is no single slip, which is tolerated."""
    return [refused(body, kind), refused(body, kind)]


def edited(rows: captured.Array, line: int, column: int, text: str) -> bytes:
    """A request with one cell replaced."""
    lines = [row.split(b",") for row in captured.csv_body(rows).split(b"\n")]
    lines[line][column] = text.encode()
    return b"\n".join(b",".join(cells) for cells in lines)


# ok


def test_healthy_traffic_is_ok_and_its_violations_file_is_empty(job: Monitor) -> None:
    job.capture(captured.records(captured.histories(20)))
    report = job.judge()
    assert (report["outcome"], report["severity"], report["cause"]) == ("ok", "none", None)
    assert (report["kind"], report["schema"], report["fleet"], report["endpoint"], report["variant"]) == (
        "data",
        1,
        "FD001",
        "onwing-FD001",
        "v7",
    )
    assert report["window"] == {"start": "2026-11-23T11:00:00Z", "end": "2026-11-23T12:00:00Z"}
    assert 0 < report["drift"] < 1
    assert report["engines"] == 20
    assert report["violations"] == job.violations == []
    assert job.files == FILES | {"constraint_violations.json"}
    assert job.message.startswith("Completed: Job completed successfully with no violations.")
    assert {feature["name"] for feature in report["features"]} >= {"s2", "s21", "op1", "regime"}


def test_statistics_are_those_of_the_window_in_model_monitors_schema(job: Monitor) -> None:
    engines = captured.histories(20)
    job.capture([*captured.records(engines), refused(edited(engines[0], 3, 5, ""))])
    job.judge()
    statistics = job.json("processing/output/report/statistics.json")
    constraints = job.json("processing/output/report/constraints.json")
    [s1] = [feature for feature in statistics["features"] if feature["name"] == "s1"]
    assert s1["numerical_statistics"]["common"]["num_missing"] == 1
    assert s1["numerical_statistics"]["common"]["num_present"] == statistics["dataset"]["item_count"] > 300
    [told] = [feature for feature in constraints["features"] if feature["name"] == "s1"]
    assert 0.999 < told["completeness"] < 1


def test_predictions_are_kept_but_not_those_of_probes(job: Monitor) -> None:
    engines = captured.histories(6)
    records = captured.records(engines)
    job.capture([*records, *captured.records(engines[:2], inference_id="onwing-probe-7")])
    report = job.judge()
    [path] = (job.outputs / "predictions").iterdir()
    assert path.name == "20261123T110000Z.csv"
    rows = list(csv.DictReader(path.open()))
    assert list(rows[0]) == ["unit", "cycle", "rul", "time", "event_id"]
    assert [int(row["unit"]) for row in rows] == [int(engine[0, 0]) for engine in engines]
    assert [row["event_id"] for row in rows] == [each["eventMetadata"]["eventId"] for each in records]
    assert report["records"] == {
        "delivered": 8,
        "probes": 2,
        "failed": 0,
        "unreadable": 0,
        "malformed": 0,
        "used": 6,
        "duplicates": 0,
    }


def test_record_that_was_delivered_twice_counts_once(job: Monitor) -> None:
    records = captured.records(captured.histories(6))
    job.capture(records)
    job.capture(records[:4], "2026/11/23/12/b.jsonl")
    report = job.judge()
    assert (report["records"]["delivered"], report["records"]["used"], report["records"]["duplicates"]) == (6, 6, 4)
    [path] = (job.outputs / "predictions").iterdir()
    assert len(path.read_text().splitlines()) == 1 + 6


def test_newest_history_of_an_engine_is_the_one_that_is_judged(job: Monitor) -> None:
    early = [rows[:-15] for rows in captured.histories(10)]
    job.capture(captured.records(captured.biased(captured.histories(10))))
    job.capture(captured.records(captured.biased(early, sigmas=-50)), "2026/11/23/11/b.jsonl")
    report = job.judge()
    assert report["engines"] == 10
    assert report["features"][0]["effect"] > 0


def test_csv_and_json_requests_are_judged_alike(job: Monitor) -> None:
    engines = captured.histories(20)
    job.capture(captured.records(engines))
    as_csv = job.judge()
    records = [
        captured.record(captured.json_body(rows), captured.answer_of(rows), kind="application/json", types={})
        for rows in engines
    ]
    job.capture(records)
    assert job.judge()["features"] == as_csv["features"]


def test_many_engines_in_one_request_count_as_many(job: Monitor) -> None:
    engines = captured.histories(20)
    job.capture([captured.record(captured.csv_body(*engines), captured.answer_of(*engines))])
    report = job.judge()
    assert (report["engines"], report["records"]["used"]) == (20, 1)


def test_memory_is_bounded_by_a_fair_sample_of_the_engines(job: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MOST_ENGINES", 20)
    job.capture(captured.records(captured.histories(60)))
    report = job.judge()
    assert 20 <= report["engines"] <= 40
    assert (report["records"]["used"], report["engines_seen"]) == (60, 60)
    units = [engine["unit"] for engine in report["affected"]["engines"]]
    assert 20 < sum(units) / len(units) < 40  # neither the first nor the last


def test_large_window_is_judged_by_as_many_engines_as_thresholds_are_calibrated_for(job: Monitor) -> None:
    engines = captured.histories(60)
    copies = [captured.changed(rows, 0, 1000 * copy + rows[:, 0]) for copy in range(4) for rows in engines]
    job.capture(captured.records(copies))
    report = job.judge()
    assert (report["outcome"], report["engines"], report["engines_judged"]) == ("ok", 240, 80)
    assert {engine["unit"] // 1000 for engine in report["affected"]["engines"]} == {0, 1, 2, 3}
    sampled = {feature["name"]: feature["statistic"] for feature in report["features"]}
    report = job.judge(WINDOW_START="2026-11-23T10:00:00Z")  # other engines in another window
    assert {feature["name"]: feature["statistic"] for feature in report["features"]} != sampled


def test_engines_beyond_the_sample_count_for_how_many_are_needed(job: Monitor) -> None:
    """More than are ever judged may be asked for: that is about the traffic, not about the sample."""
    engines = captured.histories(60)
    copies = [captured.changed(rows, 0, 1000 * copy + rows[:, 0]) for copy in range(2) for rows in engines]
    job.capture(captured.records(copies))
    report = job.judge(MIN_ENGINES="100")
    assert (report["outcome"], report["engines"], report["engines_judged"]) == ("ok", 120, 80)
    report = job.judge(MIN_ENGINES="121")
    assert (report["outcome"], report["drift"]) == ("insufficient", None)
    assert "at least 121 are needed" in report["summary"]


# violations


def test_biased_sensor_is_named(job: Monitor) -> None:
    job.capture(captured.records(captured.biased(captured.histories(20), "s4")))
    report = job.judge()
    assert (report["outcome"], report["severity"], report["cause"]) == ("violations", "severe", "drift")
    assert report["drift"] > 1
    assert report["affected"]["sensors"][0] == "s4"
    assert {"unit", "score"} == set(report["affected"]["engines"][0])
    assert report["violations"] == job.violations
    assert job.found("s4")["constraint_check_type"] == "baseline_drift_check"
    assert "σ" in job.found("s4")["description"]
    assert job.message.startswith("CompletedWithViolations: Job completed successfully with ")
    assert "s4" in report["summary"]
    assert "train" in report["what_to_do"]


def test_violations_file_is_model_monitors_with_the_report_inside(job: Monitor) -> None:
    job.capture(captured.records(captured.biased(captured.histories(20), "s4")))
    report = job.judge()
    document = job.json("processing/output/report/constraint_violations.json")
    assert document["version"] == 0.0
    for entry in document["violations"]:
        assert set(entry) == {"feature_name", "constraint_check_type", "description"}
        assert entry["constraint_check_type"] in SIX
    assert document["onwing"]["drift"] == report["drift"]
    assert "features" not in document["onwing"]
    assert len(json.dumps(document["onwing"])) < 100_000


def test_wrong_unit_is_named_once_for_each_sensor(job: Monitor) -> None:
    job.capture(captured.records(captured.in_kelvin(captured.histories(20), "s2", "s3", "s4")))
    report = job.judge()
    assert (report["outcome"], report["severity"], report["cause"]) == ("violations", "severe", "data")
    for sensor in ("s2", "s3", "s4"):
        assert "comes in K instead of °R" in job.found(sensor)["description"]
        assert "multiply by 1.8" in job.found(sensor)["description"]
    assert set(report["affected"]["sensors"]) >= {"s2", "s3", "s4"}
    assert "retraining" in report["what_to_do"]


def test_one_engine_of_many_that_reports_in_another_unit_is_found(job: Monitor) -> None:
    engines = captured.histories(60)
    shortest = min(range(60), key=lambda i: len(engines[i]))
    engines[shortest : shortest + 1] = captured.in_kelvin(engines[shortest : shortest + 1], "s2")
    job.capture(captured.records(engines))
    report = job.judge()
    assert (report["outcome"], report["severity"], report["cause"]) == ("violations", "moderate", "data")
    assert f"(engine {int(engines[shortest][0, 0])})" in job.found("s2")["description"]


def test_single_glitch_is_no_violation(job: Monitor) -> None:
    engines = captured.histories(60)
    engines[0][3, 6] = 0.0
    job.capture(captured.records(engines))
    assert job.judge()["outcome"] == "ok"


def test_broken_input_is_judged_however_few_engines_there_are(job: Monitor) -> None:
    job.capture(captured.records(captured.in_kelvin(captured.histories(2), "s2")))
    report = job.judge()
    assert (report["outcome"], report["cause"], report["drift"]) == ("violations", "data", None)
    assert "at least 5 are needed" in report["summary"]
    assert job.found("s2")


@pytest.mark.parametrize(
    ("feature", "check", "cut"),
    [("Missing columns", "missing_column_check", 25), ("Extra columns", "extra_column_check", 27)],
)
@pytest.mark.parametrize("kind", ["text/csv", "application/json"])
def test_wrong_number_of_columns(job: Monitor, feature: str, check: str, cut: int, kind: str) -> None:
    engines = captured.histories(20)
    wide = [[*row, 0.5][:cut] for row in engines[0].tolist()]
    if kind == "text/csv":
        body = "\n".join(",".join(map(repr, row)) for row in wide).encode()
    else:
        body = json.dumps({"instances": [wide]}).encode()
    job.capture([*captured.records(engines), *refused_often(body, kind)])
    report = job.judge()
    assert (report["outcome"], report["severity"], report["cause"]) == ("violations", "moderate", "data")
    entry = job.found(feature)
    assert entry["constraint_check_type"] == check
    assert (
        f"Number of columns in current dataset: {cut}, Number of columns in baseline constraints: 26"
        in (entry["description"])
    )
    assert "2 of 22 requests" in entry["description"]
    assert report["records"]["failed"] == 2
    assert report["drift"] < 1  # the rest was judged


@pytest.mark.parametrize("kind", ["text/csv", "application/json"])
def test_text_in_the_place_of_a_number(job: Monitor, kind: str) -> None:
    engines = captured.histories(20)
    body = edited(engines[0], 2, 8, "warm")
    if kind == "application/json":
        body = b'{"instances": [[[1,2' + b",3" * 6 + b',"warm"' + b",3" * 17 + b"]]]}"
    job.capture([*captured.records(engines), *refused_often(body, kind)])
    report = job.judge()
    entry = job.found("s4")
    assert entry["constraint_check_type"] == "data_type_check"
    assert "Expected data type: Fractional, Expected match: 100.0%" in entry["description"]
    assert "'warm'" in entry["description"]
    assert "Only 100" not in entry["description"]
    assert len(report["violations"]) == 1


@pytest.mark.parametrize("cell", ["", "NaN", "null", "nan"])
def test_missing_values_are_counted(job: Monitor, cell: str) -> None:
    engines = captured.histories(20)
    job.capture([*captured.records(engines), *refused_often(edited(engines[0], 0, 8, cell))])
    report = job.judge()
    entry = job.found("s4")
    assert entry["constraint_check_type"] == "completeness_check"
    assert "2 values are empty, null or NaN" in entry["description"]
    assert 0.99 < report["input"]["completeness"]["s4"] < 1.0
    assert report["input"]["completeness"]["s5"] == 1.0


@pytest.mark.parametrize("cell", ["null", "NaN"])
def test_missing_values_in_json_are_counted(job: Monitor, cell: str) -> None:
    row = "[1, 2" + ", 3.5" * 6 + f", {cell}" + ", 3.5" * 17 + "]"
    body = f'{{"instances": [{{"unit": 1, "rows": [{row}]}}]}}'.encode()
    job.capture([*captured.records(captured.histories(20)), *refused_often(body, "application/json")])
    job.judge()
    assert job.found("s4")["constraint_check_type"] == "completeness_check"


def test_constraints_say_how_much_may_be_missing(job: Monitor) -> None:
    path = job.base / "processing/input/baseline/constraints.json"
    document = json.loads(path.read_text())
    for feature in document["features"]:
        feature["completeness"] = 0.9
    path.write_text(json.dumps(document))
    engines = captured.histories(20)
    job.capture([*captured.records(engines), *refused_often(edited(engines[0], 0, 8, ""))])
    assert job.judge()["outcome"] == "ok"


def constrained(job: Monitor, **ours: object) -> None:
    """Edit this project's member of constraints.json."""
    path = job.base / "processing/input/baseline/constraints.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"onwing": ours}))


def test_single_bad_request_is_told_but_pages_nobody(job: Monitor) -> None:
    engines = captured.histories(20)
    job.capture([*captured.records(engines[1:]), refused(b"1,2,3")])
    report = job.judge()
    assert (report["outcome"], report["violations"], job.violations) == ("ok", [], [])
    assert "tolerated (up to 1 request): 3 instead of 26 columns in 1 of 20 requests" in report["summary"]
    assert (report["input"]["requests"], report["input"]["refused"], report["input"]["tolerable"]) == (20, 1, 1)
    [told] = report["input"]["tolerated"]
    assert (told["feature"], told["check"], told["share"]) == ("Missing columns", "missing_column_check", 0.05)
    assert "Number of columns in current dataset: 3" in told["description"]
    assert "problems" not in report  # which would be alerted on
    assert job.json("processing/output/report/statistics.json")["onwing"] == {"requests": 20, "refused": 1}
    page = (job.outputs / "report/report.html").read_text()
    assert "to be mended: 1" in page
    assert "Number of columns in current dataset: 3" in page


def test_two_bad_requests_of_twenty_are_a_violation_even_of_different_kinds(job: Monitor) -> None:
    engines = captured.histories(20)
    job.capture([*captured.records(engines[2:]), refused(b"1,2,3"), refused(edited(engines[0], 0, 8, "warm"))])
    report = job.judge()
    assert report["outcome"] == "violations"
    assert {entry["feature_name"] for entry in job.violations} == {"Missing columns", "s4"}
    assert report["input"]["tolerated"] == []


def test_constraints_say_how_many_requests_may_be_bad(job: Monitor) -> None:
    engines = captured.histories(20)
    job.capture([*captured.records(engines[2:]), *refused_often(b"1,2,3")])
    constrained(job, tolerated_requests=0.1)
    assert job.judge()["outcome"] == "ok"
    constrained(job, tolerated_requests=0.09)
    assert job.judge()["outcome"] == "violations"


def test_constraints_may_demand_that_no_request_is_bad(job: Monitor) -> None:
    job.capture([*captured.records(captured.histories(20)), refused(b"1,2,3")])
    constrained(job, tolerated_requests=0)
    assert job.judge()["outcome"] == "violations"


def test_bad_request_alone_is_never_no_drift(job: Monitor) -> None:
    job.capture([refused(b"1,2,3")])
    report = job.judge()
    assert (report["outcome"], report["drift"]) == ("insufficient", None)
    assert "tolerated (up to 1 request): 3 instead of 26 columns in 1 of 1 requests" in report["summary"]
    assert job.files == FILES


def test_wrong_values_of_one_request_that_was_answered_are_not_tolerated(job: Monitor) -> None:
    """Tolerance is for what could not be answered; who is answered with wrong units has a wrong answer."""
    engines = captured.histories(60)
    engines[0:1] = captured.in_kelvin(engines[0:1], "s2")
    job.capture([*captured.records(engines), refused(b"1,2,3")])
    report = job.judge()
    assert [entry["feature_name"] for entry in job.violations] == ["s2"]
    assert len(report["input"]["tolerated"]) == 1


@pytest.mark.parametrize(
    ("change", "feature", "says"),
    [
        ("unsorted", "cycle", "cycle_sequence"),
        ("header", "Request", "no number at all"),
        ("not JSON", "Request", "not JSON"),
        ("media type", "Request", "'text/xml'"),
    ],
)
def test_other_ways_to_be_refused(job: Monitor, change: str, feature: str, says: str) -> None:
    engines = captured.histories(20)
    body, kind = captured.csv_body(engines[0]), "text/csv"
    if change == "unsorted":
        body = captured.csv_body(engines[0][::-1])
    elif change == "header":
        body = b"unit,cycle" + b",name" * 24 + b"\n" + body
    elif change == "not JSON":
        body, kind = b"{'instances'}", "application/json"
    else:
        kind = "text/xml"
    job.capture([*captured.records(engines), *refused_often(body, kind)])
    job.judge()
    [entry] = job.violations
    assert (entry["feature_name"], entry["constraint_check_type"]) == (feature, "data_type_check")
    assert says in entry["description"]


def test_value_beyond_what_is_plausible_is_a_violation_although_it_has_no_unit(job: Monitor) -> None:
    engines = [captured.changed(rows, 19, 1e9) for rows in captured.histories(20)]
    job.capture(captured.records(engines))
    job.judge()
    assert "is outside" in job.found("s15")["description"]


def test_dropped_out_sensor_is_called_so(job: Monitor) -> None:
    engines = [captured.changed(rows, 8, 0.0) for rows in captured.histories(20)]
    job.capture(captured.records(engines))
    report = job.judge()
    assert "reads 0" in job.found("s4")["description"]
    assert report["cause"] == "data"


# predictions


@pytest.fixture
def judged_model(job: Monitor) -> Monitor:
    """A job that has the baseline of the model's predictions as well."""
    folder = job.base / "processing/input/evaluation"
    folder.mkdir()
    (folder / "drift_predictions.json").write_text(captured.predictions_file())
    (folder / "report.json").write_text('{"schema": 1, "metrics": {}}')
    return job


def test_predictions_as_at_release_are_ok(judged_model: Monitor) -> None:
    judged_model.capture(captured.records(captured.histories(20)))
    report = judged_model.judge()
    assert report["outcome"] == "ok"
    assert report["predictions"]["ratio"] < 1
    assert report["predictions"]["mean"] == pytest.approx(report["predictions"]["baseline_mean"], abs=10)
    assert report["drift"] == max(report["predictions"]["ratio"], report["features"][0]["ratio"])


def test_biased_model_is_told_from_drift(judged_model: Monitor) -> None:
    judged_model.capture(captured.records(captured.histories(20), behaviour={"offset": -40}))
    report = judged_model.judge()
    assert (report["outcome"], report["severity"], report["cause"]) == ("violations", "severe", "model")
    [entry] = judged_model.violations
    assert (entry["feature_name"], entry["constraint_check_type"]) == ("rul", "baseline_drift_check")
    assert "cycles off" in entry["description"]
    assert report["predictions"]["bias"] == pytest.approx(-40, abs=15)
    assert report["drift"] == report["predictions"]["ratio"] > 1
    assert report["affected"]["sensors"] == []
    assert "roll back" in report["what_to_do"]


def test_inputs_are_judged_where_answers_were_not_captured(judged_model: Monitor) -> None:
    judged_model.capture(captured.records(captured.histories(20), modes=frozenset({"Input"})))
    report = judged_model.judge()
    assert (report["outcome"], report["predictions"], report["records"]["used"]) == ("ok", None, 20)


def test_answers_without_requests_are_kept_but_judge_nothing(judged_model: Monitor) -> None:
    judged_model.capture(captured.records(captured.histories(20), modes=frozenset({"Output"})))
    assert judged_model.judge()["outcome"] == "insufficient"
    [path] = (judged_model.outputs / "predictions").iterdir()
    assert len(path.read_text().splitlines()) == 1 + 20


def test_broken_baseline_of_predictions_fails_the_job(judged_model: Monitor) -> None:
    path = judged_model.base / "processing/input/evaluation/drift_predictions.json"
    path.write_text('{"kind": "drift-predictions", "schema": 1}')
    assert judged_model.run("monitor", **ENVIRONMENT) == 1
    assert "drift_predictions.json" in judged_model.message


# insufficient


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_engines_are_never_no_drift(job: Monitor, count: int) -> None:
    job.capture(captured.records(captured.histories(count)))
    report = job.judge(MIN_ENGINES="5")
    assert (report["outcome"], report["drift"], report["violations"]) == ("insufficient", None, [])
    assert report["features"] == []
    assert job.files == FILES
    assert job.message.startswith("Insufficient data, nothing was judged (this does not mean that there is no drift)")
    assert f"{count} engine" in report["summary"]
    assert "at least 5 are needed" in report["summary"]
    assert report["what_to_do"].startswith("Wait for more traffic")


def test_no_capture_at_all_is_insufficient(job: Monitor) -> None:
    (job.base / "processing/input/capture").mkdir(parents=True)
    assert job.judge()["outcome"] == "insufficient"
    assert job.files == FILES


def test_probes_and_errors_are_no_engines(job: Monitor) -> None:
    engines = captured.histories(20)
    job.capture(captured.records(engines, inference_id="onwing-probe-1"))
    job.capture([refused(captured.csv_body(rows)) for rows in engines], "b.jsonl")
    report = job.judge()
    assert report["outcome"] == "insufficient"
    assert (report["records"]["probes"], report["records"]["failed"], report["records"]["used"]) == (20, 20, 0)


def test_engines_with_too_few_rows_are_counted_but_not_enough(job: Monitor) -> None:
    job.capture(captured.records([rows[:5] for rows in captured.histories(20)]))
    report = job.judge()
    assert report["outcome"] == "insufficient"
    assert "20 more have fewer than 10 rows" in report["summary"]


def test_baseline_without_thresholds_is_insufficient(job: Monitor) -> None:
    from turbofan.drift import DriftBaseline
    from turbofan.features import engine_offsets

    raw, _ = captured.fleet()
    raw = raw[raw[:, 0] <= 6]
    content = DriftBaseline.fit(raw, engine_offsets(raw[:, 0])).to_dict()
    (job.base / "processing/input/baseline/drift.json").write_text(json.dumps(content))
    job.capture(captured.records(captured.histories(20)))
    report = job.judge()
    assert report["outcome"] == "insufficient"
    assert "no thresholds" in report["summary"]
    assert report["what_to_do"].startswith("More traffic does not help")
    assert "at least 20 engines" in report["what_to_do"]
    assert job.files == FILES


# unreadable


def test_capture_that_cannot_be_read_is_an_outcome_of_its_own(job: Monitor) -> None:
    job.capture(captured.records(captured.histories(20)))
    job.capture(b"garbage\n", "b.jsonl")
    report = job.judge()
    assert (report["outcome"], report["drift"], report["violations"]) == ("unreadable", None, [])
    assert "b.jsonl" in report["summary"]
    assert report["unreadable"] == [
        {"file": "b.jsonl", "line": 1, "reason": report["unreadable"][0]["reason"]},
    ]
    assert job.files == FILES
    assert job.message.startswith("Unreadable capture, nothing was judged")


def test_single_broken_line_is_told_and_the_rest_judged(job: Monitor) -> None:
    lines = captured.as_file(captured.records(captured.histories(40)))
    job.capture(lines + b"torn\n")
    report = job.judge()
    assert report["outcome"] == "ok"
    assert report["records"]["unreadable"] == 1
    assert "1 unreadable" in report["summary"]


# a job that cannot do its work


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("drift.json", None, "there is no drift.json"),
        ("constraints.json", None, "there is no constraints.json"),
        ("drift.json", "{", "cannot be read"),
        ("drift.json", "[]", "no JSON object"),
        ("drift.json", '{"kind": "drift-inputs", "schema": 1}', "drift.json"),
        ("drift.json", '{"kind": "drift-inputs", "schema": 99}', "drift.json"),
        ("constraints.json", '{"features": [{"completeness": 1.0}]}', "constraints"),
        ("statistics.json", '{"features": [{"name": "s1", "numerical_statistics": {}}]}', "statistics"),
    ],
)
def test_baseline_that_is_missing_or_broken_fails_the_job(
    job: Monitor, name: str, content: str | None, says: str
) -> None:
    path = job.base / "processing/input/baseline" / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    job.capture(captured.records(captured.histories(20)))
    assert job.run("monitor", **ENVIRONMENT) == 1
    assert says in job.message
    assert "Unexpected" not in job.message
    assert not (job.outputs / "report/report.json").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [("ENDPOINT", ""), ("WINDOW_START", "today"), ("MIN_ENGINES", "none"), ("MIN_ENGINES", "2001")],
)
def test_wrong_environment_fails_the_job(job: Monitor, name: str, value: str) -> None:
    assert job.run("monitor", **{**ENVIRONMENT, name: value}) == 1
    assert f"environment {name}" in job.message
