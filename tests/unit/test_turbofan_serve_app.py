"""The server's application: answers, media types, limits, and that nothing a client sends is answered with 500."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turbofan.artifact import Artifact
from turbofan.features import Floats, Floats32, Ints
from turbofan.serving import app as serving
from turbofan.serving.app import App

from .turbofan_serving import Answer, as_csv, as_json, ask, engines, model_folder, request

MIB = 1 << 20


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return Artifact.open(model_folder(tmp_path_factory.mktemp("serving") / "model"))


@pytest.fixture(scope="module")
def app(artifact: Artifact) -> App:
    return App(artifact, MIB, threads=2)


ENGINES = engines(12, 30, 57)
BODY = as_csv(np.vstack(ENGINES))


def expected(artifact: Artifact, histories: list[Floats]) -> list[float]:
    """Each engine on its own, offline."""
    return [float(artifact.predict(raw, np.array([0, len(raw)]))[0][0]) for raw in histories]


# --- answers ---


@pytest.mark.parametrize(("body", "kind"), [(BODY, "text/csv"), (as_json(ENGINES), "application/json")])
def test_every_engine_is_answered_as_the_artifact_answers_offline(
    app: App, artifact: Artifact, body: bytes, kind: str
) -> None:
    answer = request(app, body, kind)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["content-length"] == str(len(answer.body))
    assert [(p["unit"], p["cycle"]) for p in answer.json()["predictions"]] == [(1, 12), (2, 30), (3, 57)]
    assert answer.rul == pytest.approx(expected(artifact, ENGINES), abs=1e-3)
    assert len(set(answer.rul)) == 3


def test_csv_is_answered_a_line_an_engine(app: App) -> None:
    answer = request(app, BODY, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv"
    lines = [line.split(",") for line in answer.body.decode().splitlines()]
    predictions = request(app, BODY).json()["predictions"]
    assert lines == [[str(p["unit"]), str(p["cycle"]), str(p["rul"])] for p in predictions]
    assert answer.body.endswith(b"\n")


def test_an_instance_is_answered_by_its_own_rows_alone(app: App, artifact: Artifact) -> None:
    histories = [ENGINES[1][:20], ENGINES[1], ENGINES[1][:25]]  # of one engine, side by side
    answer = request(app, as_json(histories), "application/json")
    assert answer.rul == pytest.approx(expected(artifact, histories), abs=1e-3)


def test_large_requests_are_answered_like_small_ones(app: App, artifact: Artifact) -> None:
    many = engines(*range(20, 60))
    body = as_csv(np.vstack(many))
    assert len(body) > serving.BYTES_IN_PLACE
    assert len(many) > serving.ENGINES_IN_PLACE
    assert request(app, body).rul == pytest.approx(expected(artifact, many), abs=1e-3)


def test_rows_in_an_unseen_regime_are_told_by_engine(app: App) -> None:
    known, flying = engines(12, 12)
    flying[3:5, 2:5] = (35.0, 0.84, 100.0)
    answer = request(app, as_csv(np.vstack((known, flying))))
    assert [p.get("unseen_regime_rows") for p in answer.json()["predictions"]] == [None, 2]
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "unseen_regime_rows=2"
    assert "x-amzn-sagemaker-custom-attributes" not in request(app, BODY).headers


@pytest.mark.parametrize("value", [1e308, -1e308, 0.0])
def test_measurements_however_odd_are_answered_within_0_and_the_ceiling(app: App, value: float) -> None:
    raw = ENGINES[0].copy()
    raw[:, 2:] = value
    answer = request(app, as_csv(raw))
    assert answer.status == 200
    assert 0 <= answer.rul[0] <= 125


def test_ping_is_answered_and_only_to_those_who_get_it(app: App) -> None:
    assert request(app, method="GET", path="/ping").status == 200
    head = request(app, method="HEAD", path="/ping")
    assert (head.status, head.body) == (200, b"")
    assert request(app, method="POST", path="/ping").status == 405
    assert request(app, method="GET", path="/invocations").status == 405
    assert request(app, path="/models").error[0] == "not_found"


# --- media types ---


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/*", "text/csv"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("text/csv;q=0.5, */*;q=0.1", "text/csv"),
        ("*/*, application/json;q=0", "text/csv"),
        ("image/png, text/csv;q=0.2", "text/csv"),
        ("text/csv;q=abc, application/json;q=0.1", "application/json"),
    ],
)
def test_accept_decides_the_answers_kind(app: App, accept: str | None, kind: str) -> None:
    answer = request(app, BODY, headers={} if accept is None else {"Accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize("accept", ["image/png", "application/jsonlines", "text/csv;q=0", "nonsense", "*/*;q=0"])
def test_what_cannot_be_answered_acceptably_is_refused_before_it_is_read(app: App, accept: str) -> None:
    answer = request(app, b"not even rows", headers={"Accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (406, "application/json")
    assert answer.error[0] == "not_acceptable"
    assert answer.error[2] == "header Accept"


@pytest.mark.parametrize("kind", ["text/csv; charset=UTF-8", "TEXT/CSV", "text/csv;header=absent"])
def test_parameters_of_the_content_type_do_not_matter(app: App, kind: str) -> None:
    assert request(app, BODY, kind).status == 200


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (None, "there is no content type: send application/json or text/csv"),
        ("", "there is no content type"),
        ("application/x-npy", "'application/x-npy' is not known"),
        ("text/csv; charset=utf-16", "charset 'utf-16' is not known"),
    ],
)
def test_unknown_content_types_are_refused(app: App, kind: str | None, message: str) -> None:
    answer = request(app, BODY, kind)
    assert (answer.status, answer.error[0], answer.error[2]) == (
        415,
        "unsupported_media_type",
        "header Content-Type",
    )
    assert message in answer.error[1]


def test_compressed_bodies_are_refused(app: App) -> None:
    answer = request(app, BODY, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.error[2]) == (415, "header Content-Encoding")


# --- limits and faults ---


@pytest.mark.parametrize("promised", [True, False])
def test_a_body_over_the_limit_is_refused_without_reading_it_all(app: App, promised: bool) -> None:
    body = b"1" * (3 * MIB)
    headers = {"Content-Length": str(len(body))} if promised else {}
    answer = request(app, body, headers=headers)
    assert (answer.status, answer.error[0]) == (413, "too_large")
    assert "larger than 1 MiB" in answer.error[1]


def test_a_body_at_the_limit_is_read(artifact: Artifact) -> None:
    app = App(artifact, len(BODY), threads=1)
    assert request(app, BODY, headers={"Content-Length": str(len(BODY))}).status == 200
    assert request(app, BODY + b" ").status == 413


def test_each_failed_request_is_one_line_of_the_log_without_its_body(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    request(app, BODY)
    assert capsys.readouterr() == ("", "")
    secret = BODY.replace(b"518.67", b"x", 1)
    request(app, secret, headers={"X-Amzn-SageMaker-Inference-Id": "probe\n500 forged"})
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("400 number: 'x' is not a number [line 1, column s1] (content-type 'text/csv', ")
    assert "518.67" not in said
    assert "probe\\n500 forged" in said


def test_a_client_that_leaves_is_no_error(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    async def leave() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError(message)

        headers = [(b"content-type", b"text/csv")]
        await app({"type": "http", "method": "POST", "path": "/invocations", "headers": headers}, receive, send)

    asyncio.run(leave())
    assert capsys.readouterr() == ("", "")


class Broken:
    """A model that answers `rul`, or raises it."""

    def __init__(self, rul: float | Exception) -> None:
        self.rul = rul

    def prepare(self, raw: Floats, offsets: Ints) -> tuple[Floats32, Ints]:
        return raw.astype(np.float32), np.zeros(len(offsets) - 1, np.int64)

    def infer(self, inputs: Floats32, offsets: Ints) -> Floats:
        if isinstance(self.rul, Exception):
            raise self.rul
        return np.array([50.0] * (len(offsets) - 2) + [self.rul])


def test_a_model_that_gives_no_number_is_a_fault_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    answer = request(App(Broken(float("nan")), MIB, 1), BODY)
    assert (answer.status, answer.error) == (
        500,
        ("model", "the model gave no finite RUL: deploy another version", "engine 3"),
    )
    assert "no finite RUL" in capsys.readouterr().err


def test_an_exception_is_told_to_the_log_and_not_to_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    answer = request(App(Broken(ZeroDivisionError("secret")), MIB, 1), BODY)
    assert (answer.status, answer.error[0]) == (500, "internal")
    assert b"secret" not in answer.body
    assert "ZeroDivisionError: secret" in capsys.readouterr().err


# --- nothing that is sent gives 500 ---

media_types = st.sampled_from(["text/csv", "application/json", "text/csv; charset=\xff", "application/json;=;"])
accepts = st.one_of(st.sampled_from(["*/*", "text/csv", "", "text/csv;q=nan", ";;,", "*/*;q=1e5"]), st.text("*/;,q=."))
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["instances", "rows", "unit", "x"]), inner),
    max_leaves=40,
)
numbers = st.one_of(st.floats(), st.integers(), st.sampled_from([1, 2, 3]))
row = st.lists(numbers, min_size=25, max_size=27)


def only_4xx(answer: Answer) -> None:
    assert answer.status == 200 or 400 <= answer.status < 500, answer
    if answer.status != 200:
        code, message, where = answer.error
        assert code
        assert message
        assert where
    elif answer.headers["content-type"] == "application/json":
        assert all(0 <= rul <= 125 for rul in answer.rul)


@settings(max_examples=150)
@given(body=st.binary(max_size=300), kind=media_types, accept=accepts)
def test_any_bytes(app: App, body: bytes, kind: str, accept: str) -> None:
    only_4xx(request(app, body, kind, {"Accept": accept}))


@settings(max_examples=150)
@given(content=json_values)
def test_any_json(app: App, content: Any) -> None:
    only_4xx(request(app, json.dumps(content).encode(), "application/json"))
    only_4xx(request(app, json.dumps({"instances": content}).encode(), "application/json"))


@settings(max_examples=150)
@given(table=st.lists(row, min_size=1, max_size=4), separator=st.sampled_from([",", " ", ", "]))
def test_any_numbers(app: App, table: list[list[float]], separator: str) -> None:
    only_4xx(request(app, "\n".join(separator.join(map(repr, values)) for values in table).encode()))
    only_4xx(request(app, json.dumps({"instances": [table]}).encode(), "application/json"))


@settings(max_examples=100)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(BODY) - 1), st.binary(min_size=1, max_size=3)), max_size=4),
)
def test_a_good_body_with_a_few_bytes_changed(app: App, changes: list[tuple[int, bytes]]) -> None:
    body = bytearray(BODY)
    for position, piece in changes:
        body[position : position + len(piece)] = piece
    only_4xx(request(app, bytes(body)))


# --- at the same time ---


def test_requests_at_the_same_time_get_their_own_answers(app: App, artifact: Artifact) -> None:
    fleets = [engines(*lives, seed=seed) for seed, lives in enumerate([(12,), (30, 50), tuple(range(20, 60))] * 8)]

    async def all_at_once() -> list[Answer]:
        return list(await asyncio.gather(*(ask(app, as_csv(np.vstack(fleet))) for fleet in fleets)))

    for fleet, answer in zip(fleets, asyncio.run(all_at_once()), strict=True):
        assert answer.rul == pytest.approx(expected(artifact, fleet), abs=1e-3)


def test_a_large_request_does_not_hold_up_ping_and_small_ones(artifact: Artifact) -> None:
    go = threading.Event()

    class Slow(Broken):
        def infer(self, inputs: Floats32, offsets: Ints) -> Floats:
            if len(offsets) - 1 > serving.ENGINES_IN_PLACE:
                assert go.wait(60)
            return np.full(len(offsets) - 1, 50.0)

    app = App(Slow(0.0), MIB, threads=1)

    async def run() -> Answer:
        large = asyncio.create_task(ask(app, as_csv(np.vstack(engines(*[12] * 20)))))
        await asyncio.sleep(0)
        assert (await ask(app, method="GET", path="/ping")).status == 200
        assert (await ask(app, BODY)).status == 200
        assert not large.done()
        go.set()
        return await large

    assert asyncio.run(run()).rul == [50.0] * 20
