"""Predicting: what is read, how it is cut into requests, what is shown, and what the server's refusals become."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onwing import predict, predict_view
from onwing.errors import Exit, NotFound, OnwingError, UsageError
from onwing.predict import Engine
from tests.conftest import table

from .onwing_fakes import STACK, FakeClient, client_error, context_with, control_table, target_with, text


def answering(variant: str = "v7") -> FakeClient:
    """A model whose RUL is 100 less the engine's number."""

    def invoke(Body: bytes, **_: Any) -> dict[str, Any]:
        last = {line.split()[0]: line.split()[1] for line in Body.decode().splitlines()}
        found = [{"unit": int(unit), "cycle": int(cycle), "rul": 100.0 - int(unit)} for unit, cycle in last.items()]
        return {
            "Body": io.BytesIO(json.dumps({"predictions": found}).encode()),
            "InvokedProductionVariant": variant,
        }

    return FakeClient(invoke_endpoint=invoke)


def refusing(code: str, message: str = "", **more: Any) -> FakeClient:
    error = client_error(code, message, "InvokeEndpoint")
    error.response.update(more)  # type: ignore[typeddict-item]
    return FakeClient(invoke_endpoint=error)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "test_FD001.txt"
    path.write_bytes(table(engines=3, cycles=4))
    return path


def test_plain_and_gzip_and_standard_input_read_alike(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = predict.read(str(file))
    assert [(engine.line, len(engine.rows)) for engine in plain] == [(1, 4), (5, 4), (9, 4)]
    packed = tmp_path / "x.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert predict.read(str(packed)) == plain
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(file.read_bytes())))
    assert predict.read("-") == plain


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\x1f\x8bnot gzip", None])
def test_a_file_that_holds_nothing_to_predict_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        predict.read(str(path))
    assert caught.value.where == str(path)


def test_requests_hold_whole_engines_and_keep_below_the_limit() -> None:
    engines = [
        Engine(1, [b"1 1", b"1 2"]),
        Engine(3, [b"2 1"]),
        Engine(4, [b"3 1", b"3 2", b"3 3"]),
        Engine(7, [b"4 1"]),
    ]
    found = list(predict.parts(engines, limit=12))
    assert [list(part.lines) for part in found] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [part.body for part in found] == [b"1 1\n1 2\n2 1\n", b"3 1\n3 2\n3 3\n", b"4 1\n"]
    assert next(part.body for part in predict.parts(engines, limit=1)) == b"1 1\n1 2\n", "an engine is never cut"


def test_the_engine_nearest_its_end_comes_first(file: Path) -> None:
    runtime = answering()
    context = context_with(sagemaker_runtime=runtime)
    assert predict_view.run(context, str(file), fleet=None, variant=None, top=None) is Exit.OK
    [sent] = runtime.called("invoke_endpoint")
    assert (sent["EndpointName"], sent["ContentType"], sent["Accept"]) == (
        "onwing-FD001",
        "text/csv",
        "application/json",
    )
    assert "TargetVariant" not in sent
    rows = [line.split() for line in text(context).splitlines() if line.strip()[:1].isdigit()]
    assert rows == [["3", "4", "97.0"], ["2", "4", "98.0"], ["1", "4", "99.0"]]


