"""Traffic: at which rate it is sent, what of whom, and how it is reported."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from onwing import data, endpoints, traffic_view
from onwing.endpoints import Endpoint
from onwing.errors import Exit, UsageError
from onwing.predict import Engine
from onwing.traffic import Latency, Traffic, latency
from tests.conftest import table

from .onwing_fakes import client_error, context_with, target_with, text

ENGINES = [Engine(1, [b"7 1 0.5", b"7 2 0.5", b"7 3 0.5"]), Engine(4, [b"8 1 0.5"])]


def until(probe: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not probe():
        assert time.monotonic() < end, "not within 60 s"
        time.sleep(0.01)


class Model:
    """A runtime client: answers, takes its time or refuses as it is told; remembers what it was sent."""

    def __init__(self, *, seconds: float = 0.0, fails: Callable[[int], Exception | None] = lambda _: None) -> None:
        self.seconds, self.fails = seconds, fails
        self.sent: list[bytes] = []
        self.with_them: list[dict[str, Any]] = []
        self.awaited: list[Any] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._lock = threading.Lock()

    def invoke_endpoint(self, Body: bytes, **more: Any) -> dict[str, Any]:
        with self._lock:
            self.sent.append(Body)
            self.with_them.append(more)
            number = len(self.sent) - 1
        assert self.may_answer.wait(60)
        time.sleep(self.seconds)
        if error := self.fails(number):
            raise error
        variant = "v8" if number % 4 == 3 else "v7"
        return {"Body": io.BytesIO(b'{"predictions": []}'), "InvokedProductionVariant": variant}


def traffic(model: Model, **more: Any) -> Traffic:
    return Traffic(target_with(), "onwing-FD001", ENGINES, client=model, **{"rate": 100.0, "threads": 4, **more})


def test_engines_report_in_turn_and_each_grows_older_until_a_new_one_takes_its_place() -> None:
    model = Model()
    with traffic(model, threads=1):
        until(lambda: len(model.sent) >= 8)
    assert model.sent[:8:2] == [b"7,1,0.5\n", b"7,1,0.5\n7,2,0.5\n", b"7,1,0.5\n7,2,0.5\n7,3,0.5\n", b"7,1,0.5\n"]
    assert set(model.sent[1:8:2]) == {b"8,1,0.5\n"}


def test_the_rate_does_not_depend_on_how_slow_the_model_is() -> None:
    model = Model(seconds=0.2)
    model.may_answer.clear()
    running = traffic(model, rate=50.0, threads=32).start()
    until(lambda: len(model.sent) == 32)  # though none of them has been answered
    model.may_answer.set()
    until(lambda: len(model.sent) >= 50)
    took = running.so_far().seconds
    report = running.stop()
    assert took >= 49 / 50
    assert report.latency is not None
    assert report.latency.p50_ms >= 200


def test_for_want_of_threads_requests_come_late_and_that_is_told() -> None:
    model = Model(seconds=0.2)
    with traffic(model, rate=50.0, threads=1) as running:
        until(lambda: len(model.sent) >= 5)
    assert running.report is not None
    assert running.report.behind_seconds >= 4 * (0.2 - 1 / 50) - 0.001


def test_answers_are_counted_by_variant_and_second() -> None:
    model = Model()
    with traffic(model) as running:
        until(lambda: len(model.sent) >= 40)
    report = running.report
    assert report is not None
    assert (report.failed, report.requests) == (0, report.answered)
    assert sum(report.variants.values()) == report.answered
    assert report.variants["v8"] / report.answered == pytest.approx(0.25, abs=0.05)
    assert sum(second.variants.get("v8", 0) for second in report.timeline) == report.variants["v8"]
    assert report.shares() == pytest.approx({name: n / report.answered for name, n in report.variants.items()})
    assert report.shares(until=report.started.replace(year=2000)) == {}
    assert set(report.latency_by_variant) == {"v7", "v8"}


def test_failures_are_told_by_status_with_the_first_message_and_where() -> None:
    refused = client_error("ModelError", "Received server error")
    refused.response.update({"OriginalStatusCode": 500, "OriginalMessage": "boom"})  # type: ignore[typeddict-item]
    unavailable = client_error("ServiceUnavailable", "no instance")
    unavailable.response["ResponseMetadata"] = {"HTTPStatusCode": 503}  # type: ignore[typeddict-item]
    silent = ReadTimeoutError(endpoint_url="http://x")
    model = Model(fails=lambda n: {0: refused, 1: unavailable, 2: silent, 3: refused}.get(n))
    with traffic(model, threads=1) as running:
        until(lambda: len(model.sent) >= 8)
    report = running.report
    assert report is not None
    assert report.failed == 4
    found = {error["status"]: (error["code"], error["count"], error["message"]) for error in report.errors}
    assert found[500] == ("ModelError", 2, "boom")
    assert found[503] == ("ServiceUnavailable", 1, "no instance")
    assert found[0][:2] == ("ReadTimeoutError", 1)
    assert [(failure.status, failure.engine, failure.cycle) for failure in report.failures][:2] == [
        (500, "7", 1),
        (503, "8", 1),
    ]
    assert sum(second.failed for second in report.timeline) == 4


def test_only_the_first_failures_are_kept() -> None:
    model = Model(fails=lambda _: client_error("ModelError"))
    with traffic(model, rate=1000.0) as running:
        until(lambda: len(model.sent) >= 60)
    assert running.report is not None
    assert len(running.report.failures) == 20
    assert running.report.failed >= 60
    assert running.report.latency is None


def test_nothing_is_tried_twice() -> None:
    made = Traffic(target_with(), "onwing-FD001", ENGINES, threads=7)
    config = made._client.meta.config
    assert config.retries["total_max_attempts"] == 1
    assert config.max_pool_connections == 7


def test_percentiles_are_of_what_was_measured() -> None:
    assert latency([]) is None
    assert latency([0.001 * n for n in range(1, 101)]) == Latency(50.0, 95.0, 99.0, 100.0)
    assert latency([0.002]) == Latency(2.0, 2.0, 2.0, 2.0)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Model:
    """A served fleet FD001 with test data, and its model."""
    for role in ("train", "test"):
        (tmp_path / f"{role}_FD001.txt").write_bytes(table())
    (tmp_path / "RUL_FD001.txt").write_bytes(b"1\n2\n")
    found = data.resolve("FD001", tmp_path, url=None)
    model = Model()
    monkeypatch.setattr(data, "resolve", lambda *_, **__: found)
    monkeypatch.setattr(endpoints, "get", lambda *_: Endpoint("onwing-FD001", "FD001", "InService"))
    real = Traffic.__init__
    monkeypatch.setattr(Traffic, "__init__", lambda self, *a, **k: real(self, *a, **{**k, "client": model}))
    return model


@pytest.fixture
def until_some_are_sent(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as that takes, not the time that was asked for."""
    monkeypatch.setattr(traffic_view, "_watch", lambda *_: until(lambda: len(model.sent) > 8))


