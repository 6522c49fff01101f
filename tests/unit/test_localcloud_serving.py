"""What serving decides by itself: whom a request goes to, what is captured, how traffic moves, how records are cut."""

import base64
import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from localcloud.containers.processes import ContainerSpec
from localcloud.errors import ValidationException
from localcloud.jobs import transform_records as records
from localcloud.jobs.platform import Platform
from localcloud.serving.data_capture import Exchange, line
from localcloud.serving.endpoint_descriptions import spelled
from localcloud.serving.instance_metrics import usage
from localcloud.serving.model_servers import Fleet, Serving
from localcloud.serving.plans import retain
from localcloud.serving.router import NoSuchEndpoint, NoSuchVariant, Route, Router, Target, choose
from localcloud.serving.runtime_api import event_stream
from localcloud.serving.traffic_shift import RolledBack, Shift, check_deployment
from localcloud.store import Scope
from tests.unit.serving_platform import serving_platform

SCOPE = Scope("000000000000", "us-east-1")


class FakeFleet:
    """Counts who enters and leaves."""

    def __init__(self) -> None:
        self.entered = 0

    def enter(self) -> None:
        self.entered += 1


def target(variant: str, weight: float, fleet: FakeFleet | None = None) -> Target:
    return Target(variant, cast(Fleet, fleet or FakeFleet()), weight)


# --- the router ---


def test_weights_are_shares_of_the_requests() -> None:
    targets = [target("a", 1), target("b", 3), target("c", 0)]
    draws = Counter(choose(targets, draw=number / 1000).variant for number in range(1000))
    assert draws == {"a": 250, "b": 750}


def test_a_named_variant_is_chosen_whatever_its_weight() -> None:
    targets = [target("a", 1), target("b", 0)]
    assert choose(targets, "b").variant == "b"
    with pytest.raises(NoSuchVariant, match="c"):
        choose(targets, "c")


def test_without_any_weight_nobody_is_chosen() -> None:
    with pytest.raises(NoSuchVariant):
        choose([target("a", 0), target("b", 0)])


def test_a_named_variant_in_a_traffic_shift_is_chosen_by_share() -> None:
    old, new = target("v", 0.75), target("v", 0.25)
    draws = [choose([old, new], "v", draw=number / 100) for number in range(100)]
    assert sum(each is old for each in draws) == 75


def test_a_request_enters_its_fleet_and_the_shadows() -> None:
    router, production, shadow = Router(), FakeFleet(), FakeFleet()
    with pytest.raises(NoSuchEndpoint):
        router.enter(SCOPE, "e")
    router.set(SCOPE, "e", Route((target("p", 1, production),), target("s", 1, shadow), 1.0))
    _, chosen, shadowed = router.enter(SCOPE, "e")
    assert (chosen.variant, shadowed, production.entered, shadow.entered) == ("p", True, 1, 1)
    router.set(SCOPE, "e", Route((target("p", 1, production),), target("s", 1, shadow), 0.0))
    assert router.enter(SCOPE, "e")[2] is False
    assert shadow.entered == 1


# --- model servers ---


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with serving_platform(tmp_path) as made:
        yield made


def fleet(platform: Platform, deaths: list[int], seconds: float = 120.0, **environment: str) -> Fleet:
    served = {"Image": "test/model-server:1", "Environment": environment, "RoleArn": "r"}
    return Fleet(platform, SCOPE, Serving("f", served, "g", "p", startup_seconds=seconds), deaths.append)


