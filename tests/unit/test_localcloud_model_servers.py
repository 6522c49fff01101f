"""Model servers on a busy machine, where one learns late of what happens."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localcloud.containers.images import ImageMap
from localcloud.containers.processes import Container, ContainerError, ContainerSpec, ProcessRuntime
from localcloud.jobs.logs import Logs
from localcloud.jobs.platform import Platform
from localcloud.jobs.slots import Slots
from localcloud.sagemaker.events import Events
from localcloud.serving import model_servers
from localcloud.serving.model_servers import Fleet, Serving, reserved_port
from localcloud.serving.router import Target
from localcloud.serving.runtime_api import ask
from localcloud.store import Scope, Store

SCOPE = Scope("000000000000", "us-east-1")
IMAGES = Path(__file__).parents[1] / "integration/localcloud_images/stub.toml"
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
    runtime = ProcessRuntime()
    logs = Logs(lambda *_: {})
    yield Platform(
        store=Store(),
        images=ImageMap.load([IMAGES]),
        runtime=LateRuntime(runtime),
        slots=Slots(1),
        logs=logs,
        events=Events(lambda *_: None),
        s3=lambda *_: None,
        environment=lambda *_: {},
        directory=tmp_path,
    )
    runtime.close()
    logs.close()


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
