"""Deliveries to targets: off the publisher's thread, in order for each target, retried, and at last dead-lettered.

docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html: exponential back-off with jitter, until
either the attempts or the event's age are used up. AWS's pauses, which grow to hours, are seconds here: 0.2 s doubled
with each attempt, at most a minute, of which a random part is waited. Ages are not scaled.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from localcloud import hooks
from localcloud.errors import LocalcloudError
from localcloud.store import Scope

logger = logging.getLogger("localcloud.delivery.deliveries")

WORKERS = 4
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 60.0
MOST_WAITING = 20_000
MOST_ATTEMPTS, LONGEST_AGE_SECONDS = 185, 86_400  # unless the target's RetryPolicy says otherwise

ATTEMPTS_USED, AGE_USED = "MaximumRetryAttempts", "MaximumEventAgeInSeconds"


class Failed(LocalcloudError):
    """A target could not be given something.

    Args:
        code: AWS's word for it.
        final: whether trying again is of no use: the target is not there, or may not be used.
    """

    def __init__(self, code: str, message: str, *, final: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.final = final


@dataclass
class Delivery:
    """Something for one target; plain values, so that what waits survives a restart.

    Args:
        kind: who delivers: the name of a Handler.
        account: whose it is; with the region its scope.
        source_arn: the rule's or schedule's.
        target: as it was put: Arn, RoleArn, RetryPolicy, DeadLetterConfig and the kind's own parameters.
        content: what the handler needs besides.
        attempts: made so far; a handler may take one back that was none of the target's.
        pauses: made so far.
        since: when the first was due, in seconds since the epoch.
    """

    kind: str
    account: str
    region: str
    source_arn: str
    target: dict[str, Any]
    content: dict[str, Any]
    attempts: int = 0
    pauses: int = 0
    since: float = field(default_factory=time.time)

    @property
    def scope(self) -> Scope:
        """Account and region."""
        return Scope(self.account, self.region)


class Handler(Protocol):
    """Delivers one kind."""

    def attempt(self, delivery: Delivery) -> None:
        """Deliver; raises Failed."""

    def succeeded(self, delivery: Delivery) -> None:
        """It has been delivered."""

    def retrying(self, delivery: Delivery, failure: Failed) -> None:
        """It will be tried again."""

    def dead(self, delivery: Delivery, failure: Failed, condition: str | None) -> None:
        """It will not be tried again; ``condition`` is what was used up, None if nothing was."""


class Deliverer:
    """Works off deliveries in a few threads; all of one target in the same one, so that they stay in order."""

    def __init__(self, at_once: int = 0, first_pause: float | None = None) -> None:
        """Start.

        Args:
            at_once: for deliveries that take long and need no order, how many are made at once; 0 for short ones.
            first_pause: seconds before the first retry.
        """
        workers = 0 if at_once else WORKERS
        self._pool = ThreadPoolExecutor(at_once, "localcloud-deliver") if at_once else None
        self._first_pause = FIRST_PAUSE_SECONDS if first_pause is None else first_pause
        self._handlers: dict[str, Handler] = {}
        self._queues: list[queue.SimpleQueue[Delivery]] = [queue.SimpleQueue() for _ in range(workers)]
        self._waiting: dict[int, Delivery] = {}  # by id: all that is neither delivered nor dead
        self._restored: list[Delivery] = []
        self._later: list[tuple[float, int, Delivery]] = []
        self._numbers = itertools.count()
        self._due = threading.Condition()
        for number, each in enumerate(self._queues):
            threading.Thread(target=self._work, args=(each,), name=f"localcloud-deliver-{number}", daemon=True).start()
        threading.Thread(target=self._bring_back, name="localcloud-deliver-again", daemon=True).start()

    def handle(self, kind: str, handler: Handler) -> None:
        """Deliver a kind from now on."""
        self._handlers[kind] = handler

    @property
    def full(self) -> bool:
        """Whether more waits than there should."""
        return len(self._waiting) >= MOST_WAITING

    def submit(self, delivery: Delivery) -> None:
        """Deliver soon."""
        self._waiting[id(delivery)] = delivery
        self._hand_on(delivery)

    def _hand_on(self, delivery: Delivery) -> None:
        if self._pool is not None:
            self._pool.submit(self._take, delivery)
        else:
            self._queues[hash(delivery.target.get("Arn")) % len(self._queues)].put(delivery)

    def _work(self, mine: queue.SimpleQueue[Delivery]) -> None:
        while True:
            self._take(mine.get())

    def _take(self, delivery: Delivery) -> None:
        if id(delivery) not in self._waiting:
            return  # forgotten meanwhile
        try:
            with hooks.acting_in(delivery.scope):
                self._deliver(delivery)
        except Exception:
            self._waiting.pop(id(delivery), None)
            logger.exception("a delivery to %s failed inside localcloud", delivery.target.get("Arn"))

    def _deliver(self, delivery: Delivery) -> None:
        handler = self._handlers[delivery.kind]
        delivery.attempts += 1
        try:
            try:
                handler.attempt(delivery)
            except Failed:
                raise
            except Exception as error:
                logger.exception("%s could not be delivered to", delivery.target.get("Arn"))
                raise Failed("INTERNAL_ERROR", f"{type(error).__name__}: {error}", final=False) from error
        except Failed as failure:
            self._failed(handler, delivery, failure)
            return
        self._waiting.pop(id(delivery), None)
        handler.succeeded(delivery)

    def _failed(self, handler: Handler, delivery: Delivery, failure: Failed) -> None:
        policy: Mapping[str, Any] = delivery.target.get("RetryPolicy") or {}
        most = int(policy.get("MaximumRetryAttempts", MOST_ATTEMPTS))
        age = float(policy.get("MaximumEventAgeInSeconds", LONGEST_AGE_SECONDS))
        pause = min(self._first_pause * 2 ** min(delivery.pauses, 20), LONGEST_PAUSE_SECONDS)
        delivery.pauses += 1
        pause *= random.uniform(0.5, 1.0)
        condition = None
        if not failure.final:
            if delivery.attempts > most:
                condition = ATTEMPTS_USED
            elif time.time() + pause - delivery.since > age:
                condition = AGE_USED
            else:
                handler.retrying(delivery, failure)
                with self._due:
                    heapq.heappush(self._later, (time.time() + pause, next(self._numbers), delivery))
                    self._due.notify()
                return
        logger.warning(
            "%s: %s could not be given an event (%s): %s",
            *(delivery.source_arn, delivery.target.get("Arn"), condition or "final", failure),
        )
        self._waiting.pop(id(delivery), None)
        handler.dead(delivery, failure, condition)

    def _bring_back(self) -> None:
        while True:
            with self._due:
                while not self._later or self._later[0][0] > time.time():
                    self._due.wait(max(0.01, self._later[0][0] - time.time()) if self._later else None)
                _when, _number, delivery = heapq.heappop(self._later)
            self._hand_on(delivery)

    # What waits is kept, restored and reset with the services' state.

    def get_state(self) -> dict[str, Any]:
        """What is neither delivered nor dead, as JSON values. Takes no lock: it may run in a forked child."""
        both = [*self._restored, *list(self._waiting.values())]
        each_once = {id(delivery): delivery for delivery in both}  # `resume` submits one after the other
        return {"waiting": [asdict(delivery) for delivery in each_once.values()]}

    def load_persisted_state(self, data: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
        """Keep what waited until `resume`: the targets may not have been restored yet."""
        self._restored += [Delivery(**each) for each in data["waiting"]]

    def resume(self) -> None:
        """Go on where it stopped: a target may be given something twice, as it may on AWS, but never not at all."""
        for delivery in self._restored:
            self.submit(delivery)
        self._restored = []  # not before: what is saved meanwhile is to have them all

    def reset(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._restored.clear()
        with self._due:
            self._later.clear()


def enqueue(
    queue_arn: str,
    body: str,
    attributes: Mapping[str, str],
    allowed: Callable[[], None],
    group: str | None = None,
) -> None:
    """Put a message into a queue on a service's behalf.

    Args:
        attributes: message attributes, all text.
        allowed: raises Failed unless the service may.
        group: for a FIFO queue.

    Raises:
        Failed: there is no such queue, or it takes no such message.
    """
    found = hooks.get("sqs.find")(queue_arn)
    if found is None:
        raise Failed("NO_RESOURCE", f"The queue {queue_arn} does not exist.", final=True)
    allowed()
    if found.get("is_fifo") and not group:
        raise Failed(
            "INVALID_PARAMETER", f"{queue_arn} is a FIFO queue: give SqsParameters.MessageGroupId.", final=True
        )
    hooks.put_message(
        found, body, {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}, group
    )
