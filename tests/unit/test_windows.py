"""Windows of captured traffic: every delivered file in exactly one that closes, whatever becomes of executions."""

from __future__ import annotations

import importlib.util
import json
import random
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from control_plane import captures, clients
from control_plane.settings import WindowSettings, load_window_settings
from control_plane.windows import QUALITY_AT_MOST, Window, WindowsRequest, WindowsResult, open_windows
from moto.s3.models import s3_backends

from tests.unit.conftest import ACCOUNT, Stack

ROOT = Path(__file__).parents[2]
START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
GROUP = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package/onwing-fd001"
BUCKET, TABLE, ENDPOINT = "onwing-bucket", "onwing-table", "onwing-FD001"
DELAY = 300
HOUR = timedelta(hours=1)
TRUTH = "monitoring/ground-truth/FD001/june.csv"
PREDICTIONS = f"monitoring/predictions/{ENDPOINT}/v7/20261120T100000Z.csv"


class World:
    """One endpoint: what is delivered, and what executions of the monitoring machine do."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
        self.stack = stack
        self.limits = WindowSettings(**({"delivery_delay_seconds": DELAY} | limits))
        self.now = START
        self.delivered: list[str] = []
        self.counted: Counter[str] = Counter()
        self.closed: list[Window] = []
        self.machine = stack.stepfunctions.create_state_machine(
            name="onwing-monitoring",
            definition=json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 1, "End": True}}}),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/onwing",
        )["stateMachineArn"]
        self.gone: set[str] = set()
        clients.sagemaker.cache_clear()
        monkeypatch.setattr(clients.sagemaker(), "describe_model_package", self._describe)
        self.deployment(champion=7)

    def _describe(self, ModelPackageName: str) -> dict[str, Any]:
        version = ModelPackageName.rsplit("/", 1)[1]
        if ModelPackageName in self.gone:
            raise ClientError({"Error": {"Code": "ValidationException", "Message": "gone"}}, "DescribeModelPackage")
        uri = f"s3://{BUCKET}/models/evaluation/FD001/run-{version}/report.json"
        return {
            "CustomerMetadataProperties": {"dataset_version": version * 64},
            "ModelMetrics": {"ModelQuality": {"Statistics": {"S3Uri": uri}}},
        }

    def deployment(self, champion: int, since: datetime | None = None, **others: int) -> None:
        """Write DEPLOYMENT: who is the champion, and predecessor or challenger."""

        def document(version: int) -> dict[str, Any]:
            variant = f"v{version}"
            return {"version": version, "variant": variant, "package_arn": f"{GROUP}/{version}", "since": ""}

        item = {"champion": document(champion) | {"since": since.isoformat() if since else ""}}
        if "predecessor" in others:
            item["predecessor"] = document(others["predecessor"])
        if "challenger" in others:
            item["under_way"] = {"challenger": document(others["challenger"])}
        self.stack.dynamodb.put_item(
            TableName=TABLE,
            Item={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "DEPLOYMENT"}}
            | {name: {"S": json.dumps(value)} for name, value in item.items()},
        )

    def put(self, key: str, at: datetime | None = None) -> None:
        """An object that came into S3 at a moment, now if none is given."""
        self.stack.s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}\n")
        s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys[key].last_modified = (at or self.now).replace(tzinfo=None)

    def deliver(self, variant: str = "v7", *, late: timedelta = timedelta(0), at: datetime | None = None) -> str:
        """A capture file, `late` after its inferences."""
        hour = (at or self.now) - late
        key = f"monitoring/capture/{ENDPOINT}/{variant}/{hour:%Y/%m/%d/%H}/{hour:%M-%S}-000-{uuid.uuid4()}.jsonl"
        self.put(key, at)
        self.delivered.append(key)
        return key

    def execution(self) -> str:
        """A running execution."""
        return str(self.stack.stepfunctions.start_execution(stateMachineArn=self.machine)["executionArn"])

    def kill(self, execution: str) -> None:
        """It runs no more, and has tidied nothing up."""
        self.stack.stepfunctions.stop_execution(executionArn=execution)

    def open(self, execution: str) -> WindowsResult:
        """What the function answers."""
        request = WindowsRequest(fleet="FD001", execution=execution)
        return open_windows(self.stack.settings, self.limits, request, self.now)

    def run(self, *, few: bool = False) -> list[Window]:
        """An execution that ends well; `few`: in what was captured there are too few engines. The windows."""
        execution = self.execution()
        windows = self.open(execution).windows
        for window in windows:
            if window.kind == "data" and not window.final and (few or not window.files):
                self.leave_open(window)
            else:
                self.close(window)
        self.kill(execution)
        return windows

    def files(self, window: Window) -> list[str]:
        """What a window's job is given."""
        if not window.manifest:
            return []
        first, *keys = json.loads(self.stack.read(window.manifest.removeprefix(f"s3://{BUCKET}/")))
        prefix = first["prefix"].removeprefix(f"s3://{BUCKET}/")
        return [prefix + key for key in keys]

    def close(self, window: Window) -> None:
        """As the machine's CloseWindow."""
        cursor, more, values = "start", "", {}
        if window.kind == "quality":
            monitor = self.item(f"MONITOR#{window.variant}")
            predicted = json.loads(monitor["open"])["end"] if "open" in monitor else monitor.get("start", "")
            cursor, more = "truth_until", ", predicted_until = :predicted"
            values = {":predicted": {"S": max(predicted, window.predicted_until)}}
        change = f"SET #cursor = :end{more} REMOVE claim, claimed_by, tries, #open"
        self._update(window, change, {"#cursor": cursor}, window.end, values)
        self.counted.update(self.files(window))
        self.closed.append(window)

    def leave_open(self, window: Window) -> None:
        """As the machine's LeaveOpen."""
        self._update(window, "SET #open = :end REMOVE claim, claimed_by, tries", {}, json.dumps({"end": window.end}))

    def fail(self, window: Window) -> None:
        """As the machine's NoteFailure."""
        self._update(window, "SET tries = :end", {}, str(window.attempt + 1))

    def _update(
        self, window: Window, change: str, names: dict[str, str], value: str, values: dict[str, Any] | None = None
    ) -> None:
        names = names | ({"#open": "open"} if "#open" in change else {})
        item = "MONITOR" if window.kind == "data" else "QUALITY"
        self.stack.dynamodb.update_item(
            TableName=TABLE,
            Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": f"{item}#{window.variant}"}},
            UpdateExpression=change,
            ConditionExpression="claimed_by = :me",
            ExpressionAttributeValues={":end": {"S": value}, ":me": {"S": window.execution}} | (values or {}),
            **({"ExpressionAttributeNames": names} if names else {}),
        )

    def item(self, sort_key: str) -> dict[str, str]:
        """An item's attributes."""
        key = {"pk": {"S": "FLEET#FD001"}, "sk": {"S": sort_key}}
        found = self.stack.dynamodb.get_item(TableName=TABLE, Key=key).get("Item", {})
        return {name: next(iter(value.values())) for name, value in found.items()}


