"""Files of violations with anything in them: each is understood or told to be unreadable, and nothing is raised."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from control_plane.violation_files import UnreadableError, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Stack
from .test_violations import Fleet, window

# Model Monitor's own entries, one of each kind, and what our jobs add.
SAMPLE: dict[str, Any] = {
    "version": 0.0,
    "violations": [
        {
            "feature_name": "sensor_3",
            "constraint_check_type": "baseline_drift_check",
            "description": "Baseline drift distance: 0.1712 exceeds threshold: 0.1",
        },
        {
            "constraint_check_type": "GreaterThanThreshold",
            "description": "Metric rmse with 21.4 +/- 0.9 was GreaterThanThreshold '16.2'",
            "metric_name": "rmse",
        },
        {
            "facet": "Age",
            "facet_value": "40",
            "metric_name": "CI",
            "constraint_check_type": "bias_drift_check",
            "description": "Value 0.0751544567666083 does not meet the constraint requirement",
        },
        {
            "label": "label0",
            "metric_name": "shap",
            "constraint_check_type": "feature_attribution_drift_check",
            "description": "Feature attribution drift 0.763 exceeds threshold 0.9",
        },
    ],
    "onwing": {
        "severity": "severe",
        "cause": "drift",
        "drift": 1.6,
        "engines": 20,
        "window": {"start": "2026-11-23T10:00:00Z", "end": "2026-11-23T11:00:00Z"},
        "affected": {"engines": [{"unit": 17, "score": 3.1}], "regimes": [{"regime": 2}]},
        "summary": "s11 reads high",
        "what_to_do": "Look.",
        "simulated": True,
    },
}
ODD = [
    None,
    True,
    -1,
    10**400,
    -(10**18),
    float("nan"),
    float("-inf"),
    1e308,
    5e-324,
    "",
    "\ud800",
    "a\udfff\x00\x1b[2J\n\u2028b",
    "\U0001f600" * 2000,
    "distance: 1e308 exceeds threshold: 1e-308",
    "distance: -.e+ exceeds threshold: 1..2",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-11-23",
    [],
    {},
    [[[]]],
    {"\ud800" * 600: {"\x00": [10**400]}},
    [{"unit": "\ud800"}, {"unit": 10**400}, {"regime": {"\udc00": float("nan")}}, 7, None],
    [None] * 300,
    {f"name {n}": "\U0001f600" * 600 for n in range(30)},
]


class Raw(str):
    """JSON that Python does not write."""


DEEP = [Raw("[" * depth + "]" * depth) for depth in (150, 900, 20_000)]
DEEP += [Raw('{"a":' * depth + "1" + "}" * depth) for depth in (150, 900, 20_000)]
LONG = [Raw("1" * 5000), Raw("-1e99999"), Raw("1" * 300_000 + ".5")]


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document: what holds it, and under which name or number."""
    for name in list(document) if isinstance(document, dict) else range(len(document)):
        yield document, name
        if isinstance(document[name], dict | list):
            yield from places(document[name])


def write(document: Any) -> bytes:
    """As JSON, Raw as it stands."""
    raw: list[str] = []

    def mark(value: Any) -> Any:
        if isinstance(value, Raw):
            raw.append(value)
            return f"<raw {len(raw) - 1}>"
        if isinstance(value, dict):
            return {name: mark(each) for name, each in value.items()}
        return [mark(each) for each in value] if isinstance(value, list) else value

    text = json.dumps(mark(document))
    for number, each in enumerate(raw):
        text = text.replace(f'"<raw {number}>"', each)
    return text.encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The sample with one to four values replaced by odd ones, removed or repeated; now and then cut or torn."""
    document = {"file": copy.deepcopy(SAMPLE)}
    for _ in range(draw(st.integers(1, 4))):
        found = list(places(document))
        holder, name = found[draw(st.integers(0, len(found) - 1))]
        match draw(st.sampled_from(["odd", "odd", "odd", "any", "removed", "repeated", "renamed"])):
            case "odd":
                holder[name] = copy.deepcopy(draw(st.sampled_from([*ODD, *DEEP, *LONG])))
            case "any":
                holder[name] = draw(st.integers() | st.floats() | st.text(st.characters()) | st.booleans())
            case "removed" if holder is not document:
                del holder[name]
            case "repeated" if isinstance(holder, list):
                holder.extend([holder[name]] * draw(st.integers(1, 120)))
            case "renamed" if isinstance(holder, dict) and holder is not document:
                holder[draw(st.text(st.characters(), max_size=700))] = holder.pop(name)
    content = write(document["file"])
    return content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 19)) == 0 else content


def nothing_odd_is_left(value: Any) -> None:
    """It is JSON, UTF-8 and without anything that a screen would act upon."""
    for text in [value] if isinstance(value, str) else []:
        assert text.isprintable()
    for each in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []:
        nothing_odd_is_left(each)


@settings(max_examples=400)
@given(mutated())
def test_mutated_file_is_understood_or_unreadable(content: bytes) -> None:
    try:
        found = parse(content)
    except UnreadableError:
        return
    kept = {**vars(found), "affected": dict(found.affected)}
    assert len(json.dumps(kept, allow_nan=False).encode()) < 300_000  # an item of DynamoDB holds 400 KB
    nothing_odd_is_left(kept)


@pytest.mark.parametrize("odd", [*ODD, *DEEP, *LONG], ids=lambda odd: repr(odd)[:20].encode("ascii", "replace"))
def test_odd_value_at_any_place_is_understood_or_unreadable(odd: Any) -> None:
    for number in range(len(list(places(SAMPLE)))):
        document = copy.deepcopy(SAMPLE)
        holder, name = list(places(document))[number]
        holder[name] = odd
        with contextlib.suppress(UnreadableError):
            nothing_odd_is_left(vars(parse(write(document))))


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(mutated(), st.booleans())
def test_mutated_file_is_handled_to_its_end_once(stack: Stack, content: bytes, is_quality: bool) -> None:
    fleet = Fleet(stack)  # hypothesis runs all examples on one stack
    fleet.serve()

    first = fleet.write(f"onwing-FD001/v7/{'quality-' * is_quality}{window(10)}", content)

    assert first.outcome in ("alert", "none", "unreadable")
    assert fleet.deliver(-1).outcome == "already"
    for alert in stack.alerts():
        assert alert["Message"].replace("\n", "").isprintable()
