"""Steady requests to an endpoint while a test changes it, and who answered them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.deployed import Deployed, until
from tests.packages import rows

# Units of live traffic; the probes' are 1 to 12.
FIRST_UNIT = 1001


@dataclass
class Answered:
    """One request: when it was sent and was over (seconds since the epoch), by which variant answered, or why not."""

    sent: float
    variant: str | None
    failure: str | None = None
    ended: float = field(default_factory=time.time)


@dataclass
class Traffic:
    """Requests at a steady rate from a thread, for the length of a block."""

    deployed: Deployed
    endpoint: str
    per_second: float = 20.0
    answered: list[Answered] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(120)  # a request that is on its way takes a minute at most

    @property
    def failures(self) -> list[str]:
        """Why requests failed, one entry each."""
        return [each.failure for each in self.answered if each.failure is not None]

    def wait(self, after: float = 0.0) -> None:
        """Wait until a request is answered that was sent after this moment."""
        until(
            "an answer",
            lambda: True if any(each.variant and each.sent > after for each in list(self.answered)) else None,
        )

    def shares(self, begin: float = 0.0, end: float = float("inf")) -> dict[str, float]:
        """Each variant's share of the requests answered that were sent in between, as a fraction."""
        answered = list(self.answered)
        counted = Counter(each.variant for each in answered if each.variant and begin <= each.sent <= end)
        return {variant: count / counted.total() for variant, count in counted.items() if variant}

    def _run(self) -> None:
        runtime = self.deployed.client("sagemaker-runtime")
        body, due = rows(FIRST_UNIT, 60).encode(), time.monotonic()
        while not self._stop.is_set():
            sent = time.time()
            try:
                answer = runtime.invoke_endpoint(EndpointName=self.endpoint, ContentType="text/csv", Body=body)
                self.answered.append(Answered(sent, answer["InvokedProductionVariant"], _wrong(answer)))
            except (ClientError, BotoCoreError) as error:
                self.answered.append(Answered(sent, None, str(error)))
            due = max(due + 1 / self.per_second, time.monotonic() - 1)
            self._stop.wait(max(0.0, due - time.monotonic()))


def _wrong(answer: dict[str, Any]) -> str | None:
    text = answer["Body"].read()
    try:
        [prediction] = json.loads(text)["predictions"]
        return None if prediction["unit"] == FIRST_UNIT else f"not the engine asked for: {text!r}"
    except (ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {text!r}"
