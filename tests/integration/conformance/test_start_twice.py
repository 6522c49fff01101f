"""localcloud.fidelity.start_twice."""

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud

from ..localcloud_requests import unique
from .steps import closed, machine

HOLD = {"Hold": {"Type": "Wait", "Seconds": "{% $states.input.seconds %}", "End": True}}


def test_same_name_and_input_while_running_is_the_same_execution(localcloud: Cloud) -> None:
    states, start = localcloud.client("stepfunctions"), {"stateMachineArn": machine(localcloud, HOLD, "Hold")}
    start["name"] = unique("twice")
    first = states.start_execution(**start, input='{"seconds": 3600}')
    second = states.start_execution(**start, input='{ "seconds": 3600 }')
    assert (second["executionArn"], second["startDate"]) == (first["executionArn"], first["startDate"])
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        states.start_execution(**start, input='{"seconds": 4}')
    assert len(states.list_executions(stateMachineArn=start["stateMachineArn"])["executions"]) == 1
    states.stop_execution(executionArn=first["executionArn"])


def test_name_of_a_closed_execution_is_taken(localcloud: Cloud) -> None:
    states, start = localcloud.client("stepfunctions"), {"stateMachineArn": machine(localcloud, HOLD, "Hold")}
    start |= {"name": unique("closed"), "input": '{"seconds": 0}'}
    closed(localcloud, states.start_execution(**start)["executionArn"])
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        states.start_execution(**start)
