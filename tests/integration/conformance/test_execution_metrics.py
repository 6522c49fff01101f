"""localcloud.fidelity.execution_metrics."""

from localcloud.testing import Cloud, wait_for

from .measures import alarm, becomes, reaches, value
from .steps import closed, machine

NAMESPACE = "AWS/States"
FAIL = {"Task": {"Type": "Fail", "Error": "Wanted", "Cause": "to see it measured"}}
PASS = {"Task": {"Type": "Pass", "End": True}}
WAIT = {"Task": {"Type": "Wait", "Seconds": 60, "End": True}}


def test_each_end_is_measured(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    for states, metric in ((FAIL, "ExecutionsFailed"), (PASS, "ExecutionsSucceeded"), (WAIT, "ExecutionsAborted")):
        dimensions = {"StateMachineArn": machine(localcloud, states)}
        execution = client.start_execution(stateMachineArn=dimensions["StateMachineArn"])["executionArn"]
        becomes(localcloud, 1, NAMESPACE, "ExecutionsStarted", dimensions)
        if states is WAIT:
            client.stop_execution(executionArn=execution)
        closed(localcloud, execution)
        becomes(localcloud, 1, NAMESPACE, metric, dimensions)
        duration = value(localcloud, NAMESPACE, "ExecutionTime", dimensions, "Maximum")
        assert duration is not None
        assert 0 <= duration < 60_000
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
    found = localcloud.client("cloudwatch").describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")
    assert wait_for(lambda: found["AlarmHistoryItems"])[0]["HistorySummary"].endswith("to ALARM")
