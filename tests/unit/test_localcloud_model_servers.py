"""Model servers on a busy machine, where one learns late of what happens."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import urllib3

from localcloud.containers.container_contract import TransferError
from localcloud.containers.processes import Container, ContainerError, ContainerSpec, ProcessRuntime
from localcloud.jobs.logs import Logs
from localcloud.jobs.platform import Platform
from localcloud.sagemaker.tags import Tags
from localcloud.serving import data_capture, model_servers
from localcloud.serving.data_capture import DataCapture, Exchange
from localcloud.serving.endpoints import Endpoints
from localcloud.serving.instance_metrics import usage
from localcloud.serving.model_servers import Fleet, Serving, reserved_port
from localcloud.serving.router import Route, Router, Target
from localcloud.serving.runtime_api import Runtime, ask
from localcloud.store import Scope, now
from localcloud.testing import wait_for
from tests.unit.serving_platform import serving_platform

SCOPE = Scope("000000000000", "us-east-1")
LATE_SECONDS = 1.0


class Late:
    """A container whose end is noticed late."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._ended: float | None = None
        self.pid = container.pid
        self.out_of_memory = False
        self.stop, self.kill = container.stop, container.kill

    def wait(self, timeout: float | None = None) -> int | None:
        """As the real one, a second later."""
        code = self._container.wait(timeout)
        if code is None:
            return None
        self._ended = self._ended or time.monotonic()
        left = self._ended + LATE_SECONDS - time.monotonic()
        time.sleep(max(0.0, left if timeout is None else min(left, timeout)))
        return code if time.monotonic() >= self._ended + LATE_SECONDS else None


class LateRuntime:
    """Real processes, whose end is noticed late."""

    def __init__(self, runtime: ProcessRuntime) -> None:
        self._runtime = runtime

    def start(self, spec: ContainerSpec, on_line: Callable[[str], None]) -> Container:
        """Start a container."""
        return Late(self._runtime.start(spec, on_line))


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with serving_platform(tmp_path, LateRuntime) as made:
        yield made


@pytest.fixture
def fleet(platform: Platform) -> Iterator[Callable[..., tuple[Fleet, list[int]]]]:
    """Makes healthy fleets of two, and tells of the deaths of their servers."""
    made: list[Fleet] = []

    def make(**environment: str) -> tuple[Fleet, list[int]]:
        deaths: list[int] = []
        served = {"Image": "test/model-server:1", "Environment": environment, "RoleArn": "r"}
        made.append(Fleet(platform, SCOPE, Serving("f", served, "g", "p"), deaths.append))
        made[-1].start(2)
        assert made[-1].wait_healthy(time.monotonic() + 300) is None
        return made[-1], deaths

    yield make
    for each in made:
        each.stop(0.5)


def test_a_request_that_kills_a_server_goes_to_no_other_when_the_death_is_noticed_late(
    fleet: Callable[..., tuple[Fleet, list[int]]],
) -> None:
    deadly, deaths = fleet(DIE_AFTER="0")
    second = {server.pid for server in deadly.servers}
    answer, server = ask(Target("v", deadly, 1.0), {}, b"{}")
    assert answer is not None
    assert answer.status == 502
    assert server is not None
    while not deaths:
        time.sleep(0.02)
    time.sleep(2 * LATE_SECONDS)  # a second death would be noticed by then
    assert deaths == [9]
    assert len(second & {each.pid for each in deadly.servers}) == 1


def test_a_server_that_has_gone_before_a_request_costs_it_nothing(
    fleet: Callable[..., tuple[Fleet, list[int]]],
) -> None:
    good, _ = fleet()
    for _ in range(4):  # both have a connection that is kept open
        ask(Target("v", good, 1.0), {}, b"{}")
    gone = good.servers[0].process
    assert gone is not None
    gone.container.kill()
    while gone.survived():
        time.sleep(0.02)
    for _ in range(4):
        answer, _ = ask(Target("v", good, 1.0), {}, b"{}")
        assert answer is not None
        assert answer.status == 200


def test_a_server_that_lives_has_survived(fleet: Callable[..., tuple[Fleet, list[int]]]) -> None:
    good, _ = fleet()
    assert all(server.process is not None and server.process.survived() for server in good.servers)


