"""An alarm is evaluated over M of its last N periods, with its own dimensions, statistic and treatment of missing data.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html; MiniStack takes all metrics of the name,
whatever their dimensions, lumps all periods together, has neither DatapointsToAlarm, TreatMissingData nor expressions,
and looks only when somebody puts a metric over the API, so that no alarm ever falls silent by itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from localcloud import hooks
from localcloud.cloudwatch import metrics
from localcloud.cloudwatch.alarms import Evaluator, changing, previous_state
from localcloud.fidelity import alarm_actions
from localcloud.store import Scope


def install() -> None:
    """Evaluate alarms in localcloud's own thread; what MiniStack asks for by itself only wakes it."""
    evaluator = Evaluator(metrics.STORE, _alarms, change_state)

    def wake(_original: Any) -> Any:
        def woken(*_arguments: Any) -> None:
            evaluator.look()

        return woken

    hooks.replace("cloudwatch.evaluate", wake)
    hooks.replace("cloudwatch.evaluate_all", wake)


def _alarms() -> Iterator[tuple[Scope, dict[str, Any]]]:
    for (account, region, _name), alarm in hooks.get("cloudwatch.alarms").all_items():
        yield Scope(account, region), alarm


def change_state(scope: Scope, alarm: dict[str, Any], state: str, reason: str, data: dict[str, Any]) -> None:
    """Move a metric alarm to another state: its history, its actions, the composite alarms above it."""
    with hooks.acting_in(scope):
        with changing:
            if hooks.get("cloudwatch.alarms").get(alarm["AlarmName"]) is not alarm:
                return  # deleted since it was looked at, or replaced, and will be looked at again
            before = alarm["StateValue"]
            alarm_actions.remember(alarm["AlarmArn"], previous_state(alarm))
            now = round(time.time(), 3)
            alarm.update(
                StateValue=state,
                StateReason=reason,
                StateReasonData=json.dumps(data),
                StateUpdatedTimestamp=now,
                StateTransitionedTimestamp=now,
            )
        hooks.get("cloudwatch.history")(alarm["AlarmName"], before, state, reason, "MetricAlarm", data)
        hooks.get("cloudwatch.act")(alarm, before, state, reason)
        hooks.get("cloudwatch.parents")(alarm)