def test_servers_start_on_their_own_and_not_from_a_warm_parent(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs: list[ContainerSpec] = []
    start = platform.runtime.start
    monkeypatch.setattr(platform.runtime, "start", lambda spec, log: start((specs.append(spec), spec)[1], log))
    served = fleet(platform, [])
    served.start(1)
    assert served.wait_healthy(time.monotonic() + 120) is None
    served.stop()
    assert [spec.warm for spec in specs] == [False]


def test_a_server_that_never_answers_its_ping_is_given_up(platform: Platform) -> None:
    never = fleet(platform, [], 1.0, NEVER_HEALTHY="1")
    never.start(1)
    failure = never.wait_healthy(time.monotonic() + 120)
    assert failure == "it did not answer /ping with 200 within 1 s"
    never.stop()
    assert list(platform.directory.iterdir()) == []


def test_a_server_that_ends_at_once_is_given_up_after_three_times(platform: Platform) -> None:
    deaths: list[int] = []
    crashing = fleet(platform, deaths, CRASH="1")
    crashing.start(1)
    assert crashing.wait_healthy(time.monotonic() + 120) == "it ended 3 times, the last time with exit code 1"
    assert deaths == [1, 1, 1]
    crashing.stop()


def test_a_fleet_drains_before_it_is_done(platform: Platform) -> None:
    serving = fleet(platform, [])
    serving.start(2)
    assert serving.wait_healthy(time.monotonic() + 120) is None
    serving.enter()
    assert not serving.drain(0.05)
    servers = [serving.take() for _ in range(4)]
    assert Counter(servers) == {server: 2 for server in serving.servers}
    serving.leave()
    assert serving.drain(0.05)
    serving.stop()
    assert serving.take() is None


def test_what_a_process_uses_is_known(platform: Platform) -> None:
    used = usage(os.getpid())
    assert used is not None
    assert used[0] > 0
    assert 0 < used[1] < 100
    assert 0 < used[2] < 86_400
    assert usage(2**30) is None


# --- Data Capture ---


def exchange(**more: Any) -> Exchange:
    given: dict[str, Any] = {
        "variant": "v",
        "body": b"1,2",
        "content_type": "text/csv",
        "answer": b'{"x": 1}',
        "answer_type": "application/json; charset=utf-8",
        "inference_id": None,
        "custom_attributes": None,
        "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Exchange(**{**given, **more})


def test_a_captured_line_is_in_the_format_of_aws() -> None:
    types = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
    written = line(exchange(inference_id="i", custom_attributes="a=b"), frozenset({"Input", "Output"}), types)
    assert written["captureData"] == {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"},
        "endpointOutput": {
            "observedContentType": "application/json; charset=utf-8",
            "mode": "OUTPUT",
            "data": '{"x": 1}',
            "encoding": "JSON",
        },
    }
    metadata = written["eventMetadata"]
    assert metadata["inferenceTime"] == "2026-01-02T03:04:05Z"
    assert (metadata["inferenceId"], metadata["customAttributes"]) == ("i", ["a=b"])
    assert written["eventVersion"] == "0"


def test_types_that_are_not_listed_and_bytes_that_are_no_text_are_base64() -> None:
    plain = line(exchange(), frozenset({"Input"}), {})["captureData"]
    assert plain == {
        "endpointInput": {
            "observedContentType": "text/csv",
            "mode": "INPUT",
            "data": base64.b64encode(b"1,2").decode(),
            "encoding": "BASE64",
        }
    }
    broken = line(exchange(body=b"\xff"), frozenset({"Input"}), {"CsvContentTypes": ["text/csv"]})
    assert broken["captureData"]["endpointInput"]["encoding"] == "BASE64"


# --- deployments ---


def blue_green(kind: str, size: tuple[str, int] | None = None, wait: int = 0) -> dict[str, Any]:
    routing: dict[str, Any] = {"Type": kind, "WaitIntervalInSeconds": wait}
    if size is not None:
        member = "CanarySize" if kind == "CANARY" else "LinearStepSize"
        routing[member] = {"Type": size[0], "Value": size[1]}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}


@pytest.mark.parametrize(
    ("deployment", "instances", "stages"),
    [
        (None, 1, [1.0]),
        (blue_green("ALL_AT_ONCE"), 1, [1.0]),
        (blue_green("CANARY", ("CAPACITY_PERCENT", 20)), 2, [0.2, 1.0]),
        (blue_green("CANARY", ("INSTANCE_COUNT", 1)), 4, [0.25, 1.0]),
        (blue_green("LINEAR", ("CAPACITY_PERCENT", 25)), 4, [0.25, 0.5, 0.75, 1.0]),
        (blue_green("LINEAR", ("CAPACITY_PERCENT", 40)), 4, [0.4, 0.8, 1.0]),
        (
            {"RollingUpdatePolicy": {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}}},
            2,
            [0.5, 1.0],
        ),
    ],
)
def test_traffic_moves_in_stages(deployment: dict[str, Any] | None, instances: int, stages: list[float]) -> None:
    assert Shift(deployment).stages(instances) == pytest.approx(stages)


def test_an_alarm_ends_a_shift() -> None:
    deployment = blue_green("CANARY", ("CAPACITY_PERCENT", 20), wait=60)
    deployment["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": "slow"}]}
    sent: list[float] = []
    with pytest.raises(RolledBack, match="slow"):
        Shift(deployment).run(sent.append, lambda _: None, lambda: False, lambda names: list(names), 2)
    assert sent == [0.2]


