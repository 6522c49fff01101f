"""Load on an endpoint, as its users make it: test engines whose histories grow cycle by cycle, at a steady rate.

Open loop: requests are due at fixed times whether or not earlier ones have been answered, so a slow model does not slow
down its own measurement. Nothing is tried twice: what fails is seen.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import uuid
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from onwing.predict import ACCEPT, CONTENT_TYPE, Engine
from onwing.target import Target

THREADS = 16
TIMEOUT_SECONDS = 60.0  # InvokeEndpoint's own limit
FAILURES_KEPT = 20
NO_ANSWER = 0  # status of a request that no HTTP answer came to


@dataclass(frozen=True)
class Latency:
    """Seconds from sending to the answer, as milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Failure:
    """One request that failed. `second` counts from the start."""

    second: float
    status: int
    message: str
    engine: str
    cycle: int


@dataclass(frozen=True)
class Second:
    """One second of the timeline: answers by variant, and failures, of the requests that were due in it."""

    at: datetime
    variants: Mapping[str, int]
    failed: int


@dataclass(frozen=True)
class Report:
    """What came of the traffic. `behind_seconds`: how late the latest request was sent, for want of a free thread."""

    started: datetime
    seconds: float
    rate_wanted: float
    rate: float
    requests: int
    answered: int
    failed: int
    variants: Mapping[str, int]
    errors: Sequence[Mapping[str, Any]]  # status, count, first message
    latency: Latency | None
    latency_by_variant: Mapping[str, Latency]
    behind_seconds: float
    inference_ids: str = ""  # what the requests' InferenceIds begin with
    failures: Sequence[Failure] = field(default_factory=tuple)  # the first ones
    timeline: Sequence[Second] = field(default_factory=tuple)

    def shares(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, float]:
        """Each variant's part of the answers, from 0 to 1, in the seconds between two moments."""
        counted: Counter[str] = Counter()
        for second in self.timeline:
            if (since is None or second.at >= since) and (until is None or second.at <= until):
                counted.update(second.variants)
        total = counted.total()
        return {variant: count / total for variant, count in sorted(counted.items())}


