"""Blue/green deployment: how traffic moves from the old servers to the new, and when it goes back.

docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html. A rolling update, which on AWS replaces
instances in batches, moves the traffic in batches here; the new servers are all there before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localcloud.errors import ValidationException
from localcloud.serving.plans import Plan

LOOK_SECONDS = 0.5


class RolledBack(Exception):
    """The deployment must go back to the old configuration; the text says why."""


class Shift:
    """One deployment's shift of traffic."""

    def __init__(self, deployment: Mapping[str, Any] | None) -> None:
        """``deployment``: DeploymentConfig; None for all at once without waiting."""
        config = deployment or {}
        policy = config.get("BlueGreenUpdatePolicy") or {}
        rolling = config.get("RollingUpdatePolicy") or {}
        routing = policy.get("TrafficRoutingConfiguration") or {}
        self.alarms = [each["AlarmName"] for each in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
        self.wait = float(routing.get("WaitIntervalInSeconds", rolling.get("WaitIntervalInSeconds", 0)))
        self.termination_wait = float(policy.get("TerminationWaitInSeconds", 0))
        self.longest = float((policy or rolling).get("MaximumExecutionTimeoutInSeconds", 28_800))
        self.kind = "LINEAR" if rolling else routing.get("Type", "ALL_AT_ONCE")
        self._size = routing.get("CanarySize") or routing.get("LinearStepSize") or rolling.get("MaximumBatchSize") or {}

    def stages(self, instances: int = 1) -> list[float]:
        """The new servers' share of the traffic after each step; the last is 1."""
        if self.kind == "ALL_AT_ONCE" or not self._size:
            return [1.0]
        step = min(1.0, self._size["Value"] / (100 if self._size["Type"] == "CAPACITY_PERCENT" else max(1, instances)))
        if self.kind == "CANARY":
            return [step, 1.0]
        count = max(1, round(1 / step + 0.499))
        return [min(1.0, step * number) for number in range(1, count)] + [1.0]

    def run(
        self,
        send: Callable[[float], None],
        stage: Callable[[str], None],
        gone: Callable[[], bool],
        in_alarm: Callable[[Sequence[str]], list[str]],
        instances: int = 1,
    ) -> None:
        """Shift the traffic; returns when the old servers may be ended.

        Args:
            send: sets the new servers' share of the traffic.
            stage: is told VariantStatus.
            gone: whether nobody wants this any more.
            in_alarm: which of the alarms are in ALARM.
            instances: how many instances the new configuration has.

        Raises:
            RolledBack: an alarm went off, or the time is up.
        """
        end = time.monotonic() + self.longest
        for share in self.stages(instances):
            stage("ActivatingTraffic")
            send(share)
            if self.wait or self.alarms:
                stage("Baking")
            self._bake(self.wait, end, gone, in_alarm)
        self._bake(self.termination_wait, end, gone, in_alarm)

    def _bake(
        self, seconds: float, end: float, gone: Callable[[], bool], in_alarm: Callable[[Sequence[str]], list[str]]
    ) -> None:
        until = time.monotonic() + seconds
        while not gone():
            if self.alarms and (ringing := in_alarm(self.alarms)):
                raise RolledBack(
                    f"One or more configured CloudWatch alarms are in ALARM state: {', '.join(sorted(ringing))}. The "
                    "endpoint was rolled back to its previous configuration."
                )
            left = until - time.monotonic()
            if left <= 0:
                return
            if time.monotonic() > end:
                raise RolledBack("The deployment took longer than MaximumExecutionTimeoutInSeconds.")
            time.sleep(min(LOOK_SECONDS, left))


def check_deployment(deployment: Mapping[str, Any] | None, plan: Plan) -> None:
    """Refuse what AWS refuses of a DeploymentConfig; raises ValidationException."""
    if not deployment:
        return
    policy = deployment.get("BlueGreenUpdatePolicy")
    if policy and deployment.get("RollingUpdatePolicy"):
        raise ValidationException("Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy can be specified.")
    routing = (policy or {}).get("TrafficRoutingConfiguration", {})
    kind = routing.get("Type", "ALL_AT_ONCE")
    wanted = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(kind)
    for member in ("CanarySize", "LinearStepSize"):
        if (member in routing) != (member == wanted):
            verb = "must" if member == wanted else "cannot"
            raise ValidationException(f"{member} {verb} be specified with traffic routing type {kind}.")
    if wanted is None:
        return
    size = routing[wanted]
    instances = sum(variant["instances"] for variant in plan["variants"])
    if instances < 2:
        raise ValidationException(
            f"Traffic routing type {kind} requires at least two instances; the endpoint configuration has {instances}."
        )
    share = size["Value"] / (100 if size["Type"] == "CAPACITY_PERCENT" else instances)
    if not 0 < share <= 0.5:
        raise ValidationException(f"{wanted} must be greater than 0 and at most 50% of the capacity.")
