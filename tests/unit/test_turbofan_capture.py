"""Data Capture's files: every form of record is read, what cannot be is named and counted, nothing counts twice."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from turbofan import capture as capture_module
from turbofan.capture import Body, Capture, Prediction, Record, predictions

from tests.captured import as_file, record

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
ANSWER = b'{"predictions": [{"unit": 1, "cycle": 31, "rul": 94.5}]}'


def line(body: bytes = b"1,31,0", answer: bytes = ANSWER, **more: Any) -> dict[str, Any]:
    """One captured record."""
    return record(body, answer, when=more.pop("when", NOON), **more)


def read(folder: Path, **more: Any) -> tuple[Capture, list[Record]]:
    """Everything below the folder."""
    capture = Capture(folder, **more)
    return capture, list(capture)


@pytest.mark.parametrize(
    ("kind", "types", "encoding"),
    [
        ("text/csv", {"CsvContentTypes": ["text/csv"]}, "CSV"),
        ("application/json", {"JsonContentTypes": ["application/json"]}, "JSON"),
        ("text/csv", {}, "BASE64"),
        ("application/json; charset=utf-8", {}, "BASE64"),
    ],
)
def test_body_is_the_same_in_each_encoding(tmp_path: Path, kind: str, types: Any, encoding: str) -> None:
    written = line(b'{"instances": "\xc3\xa9"}', kind=kind, types=types)
    assert written["captureData"]["endpointInput"]["encoding"] == encoding
    (tmp_path / "a.jsonl").write_bytes(as_file([written]))
    capture, [found] = read(tmp_path)
    assert found.request == Body(b'{"instances": "\xc3\xa9"}', kind.split(";")[0])
    assert found.answer == Body(ANSWER, "application/json")
    assert (found.time, found.is_probe) == ("2026-11-23T12:00:00Z", False)
    assert (capture.delivered, capture.problem) == (1, None)


def test_aws_documented_record_is_read(tmp_path: Path) -> None:
    # "Capture data from real-time endpoint" in SageMaker's developer guide.
    (tmp_path / "a.jsonl").write_text(
        '{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"50,0,0.86\\n",'
        '"encoding":"CSV"},"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT",'
        '"data":"0.0118","encoding":"CSV"}},"eventMetadata":{"eventId":"feca1ab1-8025-47e3-8f6a-99e3fdd7b8d9",'
        '"inferenceTime":"2019-11-20T23:33:12Z"},"eventVersion":"0"}\n'
    )
    _, [found] = read(tmp_path)
    assert found.request == Body(b"50,0,0.86\n", "text/csv")
    assert found.answer == Body(b"0.0118", "text/csv")
    assert found.event_id == "feca1ab1-8025-47e3-8f6a-99e3fdd7b8d9"


@pytest.mark.parametrize(("mode", "missing"), [("Input", "answer"), ("Output", "request")])
def test_half_an_exchange_is_a_record(tmp_path: Path, mode: str, missing: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_file([line(modes=frozenset({mode}))]))
    capture, [found] = read(tmp_path)
    assert getattr(found, missing) is None
    assert capture.problem is None


def test_probes_are_marked(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_file([line(inference_id="onwing-probe-3"), line(inference_id="mine")]))
    assert [found.is_probe for found in read(tmp_path)[1]] == [True, False]


def test_record_that_was_delivered_twice_counts_once(tmp_path: Path) -> None:
    one, other = line(), line()
    (tmp_path / "a.jsonl").write_bytes(as_file([one, other, one]))
    (tmp_path / "b.jsonl").write_bytes(as_file([other]))
    capture, found = read(tmp_path)
    assert (len(found), capture.delivered, capture.duplicates, capture.unreadable) == (2, 2, 2, 0)


def broken(change: str) -> bytes:
    """A line with one thing wrong."""
    given = line(types={})
    captured, about = given["captureData"], given["eventMetadata"]
    if change == "torn":
        return json.dumps(given).encode()[:-40] + b"\n"
    if change == "not UTF-8":
        return b'{"captureData": "\xff"}\n'
    if change == "base64":
        captured["endpointInput"]["data"] = "%%%"
    elif change == "encoding":
        captured["endpointInput"]["encoding"] = "AVRO"
    elif change == "eventId":
        del about["eventId"]
    elif change == "neither":
        given["captureData"] = {}
    return as_file([given])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("torn", "not a capture record"),
        ("not UTF-8", "not a capture record"),
        ("base64", "endpointInput is not base64"),
        ("encoding", "'AVRO'"),
        ("eventId", "eventId"),
        ("neither", "neither the request nor the answer"),
    ],
)
def test_broken_line_is_named_and_the_rest_is_read(tmp_path: Path, change: str, says: str) -> None:
    good = [as_file([line()]) for _ in range(40)]
    (tmp_path / "2026/11").mkdir(parents=True)
    (tmp_path / "2026/11/a.jsonl").write_bytes(b"".join([*good[:7], broken(change), *good[7:]]))
    capture, found = read(tmp_path)
    assert (len(found), capture.delivered, capture.unreadable) == (40, 41, 1)
    [example] = capture.examples
    assert (example.file, example.line) == ("2026/11/a.jsonl", 8)
    assert says in example.reason
    assert capture.problem is None


def test_more_broken_lines_than_the_stated_share_make_the_capture_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_file([line() for _ in range(90)]) + b"x\n" * 10)
    capture, _ = read(tmp_path)
    assert capture.problem is not None
    assert "10 of 100 records cannot be read (at most 5% may be so)" in capture.problem
    assert "line 91 of a.jsonl" in capture.problem


def test_file_without_one_good_line_makes_the_capture_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_file([line() for _ in range(500)]))
    (tmp_path / "b.jsonl").write_bytes(b"x\n")
    assert read(tmp_path)[0].problem == "b.jsonl: not one of its 1 lines is a capture record"


def test_compressed_file_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(as_file([line()])))
    capture, _ = read(tmp_path)
    assert "compressed" in capture.examples[0].reason
    assert capture.problem is not None


@pytest.mark.parametrize("extra", [{}, {"captureData": "of another shape"}])
def test_unknown_version_makes_the_capture_unreadable_however_few_records_have_it(
    tmp_path: Path, extra: dict[str, Any]
) -> None:
    lines = [line() for _ in range(500)]
    lines[7] |= {"eventVersion": "1"} | extra
    (tmp_path / "a.jsonl").write_bytes(as_file(lines))
    capture, found = read(tmp_path)
    assert capture.problem == "a.jsonl: eventVersion '1' is not known: this image reads '0'"
    assert len(found) == 499


def test_empty_folder_empty_file_and_blank_lines_are_no_problem(tmp_path: Path) -> None:
    assert read(tmp_path / "nothing")[0].problem is None
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "b.jsonl").write_bytes(b"\n" + as_file([line()]) + b"\n  \n")
    capture, found = read(tmp_path)
    assert (capture.delivered, capture.unreadable, capture.files, len(found)) == (1, 0, 2, 1)


def test_only_the_window_counts_where_more_was_downloaded(tmp_path: Path) -> None:
    hours = [NOON.replace(hour=hour) for hour in (10, 11, 12, 13)]
    (tmp_path / "a.jsonl").write_bytes(as_file([line(when=hour) for hour in hours]))
    capture, found = read(tmp_path, start=hours[1], end=hours[3])
    assert [each.time[11:13] for each in found] == ["11", "12"]
    assert capture.delivered == 2


def test_line_beyond_all_requests_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "MOST_LINE_BYTES", 4096)
    long = as_file([line(b"1," * 10_000)])
    (tmp_path / "a.jsonl").write_bytes(as_file([line()]) + long + as_file([line() for _ in range(30)]))
    capture, found = read(tmp_path)
    assert (len(found), capture.unreadable, capture.examples[0].line) == (31, 1, 2)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    lines = as_file([line(b"1,31," + b"0.5," * 25_000) for _ in range(100)])
    with (tmp_path / "large.jsonl").open("wb") as stream:
        for i in range(30):
            stream.write(lines.replace(b'"eventId": "', f'"eventId": "{i}'.encode()))
    assert (tmp_path / "large.jsonl").stat().st_size > 300_000_000
    program = (
        "import resource, sys; from pathlib import Path; from turbofan.capture import Capture\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert sum(1 for _ in Capture(Path(sys.argv[1]))) == 3000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    output = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert int(output.stdout) < 20_000  # KiB


@pytest.mark.parametrize(
    "answer",
    [
        Body(b'{"predictions": [{"unit": 7, "cycle": 31, "rul": 94.5}, {"unit": 8, "cycle": 2, "rul": 0}]}', "x"),
        Body(b"7,31,94.5\n8,2,0.0\n", "text/csv"),
    ],
)
def test_predictions_of_an_answer(answer: Body) -> None:
    assert predictions(answer) == [Prediction(7, 31, 94.5), Prediction(8, 2, 0.0)]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error": {"code": "columns", "message": "there are 25 columns", "where": "line 1"}}',
        b'{"predictions": []}',
        b'{"predictions": [{"unit": 1, "cycle": 2, "rul": NaN}]}',
        b"1,2,nan\n",
        b"<html>502 Bad Gateway</html>",
        b"\xff",
        b"",
    ],
)
def test_answer_that_is_none_has_no_predictions(answer: bytes) -> None:
    kind = "application/json" if answer[:1] == b"{" else "text/html"
    assert predictions(Body(answer, kind)) is None


def test_base64_without_a_content_type_is_recognised(tmp_path: Path) -> None:
    given = line()
    side = {"mode": "INPUT", "encoding": "BASE64", "data": base64.b64encode(b' {"instances": []}').decode()}
    given["captureData"]["endpointInput"] = side
    (tmp_path / "a.jsonl").write_bytes(as_file([given]))
    [found] = read(tmp_path)[1]
    assert found.request == Body(b' {"instances": []}', "application/json")
