"""localcloud.fidelity.execution_metrics."""

import time

from localcloud.testing import Cloud, wait_for

from .measures import alarm, becomes, reaches, value
from .steps import closed, machine

NAMESPACE = "AWS/States"
FAIL = {"Task": {"Type": "Fail", "Error": "Wanted", "Cause": "to see it measured"}}
PASS = {"Task": {"Type": "Pass", "End": True}}
WAIT = {"Task": {"Type": "Wait", "Seconds": 3600, "End": True}}


def test_each_end_is_measured(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    for states, metric in ((FAIL, "ExecutionsFailed"), (PASS, "ExecutionsSucceeded"), (WAIT, "ExecutionsAborted")):
        dimensions = {"StateMachineArn": machine(localcloud, states)}
        began = time.time()
        execution = client.start_execution(stateMachineArn=dimensions["StateMachineArn"])["executionArn"]
        becomes(localcloud, 1, NAMESPACE, "ExecutionsStarted", dimensions)
        if states is WAIT:
            client.stop_execution(executionArn=execution)
        closed(localcloud, execution)
        # The last of an end's metrics: all others are there with it.
        duration = wait_for(lambda: _durations(localcloud, dimensions))[0]  # noqa: B023 - called before the next turn
        assert 0 <= duration <= (time.time() - began) * 1000 + 1
        assert value(localcloud, NAMESPACE, metric, dimensions) == 1
        others = {"ExecutionsFailed", "ExecutionsSucceeded", "ExecutionsAborted", "ExecutionsTimedOut"} - {metric}
        assert [value(localcloud, NAMESPACE, other, dimensions) for other in sorted(others)] == [0, 0, 0]


def test_execution_that_runs_out_of_time_is_measured(localcloud: Cloud) -> None:
    dimensions = {"StateMachineArn": machine(localcloud, WAIT, TimeoutSeconds=1)}
    localcloud.client("stepfunctions").start_execution(stateMachineArn=dimensions["StateMachineArn"])
    becomes(localcloud, 1, NAMESPACE, "ExecutionsTimedOut", dimensions)


def test_failure_sets_off_an_alarm(localcloud: Cloud) -> None:
    arn = machine(localcloud, FAIL)
    name = alarm(localcloud, NAMESPACE, "ExecutionsFailed", {"StateMachineArn": arn})
    localcloud.client("stepfunctions").start_execution(stateMachineArn=arn)
    reaches(localcloud, name, "ALARM")

    def told() -> bool:  # a little later than the state
        request = {"AlarmName": name, "HistoryItemType": "StateUpdate"}
        items = localcloud.client("cloudwatch").describe_alarm_history(**request)["AlarmHistoryItems"]
        return bool(items) and items[0]["HistorySummary"].endswith("to ALARM")

    wait_for(told)


def _durations(cloud: Cloud, dimensions: dict[str, str]) -> list[float]:
    """How long a state machine's only execution took, once that is measured."""
    duration = value(cloud, NAMESPACE, "ExecutionTime", dimensions, "Maximum")
    return [] if duration is None else [duration]