def test_deployments_that_cannot_be_are_refused() -> None:
    plan: dict[str, Any] = {"variants": [{"instances": 1}]}
    with pytest.raises(ValidationException, match="two instances"):
        check_deployment(blue_green("CANARY", ("CAPACITY_PERCENT", 20)), plan)
    plan = {"variants": [{"instances": 4}]}
    with pytest.raises(ValidationException, match="50%"):
        check_deployment(blue_green("CANARY", ("CAPACITY_PERCENT", 60)), plan)
    with pytest.raises(ValidationException, match="CanarySize must be specified"):
        check_deployment(blue_green("CANARY"), plan)
    check_deployment(blue_green("LINEAR", ("CAPACITY_PERCENT", 50)), plan)


def test_retained_properties_are_those_of_variants_of_the_same_name() -> None:
    present = {"variants": [{"name": "a", "weight": 0.0, "instances": 3}], "capture": {"on": 1}}
    plan: dict[str, Any] = {
        "variants": [{"name": "a", "weight": 1.0, "instances": 1}, {"name": "b", "weight": 2.0, "instances": 1}],
        "capture": None,
    }
    retain(plan, present, frozenset({"DesiredInstanceCount"}))
    assert plan["variants"][0] == {"name": "a", "weight": 0.0, "instances": 1}
    assert plan["variants"][1] == {"name": "b", "weight": 2.0, "instances": 1}
    assert plan["capture"] == {"on": 1}


def test_events_spell_statuses_in_capitals() -> None:
    assert [spelled(each) for each in ("InService", "RollingBack", "Failed")] == [
        "IN_SERVICE",
        "ROLLING_BACK",
        "FAILED",
    ]


# --- batch transform ---


def test_lines_are_split_and_grouped_by_size() -> None:
    found = records.split(b"aa\nbb\n\ncc\n", "Line")
    assert found == [b"aa", b"bb", b"cc"]
    assert list(records.batches(found, "MultiRecord", 6)) == [[b"aa", b"bb"], [b"cc"]]
    assert list(records.batches(found, "SingleRecord", 6)) == [[b"aa"], [b"bb"], [b"cc"]]
    assert list(records.batches(found, "MultiRecord", 0)) == [found]
    assert records.split(b"a\nb", "None") == [b"a\nb"]
    with pytest.raises(records.RecordError, match="Record 2"):
        list(records.batches([b"a", b"too long"], "MultiRecord", 4))


def test_answers_are_put_together() -> None:
    assert records.assemble([b"1", b"2\n"], "Line") == b"1\n2\n"
    assert records.assemble([b"1", b"2"], "None") == b"12"


def processing(content_type: str, **config: str) -> records.Processing:
    found = records.Processing.of(
        {"DataProcessing": config, "TransformInput": {"ContentType": content_type, "SplitType": "Line"}}
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("path", "part"), [("$[1:]", b"1,2"), ("$[0]", b"id"), ("$[0,2]", b"id,2"), ("$[:-1]", b"id,1")]
)
def test_columns_are_selected(path: str, part: bytes) -> None:
    assert processing("text/csv", InputFilter=path).filtered(b"id,1,2") == part


def test_json_lines_are_filtered_and_joined() -> None:
    lines = processing("application/jsonlines", InputFilter="$.x", JoinSource="Input", OutputFilter="$.SageMakerOutput")
    assert lines.filtered(b'{"id": 1, "x": [1, 2]}') == b"[1, 2]"
    assert lines.finished([b'{"id": 1}', b'{"id": 2}'], b"0.5\n0.7\n", "text/csv") == b"0.5\n0.7"
    joined = processing("application/jsonlines", JoinSource="Input")
    assert joined.finished([b"[1]"], b'{"y": 2}', "application/json") == (
        b'{"SageMakerInput": [1], "SageMakerOutput": {"y": 2}}'
    )


def test_predictions_must_match_the_records() -> None:
    with pytest.raises(records.RecordError, match="1 predictions for 2 records"):
        processing("text/csv", JoinSource="Input").finished([b"1", b"2"], b"3\n", "text/csv")


def test_an_event_stream_is_what_botocore_reads() -> None:
    from botocore.eventstream import EventStreamBuffer

    buffer = EventStreamBuffer()
    buffer.add_data(event_stream(b"x" * 200_000))
    events = list(buffer)
    assert b"".join(event.payload for event in events) == b"x" * 200_000
    assert {event.headers[":event-type"] for event in events} == {"PayloadPart"}
