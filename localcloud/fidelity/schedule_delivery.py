"""A schedule fires in its time zone and flexible window, under its role, is retried, and dead-lettered at last.

docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html, …/managing-schedule-flexible-time-windows.html,
…/configuring-schedule-dlq.html; MiniStack looks every ten seconds, in UTC, knows neither windows nor context
attributes, fires once more after each restart, and drops what fails. The metrics of AWS/Scheduler come with it.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

from localcloud import hooks
from localcloud.clients import Clients
from localcloud.cloudwatch import metrics
from localcloud.delivery import schedule_times
from localcloud.delivery.deliveries import Deliverer, Delivery, Failed
from localcloud.delivery.schedule_targets import ScheduleTargets, payload_of, stamp
from localcloud.errors import ApiError
from localcloud.iam.identity import Identity
from localcloud.store import Scope

logger = logging.getLogger("localcloud.fidelity")

NAMESPACE = "AWS/Scheduler"
KIND = "schedule"
TICK_SECONDS = 0.5
LONGEST_BODY = 250_000  # bytes of a dead letter, of the 262,144 that a queue takes

Answer = tuple[int, dict[str, str], bytes]


def install(identity: Identity, clients: Clients, deliverer: Deliverer) -> None:
    """Fire schedules in localcloud's own thread, and check what MiniStack takes unread."""
    deliverer.handle(KIND, _Schedules(ScheduleTargets(identity, clients)))
    clock = Clock(deliverer)
    hooks.register_state("localcloud_schedules", clock)

    def start() -> None:  # when everything has been restored
        deliverer.resume()
        clock.start()

    hooks.replace("scheduler.start", lambda _original: start)

    def make(write: Any) -> Any:
        def written(name: str, body: dict[str, Any]) -> Answer:
            try:
                _check(body)
            except ApiError as error:
                headers = {"Content-Type": "application/json", "x-amzn-errortype": error.code}
                return error.status, headers, json.dumps({"Message": error.message}).encode()
            answer: Answer = write(name, body)
            return answer

        return written

    hooks.replace("scheduler.create", make)
    hooks.replace("scheduler.update", make)


def _check(body: Mapping[str, Any]) -> None:
    schedule_times.check(body)
    window = body.get("FlexibleTimeWindow") or {}
    minutes = window.get("MaximumWindowInMinutes")
    if window.get("Mode") == "FLEXIBLE" and not 1 <= int(minutes or 0) <= 1440:
        raise ApiError("ValidationException", "MaximumWindowInMinutes must be between 1 and 1440 in a flexible window.")
    if window.get("Mode") == "OFF" and minutes is not None:
        raise ApiError("ValidationException", "MaximumWindowInMinutes is for flexible windows only.")
    policy = (body.get("Target") or {}).get("RetryPolicy") or {}
    if not 0 <= int(policy.get("MaximumRetryAttempts", 0)) <= 185:
        raise ApiError("ValidationException", "MaximumRetryAttempts must be between 0 and 185.")
    if not 60 <= int(policy.get("MaximumEventAgeInSeconds", 60)) <= 86_400:
        raise ApiError("ValidationException", "MaximumEventAgeInSeconds must be between 60 and 86400.")