def test_no_two_servers_are_given_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one has not begun to listen."""
    with reserved_port() as first:
        monkeypatch.setattr(model_servers, "_PORTS", range(first, first + 1))
        with pytest.raises(ContainerError, match="no free port"), reserved_port():
            pass


# --- what is told and kept, and when ---


class Counted:
    """A fleet of one server that answers, and a capture: in which order they are used."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.serving = Serving("f", {}, "g", "p")
        self.process = self

    def enter(self) -> None:
        self.order.append("enters")

    def leave(self) -> None:
        self.order.append("leaves")

    def take(self, _failed: Any) -> Any:
        return self

    def give_back(self, _server: Any) -> None:
        pass

    def request(self, *_: Any) -> urllib3.BaseHTTPResponse:
        self.order.append("is answered")
        return urllib3.HTTPResponse(b"{}", status=200)


def test_a_request_leaves_its_servers_once_it_is_captured() -> None:
    """What waits for them to drain closes the capture then."""
    fleet = Counted()
    capture = SimpleNamespace(take=lambda _: fleet.order.append("is captured"))
    router = Router()
    router.set(SCOPE, "e", Route((Target("v", cast(Fleet, fleet), 1.0),), capture=capture))
    status, _, _ = Runtime(router).handle(SCOPE, "POST", "/endpoints/e/invocations", {}, b"{}")
    assert status == 200
    assert fleet.order == ["enters", "is answered", "is captured", "leaves"]


def test_an_endpoints_change_is_told_before_it_can_be_changed_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = Endpoints(platform, Tags(platform.store), Router())
    record = {
        "Arn": "arn",
        "EndpointName": "e",
        "EndpointArn": "arn",
        "EndpointConfigName": "c",
        "EndpointStatus": "Creating",
        "CreationTime": now(),
        "LastModifiedTime": now(),
        "_plan": {"variants": [], "shadow": [], "capture": None, "metrics": None},
        "_pending": None,
    }
    platform.store.table(SCOPE, "endpoint")["e"] = record
    told: list[bool] = []

    def free() -> None:
        told.append(platform.store.lock.acquire(blocking=False))

    def emit(*_: Any) -> None:
        other = threading.Thread(target=free)
        other.start()
        other.join()

    monkeypatch.setattr(platform.events, "emit", emit)
    endpoints._settle(SCOPE, record, "InService")
    assert told == [False]
    endpoints.close()


def test_a_capture_goes_on_after_what_it_could_not_write(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_capture, "FLUSH_SECONDS", 0.02)
    written: list[bytes] = []
    answers: Iterator[Any] = iter(
        [TransferError("the role has gone"), SimpleNamespace(put_object=lambda Body, **_: written.append(Body))]
    )

    def s3(*_: Any) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    platform.s3 = s3
    config = {
        "InitialSamplingPercentage": 100,
        "CaptureOptions": [{"CaptureMode": "Input"}],
        "DestinationS3Uri": "s3://b/p",
    }
    capture = DataCapture(platform, SCOPE, "e", config, {"v": "r"})
    exchange = Exchange("v", b"1", None, b"2", None, None, None, datetime.now(UTC))
    capture.take(exchange)
    wait_for(lambda: capture.lost)
    capture.take(exchange)
    wait_for(lambda: written)
    capture.close()
    assert capture.lost == 1


def test_lines_are_delivered_after_some_that_could_not_be() -> None:
    delivered: list[str] = []
    failed: list[str] = []

    def call(_scope: Scope, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if operation == "PutLogEvents":
            if not failed:
                failed.append(request["logStreamName"])
                raise KeyError("the stream has just been deleted")
            delivered.extend(event["message"] for event in request["logEvents"])
        return {}

    logs = Logs(call)
    stream = logs.open(SCOPE, "g", "s")
    stream.write("lost")
    wait_for(lambda: failed)
    stream.write("kept")
    wait_for(lambda: delivered)
    logs.close()
    assert delivered == ["kept"]


def test_a_child_that_has_just_ended_does_not_hide_what_its_parent_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    read_text = Path.read_text

    def read(path: Path, *arguments: Any) -> str:
        return read_text(path, *arguments) + (f"{2**30} " if path.name == "children" else "")

    monkeypatch.setattr(Path, "read_text", read)
    assert usage(os.getpid()) is not None