def test_a_variant_may_be_asked_and_json_has_all_engines(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runtime = answering("v8")
    context = context_with(as_json=True, sagemaker_runtime=runtime)
    assert predict_view.run(context, str(file), fleet="FD001", variant="v8", top=1) is Exit.OK
    assert runtime.called("invoke_endpoint")[0]["TargetVariant"] == "v8"
    document = json.loads(capsys.readouterr().out)
    assert document["variants"] == {"v8": 3}
    assert document["predictions"][0] == {"unit": 3, "cycle": 4, "rul": 97.0, "variant": "v8"}
    assert len(document["predictions"]) == 3


def test_top_shows_so_many_and_says_so(file: Path) -> None:
    context = context_with(sagemaker_runtime=answering())
    predict_view.run(context, str(file), fleet="FD001", variant=None, top=1)
    assert "the 1 nearest their end are shown" in text(context)


def test_what_the_server_refuses_is_said_in_its_words() -> None:
    message = json.dumps({"error": {"code": "columns", "message": "25 columns, not 26", "where": "line 3"}})
    target = target_with(sagemaker_runtime=refusing("ModelError", OriginalStatusCode=400, OriginalMessage=message))
    with pytest.raises(OnwingError, match="25 columns, not 26") as caught:
        predict.predict(target, STACK, "FD001", [Engine(1, [b"1 1", b"1 2", b"1 3"])])
    assert caught.value.where == "onwing-FD001, line 3"
    assert caught.value.exit_code is Exit.FAILED
    assert "Correct the rows" in caught.value.todo


def test_lines_are_those_of_the_file_whatever_part_they_went_in(monkeypatch: pytest.MonkeyPatch) -> None:
    part = predict.Part([101, 102, 107], b"x")
    monkeypatch.setattr(predict, "parts", lambda engines: iter([part]))
    message = json.dumps({"error": {"code": "number", "message": "no number", "where": "line 3, column s4"}})
    target = target_with(sagemaker_runtime=refusing("ModelError", OriginalStatusCode=400, OriginalMessage=message))
    with pytest.raises(OnwingError) as caught:
        predict.predict(target, STACK, "FD001", [])
    assert caught.value.where == "onwing-FD001, line 107, column s4"


def test_a_model_that_fails_is_told_from_rows_that_are_wrong() -> None:
    target = target_with(sagemaker_runtime=refusing("ModelError", OriginalStatusCode=500, OriginalMessage="boom"))
    with pytest.raises(OnwingError, match="failed with 500: boom") as caught:
        predict.predict(target, STACK, "FD001", [Engine(1, [b"1 1"])])
    assert "onwing rollback FD001" in caught.value.todo


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Endpoint onwing-FD001 of account 123456789012 not found.", "has no endpoint onwing-FD001"),
        ("Variant v9 not found for endpoint onwing-FD001 of account 123456789012.", "has no variant v9"),
    ],
)
def test_what_is_not_there_is_not_found(message: str, said: str) -> None:
    target = target_with(sagemaker_runtime=refusing("ValidationError", message))
    with pytest.raises(NotFound, match=said) as caught:
        predict.predict(target, STACK, "FD001", [Engine(1, [b"1 1"])], variant="v9")
    assert caught.value.todo


def test_other_errors_of_aws_stay_what_they_are() -> None:
    target = target_with(sagemaker_runtime=refusing("AccessDeniedException"))
    with pytest.raises(Exception, match="AccessDenied"):
        predict.predict(target, STACK, "FD001", [Engine(1, [b"1 1"])])


def test_an_answer_that_is_no_prediction_is_an_error() -> None:
    runtime = FakeClient(invoke_endpoint={"Body": io.BytesIO(b"[1, 2]"), "InvokedProductionVariant": "v7"})
    with pytest.raises(OnwingError, match="no prediction") as caught:
        predict.predict(target_with(sagemaker_runtime=runtime), STACK, "FD001", [Engine(1, [b"1 1"])])
    assert "v7" in caught.value.where


def test_the_fleet_is_that_of_the_name_or_the_only_one(file: Path) -> None:
    one = FakeClient(
        list_endpoints={"Endpoints": [{"EndpointName": "onwing-FD003"}]},
        describe_endpoint={"EndpointStatus": "InService"},
    )
    clients = {
        "sagemaker": one,
        "cloudwatch": FakeClient(describe_alarms={}),
        "cloudformation": FakeClient(list_stack_resources={"StackResourceSummaries": []}),
        "dynamodb": control_table(fleet="FD003"),
    }
    assert predict.fleet_of(str(file), target_with(), STACK) == "FD001"
    assert predict.fleet_of("hangar.txt", target_with(**clients), STACK) == "FD003"
    one.answers["list_endpoints"] = {"Endpoints": []}
    with pytest.raises(UsageError, match="Which fleet"):
        predict.fleet_of("-", target_with(**clients), STACK)
