"""What outlasts a server, killed or stopped: MiniStack's services and SageMaker's store, restored and taken up again.

A clean stop is a kill with a fresh snapshot: jobs and executions that run then are not finished in a hurry, but are
found interrupted at the next start, and fail there, with events that somebody can receive.
"""

from __future__ import annotations

import logging
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud import hooks
from localcloud.durability import objects
from localcloud.durability.generations import Generations, StateUnreadable
from localcloud.durability.interrupted import Interrupted
from localcloud.durability.retention import Retention
from localcloud.durability.snapshots import Lock, Snapshots
from localcloud.sagemaker.events import Events
from localcloud.store import Store

logger = logging.getLogger("localcloud.durability.kept")

SHORTEST_INTERVAL = 0.1
STATE = "state"
OBJECTS = "s3"
UPLOADS = "s3-uploads"
SAGEMAKER = "sagemaker"

# What MiniStack's own states leave out.
MORE = ("s3.uploads", "s3.retention", "s3.legal_hold")
# What the fork is taken under, so that none of these stores is in the middle of a change.
LOCKS = ("sqs.lock", "dynamodb.lock", "logs.lock")

# Operations of these names change nothing.
_READS = ("Describe", "List", "Get", "Head", "BatchGet", "Query", "Scan", "Search", "Filter", "Lookup", "Test")


def generations(directory: Path) -> Generations:
    """The generations below a localcloud's directory."""
    return Generations(directory / STATE, _encode, _decode)


def kept_port(directory: Path) -> int:
    """The port at which the kept state was served last, so that addresses in it stay true; 0 when there is none."""
    port = Generations(directory / STATE, _encode).header().get("port", 0)
    return port if isinstance(port, int) else 0


class Durability:
    """Restores on start, saves while the server runs, and saves a last time.

    Args:
        directory: the localcloud's.
        store: SageMaker's.
        events: SageMaker's, held back until targets can receive them.
        restored: called when the store is back; fails what was interrupted.
        port: where this localcloud is served.
        interval: seconds between two snapshots, at least.
    """

    def __init__(
        self, directory: Path, store: Store, events: Events, restored: Callable[[], None], port: int, interval: float
    ) -> None:
        self._directory = directory
        self._generations = generations(directory)
        self._store = store
        self._events = events
        self._restored = restored
        self._interrupted = Interrupted()
        self.snapshots = Snapshots(
            self._generations,
            self._states,
            self._locks,
            {"ministack": hooks.WRITTEN_FOR, "port": port},
            interval=max(interval, SHORTEST_INTERVAL),
            before=Retention(store).tick,
        )

    def restore(self) -> None:
        """Bring everything back, before anything is served.

        Raises:
            StateUnreadable: it cannot be; the message says why and what to do.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._generations.directory.mkdir(exist_ok=True)
        objects.install(self._directory / OBJECTS, self._directory / UPLOADS)
        # Functions' code goes where everything else goes.
        hooks.replace("lambda.write_code", lambda _: lambda code_zip: code_zip)
        hooks.replace("lambda.read_code", lambda _: lambda sha: sha)
        hooks.replace("lambda.prune_code", lambda _: lambda referenced: None)
        self._events.hold()
        found = self._generations.newest()
        if found is not None:
            self.snapshots.goes_on_from(found.number)
            if found.header.get("ministack") != hooks.WRITTEN_FOR:
                logger.warning("the kept state was written with MiniStack %s", found.header.get("ministack"))
            self._load(found.states)
            logger.info("restored the state of %s (generation %d)", found.header.get("taken"), found.number)
        self._watch()

    def start(self, loop: AbstractEventLoop) -> None:
        """Begin to save, and tell who waits for it of what was interrupted; once requests are served."""
        self.snapshots.start(loop)
        threading.Thread(target=self._tell, name="localcloud-interrupted", daemon=True).start()

    def close(self) -> None:
        """Save a last time; what happens after it did not happen."""
        self._events.hold()
        self.snapshots.close()

    def on_request(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """A request comes in, or has been answered: is it one that may change anything?"""
        if method not in ("GET", "HEAD", "OPTIONS"):
            target = next((value for name, value in headers if name == b"x-amz-target"), b"").decode("latin-1")
            if not target.rpartition(".")[2].startswith(_READS):
                self.snapshots.changed()

    # --- saving -------------------------------------------------------------------------------------------------------

    def _states(self) -> Iterator[tuple[str, Any]]:
        """Every service's state; what is empty is left out, so that its module need not be loaded again."""
        left_out = _not_served()
        for name, get_state in sorted(hooks.get("app.states_of")().items()):
            if name in left_out:
                continue
            state = get_state()
            if state is not None and not _empty(state):
                yield name, {"format": hooks.get("state.format")(name), "content": state}
        yield "more", {name: hooks.get(name) for name in MORE}

    def _locks(self) -> list[Lock]:
        return [self._store.lock, *(hooks.get(name) for name in LOCKS)]

    def _watch(self) -> None:
        """Let what changes without a request be known too."""
        changed = self.snapshots.changed

        def telling(function: Callable[..., Any]) -> Callable[..., Any]:
            def tell(*arguments: Any, **named: Any) -> Any:
                changed()
                return function(*arguments, **named)

            return tell

        for name in ("states.event", "events.dispatch", "app.call"):
            hooks.replace(name, telling)
        self._store.on_change = changed

    # --- restoring ----------------------------------------------------------------------------------------------------

    def _load(self, states: Mapping[str, Any]) -> None:
        modules = hooks.get("app.states")
        for name, state in states.items():
            if name == "more":
                continue
            if name not in modules:
                raise self._unreadable(name, "there is no such service in this MiniStack")
            if state["format"] > hooks.get("state.format")(name):
                raise self._unreadable(name, "it was written by a newer MiniStack")
            if name == SAGEMAKER:
                continue
            self._interrupted.look(name, state["content"])
            try:
                hooks.get("app.module")(modules[name]).load_persisted_state(state["content"])
            except Exception as error:
                raise self._unreadable(name, f"{type(error).__name__}: {error}") from error
        self._interrupted.restored()
        for name, content in states.get("more", {}).items():
            hooks.get(name).update(content)
        if SAGEMAKER in states:
            self._store.restore(states[SAGEMAKER]["content"]["rows"])
            self._restored()

    def _unreadable(self, name: str, why: str) -> StateUnreadable:
        return StateUnreadable(
            f"the kept state of {name} cannot be restored: {why}. Start the version that wrote it, or remove "
            f"{self._generations.directory} to start without resources (objects in S3 stay)."
        )

    def _tell(self) -> None:
        """Fail what was cut off, now that whoever waits for it can hear of it, and let SageMaker's events go."""
        self._interrupted.tell()
        self._events.release()


def _not_served() -> set[str]:
    """States of services that are not served; MiniStack loads some of them for CloudFormation."""
    served = hooks.get("app.handlers")
    names = set()
    for service, entry in hooks.get("app.registry").items():
        if service not in served:
            names |= {entry.get("state_key", entry["module"]), *entry.get("sub_modules", ())}
    return names


def _empty(state: Any) -> bool:
    """Whether there is nothing in a service's state; MiniStack's own containers know only the caller's account."""
    inner = getattr(state, "_data", state)
    if isinstance(inner, Mapping):
        return not inner or (inner is state and all(_empty(value) for value in inner.values()))
    return not inner


def _encode(value: Any) -> Any:
    return hooks.get("state.encode")(value)


def _decode(item: dict[str, Any]) -> Any:
    return hooks.get("state.decode")(item)