@pytest.fixture
def world(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(stack, monkeypatch)


def test_window_says_all_that_its_job_needs(world: World) -> None:
    late, key = world.deliver(late=3 * HOUR), world.deliver(at=START + timedelta(minutes=1))
    world.now = START + HOUR
    execution = world.execution()
    [window] = world.open(execution).windows

    assert window.model_dump() == {
        "kind": "data",
        "fleet": "FD001",
        "endpoint": ENDPOINT,
        "variant": "v7",
        "version": 7,
        "champion": True,
        "serving": True,
        "id": "20261123T100000Z",
        "start": "2026-11-23T10:00:00Z",
        "end": "2026-11-23T10:55:00Z",
        "final": False,
        "job": window.job,
        "attempt": 0,
        "manifest": f"s3://{BUCKET}/monitoring/windows/{ENDPOINT}/v7/20261123T100000Z.manifest",
        "files": 2,
        "baseline": f"s3://{BUCKET}/monitoring/baseline/FD001/{'7' * 64}/",
        "evaluation": f"s3://{BUCKET}/models/evaluation/FD001/run-7/",
        "report": f"monitoring/reports/{ENDPOINT}/v7/20261123T100000Z/",
        "predictions": f"monitoring/predictions/{ENDPOINT}/v7/",
        "truth": "",
        "truth_until": "",
        "predicted_until": "",
        "execution": execution,
    }
    assert world.files(window) == [late, key]
    assert window.job.startswith(f"{ENDPOINT}-monitor-")
    assert len(f"{window.job}-99") <= 63


def test_interval_is_half_open_and_ends_a_delay_ago(world: World) -> None:
    world.now = START + HOUR
    end = world.now - timedelta(seconds=DELAY)
    inside, edge = world.deliver(at=end - timedelta(seconds=1)), world.deliver(at=end)
    [first] = world.open(world.execution()).windows
    assert world.files(first) == [inside]
    world.close(first)
    world.now += HOUR
    [second] = world.open(world.execution()).windows
    assert (second.start, world.files(second)) == (first.end, [edge])


def test_file_that_came_a_day_late_is_in_the_window_of_its_delivery(world: World) -> None:
    world.deliver()
    world.now += HOUR
    [window] = world.open(world.execution()).windows
    world.close(window)
    late = world.deliver(late=timedelta(hours=23))
    world.now += HOUR
    [window] = world.open(world.execution()).windows
    assert world.files(window) == [late]


def test_same_execution_gets_the_same_windows_again(world: World) -> None:
    world.deliver()
    world.now += HOUR
    execution = world.execution()
    first = world.open(execution)
    world.now += timedelta(minutes=1)
    assert world.open(execution) == first


def test_running_execution_keeps_its_window(world: World) -> None:
    world.deliver()
    world.now += HOUR
    owner = world.execution()
    [window] = world.open(owner).windows
    world.deliver()
    world.now += HOUR
    answer = world.open(world.execution())
    assert answer.windows == []
    [skipped] = answer.skipped
    assert owner in skipped.reason
    assert not skipped.problem
    assert world.files(window) == world.delivered[:1]


def test_window_of_an_execution_that_died_is_taken_over_with_the_same_files_and_job(world: World) -> None:
    key = world.deliver()
    world.now += HOUR
    dead = world.execution()
    [window] = world.open(dead).windows
    world.kill(dead)
    world.deliver()
    world.now += HOUR
    execution = world.execution()
    [again] = world.open(execution).windows
    assert again == window.model_copy(update={"execution": execution})
    assert world.files(again) == [key]
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        world.close(window)  # what the dead one would still write


def test_failed_window_is_tried_again_with_a_job_of_the_next_number(world: World) -> None:
    world.deliver()
    world.now += HOUR
    first = world.execution()
    [window] = world.open(first).windows
    world.fail(window)
    world.kill(first)
    world.now += HOUR
    [again] = world.open(world.execution()).windows
    assert (again.start, again.end, again.job, again.attempt) == (window.start, window.end, window.job, 1)


def test_open_window_grows_and_closes_when_it_is_old(world: World) -> None:
    keys = [world.deliver()]
    ends = []
    while True:
        world.now += 4 * HOUR
        keys.append(world.deliver(at=world.now - timedelta(seconds=DELAY + 1)))
        [window] = world.open(world.execution()).windows
        assert (window.id, world.files(window)) == ("20261123T100000Z", keys)
        ends.append(window.end)
        if window.final:
            break
        world.leave_open(window)
    assert len(set(ends)) == len(ends) == 7
    world.close(window)


def test_open_window_is_not_looked_at_again_before_something_comes(world: World) -> None:
    world.deliver()
    world.now += HOUR
    [window] = world.open(world.execution()).windows
    world.leave_open(window)
    world.now += HOUR
    answer = world.open(world.execution())
    assert (answer.windows, [each.reason for each in answer.skipped]) == (
        [],
        [f"nothing was delivered since the last look at {window.end}"],
    )
    assert world.item("MONITOR#v7")["updated_at"] == f"{world.now:%Y-%m-%dT%H:%M:%SZ}"
    world.now += timedelta(days=1)
    [last] = world.open(world.execution()).windows
    assert (last.final, last.start) == (True, window.start)


def test_champion_that_nobody_asks_has_a_window_without_files(world: World) -> None:
    world.deployment(champion=7, since=START)
    world.now += HOUR
    [window] = world.open(world.execution()).windows
    assert (window.start, window.files, window.manifest, window.final) == ("2026-11-23T10:00:00Z", 0, "", False)


def test_champion_again_starts_with_its_new_reign(world: World) -> None:
    """Not where its traffic ended when somebody else took over: that time was not its own."""
    world.deployment(champion=7, since=START)
    world.deliver()
    world.now += HOUR
    [last] = world.run()
    world.deployment(champion=8, predecessor=7, since=world.now)
    world.now += 30 * HOUR
    back = world.now
    world.deployment(champion=7, since=back)
    world.now += timedelta(minutes=10)
    world.deliver(at=back + timedelta(minutes=1))
    [window] = [each for each in world.open(world.execution()).windows if each.variant == "v7"]
    assert (window.start, window.final, window.files) == (iso(back), False, 1)
    assert window.id != last.id
    world.close(window)
    world.now += HOUR
    [after] = world.run()
    assert (after.start, after.files) == (window.end, 0)  # its silence counts again


def test_champion_again_starts_with_what_came_before_it_was_told(world: World) -> None:
    """Traffic is shifted before the control table says who is the champion, and none of it is left out."""
    world.deployment(champion=7, since=START)
    world.deliver()
    world.now += HOUR
    world.run()
    world.now += 30 * HOUR
    early = world.deliver(at=world.now - timedelta(minutes=2))
    world.deployment(champion=7, since=world.now)
    world.now += HOUR
    [window] = world.open(world.execution()).windows
    assert (window.start, world.files(window)) == (iso(world.now - HOUR - timedelta(minutes=2)), [early])


def test_open_window_without_traffic_does_not_go_on_in_a_later_reign(world: World) -> None:
    world.deployment(champion=7, since=START)
    world.now += HOUR
    assert [window.files for window in world.run()] == [0]
    world.now += 30 * HOUR
    world.deployment(champion=7, since=world.now)
    world.now += HOUR
    [window] = world.open(world.execution()).windows
    assert (window.start, window.final) == (iso(world.now - HOUR), False)


def test_challenger_of_a_version_that_served_long_ago_starts_with_its_first_file(world: World) -> None:
    world.deliver("v6")
    world.deployment(champion=7, predecessor=6, since=START)
    world.now += HOUR
    assert "v6" in [window.variant for window in world.run()]
    world.now += timedelta(days=30)
    world.deployment(champion=7, challenger=6, since=START)
    world.deliver("v6")
    world.now += HOUR
    [window] = [each for each in world.open(world.execution()).windows if each.variant == "v6"]
    assert (window.start, window.final, window.files) == (iso(world.now - HOUR), False, 1)


def test_window_says_whether_its_variant_still_serves_also_when_it_is_tried_again(world: World) -> None:
    world.deployment(champion=7, challenger=8)
    world.deliver("v8")
    world.now += HOUR
    first = world.execution()
    [window] = world.open(first).windows
    assert window.serving
    world.fail(window)
    world.kill(first)
    world.deployment(champion=9, predecessor=7)
    world.now += HOUR
    [again] = [each for each in world.open(world.execution()).windows if each.variant == "v8"]
    assert (again.id, again.attempt, again.serving, again.champion) == (window.id, 1, False, False)


def test_window_of_more_files_than_the_limit_ends_earlier_and_nothing_is_skipped(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(stack, monkeypatch, max_window_files=10)
    for minute in range(45):
        world.deliver(at=START + timedelta(minutes=minute), late=HOUR * (minute % 3))
    for _ in range(15):  # more in one second than a window should have
        world.deliver(at=START + timedelta(minutes=50, seconds=7))
    world.now = START + 2 * HOUR
    sizes = []
    while windows := world.open(world.execution()).windows:
        [window] = windows
        sizes.append(window.files)
        if window.files == 0:
            break
        world.close(window)
    assert sizes == [10, 10, 10, 10, 5, 15, 0]
    assert world.counted == Counter(world.delivered)
    assert all(window.final for window in world.closed if window.files == 10)


def test_listing_stops_where_no_earlier_file_can_follow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = 0
    for day in range(20):
        for _ in range(3):
            world.deliver(at=START + timedelta(days=day))
    s3 = clients.s3()

    def listed(self: object, **arguments: Any) -> Any:
        nonlocal pages
        for page in s3.get_paginator("list_objects_v2").paginate(PaginationConfig={"PageSize": 3}, **arguments):
            pages += 1
            yield page

    class Client:
        def get_paginator(self, name: str) -> Any:
            return type("Paginator", (), {"paginate": listed})()

    monkeypatch.setattr(clients, "s3", Client)
    found = captures.find(BUCKET, ENDPOINT, "v7", START, START + timedelta(days=30), 5)
    assert (len(found.keys), found.cut, found.end) == (3, True, START + timedelta(days=1))
    assert pages < 6


def test_every_variant_with_traffic_has_its_window_the_champion_first(world: World) -> None:
    world.deployment(champion=7, predecessor=6, challenger=8)
    for variant in ("v5", "v6", "v7", "v8", "AllTraffic"):
        world.deliver(variant)
    world.now += HOUR
    answer = world.open(world.execution())
    assert [(w.variant, w.champion) for w in answer.windows] == [
        ("v7", True),
        ("v8", False),
        ("v6", False),
        ("v5", False),
    ]
    assert answer.windows[1].baseline.endswith(f"/{'8' * 64}/")
    assert [(each.variant, each.problem) for each in answer.skipped] == [("AllTraffic", False)]
    assert len({window.job for window in answer.windows}) == 4


def test_variant_without_new_files_has_no_window(world: World) -> None:
    world.deliver("v6")
    world.deliver("v7")
    world.now += HOUR
    for window in world.open(world.execution()).windows:
        world.close(window)
    world.deliver("v7")
    world.now += HOUR
    assert [window.variant for window in world.open(world.execution()).windows] == ["v7"]


def test_package_that_is_gone_is_a_problem_of_the_champion_only(world: World) -> None:
    world.gone = {f"{GROUP}/6", f"{GROUP}/7"}
    world.deliver("v6")
    world.deliver("v7")
    world.now += HOUR
    answer = world.open(world.execution())
    assert answer.windows == []
    assert [(each.variant, each.problem) for each in answer.skipped] == [("v7", True), ("v6", False)]
    assert f"{GROUP}/7" in answer.skipped[0].reason


def test_quality_window_when_there_is_truth_and_a_prediction(world: World) -> None:
    world.deployment(champion=7, since=START, predecessor=6)
    world.put("monitoring/ground-truth/FD001/june.csv")
    world.now += HOUR
    assert [window.kind for window in world.open(world.execution()).windows] == ["data"]  # no prediction to join with

    world.put(f"monitoring/predictions/{ENDPOINT}/v6/20261120T100000Z.csv")
    world.deployment(champion=7, predecessor=6)
    world.stack.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "MONITOR#v7"}})
    world.deliver("v6")
    world.now += HOUR
    data, quality = world.open(world.execution()).windows
    assert (data.kind, data.variant) == ("data", "v6")
    assert (quality.kind, quality.variant, quality.id) == ("quality", "v6", "quality-20261123T115500Z")
    assert (quality.start, quality.end, quality.truth_until) == ("", "2026-11-23T11:55:00Z", "2026-11-23T11:55:00Z")
    assert quality.truth == f"s3://{BUCKET}/monitoring/ground-truth/FD001/"
    assert quality.report == f"monitoring/reports/{ENDPOINT}/v6/quality-20261123T115500Z/"
    world.close(data)
    world.close(quality)


