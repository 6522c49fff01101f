"""localcloud.fidelity.schedule_delivery."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from ..localcloud_requests import unique
from ..roles import allow
from .measures import value
from .steps import closed, first_message, function, machine, messages, queue
from .test_rule_delivery import dead_letter

ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/scheduler"
AT = "at(%Y-%m-%dT%H:%M:%S)"


def schedule(cloud: Cloud, target: dict[str, Any], **more: Any) -> str:
    """A schedule for the next second, unless `more` says otherwise; its name."""
    name = unique("schedule")
    settings = {
        "ScheduleExpression": (datetime.now(UTC) + timedelta(seconds=1)).strftime(AT),
        "FlexibleTimeWindow": {"Mode": "OFF"},
        **more,
    }
    cloud.client("scheduler").create_schedule(Name=name, Target={"RoleArn": ROLE, **target}, **settings)
    return name


def names(cloud: Cloud) -> set[str]:
    pages = cloud.client("scheduler").get_paginator("list_schedules").paginate()
    return {each["Name"] for page in pages for each in page["Schedules"]}


def test_one_time_schedule_fires_in_its_time_zone_and_goes(localcloud: Cloud) -> None:
    url, arn = queue(localcloud)
    due = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    name = schedule(
        localcloud,
        {"Arn": arn, "Input": '{"due": "<aws.scheduler.scheduled-time>", "try": "<aws.scheduler.attempt-number>"}'},
        ScheduleExpression=due.astimezone(ZoneInfo("Asia/Tokyo")).strftime(AT),
        ScheduleExpressionTimezone="Asia/Tokyo",
        ActionAfterCompletion="DELETE",
    )
    assert first_message(localcloud, url) == {"due": due.strftime("%Y-%m-%dT%H:%M:%SZ"), "try": "1"}
    assert datetime.now(UTC) >= due
    wait_for(lambda: name not in names(localcloud))


def test_one_time_schedule_fires_once(localcloud: Cloud) -> None:
    url, arn = queue(localcloud)
    name = schedule(localcloud, {"Arn": arn, "Input": "{}"})
    first_message(localcloud, url)
    time.sleep(2)
    assert messages(localcloud, url) == []
    assert name in names(localcloud)


def test_without_input_the_target_gets_an_event(localcloud: Cloud) -> None:
    url, arn = queue(localcloud)
    name = schedule(localcloud, {"Arn": arn})
    event = first_message(localcloud, url)
    assert (event["source"], event["detail-type"]) == ("aws.scheduler", "Scheduled Event")
    assert event["resources"] == [f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/{name}"]


def test_function_is_invoked_under_the_schedules_role(localcloud: Cloud) -> None:
    made = function(localcloud, "def handler(event, context): print('fired', event['n'], flush=True)")
    schedule(localcloud, {"Arn": made["FunctionArn"], "Input": '{"n": 7}'})
    logs, group = localcloud.client("logs"), f"/aws/lambda/{made['FunctionName']}"

    def look() -> list[Any]:
        try:
            found: list[Any] = logs.filter_log_events(logGroupName=group, filterPattern='"fired 7"')["events"]
        except ClientError:
            return []
        return found

    assert len(wait_for(look)) == 1


def test_state_machine_is_started_under_the_schedules_role(localcloud: Cloud) -> None:
    states = localcloud.client("stepfunctions")
    started = machine(localcloud, {"Task": {"Type": "Pass", "End": True}})
    may = localcloud.role(unique("scheduler"), allow("states:StartExecution", on=started))
    schedule(localcloud, {"Arn": started, "Input": '{"reason": "daily"}', "RoleArn": may})
    (execution,) = wait_for(lambda: states.list_executions(stateMachineArn=started)["executions"], 60)
    described = closed(localcloud, execution["executionArn"])
    assert (described["status"], json.loads(described["input"])) == ("SUCCEEDED", {"reason": "daily"})
    url, dead = queue(localcloud)
    may_not = localcloud.role(unique("scheduler"), allow("sqs:SendMessage", on=dead))
    schedule(localcloud, {"Arn": started, "Input": "{}", "RoleArn": may_not, "DeadLetterConfig": {"Arn": dead}})
    sqs = localcloud.client("sqs")
    message = wait_for(lambda: sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"]).get("Messages"), 60)[0]
    assert "states:StartExecution" in message["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"]


def test_universal_target_calls_any_action(localcloud: Cloud) -> None:
    url, _arn = queue(localcloud)
    request = json.dumps({"QueueUrl": url, "MessageBody": '{"n": 1}'})
    schedule(localcloud, {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "Input": request})
    assert first_message(localcloud, url) == {"n": 1}


def test_disabled_and_ended_schedules_do_not_fire(localcloud: Cloud) -> None:
    url, arn = queue(localcloud)
    now = datetime.now(UTC)
    schedule(localcloud, {"Arn": arn, "Input": '"disabled"'}, State="DISABLED")
    early = now - timedelta(days=2)
    schedule(
        localcloud,
        {"Arn": arn, "Input": '"ended"'},
        ScheduleExpression="rate(1 minute)",
        StartDate=early,
        EndDate=early + timedelta(days=1),
    )
    schedule(localcloud, {"Arn": arn, "Input": '"fires"'})
    assert first_message(localcloud, url) == "fires"
    time.sleep(1.5)
    assert messages(localcloud, url) == []


def test_rate_counts_from_its_start_date(localcloud: Cloud) -> None:
    client, (url, arn) = localcloud.client("scheduler"), queue(localcloud)
    due = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    target = {"Arn": arn, "Input": '{"due": "<aws.scheduler.scheduled-time>"}'}
    name = schedule(localcloud, target, ScheduleExpression="rate(1 minute)", StartDate=due)
    made = client.get_schedule(Name=name)["CreationDate"]
    while due <= made:  # it was made later than meant
        due += timedelta(minutes=1)
    assert first_message(localcloud, url, 120) == {"due": due.strftime("%Y-%m-%dT%H:%M:%SZ")}
    client.delete_schedule(Name=name)


def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(localcloud: Cloud) -> None:
    url, dead = queue(localcloud)
    missing = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:is-not-there"
    name = schedule(localcloud, {"Arn": missing, "Input": '{"n": 1}', "DeadLetterConfig": {"Arn": dead}})
    body, attributes = dead_letter(localcloud, url)
    assert body == {"n": 1}
    assert attributes["SCHEDULE_ARN"] == f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/{name}"
    assert attributes["TARGET_ARN"] == missing
    assert attributes["ERROR_CODE"] == "StateMachineDoesNotExist"
    assert attributes["RETRY_ATTEMPTS"] == "0"
    assert attributes["IS_PAYLOAD_TRUNCATED"] == "false"
    assert datetime.fromisoformat(attributes["SCHEDULED_TIME"])
    assert attributes["EXECUTION_ID"]
    group = {"ScheduleGroup": "default"}
    # It is counted when the letter has been sent.
    wait_for(lambda: value(localcloud, "AWS/Scheduler", "InvocationsSentToDeadLetterCount", group), 60)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ScheduleExpression": "every now and then"},
        {"ScheduleExpressionTimezone": "Mars/Olympus"},
        {"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}},
        {"ScheduleExpression": "rate(0 minutes)"},
    ],
)
def test_schedule_that_makes_no_sense_is_refused(localcloud: Cloud, wrong: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        schedule(localcloud, {"Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"}, **wrong)
