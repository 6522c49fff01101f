"""Files of violations: whose they are, and what every writer's shape says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from control_plane.violation_files import KEPT, Findings, UnreadableError, locate, name_of, parse, start_of

REPORTS = "monitoring/reports/onwing-FD001"


def file(*violations: Any, **more: Any) -> bytes:
    return json.dumps({"version": 0.0, "violations": list(violations), **more}).encode()


def check(kind: str, feature: str = "s11", description: str = "") -> dict[str, str]:
    return {"feature_name": feature, "constraint_check_type": kind, "description": description}


# --- keys ---


@pytest.mark.parametrize(
    ("path", "source", "monitor", "window", "start"),
    [
        ("v7/20261123T100000Z", "onwing", "v7", "20261123T100000Z", "2026-11-23T10:00:00Z"),
        ("v12/quality-20261123T101530Z", "onwing", "v12", "quality-20261123T101530Z", "2026-11-23T10:15:30Z"),
        ("hourly-data/2026/11/23/10", "model-monitor", "hourly-data", "20261123T100000Z", "2026-11-23T10:00:00Z"),
        ("v7/2026/11/23/10", "model-monitor", "v7", "20261123T100000Z", "2026-11-23T10:00:00Z"),
        ("by-hand", "model-monitor", "by-hand", "unknown", ""),
    ],
)
def test_key_tells_monitor_and_window(path: str, source: str, monitor: str, window: str, start: str) -> None:
    place = locate("onwing", f"{REPORTS}/{path}/constraint_violations.json")

    assert (place.fleet, place.endpoint) == ("FD001", "onwing-FD001")
    assert (place.source, place.monitor, place.window, place.started_at) == (source, monitor, window, start)
    assert place.folder == f"{REPORTS}/{path}/"


@pytest.mark.parametrize("endpoint", ["other", "onwing", "onwing2-FD001", "onwing-FD001-x", "onwing-" + 11 * "F"])
def test_endpoint_that_is_no_fleets_is_told_apart(endpoint: str) -> None:
    assert locate("onwing", f"monitoring/reports/{endpoint}/v1/x/constraint_violations.json").fleet == ""


def test_file_without_any_folder_is_placed() -> None:
    place = locate("onwing", "monitoring/reports/onwing-FD001/constraint_violations.json")
    assert (place.fleet, place.window) == ("FD001", "unknown")


@pytest.mark.parametrize("window", ["unknown", "", "quality-", "20261399T100000Z"])
def test_window_without_a_time_has_none(window: str) -> None:
    assert start_of(window) == ""


# --- Model Monitor's own shapes, kind by kind ---


def data_quality() -> bytes:
    return file(
        check(
            "data_type_check",
            "sensor_8",
            "Data type match requirement is not met. Expected data type: Integral, Expected match: 100.0%. "
            "Observed: Only 98.8% of data is Integral.",
        ),
        check("baseline_drift_check", "sensor_3", "Baseline drift distance: 0.1712 exceeds threshold: 0.1"),
    )


def test_data_quality_with_broken_input_is_about_the_data() -> None:
    found = parse(data_quality())

    assert (found.count, found.features, found.cause, found.severity) == (
        2,
        ["sensor_8", "sensor_3"],
        "data",
        "moderate",
    )
    assert found.drift == pytest.approx(1.712)


def test_data_quality_with_distances_alone_is_drift() -> None:
    found = parse(
        file(
            check("baseline_drift_check", "_c2", "Numerical distance: 0.34 exceeds threshold: 0.1."),
            check("baseline_drift_check", "_c3", "Baseline drift distance: 0.12 exceeds threshold: 0.1"),
        )
    )
    assert (found.cause, found.drift) == ("drift", pytest.approx(3.4))


@pytest.mark.parametrize(
    "kind", ["completeness_check", "missing_column_check", "extra_column_check", "categorical_values_check"]
)
def test_every_schema_check_is_about_the_data(kind: str) -> None:
    assert parse(file(check(kind))).cause == "data"


def test_model_quality_names_its_metric() -> None:
    description = "Metric rmse with 21.4 +/- 0.9 was GreaterThanThreshold '16.2'"
    found = parse(
        file({"constraint_check_type": "GreaterThanThreshold", "description": description, "metric_name": "rmse"})
    )
    assert (found.cause, found.features) == ("model", ["rmse"])


def test_bias_names_facet_and_metric() -> None:
    entry = {
        "facet": "Age",
        "facet_value": "40",
        "metric_name": "CI",
        "constraint_check_type": "bias_drift_check",
        "description": "Value 0.0751544567666083 does not meet the constraint requirement",
    }
    found = parse(file(entry, version="1.0"))
    assert (found.cause, found.features) == ("model", ["Age=40 CI"])


def test_explainability_names_label_and_metric() -> None:
    entry = {
        "label": "label0",
        "metric_name": "shap",
        "constraint_check_type": "feature_attribution_drift_check",
        "description": "Feature attribution drift 0.763 exceeds threshold 0.9",
    }
    assert parse(file(entry, version="1.0")).features == ["label0 shap"]


def test_check_that_is_not_known_is_kept() -> None:
    entry = {"feature_name": "s1", "constraint_check_type": "CustomMetric", "description": "x", "extra": {"a": [1]}}
    found = parse(file(entry, "a line of text", 3))

    assert (found.count, found.cause, found.severity) == (3, None, "moderate")
    assert found.violations[0] == {**entry, "extra": '{"a": [1]}'}
    assert found.violations[1:] == ["a line of text", 3]


def test_empty_list_is_a_window_without_violations() -> None:
    found = parse(b'{"violations": []}')
    assert (found.count, found.severity, found.cause, found.drift) == (0, "none", None, None)


# --- ours ---


def test_what_our_report_says_goes_before_what_the_checks_look_like() -> None:
    told = {"severity": "severe", "cause": "drift", "drift": 2.5, "summary": "s11 reads high"}
    found = parse(file(check("data_type_check"), onwing=told))

    assert (found.severity, found.cause, found.drift) == ("severe", "drift", 2.5)
    assert (found.summary, found.what_to_do) == ("s11 reads high", "")


@pytest.mark.parametrize("told", [{"severity": "none", "cause": 7, "drift": "NaN"}, {"drift": True}, [], "x", None])
def test_our_part_may_be_anything(told: Any) -> None:
    found = parse(file(check("baseline_drift_check"), onwing=told))
    assert (found.severity, found.cause, found.drift) == ("moderate", "drift", None)


def test_many_and_long_violations_are_counted_and_cut() -> None:
    found = parse(file(*(check("baseline_drift_check", f"f{n}", "x" * 10_000) for n in range(3000))))

    assert (found.count, len(found.violations), len(found.features)) == (3000, KEPT, KEPT)
    assert len(json.dumps(found.violations)) < 100_000


def test_record_has_room_for_whatever_is_in_a_file() -> None:
    wide = {f"field {n} {'y' * 400}": "x" * 10_000 for n in range(12)}
    found = parse(file(*[wide] * 3000))

    assert found.count == 3000
    assert 0 < len(json.dumps(found.violations)) < 110_000


def test_names_of_features_leave_room_in_a_record_whatever_their_characters() -> None:
    found = parse(file(*(check("baseline_drift_check", f"{n} " + "\U0001f600" * 2000) for n in range(3000))))

    assert len(found.features) == KEPT
    assert len(json.dumps(found.features)) < 130_000


@pytest.mark.parametrize(
    "text", ["1e308 exceeds threshold: 1e-308", "1e999 exceeds threshold: 1", "- exceeds threshold: e"]
)
def test_ratio_that_is_no_number_is_left_out(text: str) -> None:
    found = [check("baseline_drift_check", "s1", f"distance: {each}") for each in (text, "0.3 exceeds threshold: 0.1")]

    assert parse(file(found[0])).drift is None
    assert parse(file(*found)).drift == pytest.approx(3)


@pytest.mark.parametrize(
    ("told", "end"),
    [
        ("2026-11-23T11:00:00Z", "2026-11-23T11:00:00Z"),
        ("2026-11-23T11:00:00.5+01:00", "2026-11-23T10:00:00Z"),
        ("0001-01-01T00:00:00+23:59", ""),
        ("later", ""),
        (7, ""),
    ],
)
def test_end_of_a_window_is_a_time_or_nothing(told: Any, end: str) -> None:
    assert parse(file(onwing={"window": {"end": told}})).end == end
    assert parse(file(onwing={"window": told})).end == ""


def test_folder_of_any_length_gives_a_name_of_63() -> None:
    assert len(locate("onwing", f"{REPORTS}/{'x' * 900}/y/constraint_violations.json").monitor) == 63


def test_text_that_utf8_cannot_hold_is_replaced() -> None:
    found: Findings = parse(b'{"violations": [{"feature_name": "a\\ud800", "description": "\\udfff"}]}')
    json.dumps(found.violations, ensure_ascii=False).encode()
    assert found.features == ["a?"]


def test_entry_without_a_name_has_none() -> None:
    assert name_of({"description": "x"}) == name_of("x") == ""


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"violations": [', "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"<html></html>", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "violations"),
        (b"{}", "violations"),
        (b'{"violations": null}', "violations"),
        (b'{"violations": {"feature_name": "s1"}}', "violations"),
    ],
)
def test_file_that_says_nothing_is_unreadable_and_says_why(content: bytes, says: str) -> None:
    with pytest.raises(UnreadableError, match=says):
        parse(content)


def test_byte_order_mark_is_no_problem() -> None:
    assert parse(b"\xef\xbb\xbf" + data_quality()).count == 2