class Clock:
    """Looks which schedules are due."""

    def __init__(self, deliverer: Deliverer) -> None:
        self._deliverer = deliverer
        self._done: dict[str, float] = {}  # schedule → the time up to which it has fired
        self._late: dict[str, tuple[float, float]] = {}  # schedule → scheduled time, moment in its flexible window
        self._seen: set[str] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="localcloud-schedules", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            now = time.time()
            self._seen.clear()
            for (account, region, key), schedule in hooks.get("scheduler.schedules").all_items():
                try:
                    self._look(Scope(account, region), key, schedule, now)
                except Exception:  # one schedule's mistake must not stop the others
                    logger.exception("the schedule %s failed inside localcloud", schedule.get("Arn"))
            for mark in self._done.keys() - self._seen:
                self._done.pop(mark, None)
                self._late.pop(mark, None)

    def _look(self, scope: Scope, key: str, schedule: dict[str, Any], now: float) -> None:
        # A schedule that was deleted and made again, changed or disabled meanwhile is another one.
        mark = f"{schedule['Arn']} {schedule['CreationDate']} {schedule['LastModificationDate']}"
        self._seen.add(mark)
        if schedule.get("State", "ENABLED") != "ENABLED":
            self._done[mark] = now
            return
        # A one-time schedule whose time has passed already is due; a recurring one begins now.
        begin = 0.0 if schedule_times.once(schedule) else float(schedule["LastModificationDate"])
        done = self._done.setdefault(mark, begin)
        if not schedule_times.once(schedule) and now - done > 3600:
            done = now - 60  # the server was down: what was missed is not made up for
        scheduled = schedule_times.next_time(schedule, done)
        if scheduled is None:
            self._complete(scope, key, schedule)
            return
        if scheduled > now:
            return
        if mark not in self._late:
            window = schedule.get("FlexibleTimeWindow") or {}
            minutes = int(window.get("MaximumWindowInMinutes") or 0) if window.get("Mode") == "FLEXIBLE" else 0
            self._late[mark] = (scheduled, scheduled + random.uniform(0, minutes * 60))
        if now < self._late[mark][1]:
            return
        del self._late[mark]
        try:  # fired, then done: what is saved in between fires again after a restart, and is not lost
            self._fire(scope, schedule, scheduled)
        finally:
            self._done[mark] = scheduled
        if schedule_times.next_time(schedule, scheduled) is None:
            self._complete(scope, key, schedule)

    def _fire(self, scope: Scope, schedule: dict[str, Any], scheduled: float) -> None:
        content = {"scheduled": scheduled, "id": str(uuid.uuid4()), "group": schedule.get("GroupName", "default")}
        self._deliverer.submit(Delivery(KIND, *scope, schedule["Arn"], dict(schedule["Target"]), content))

    def _complete(self, scope: Scope, key: str, schedule: dict[str, Any]) -> None:
        if schedule.get("ActionAfterCompletion") == "DELETE":
            hooks.get("scheduler.schedules").pop_scoped(*scope, key, None)

    def get_state(self) -> dict[str, Any]:
        """What has fired, as JSON values."""
        return {"done": dict(self._done)}

    def load_persisted_state(self, data: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._done.update(data["done"])

    def reset(self) -> None:
        """Forget everything."""
        self._done.clear()
        self._late.clear()


class _Schedules:
    """Delivers for schedules."""

    def __init__(self, targets: ScheduleTargets) -> None:
        self._targets = targets

    def attempt(self, delivery: Delivery) -> None:
        """Call the target."""
        _measure(delivery, "InvocationAttemptCount")
        try:
            self._targets.call(delivery)
        except Failed as error:
            throttled = "Throttl" in error.code or "TooManyRequests" in error.code
            _measure(delivery, "TargetErrorThrottledCount" if throttled else "TargetErrorCount")
            raise
        _measure(delivery, "TargetErrorCount", 0)

    def succeeded(self, delivery: Delivery) -> None:
        """Nothing remains to be done."""

    def retrying(self, delivery: Delivery, failure: Failed) -> None:
        """It has been counted."""

    def dead(self, delivery: Delivery, failure: Failed, condition: str | None) -> None:
        """Send a dead-letter event, if there is a queue for it."""
        _measure(delivery, "InvocationDroppedCount")
        queue = (delivery.target.get("DeadLetterConfig") or {}).get("Arn")
        if not queue:
            return
        body = payload_of(delivery)
        truncated = len(body.encode()) > LONGEST_BODY
        attributes = {
            "SCHEDULE_ARN": delivery.source_arn,
            "TARGET_ARN": delivery.target["Arn"],
            "ERROR_CODE": failure.code,
            "ERROR_MESSAGE": failure.message[:1000] or failure.code,
            "EXECUTION_ID": delivery.content["id"],
            "SCHEDULED_TIME": stamp(delivery.content["scheduled"]),
            "RETRY_ATTEMPTS": str(delivery.attempts - 1),
            "IS_PAYLOAD_TRUNCATED": str(truncated).lower(),
        }
        if condition:
            attributes["EXHAUSTED_RETRY_CONDITION"] = condition
        try:
            self._targets.bury(delivery, queue, body[: LONGEST_BODY // 4] if truncated else body, attributes)
        except Failed as error:
            _measure(delivery, "InvocationsFailedToBeSentToDeadLetterCount")
            logger.warning("%s: the dead-letter queue %s takes nothing: %s", delivery.source_arn, queue, error)
            return
        _measure(delivery, "InvocationsSentToDeadLetterCount")
        if truncated:
            _measure(delivery, "InvocationsSentToDeadLetterCount_Truncated")


def _measure(delivery: Delivery, name: str, value: float = 1) -> None:
    metrics.put(delivery.scope, NAMESPACE, name, value, "Count", {"ScheduleGroup": delivery.content["group"]})
