"""localcloud.fidelity.status_events."""

from localcloud.testing import Cloud, wait_for

from .steps import Json, closed, machine, messages, rule

HOLD = {"Hold": {"Type": "Wait", "Seconds": 600, "End": True}}
BAD = {"Bad": {"Type": "Fail", "Error": "Bad", "Cause": "so"}}
PATTERN = {"source": ["aws.states"], "detail-type": ["Step Functions Execution Status Change"]}


def told(cloud: Cloud, url: str, count: int) -> dict[str, Json]:
    """That many events, by status."""
    found: dict[str, Json] = {}

    def look() -> bool:
        found.update({event["detail"]["status"]: event for event in messages(cloud, url)})
        return len(found) >= count

    wait_for(look, 60)
    return found


def test_aborted_execution_is_told_with_error_and_cause(localcloud: Cloud) -> None:
    client, arn = localcloud.client("stepfunctions"), machine(localcloud, HOLD, "Hold")
    url = rule(localcloud, {**PATTERN, "detail": {"stateMachineArn": [arn]}})
    execution = client.start_execution(stateMachineArn=arn, input='{"a": 1}')["executionArn"]
    client.stop_execution(executionArn=execution, error="Enough", cause="of this")
    found = told(localcloud, url, 2)
    aborted = found["ABORTED"]
    assert aborted["resources"] == [execution]
    detail = aborted["detail"]
    assert (detail["error"], detail["cause"], detail["input"]) == ("Enough", "of this", '{"a": 1}')
    assert (detail["redriveStatus"], detail["redriveStatusReason"]) == ("REDRIVABLE", None)
    assert (detail["redriveCount"], detail["redriveDate"], detail["output"]) == (0, None, None)
    assert detail["stopDate"] >= detail["startDate"] > 1_600_000_000_000
    running = found["RUNNING"]["detail"]
    assert running["redriveStatusReason"] == "Execution is RUNNING and cannot be redriven"


def test_rule_hears_failed_timed_out_and_aborted(localcloud: Cloud) -> None:
    """As the rule of a template that alerts on whatever did not succeed."""
    client = localcloud.client("stepfunctions")
    late, bad = machine(localcloud, HOLD, "Hold", TimeoutSeconds=1), machine(localcloud, BAD, "Bad")
    stopped = machine(localcloud, HOLD, "Hold")
    statuses = ["FAILED", "TIMED_OUT", "ABORTED"]
    url = rule(localcloud, {**PATTERN, "detail": {"status": statuses, "stateMachineArn": [late, bad, stopped]}})
    executions = [client.start_execution(stateMachineArn=arn)["executionArn"] for arn in (late, bad, stopped)]
    client.stop_execution(executionArn=executions[2])
    for execution in executions:
        closed(localcloud, execution)
    found = told(localcloud, url, 3)
    assert sorted(found) == sorted(statuses)
    assert found["TIMED_OUT"]["detail"]["executionArn"] == executions[0]
    assert found["TIMED_OUT"]["detail"]["error"] == "States.Timeout"
    assert (found["FAILED"]["detail"]["error"], found["FAILED"]["detail"]["cause"]) == ("Bad", "so")


def test_express_workflows_send_nothing(localcloud: Cloud) -> None:
    client = localcloud.client("stepfunctions")
    standard = machine(localcloud, BAD, "Bad")
    definition = client.describe_state_machine(stateMachineArn=standard)
    express = client.create_state_machine(
        name=f"{definition['name']}-express",
        definition=definition["definition"],
        roleArn=definition["roleArn"],
        type="EXPRESS",
    )["stateMachineArn"]
    url = rule(localcloud, {**PATTERN, "detail": {"stateMachineArn": [standard, express]}})
    client.start_execution(stateMachineArn=express)
    client.start_execution(stateMachineArn=standard)
    found = told(localcloud, url, 2)
    assert {event["detail"]["stateMachineArn"] for event in found.values()} == {standard}
