"""localcloud.fidelity.list_executions."""

import json

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from .steps import closed, machine

WHICH = {
    "Which": {
        "Type": "Choice",
        "Choices": [{"Condition": "{% $exists($states.input.bad) %}", "Next": "Bad"}],
        "Default": "Good",
    },
    "Bad": {"Type": "Fail", "Error": "Bad"},
    "Good": {"Type": "Succeed"},
}


def test_status_filter_pages_and_redrives(localcloud: Cloud) -> None:
    client, arn = localcloud.client("stepfunctions"), machine(localcloud, WHICH, "Which")
    ended = []
    for given in ({}, {"bad": 1}, {}, {"bad": 2}, {"bad": 3}):
        started = client.start_execution(stateMachineArn=arn, input=json.dumps(given))
        ended.append(closed(localcloud, started["executionArn"])["executionArn"])
    pages = client.get_paginator("list_executions").paginate(stateMachineArn=arn, PaginationConfig={"PageSize": 2})
    found = [page["executions"] for page in pages]
    assert [len(page) for page in found] == [2, 2, 1]
    assert [execution["executionArn"] for page in found for execution in page] == ended[::-1]
    bad = client.list_executions(stateMachineArn=arn, statusFilter="FAILED")["executions"]
    assert [execution["executionArn"] for execution in bad] == [ended[4], ended[3], ended[1]]
    assert {execution["redriveCount"] for execution in bad} == {0}

    redriven = client.redrive_execution(executionArn=ended[1])["redriveDate"]
    closed(localcloud, ended[1])
    first = client.list_executions(stateMachineArn=arn)["executions"][0]
    assert (first["executionArn"], first["redriveCount"], first["redriveDate"]) == (ended[1], 1, redriven)


def test_a_hundred_are_listed_unless_more_are_asked_for(localcloud: Cloud) -> None:
    client, arn = localcloud.client("stepfunctions"), machine(localcloud, WHICH, "Which")
    for _ in range(101):
        client.start_execution(stateMachineArn=arn)
    # One that ended between two pages would move to the first.
    wait_for(lambda: not client.list_executions(stateMachineArn=arn, statusFilter="RUNNING")["executions"])
    page = client.list_executions(stateMachineArn=arn)
    assert len(page["executions"]) == 100
    rest = client.list_executions(stateMachineArn=arn, nextToken=page["nextToken"])
    assert len(rest["executions"]) == 1
    assert len(client.list_executions(stateMachineArn=arn, maxResults=1000)["executions"]) == 101


def test_executions_of_a_version_are_listed(localcloud: Cloud) -> None:
    client, arn = localcloud.client("stepfunctions"), machine(localcloud, WHICH, "Which")
    version = client.publish_state_machine_version(stateMachineArn=arn)["stateMachineVersionArn"]
    of_version = client.start_execution(stateMachineArn=version)["executionArn"]
    client.start_execution(stateMachineArn=arn)
    [listed] = client.list_executions(stateMachineArn=version)["executions"]
    assert (listed["executionArn"], listed["stateMachineVersionArn"]) == (of_version, version)
    assert len(client.list_executions(stateMachineArn=arn)["executions"]) == 2


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"maxResults": 1001}, "ValidationException"),
        ({"statusFilter": "PENDING_REDRIVE"}, "ValidationException"),
        ({"statusFilter": "NONSENSE"}, "ValidationException"),
        ({"redriveFilter": "REDRIVEN"}, "ValidationException"),
        ({"nextToken": "nonsense"}, "InvalidToken"),
        ({"stateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:none"}, "StateMachineDoesNotExist"),
    ],
)
def test_wrong_requests_are_refused(localcloud: Cloud, request_: dict[str, str], code: str) -> None:
    arn = machine(localcloud, WHICH, "Which")
    with pytest.raises(ClientError, match=code):
        localcloud.client("stepfunctions").list_executions(**{"stateMachineArn": arn, **request_})