def test_ground_truth_is_counted_once(world: World) -> None:
    world.put(f"monitoring/predictions/{ENDPOINT}/v7/20261120T100000Z.csv")
    world.put("monitoring/ground-truth/FD001/june.csv")
    world.now += HOUR
    [quality] = world.open(world.execution()).windows
    world.close(quality)
    assert world.open(world.execution()).windows == []
    world.put("monitoring/ground-truth/FD001/july.csv")
    assert world.open(world.execution()).windows == []  # it is not sure that all of this second is listed
    world.now += HOUR
    [again] = world.open(world.execution()).windows
    assert (again.start, again.id) == (quality.truth_until, "quality-20261123T115500Z")


def iso(moment: datetime) -> str:
    """A moment as windows say it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def qualities(windows: list[Window]) -> list[Window]:
    """Those of quality."""
    return [window for window in windows if window.kind == "quality"]


def test_truth_is_judged_again_with_predictions_that_a_failed_job_had_owed(world: World) -> None:
    world.put(PREDICTIONS)
    world.deliver()
    world.put(TRUTH)
    world.now += HOUR
    first = world.execution()
    data, quality = world.open(first).windows
    world.fail(data)
    world.close(quality)
    world.kill(first)
    assert world.item("QUALITY#v7")["predicted_until"] == data.start

    world.now += HOUR
    assert [window.id for window in world.run()] == [data.id]  # no prediction has come so far
    world.now += HOUR
    [again] = qualities(world.run())
    assert again.start == quality.end
    assert len({each.id for each in (quality, again)} | {each.job for each in (quality, again)}) == 4
    assert again.id > quality.id
    for _ in range(2):
        world.deliver()
        world.now += HOUR
        assert [window.kind for window in world.run()] == ["data"]


def test_truth_is_judged_again_until_all_that_came_before_it_has_its_predictions(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(stack, monkeypatch, max_window_files=10)
    world.put(PREDICTIONS)
    for minute in range(35):
        world.deliver(at=START + timedelta(minutes=minute))
    world.put(TRUTH, START + timedelta(minutes=30))
    world.now += HOUR
    runs = []
    for _ in range(8):
        windows = world.run()
        runs.append((sum(window.files for window in windows), len(qualities(windows))))
        world.now += HOUR
    assert runs == [(10, 1), (10, 0), (10, 1), (5, 0), (0, 1), (0, 0), (0, 0), (0, 0)]


@pytest.mark.parametrize("engines", ["enough", "few", "none"])
def test_truth_of_an_hour_that_was_judged_in_the_same_run_is_judged_once(world: World, engines: str) -> None:
    world.put(PREDICTIONS)
    world.deliver()
    world.now += HOUR
    world.run(few=engines != "enough")
    if engines != "none":
        world.deliver()
    world.put(TRUTH, world.now + timedelta(minutes=1))
    world.now += HOUR
    assert len(qualities(world.run(few=engines != "enough"))) == 1
    for _ in range(3):
        world.deliver()
        world.now += HOUR
        assert [window.kind for window in world.run(few=engines != "enough")] == ["data"]


def predictions_of(*versions: int) -> list[str]:
    """A file of predictions for each."""
    return [f"monitoring/predictions/{ENDPOINT}/v{version}/20261120T100000Z.csv" for version in versions]


def test_truth_meets_the_predictions_of_variants_that_serve_no_more(world: World) -> None:
    world.deployment(champion=7, predecessor=6)
    for key in predictions_of(7, 6, 3, 2):
        world.put(key)
    world.put(f"monitoring/predictions/{ENDPOINT}/notes/read.me")
    world.gone.add(f"{GROUP}/2")
    world.put(TRUTH)
    world.now += HOUR
    answer = world.open(world.execution())
    assert [(each.variant, each.serving, each.champion) for each in qualities(answer.windows)] == [
        ("v7", True, True),
        ("v6", True, False),
        ("v3", False, False),
    ]
    assert [(each.variant, each.problem) for each in answer.skipped] == [("v2", False)]  # its package was deleted


def test_truth_meets_ten_variants_a_run_and_none_is_left_out(world: World) -> None:
    world.deployment(champion=30, predecessor=1)
    for key in predictions_of(1, *range(10, 31)):
        world.put(key)
    world.put(TRUTH)
    runs = []
    for _ in range(4):
        world.now += HOUR
        runs.append([window.version for window in qualities(world.run())])
    assert runs == [[30, 1, *range(29, 21, -1)], [*range(21, 11, -1)], [11, 10], []]

    world.put(TRUTH)  # while it comes all the time, those that waited longest are first
    runs = []
    for _ in range(3):
        world.now += HOUR
        runs.append([window.version for window in qualities(world.run())])
        world.put(TRUTH)
    assert [run[:2] for run in runs] == [[30, 1]] * 3
    assert runs[0][2:] == [*range(29, 21, -1)]
    assert runs[1][2:] == [*range(21, 13, -1)]
    assert {11, 10} < set(runs[2])


def test_ten_variants_are_the_same_when_the_same_execution_asks_again(world: World) -> None:
    world.deployment(champion=30)
    for key in predictions_of(*range(10, 31)):
        world.put(key)
    world.put(TRUTH)
    world.now += HOUR
    execution = world.execution()
    first = world.open(execution)
    assert len(first.windows) == QUALITY_AT_MOST
    assert world.open(execution) == first


def test_predecessor_that_nobody_asks_any_more_has_nothing_to_wait_for(world: World) -> None:
    world.deployment(champion=7, predecessor=6)
    world.put(PREDICTIONS.replace("v7", "v6"))
    world.deliver("v6")
    world.now += HOUR
    assert [window.variant for window in world.run()] == ["v6"]
    world.put(TRUTH)
    world.now += HOUR
    assert [(window.variant, window.kind) for window in world.run()] == [("v6", "quality")]
    for _ in range(2):
        world.deliver("v6")  # after a rollback
        world.now += HOUR
        assert [(window.variant, window.kind) for window in world.run()] == [("v6", "data")]


def test_quality_window_that_is_taken_over_knows_of_no_later_predictions(world: World) -> None:
    """Its job may have run before them."""
    world.put(PREDICTIONS)
    world.deliver()
    world.put(TRUTH)
    world.now += HOUR
    dead = world.execution()
    data, quality = world.open(dead).windows
    assert quality.predicted_until == data.start
    world.close(data)
    world.kill(dead)
    world.now += HOUR
    [again] = qualities(world.open(world.execution()).windows)
    assert (again.id, again.predicted_until) == (quality.id, data.start)


def test_quality_item_of_a_former_release_waits_for_newer_truth(world: World) -> None:
    world.put(PREDICTIONS)
    world.deliver()
    world.put(TRUTH)
    world.now += HOUR
    world.run()
    world.stack.dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "QUALITY#v7"}},
        UpdateExpression="SET truth_until = :until REMOVE predicted_until",
        ExpressionAttributeValues={":until": {"S": "2026-11-23T10:00:01Z"}},  # it was the newest file's next second
    )
    world.deliver()
    world.now += HOUR
    assert [window.kind for window in world.run()] == ["data"]
    world.put(TRUTH.replace("june", "july"))
    world.now += HOUR
    assert len(qualities(world.run())) == 1
    assert world.item("QUALITY#v7")["predicted_until"] > "2026-11-23T10:00:01Z"


def test_machine_counts_no_try_where_the_quota_let_no_job_start() -> None:
    machine = json.loads((ROOT / "statemachines/monitoring.asl.json").read_text())
    endpoint = machine["States"]["MonitorEach"]["ItemProcessor"]["States"]
    judge = endpoint["MonitorWindows"]["ItemProcessor"]["States"]["Judge"]
    following = {error: catch["Next"] for catch in judge["Catch"] for error in catch["ErrorEquals"]}
    assert following["SageMaker.ResourceLimitExceededException"] == "WindowFailed"
    assert following["States.ALL"] == "NoteFailure"


def test_fleet_without_a_champion_has_no_windows(world: World) -> None:
    world.deliver()
    world.stack.dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "FLEET#FD001"}, "sk": {"S": "DEPLOYMENT"}})
    world.now += HOUR
    assert world.open(world.execution()) == WindowsResult()


def test_many_at_once_open_each_window_for_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, update = threading.Lock(), clients.dynamodb().update_item

    def update_atomically(**arguments: Any) -> Any:
        with lock:  # moto checks and writes in steps
            return update(**arguments)

    monkeypatch.setattr(clients.dynamodb(), "update_item", update_atomically)
    for variant in ("v6", "v7"):
        world.deliver(variant)
    world.now += HOUR
    executions = [world.execution() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(world.open, executions))
    assert sorted(window.variant for answer in answers for window in answer.windows) == ["v6", "v7"]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_every_file_is_counted_exactly_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Late files, too few engines, failed jobs, executions that die at any point, two at once.

    And promotions, rollbacks, and variants that serve no more: what those were given up for is told, not lost.
    """
    random_ = random.Random(seed)
    world = World(stack, monkeypatch, max_window_files=random_.choice([3, 20]), max_window_seconds=6 * 3600)
    world.deployment(champion=7, challenger=8, since=START)
    running: list[tuple[str, list[Window]]] = []
    reigns = [(7, START)]

    def step(execution: str, windows: list[Window]) -> None:
        for window in windows:
            match random_.choice(["close", "close", "fail", "open"]):
                case "fail" if not window.serving and window.attempt >= 4:
                    world.close(window)  # given up: its files are told
                case "fail":
                    world.fail(window)
                case "open" if not window.final:
                    world.leave_open(window)
                case _:
                    world.close(window)
            if random_.random() < 0.2:
                break  # dies between two windows
        world.kill(execution)

    for _ in range(40):
        world.now += timedelta(seconds=random_.randint(1, 3 * 3600))
        for _ in range(random_.randint(0, 4)):
            served = random_.choice([6, *(champion for champion, _ in reigns[-2:])])  # v6 is long retired
            world.deliver(f"v{served}", late=timedelta(minutes=random_.choice([0, 5, 20 * 60])))
        if random_.random() < 0.15:
            world.now += timedelta(hours=random_.choice([0, 30]))
            champion = random_.choice([7, 8, 9])
            if champion != reigns[-1][0]:
                world.deployment(champion=champion, predecessor=reigns[-1][0], since=world.now)
                reigns.append((champion, world.now))
        execution = world.execution()
        running.append((execution, world.open(execution).windows))
        while running and random_.random() < 0.6:
            step(*running.pop(random_.randrange(len(running))))
    for execution, _ in running:
        world.kill(execution)
    quiet = 0  # a window without files may have been taken over: only the next one has what came since
    while quiet < 2:
        world.now += timedelta(hours=7)
        execution = world.execution()
        windows = world.open(execution).windows
        for window in windows:
            world.close(window)
        quiet = 0 if any(window.files for window in windows) else quiet + 1
        world.kill(execution)
    assert world.counted == Counter(world.delivered)
    for variant in ("v6", "v7", "v8", "v9"):
        closed = [window for window in world.closed if window.variant == variant]
        assert len({window.id for window in closed}) == len(closed)
        for before, after in pairwise(closed):
            assert before.end <= after.start
            if before.champion and after.champion and not [since for _, since in reigns if iso(since) > before.start]:
                assert before.end == after.start


def test_handler_takes_the_sample_event(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"):
        monkeypatch.setenv(name, "onwing")
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "1")
    monkeypatch.setenv("DELIVERY_DELAY_SECONDS", "1")
    monkeypatch.setenv("MAX_WINDOW_SECONDS", "60")
    load_window_settings.cache_clear()
    specification = importlib.util.spec_from_file_location("open_app", ROOT / "functions/open_windows/app.py")
    assert specification is not None
    assert specification.loader is not None
    app = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(app)
    event = json.loads((ROOT / "events/open_windows.json").read_text())
    world.deliver(at=datetime.now(UTC) - HOUR)
    context = SimpleNamespace(
        function_name="open", memory_limit_in_mb=512, invoked_function_arn="arn:aws:lambda:x", aws_request_id="1"
    )
    answer = app.handler(event, context)
    load_window_settings.cache_clear()
    assert [(window["variant"], window["final"]) for window in answer["windows"]] == [("v7", True)]
    json.dumps(answer)