def run(context: Any, **more: Any) -> Exit:
    wish = {"fleet": "FD001", "rate": 50.0, "seconds": 0.5, "data_dir": None, "threads": 4, **more}
    return traffic_view.run(context, **wish)


@pytest.mark.usefixtures("until_some_are_sent")
def test_the_command_reports_who_answered(model: Model) -> None:
    context = context_with()
    assert run(context) is Exit.OK
    said = text(context)
    assert "50 requests a second to onwing-FD001 for 0.5 s: 2 engines" in said
    assert "none failed" in said
    assert any(line.startswith("v7") and "%" in line for line in said.splitlines())


@pytest.mark.usefixtures("until_some_are_sent")
def test_a_failed_request_is_exit_code_1_and_said(model: Model) -> None:
    model.fails = lambda n: client_error("ModelError", "boom") if n == 3 else None
    context = context_with()
    assert run(context) is Exit.FAILED
    said = text(context)
    assert "1 failed" in said
    assert "ModelError: boom" in said


@pytest.mark.usefixtures("until_some_are_sent")
def test_json_has_the_timeline(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    run(context_with(as_json=True))
    document = json.loads(capsys.readouterr().out)
    assert document["failed"] == 0
    assert document["timeline"][0]["variants"]["v7"] > 0


def test_ctrl_c_ends_it_with_the_report(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        until(lambda: len(model.sent) > 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(traffic_view, "_watch", interrupted)
    context = context_with()
    assert run(context, seconds=0.0) is Exit.OK
    assert "until Ctrl-C" in text(context)


def test_a_fleet_has_to_be_named_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Endpoint("onwing-FD001", "FD001", "InService"), Endpoint("onwing-FD002", "FD002", "InService")]
    monkeypatch.setattr(endpoints, "all_of", lambda *_, **__: found)
    with pytest.raises(UsageError, match="FD001, FD002"):
        run(context_with(), fleet=None)