class Traffic:
    """Requests at a rate from threads of its own: start(), and stop() for the report.

    Also a context manager; `report` then holds what came of it.
    """

    def __init__(
        self,
        target: Target,
        endpoint: str,
        engines: Sequence[Engine],
        *,
        rate: float = 20.0,
        threads: int = THREADS,
        client: Any = None,
    ) -> None:
        """`engines` are what `predict.read` gives; `client` is for tests, a sagemaker-runtime client."""
        self.endpoint, self.rate = endpoint, rate
        # Real CSV, made once: what is sent is the beginning of it.
        self._histories = [[b",".join(row.replace(b",", b" ").split()) for row in engine.rows] for engine in engines]
        # Engines are in the middle of their lives, each at another age.
        self._cycles = [max(1, len(rows) * (1 + number % 9) // 10) for number, rows in enumerate(self._histories)]
        self._client = client or target.session.client(
            "sagemaker-runtime",
            config=Config(
                retries={"total_max_attempts": 1},
                max_pool_connections=threads,
                connect_timeout=10,
                read_timeout=TIMEOUT_SECONDS,
                user_agent_extra="onwing-traffic",
            ),
        )
        self._threads = [
            threading.Thread(target=self._work, name=f"traffic-{number}", daemon=True) for number in range(threads)
        ]
        self._numbers = itertools.count()
        # Data Capture keeps them: what was sent can be found again there.
        self._inference_ids = f"onwing-traffic-{uuid.uuid4().hex[:12]}-"
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._began = 0.0
        self._started = datetime.now(UTC)
        self._answered: Counter[str] = Counter()
        self._latencies: dict[str, array[float]] = {}
        self._errors: dict[tuple[int, str], list[Any]] = {}
        self._failures: list[Failure] = []
        self._failed = 0
        self._timeline: dict[int, Counter[str]] = {}
        self._failed_in: Counter[int] = Counter()
        self._behind = 0.0
        self.report: Report | None = None

    def __enter__(self) -> Traffic:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Traffic:
        """Begin; returns at once."""
        self._began, self._started = time.monotonic(), datetime.now(UTC)
        for thread in self._threads:
            thread.start()
        return self

    def stop(self, timeout: float = TIMEOUT_SECONDS) -> Report:
        """End: requests that are out are waited for, at most `timeout` seconds."""
        self._stopped.set()
        ended = time.monotonic()
        for thread in self._threads:
            thread.join(max(0.0, ended + timeout - time.monotonic()))
        self.report = self.so_far(ended)
        return self.report

    def so_far(self, now: float | None = None) -> Report:
        """The report up to now."""
        seconds = max((now or time.monotonic()) - self._began, 1e-9)
        with self._lock:
            answered = self._answered.total()
            everything = array("d", itertools.chain.from_iterable(self._latencies.values()))
            last = max([*self._timeline, *self._failed_in], default=-1)
            return Report(
                started=self._started,
                seconds=round(seconds, 3),
                rate_wanted=self.rate,
                rate=round((answered + self._failed) / seconds, 2),
                requests=answered + self._failed,
                answered=answered,
                failed=self._failed,
                variants=dict(sorted(self._answered.items())),
                errors=[
                    {"status": status, "code": code, "count": count, "message": message}
                    for (status, code), (count, message) in sorted(self._errors.items())
                ],
                latency=latency(everything),
                latency_by_variant={
                    variant: found
                    for variant, values in sorted(self._latencies.items())
                    if (found := latency(values)) is not None
                },
                behind_seconds=round(self._behind, 3),
                inference_ids=self._inference_ids,
                failures=tuple(self._failures),
                timeline=[
                    Second(
                        datetime.fromtimestamp(self._started.timestamp() + second, UTC),
                        dict(sorted(self._timeline.get(second, Counter()).items())),
                        self._failed_in[second],
                    )
                    for second in range(last + 1)
                ],
            )

    def _work(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                number = next(self._numbers)
                report = self._next(number)
            if report is None:
                return
            engine, cycle = report
            due = number / self.rate
            if self._stopped.wait(max(0.0, self._began + due - time.monotonic())):
                return
            self._send(number, due, engine, cycle)

    def _next(self, number: int) -> tuple[int, int] | None:
        """Which engine reports next, and the cycle it has come to; one at its end is replaced by a new one.

        None: there is nothing more to send.
        """
        engine = number % len(self._histories)
        cycle = self._cycles[engine]
        self._cycles[engine] = cycle % len(self._histories[engine]) + 1
        return engine, cycle

    def _send(self, number: int, due: float, engine: int, cycle: int) -> None:
        rows = self._histories[engine]
        body = b"\n".join(rows[:cycle]) + b"\n"
        sent = time.monotonic()
        try:
            answer = self._client.invoke_endpoint(
                EndpointName=self.endpoint,
                ContentType=CONTENT_TYPE,
                Accept=ACCEPT,
                InferenceId=f"{self._inference_ids}{number}",
                Body=body,
            )
            answer["Body"].read()
        except ClientError as error:
            self._fail(due, sent, engine, cycle, *_said(error))
        except BotoCoreError as error:
            self._fail(due, sent, engine, cycle, NO_ANSWER, type(error).__name__, str(error))
        else:
            took = time.monotonic() - sent
            variant = str(answer.get("InvokedProductionVariant", ""))
            with self._lock:
                self._answered[variant] += 1
                self._latencies.setdefault(variant, array("d")).append(took)
                self._timeline.setdefault(int(due), Counter())[variant] += 1
                self._behind = max(self._behind, sent - self._began - due)

    def _fail(self, due: float, sent: float, engine: int, cycle: int, status: int, code: str, message: str) -> None:
        unit = self._histories[engine][0].partition(b",")[0].decode(errors="replace")
        with self._lock:
            self._failed += 1
            self._failed_in[int(due)] += 1
            self._behind = max(self._behind, sent - self._began - due)
            self._errors.setdefault((status, code), [0, message])[0] += 1
            if len(self._failures) < FAILURES_KEPT:
                self._failures.append(Failure(round(due, 3), status, message, unit, cycle))


class Replay(Traffic):
    """The last `reports` cycles of each engine, flight by flight, and then no more: run() sends them all."""

    def __init__(
        self,
        target: Target,
        endpoint: str,
        engines: Sequence[Engine],
        *,
        reports: int = 3,
        rate: float = 20.0,
        threads: int = THREADS,
        client: Any = None,
    ) -> None:
        super().__init__(target, endpoint, engines, rate=rate, threads=threads, client=client)
        self._order = iter(
            [
                (engine, len(rows) - back)
                for back in reversed(range(reports))
                for engine, rows in enumerate(self._histories)
                if len(rows) > back
            ]
        )

    def _next(self, number: int) -> tuple[int, int] | None:
        return next(self._order, None)

    def run(self) -> Report:
        """Send everything at the rate; returns when the last answer is there."""
        self.start()
        try:
            for thread in self._threads:
                thread.join()
        finally:
            self.stop()
        assert self.report is not None, "stop() makes it"
        return self.report


def _said(error: ClientError) -> tuple[int, str, str]:
    """Status, code and message: the model's own where it was the model that refused."""
    response: Mapping[str, Any] = error.response
    code = str(response.get("Error", {}).get("Code", "Unknown"))
    message = str(response.get("OriginalMessage") or response.get("Error", {}).get("Message", ""))
    status = response.get("OriginalStatusCode") or response.get("ResponseMetadata", {}).get("HTTPStatusCode", NO_ANSWER)
    return int(status), code, message[:500]


def latency(seconds: Sequence[float]) -> Latency | None:
    """Percentiles (nearest rank) of what was measured; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def rank(part: int) -> float:
        return round(1000 * ordered[max(0, math.ceil(len(ordered) * part / 100) - 1)], 2)

    return Latency(rank(50), rank(95), rank(99), round(1000 * ordered[-1], 2))
