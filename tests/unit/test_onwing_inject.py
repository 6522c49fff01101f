"""Injecting a change into traffic, and uploading ground truth: what is sent, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onwing import data, endpoints, inject, scenarios, truth
from onwing.data import DataSet
from onwing.endpoints import Endpoint
from onwing.errors import Exit, NotFound, UsageError
from onwing.traffic import Replay, Traffic
from tests.conftest import table

from .onwing_fakes import (
    GROUP,
    STACK,
    FakeClient,
    at,
    client_error,
    context_with,
    control_table,
    served,
    target_with,
    text,
)
from .test_onwing_traffic import ENGINES, Model


@pytest.fixture
def files(tmp_path: Path) -> DataSet:
    """A fleet of six engines."""
    for role in ("train", "test"):
        (tmp_path / f"{role}_FD001.txt").write_bytes(table(6, 4))
    (tmp_path / "RUL_FD001.txt").write_bytes(b"1\n" * 6)
    return data.resolve("FD001", tmp_path, url=None)


def test_each_engine_reports_its_last_flights_in_turn_and_then_no_more() -> None:
    model = Model()
    report = Replay(target_with(), "e", ENGINES, reports=2, rate=1000.0, threads=1, client=model).run()
    assert model.sent == [b"7,1,0.5\n7,2,0.5\n", b"7,1,0.5\n7,2,0.5\n7,3,0.5\n", b"8,1,0.5\n"]
    assert (report.requests, report.failed) == (3, 0)


def test_sent_are_distinct_engines_the_same_for_the_same_seed(files: DataSet) -> None:
    change = scenarios.change("gain")
    first, again, other = (inject.load(change, files, files, engines=4, seed=seed) for seed in (1, 1, 5))
    assert first == again
    assert len(set(first.units)) == 4
    assert first.units != other.units
    assert all(
        engine.rows[0].startswith(b"%d " % unit) for engine, unit in zip(first.engines, first.units, strict=True)
    )
    assert b" 1414.61 " in first.engines[0].rows[0], "1400.60 and 1 per cent"


def test_engines_of_another_fleet_are_not_taken_for_the_fleets_own(files: DataSet) -> None:
    change = scenarios.change("regime")
    prepared = inject.load(change, files, replace(files, fleet="FD002"), engines=2, seed=1)
    assert all(unit > inject.FOREIGN_UNITS for unit in prepared.units)


def test_more_engines_than_there_are_is_refused(files: DataSet) -> None:
    with pytest.raises(UsageError, match="6 engines for scenario clean, not 7"):
        inject.load(scenarios.change("clean"), files, files, engines=7, seed=1)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, files: DataSet) -> Model:
    model = Model()
    monkeypatch.setattr(data, "resolve", lambda *_, **__: files)
    monkeypatch.setattr(endpoints, "get", lambda *_: Endpoint("onwing-FD001", "FD001", "InService"))
    monkeypatch.setattr(inject, "other_world", lambda *_: "")
    monkeypatch.setattr("onwing.captured.wait", lambda *arguments: model.awaited.append(arguments[2:]))
    real = Traffic.__init__
    monkeypatch.setattr(Traffic, "__init__", lambda self, *a, **k: real(self, *a, **{**k, "client": model}))
    return model


def run(context: Any, **more: Any) -> Exit:
    wish = {"scenario": "gain", "sensors": [], "size": None, "engines": 3, "reports": 2, "rate": 500.0, "seed": 1}
    return inject.run(context, "FD001", data_dir=None, **{**wish, **more})


def test_the_command_says_what_it_sent(model: Model) -> None:
    context = context_with()
    assert run(context) is Exit.OK
    said = text(context)
    assert "Scenario gain: s4: reads 1 % higher" in said
    assert "6 requests" in said
    assert "onwing drift run FD001" in said
    assert len(model.sent) == 6
    [(endpoint, report, timeout)] = model.awaited
    assert (endpoint, report.answered, timeout) == ("onwing-FD001", 6, inject.CAPTURE_TIMEOUT)
    ids = [more["InferenceId"] for more in model.with_them]
    assert sorted(ids) == sorted(f"{report.inference_ids}{number}" for number in range(6))


def test_nobody_waits_who_does_not_want_to_or_has_nothing_to_wait_for(model: Model) -> None:
    assert run(context_with(), wait=False) is Exit.OK
    model.fails = lambda _: client_error("ModelError", "boom")
    assert run(context_with()) is Exit.FAILED
    assert model.awaited == []


def test_with_json_the_engines_and_the_change_are_told(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(context_with(as_json=True)) is Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["scenario"], found["sensors"], found["size"]) == ("gain", ["s4"], 1.0)
    assert len(found["units"]) == 3
    assert found["traffic"]["requests"] == 6


def test_a_request_that_fails_is_exit_code_1(model: Model) -> None:
    model.fails = lambda n: client_error("ModelError", "boom") if n == 1 else None
    assert run(context_with()) is Exit.FAILED


@pytest.mark.parametrize(
    ("trained", "sent", "said"),
    [
        ("false", False, ""),
        ("true", True, ""),
        ("false", True, "FD001/7 was trained on real engines, and these are simulated"),
        ("true", False, "FD001/7 was trained on simulated engines, and these are real"),
    ],
)
def test_simulated_engines_at_a_model_of_real_ones_are_a_change_in_themselves(
    files: DataSet, trained: str, sent: bool, said: str
) -> None:
    described = {
        "ModelPackageArn": f"{GROUP}/7",
        "ModelPackageVersion": 7,
        "CreationTime": at(0),
        "CustomerMetadataProperties": {"fleet": "FD001", "simulated": trained},
    }
    target = target_with(
        dynamodb=control_table(("DEPLOYMENT", {"champion": served(7)})),
        sagemaker=FakeClient(describe_model_package=described),
    )
    assert inject.other_world(target, STACK, "FD001", replace(files, simulated=sent)).startswith(said or "")
    assert bool(inject.other_world(target, STACK, "FD001", replace(files, simulated=sent))) == bool(said)
    nobody = target_with(dynamodb=control_table())
    assert inject.other_world(nobody, STACK, "FD001", files) == ""


def test_unit_numbers_are_told_in_ranges() -> None:
    assert inject._ranges([3, 1, 2, 9, 11, 12]) == "1-3, 9, 11-12"


# --- ground truth ----------------------------------------------------------------------------------------------------


def test_truth_that_is_well_formed_is_uploaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(endpoints, "get", lambda *_: Endpoint("onwing-FD001", "FD001", "InService"))
    path = tmp_path / "removals.csv"
    path.write_bytes(b"\xef\xbb\xbfunit,cycle,rul\r\n17,200,0\r\n2147483647, 90, 100000\r\n")
    s3 = FakeClient(put_object={})
    assert truth.run(context_with(as_json=True, s3=s3), "FD001", path) is Exit.OK
    put = s3.called("put_object")[0]
    assert put["Key"].startswith("monitoring/ground-truth/FD001/")
    assert put["Key"].endswith(".csv")
    assert put["Body"].startswith(b"unit,cycle,rul\r\n"), "what reads it knows no byte order mark"
    assert json.loads(capsys.readouterr().out)["engines"] == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "first line is not unit,cycle,rul"),
        (b"1,2,3\n", "first line is not unit,cycle,rul"),
        (b"unit,cycle,rul\n", "has no rows"),
        (b"unit,cycle,rul\n1,2\n", "line 2: 2 fields"),
        (b"unit,cycle,rul\n1,2,x\n", "line 2: a field is no whole number"),
        (b"unit,cycle,rul\n0,2,3\n", "count from 1, to 2147483647"),
        (b"unit,cycle,rul\n2147483648,2,3\n", "count from 1, to 2147483647"),
        (b"unit,cycle,rul\n1,2147483648,3\n", "count from 1, to 2147483647"),
        (b"unit,cycle,rul\n1,2,100001\n", "a RUL is from 0 to 100000"),
        (b"unit,cycle,rul\n1,2,-3\n", "a RUL is from 0"),
        (b"unit,cycle,rul\n1,2,3\n2,2,3\n1,3,2\n", "line 4: engine 1 stands in line 2 already"),
        (b"unit,cycle,rul\n" + b"1,x,3\n" * 8, "and 3 more"),
        (b"\xff\xfe\x00", "no CSV"),
    ],
)
def test_truth_that_is_broken_is_refused_by_line(content: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        truth.check(content, "removals.csv")


def test_truth_of_a_fleet_that_nothing_serves_is_not_uploaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "removals.csv"
    path.write_bytes(b"unit,cycle,rul\n17,200,0\n")
    s3 = FakeClient(put_object={})
    sagemaker = FakeClient(list_endpoints={"Endpoints": []})
    with pytest.raises(NotFound, match="no endpoint"):
        truth.run(context_with(s3=s3, sagemaker=sagemaker), "FD009", path)
    with pytest.raises(UsageError, match="cannot be read"):
        truth.run(context_with(), "FD001", tmp_path / "none.csv")
    assert s3.calls == []
