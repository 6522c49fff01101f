"""Events and metrics as a whole: what patterns match, many events at once, and what outlasts a kill."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from localcloud import daemon
from localcloud.testing import Cloud, wait_for
from localcloud.testing import localcloud as running_localcloud

from .conformance.measures import alarm, becomes, reaches, state_of, value
from .conformance.steps import first_message, function, messages, queue
from .conformance.test_rule_delivery import dead_letter
from .localcloud_requests import ROLE, unique

SECONDS = 180  # for whatever starts processes, beside whatever else the machine does
EVENT = {
    "id": "1",
    "account": "000000000000",
    "source": "aws.sagemaker",
    "time": "2026-01-01T00:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:sagemaker:us-east-1:000000000000:endpoint/fleet-one"],
    "detail-type": "SageMaker Endpoint State Change",
    "detail": {
        "EndpointName": "Fleet-One",
        "EndpointStatus": "IN_SERVICE",
        "count": 5,
        "ip": "10.0.1.7",
        "nothing": None,
        "file": "train_FD001.txt.gz",
        "variants": [{"name": "blue", "weight": 1}, {"name": "green", "weight": 0}],
    },
}

# docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
PATTERNS: list[tuple[dict[str, Any], bool]] = [
    ({"source": ["aws.sagemaker", "aws.s3"]}, True),
    ({"source": ["aws.s3"]}, False),
    ({"detail": {"EndpointName": [{"prefix": "Fleet"}]}}, True),
    ({"detail": {"EndpointName": [{"prefix": "fleet"}]}}, False),
    ({"detail": {"EndpointName": [{"prefix": {"equals-ignore-case": "fleet"}}]}}, True),
    ({"detail": {"file": [{"suffix": ".gz"}]}}, True),
    ({"detail": {"file": [{"suffix": ".csv"}]}}, False),
    ({"detail": {"file": [{"wildcard": "train_*.txt*"}]}}, True),
    ({"detail": {"file": [{"wildcard": "test_*"}]}}, False),
    ({"detail": {"EndpointName": [{"equals-ignore-case": "FLEET-one"}]}}, True),
    ({"detail": {"EndpointStatus": [{"anything-but": "FAILED"}]}}, True),
    ({"detail": {"EndpointStatus": [{"anything-but": ["FAILED", "IN_SERVICE"]}]}}, False),
    ({"detail": {"EndpointStatus": [{"anything-but": {"prefix": "IN_"}}]}}, False),
    ({"detail": {"file": [{"anything-but": {"suffix": ".csv"}}]}}, True),
    ({"detail": {"file": [{"anything-but": {"wildcard": "*_FD*"}}]}}, False),
    ({"detail": {"count": [5]}}, True),
    ({"detail": {"count": [{"numeric": [">", 0, "<=", 5]}]}}, True),
    ({"detail": {"count": [{"numeric": ["<", 5]}]}}, False),
    ({"detail": {"count": [{"exists": True}], "absent": [{"exists": False}]}}, True),
    ({"detail": {"count": [{"exists": False}]}}, False),
    ({"detail": {"nothing": [None]}}, True),
    ({"detail": {"ip": [{"cidr": "10.0.0.0/16"}]}}, True),
    ({"detail": {"ip": [{"cidr": "10.1.0.0/16"}]}}, False),
    ({"detail": {"variants": {"name": ["green"]}}}, True),
    ({"detail": {"variants": {"name": ["red"]}}}, False),
    ({"resources": [{"suffix": "endpoint/fleet-one"}]}, True),
    ({"detail": {"$or": [{"count": [9]}, {"EndpointStatus": ["IN_SERVICE"]}]}}, True),
    ({"detail": {"$or": [{"count": [9]}, {"EndpointStatus": ["FAILED"]}]}}, False),
    ({"source": ["aws.sagemaker"], "detail": {"count": [4]}}, False),
]


@pytest.mark.parametrize(("pattern", "wanted"), PATTERNS)
def test_pattern_matches_as_documented(localcloud: Cloud, pattern: dict[str, Any], wanted: bool) -> None:
    answer = localcloud.client("events").test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(EVENT))
    assert answer["Result"] is wanted


def test_many_events_at_once_all_arrive_and_are_counted(localcloud: Cloud) -> None:
    events, source, name = localcloud.client("events"), unique("source"), unique("rule")
    url, arn = queue(localcloud)
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [source]}))
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    for batch in range(30):
        entries = [
            {"Source": source, "DetailType": "kind", "Detail": json.dumps({"n": batch * 10 + number})}
            for number in range(10)
        ]
        assert events.put_events(Entries=entries)["FailedEntryCount"] == 0
    found: set[int] = set()

    def look() -> bool:
        found.update(message["detail"]["n"] for message in messages(localcloud, url))
        return len(found) == 300

    wait_for(look, SECONDS)
    becomes(localcloud, 300, "AWS/Events", "Invocations", {"RuleName": name})
    assert value(localcloud, "AWS/SQS", "NumberOfMessagesSent", {"QueueName": arn.rpartition(":")[2]}) == 300


def test_metrics_alarms_schedules_and_waiting_deliveries_outlast_a_kill(tmp_path: Path) -> None:
    with running_localcloud(tmp_path, keep=True) as cloud:
        for role in ("job-role", "scheduler"):
            cloud.role(role)
        namespace = unique("N")
        data = [{"MetricName": "m", "Value": 5}]
        cloud.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)
        watching = alarm(cloud, namespace, "m", {}, TreatMissingData="ignore")  # it stays, however long this takes
        reaches(cloud, watching, "ALARM")
        fired_url, fired = queue(cloud)
        soon = (datetime.now(UTC) + timedelta(seconds=1)).strftime("at(%Y-%m-%dT%H:%M:%S)")
        cloud.client("scheduler").create_schedule(
            Name="once",
            ScheduleExpression=soon,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": fired, "RoleArn": ROLE.replace("job-role", "scheduler"), "Input": "{}"},
        )
        wait_for(lambda: messages(cloud, fired_url), SECONDS)
        dead_url = _failing_delivery(cloud)
        lost_url = _failing_invocation(cloud)
        wait_for(lambda: (daemon.snapshots(cloud.running) or {})["current"], SECONDS)
        cloud.kill()

        cloud.start_again()
        assert value(cloud, namespace, "m", {}) == 5
        assert state_of(cloud, watching) == "ALARM"
        _event, attributes = dead_letter(cloud, dead_url)
        assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
        assert first_message(cloud, lost_url, SECONDS)["requestPayload"] == {"n": 1}
        assert messages(cloud, fired_url) == []  # the schedule has not fired again


def _failing_delivery(cloud: Cloud) -> str:
    """An event whose target is not reachable for some ten seconds of retries; its dead-letter queue's URL."""
    events, (url, dead) = cloud.client("events"), queue(cloud)
    connection = events.create_connection(
        Name="connection",
        AuthorizationType="API_KEY",
        AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "key", "ApiKeyValue": "value"}},
    )["ConnectionArn"]
    nobody = "http://127.0.0.1:9/"
    target = events.create_api_destination(
        Name="destination", ConnectionArn=connection, InvocationEndpoint=nobody, HttpMethod="POST"
    )["ApiDestinationArn"]
    events.put_rule(Name="failing", EventPattern=json.dumps({"source": ["failing"]}))
    policy = {"MaximumRetryAttempts": 6, "MaximumEventAgeInSeconds": 600}
    wanted = {"Id": "1", "Arn": target, "RoleArn": ROLE, "RetryPolicy": policy, "DeadLetterConfig": {"Arn": dead}}
    events.put_targets(Rule="failing", Targets=[wanted])
    events.put_events(Entries=[{"Source": "failing", "DetailType": "kind", "Detail": "{}"}])
    return url


def _failing_invocation(cloud: Cloud) -> str:
    """An asynchronous invocation that has not ended when the server is killed; its destination's URL."""
    client, (url, arn) = cloud.client("lambda"), queue(cloud)
    source = "import time\ndef handler(event, context):\n    time.sleep(15)\n    raise ValueError('asked to fail')\n"
    name = function(cloud, source)["FunctionName"]
    client.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"n": 1}))
    return url
