"""Things that go wrong around the control plane: nothing is lost, nothing is silent."""

from __future__ import annotations

import json

import pytest

from tests.conftest import make_trio
from tests.deployed import Deployed, until

# The stack is built and deployed within the first test.
pytestmark = pytest.mark.timeout(2400)


def test_upload_that_cannot_be_taken_in_waits_in_the_dead_letter_queue(deployed: Deployed, fleet: str) -> None:
    """The function is told of a bucket that is not versioned: it refuses, and its event is kept."""
    function = deployed.outputs["IngestFunctionName"]
    event = {
        "version": "0",
        "id": "1",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "000000000000",
        "time": "2026-11-23T10:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": {
            "version": "0",
            "bucket": {"name": "elsewhere"},
            "object": {"key": f"data/raw/train_{fleet}.txt", "sequencer": "01"},
            "request-id": "1",
            "requester": "000000000000",
        },
    }
    response = deployed.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    assert "elsewhere is not versioned" in json.loads(response["Payload"].read())["errorMessage"]

    deployed.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event))
    queue = deployed.client("lambda").get_function_event_invoke_config(FunctionName=function, Qualifier="$LATEST")[
        "DestinationConfig"
    ]
    url = deployed.client("sqs").get_queue_url(QueueName=queue["OnFailure"]["Destination"].split(":")[-1])["QueueUrl"]
    message = until(
        "the event is in the dead-letter queue",
        lambda: next(iter(deployed.client("sqs").receive_message(QueueUrl=url).get("Messages", [])), None),
        seconds=600,
    )
    assert fleet in message["Body"]


def test_machine_whose_table_is_unreadable_fails_and_alerts(deployed: Deployed, fleet: str) -> None:
    """An execution for a version that has no manifest: the failure path tells."""
    machine = deployed.outputs["TrainingStateMachineArn"]
    deployed.client("stepfunctions").start_execution(
        stateMachineArn=machine,
        name=f"{fleet}-ffffffffffff-1",
        input=json.dumps({"fleet": fleet, "dataset_version": "f" * 64, "attempt": 1, "trigger": "manual"}),
    )
    execution = deployed.ended(fleet)

    assert execution["status"] == "FAILED"
    assert "ReadManifest" in deployed.alert(f"{fleet}: training failed")["Subject"]


def test_events_while_a_run_is_under_way_do_not_disturb_it(deployed: Deployed, fleet: str) -> None:
    deployed.plan(fleet, hold=True)
    deployed.put_trio(make_trio(fleet))
    until("a run", lambda: deployed.executions(fleet) or None)
    for _ in range(3):
        deployed.put_trio(make_trio(fleet))
    answer = deployed.train(fleet=fleet, again=True)
    deployed.plan(fleet)

    assert answer["status"] == "running"
    assert deployed.ended(fleet)["output"]["outcome"] == "registered"
    assert len(deployed.executions(fleet)) == 1
