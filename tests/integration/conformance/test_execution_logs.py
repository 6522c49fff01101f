"""localcloud.fidelity.execution_logs."""

import json
import re
import time
from typing import Any

import pytest

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import ROLE, unique
from .steps import Json, closed, events_of

BAD = {
    "QueryLanguage": "JSONata",
    "StartAt": "Pass",
    "States": {"Pass": {"Type": "Pass", "Next": "Bad"}, "Bad": {"Type": "Fail", "Error": "Bad", "Cause": "so"}},
}


def logged(cloud: Cloud, level: str, with_data: bool) -> tuple[str, str]:
    """A failed execution of a machine that logs at this level, and the log group."""
    group, client = f"/aws/vendedlogs/states/{unique('group')}", cloud.client("stepfunctions")
    cloud.client("logs").create_log_group(logGroupName=group)
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{group}:*"
    machine = client.create_state_machine(
        name=unique("logging"),
        definition=json.dumps(BAD),
        roleArn=ROLE,
        loggingConfiguration={
            "level": level,
            "includeExecutionData": with_data,
            "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": arn}}],
        },
    )["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine, input='{"a": 1}')["executionArn"]
    closed(cloud, execution)
    return execution, group


def lines(cloud: Cloud, group: str) -> list[Json]:
    logs = cloud.client("logs")
    found: list[Json] = []
    for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]:
        assert re.fullmatch(r"states/logging-\d+/\d{4}-\d\d-\d\d-\d\d-\d\d/[0-9a-f]{8}", stream["logStreamName"])
        events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
        found += [json.loads(event["message"]) for event in events["events"]]
    return found


def test_all_events_are_logged_as_step_functions_does(localcloud: Cloud) -> None:
    execution, group = logged(localcloud, "ALL", with_data=True)
    history = events_of(localcloud, execution)
    found = wait_for(lambda: len(found := lines(localcloud, group)) == len(history) and found)
    assert [line["type"] for line in found] == [event["type"] for event in history]
    first, last = found[0], found[-1]
    assert set(first) == {
        *("id", "type", "details", "previous_event_id", "event_timestamp", "execution_arn", "redrive_count"),
    }
    assert (first["id"], first["previous_event_id"], first["redrive_count"]) == ("1", "0", "0")
    assert first["execution_arn"] == execution
    assert first["details"] == {"input": '{"a": 1}', "inputDetails": {"truncated": False}, "roleArn": ROLE}
    assert last["details"] == {"error": "Bad", "cause": "so"}
    assert abs(int(last["event_timestamp"]) - history[-1]["timestamp"].timestamp() * 1000) <= 1


def test_execution_data_is_left_out_unless_asked_for(localcloud: Cloud) -> None:
    _execution, group = logged(localcloud, "ALL", with_data=False)
    found = wait_for(lambda: len(found := lines(localcloud, group)) == 5 and found)
    assert not [line for line in found if {"input", "output", "inputDetails", "outputDetails"} & set(line["details"])]
    assert found[1]["details"] == {"name": "Pass"}


@pytest.mark.parametrize(
    ("level", "expected"), [("ERROR", ["FailStateEntered", "ExecutionFailed"]), ("FATAL", ["ExecutionFailed"])]
)
def test_level_says_which_events(localcloud: Cloud, level: str, expected: list[str]) -> None:
    _execution, group = logged(localcloud, level, with_data=True)
    found: Any = wait_for(lambda: len(found := lines(localcloud, group)) == len(expected) and found)
    assert [line["type"] for line in found] == expected


def test_nothing_is_logged_at_level_off(localcloud: Cloud) -> None:
    _execution, group = logged(localcloud, "OFF", with_data=True)
    time.sleep(1.5)
    assert lines(localcloud, group) == []
