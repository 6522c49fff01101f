"""Starting training by hand and by schedule."""

from __future__ import annotations

import pytest
from control_plane.errors import DatasetNotFoundError, TrainingRequestError
from control_plane.training import StartResult, TrainingRequest, start_requested, start_scheduled
from pydantic import ValidationError

from tests.conftest import make_trio
from tests.unit.conftest import Stack
from tests.unit.test_ingestion import put_trio


def request(stack: Stack, **fields: object) -> StartResult:
    return start_requested(stack.settings, TrainingRequest.model_validate(fields))


def stop_all(stack: Stack) -> None:
    for execution in stack.executions():
        stack.stepfunctions.stop_execution(executionArn=execution["executionArn"])


def test_again_makes_a_new_attempt_with_a_name_of_its_own(stack: Stack) -> None:
    version = put_trio(stack, make_trio())[-1].dataset_version
    stop_all(stack)

    result = request(stack, dataset_version=version[:12], again=True, overrides={"max_jobs": 2})

    assert (result.status, result.attempt) == ("started", 2)
    assert {e["name"] for e in stack.executions()} == {f"FD001-{version[:12]}-{n}" for n in (1, 2)}


def test_without_again_a_version_that_was_run_is_not_run(stack: Stack) -> None:
    version = put_trio(stack, make_trio())[-1].dataset_version
    stop_all(stack)

    result = request(stack, dataset_version=version)

    assert result.status == "already"
    assert f"onwing train {version[:12]} --again" in result.message
    assert len(stack.executions()) == 1


def test_again_while_it_runs_starts_nothing(stack: Stack) -> None:
    version = put_trio(stack, make_trio())[-1].dataset_version

    assert request(stack, dataset_version=version, again=True).status == "running"
    assert len(stack.executions()) == 1


def test_fleet_alone_means_its_newest_version(stack: Stack) -> None:
    put_trio(stack, make_trio())
    newest = put_trio(stack, make_trio(altitude="0.0003"))[-1].dataset_version
    stop_all(stack)

    assert request(stack, fleet="FD001", again=True).dataset_version == newest


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({}, TrainingRequestError, "name a fleet or a data set version"),
        ({"fleet": "FD007"}, DatasetNotFoundError, "FD007"),
        ({"dataset_version": "abc"}, TrainingRequestError, "at least 4"),
        ({"dataset_version": "ffffffff"}, DatasetNotFoundError, "no data set version begins with"),
    ],
)
def test_request_that_cannot_be_met_says_why(
    stack: Stack, fields: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        request(stack, **fields)


@pytest.mark.parametrize("overrides", [{"epochs": 0}, {"lstm_units_1": 10_000}, {"colour": "red"}])
def test_override_out_of_range_or_unknown_is_refused(overrides: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(overrides))):
        TrainingRequest.model_validate({"fleet": "FD001", "overrides": overrides})


def test_schedule_starts_the_newest_version_of_every_fleet(stack: Stack) -> None:
    put_trio(stack, make_trio("FD001"))
    put_trio(stack, make_trio("FD002"))
    name, body = next(iter(make_trio("FD003").files.items()))
    stack.upload(name, body)  # an incomplete trio
    stop_all(stack)

    results = start_scheduled(stack.settings)

    assert {(r.fleet, r.status, r.attempt) for r in results} == {("FD001", "started", 2), ("FD002", "started", 2)}


def test_schedule_leaves_a_running_execution_alone(stack: Stack) -> None:
    put_trio(stack, make_trio())

    assert [r.status for r in start_scheduled(stack.settings)] == ["running"]


def test_one_fleets_failure_does_not_keep_the_others_from_starting(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_trio(stack, make_trio("FD001"))
    put_trio(stack, make_trio("FD002"))
    stop_all(stack)
    from control_plane import training

    original = training.start

    def fail_for_first(settings: object, fleet: str, version: str, **rest: object) -> StartResult:
        if fleet == "FD001":
            raise ConnectionError("no route")
        return original(settings, fleet, version, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "start", fail_for_first)
    with pytest.raises(ExceptionGroup, match="1 of 2 fleets did not start"):
        start_scheduled(stack.settings)
    assert len(stack.executions()) == 3
