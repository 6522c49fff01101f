"""For tests of model servers: a platform with real processes and nothing else that is real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localcloud.containers.images import ImageMap
from localcloud.containers.processes import ProcessRuntime
from localcloud.jobs.logs import Logs
from localcloud.jobs.platform import Platform
from localcloud.jobs.slots import Slots
from localcloud.sagemaker.events import Events
from localcloud.store import Store

IMAGES = Path(__file__).parents[1] / "integration/localcloud_images/stub.toml"


@contextmanager
def serving_platform(
    directory: Path, seen: Callable[[ProcessRuntime], Any] = lambda runtime: runtime
) -> Iterator[Platform]:
    """A platform for the length of a block.

    Args:
        seen: how its processes are seen, by a runtime around theirs.
    """
    runtime = ProcessRuntime()
    logs = Logs(lambda *_: {})
    yield Platform(
        store=Store(),
        images=ImageMap.load([IMAGES]),
        runtime=seen(runtime),
        slots=Slots(1),
        logs=logs,
        events=Events(lambda *_: None),
        s3=lambda *_: None,
        environment=lambda *_: {},
        directory=directory,
    )
    runtime.close()
    logs.close()
