"""A localcloud of its own for each test: endpoints are served again after a restart, and quotas are kept."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud import daemon
from localcloud.testing import Cloud, wait_for
from localcloud.testing import localcloud as running_localcloud

from .conformance.steps import closed
from .localcloud_requests import ROLE, unique
from .serving import config, endpoint, invoke, model, settled, variant
from .test_localcloud_capture import captured, capturing

IMAGES = Path(__file__).parent / "localcloud_images/stub.toml"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A localcloud that keeps its state."""
    with running_localcloud(tmp_path / "localcloud", images=[IMAGES], keep=True) as running:
        running.role("job-role")
        running.client("s3").create_bucket(Bucket="kept-bucket")
        yield running


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def saved(cloud: Cloud) -> None:
    """Wait until all that was done is on disk."""
    begin = datetime.now(UTC)
    cloud.client("sqs").create_queue(QueueName=unique("mark"))  # so that there is one more snapshot

    def look() -> bool:
        taken = (daemon.snapshots(cloud.running) or {})["taken"]
        return taken is not None and datetime.fromisoformat(taken) > begin

    wait_for(look)


def test_endpoints_are_served_again_after_a_kill(cloud: Cloud) -> None:
    sagemaker = cloud.client("sagemaker")
    capture = capturing("kept-bucket", "captured")
    good = model(cloud, "kept-bucket", NAME="good")
    first = config(cloud, variant("v", good), variant("w", good), DataCaptureConfig=capture)
    name = endpoint(cloud, first)
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "w", "DesiredWeight": 0}]
    )
    settled(cloud, name)
    updating = endpoint(cloud, config(cloud, variant("v", good)))
    before = sagemaker.describe_endpoint(EndpointName=updating)["EndpointConfigName"]
    slow = config(cloud, variant("v", model(cloud, "kept-bucket", NAME="slow", START_SLEEP="400")))
    sagemaker.update_endpoint(EndpointName=updating, EndpointConfigName=slow)
    sagemaker.create_endpoint(EndpointName="creating", EndpointConfigName=slow)
    pid = invoke(cloud, name)["pid"]
    saved(cloud)
    cloud.kill()
    wait_for(lambda: gone(pid))
    cloud.start_again()

    described = settled(cloud, name)
    assert described["EndpointStatus"] == "InService"
    assert [each["CurrentWeight"] for each in described["ProductionVariants"]] == [1.0, 0.0]
    assert invoke(cloud, name)["name"] == "good"
    assert invoke(cloud, name)["pid"] != pid
    assert len(captured(cloud, "kept-bucket", f"captured/{name}/", 2)) >= 2

    described = settled(cloud, updating)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", before)
    assert "PendingDeploymentSummary" not in described
    assert invoke(cloud, updating)["name"] == "good"

    described = settled(cloud, "creating")
    assert described["EndpointStatus"] == "Failed"
    assert "create it again" in described["FailureReason"]
    cloud.client("sagemaker").delete_endpoint(EndpointName="creating")


def looking(following: str) -> dict[str, Any]:
    """States that wait until the endpoint is in service, and then go on."""
    return {
        "Look": {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:sagemaker:describeEndpoint",
            "Arguments": {"EndpointName": "{% $states.input.endpoint %}"},
            "Output": "{% $merge([$states.input, {'status': $states.result.EndpointStatus}]) %}",
            "Next": "Choose",
        },
        "Choose": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $states.input.status = 'InService' %}", "Next": following}],
            "Default": "Wait",
        },
        "Wait": {"Type": "Wait", "Seconds": 1, "Next": "Look"},
    }


def test_a_rule_on_an_interrupted_execution_sets_its_endpoint_right(cloud: Cloud) -> None:
    """A deployment is killed with its traffic half shifted and a change of the configuration under way."""
    sagemaker, states, events = (cloud.client(name) for name in ("sagemaker", "stepfunctions", "events"))
    champion, challenger = (model(cloud, "kept-bucket", NAME=name) for name in ("champion", "challenger"))
    alone = config(cloud, variant("v1", champion))
    canary = config(cloud, variant("v1", champion), variant("v2", challenger, 0))
    name = endpoint(cloud, canary)

    def machine(title: str, start: str, given: dict[str, Any]) -> str:
        definition = json.dumps({"QueryLanguage": "JSONata", "StartAt": start, "States": given})
        return str(states.create_state_machine(name=title, definition=definition, roleArn=ROLE)["stateMachineArn"])

    deploying = machine("deploying", "Bake", {"Bake": {"Type": "Wait", "Seconds": 3600, "End": True}})
    back = {
        "Type": "Task",
        "Resource": "arn:aws:states:::aws-sdk:sagemaker:updateEndpointWeightsAndCapacities",
        "Arguments": {
            "EndpointName": "{% $states.input.endpoint %}",
            "DesiredWeightsAndCapacities": [
                {"VariantName": "v1", "DesiredWeight": 1},
                {"VariantName": "v2", "DesiredWeight": 0},
            ],
        },
        "Output": "{% $states.input %}",
        "End": True,
    }
    rolling_back = machine("rolling-back", "Look", {**looking("Back"), "Back": back})
    queue = cloud.client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    dead = cloud.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    pattern = {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {"status": ["FAILED", "TIMED_OUT", "ABORTED"], "stateMachineArn": [deploying]},
    }
    events.put_rule(Name="ended", EventPattern=json.dumps(pattern))
    target = {
        "Id": "rollback",
        "Arn": rolling_back,
        "RoleArn": ROLE,
        "DeadLetterConfig": {"Arn": dead["Attributes"]["QueueArn"]},
        "InputTransformer": {
            "InputPathsMap": {"execution": "$.detail.executionArn", "status": "$.detail.status"},
            "InputTemplate": f'{{"endpoint": "{name}", "execution": <execution>, "ended": <status>}}',
        },
    }
    events.put_targets(Rule="ended", Targets=[target])

    execution = states.start_execution(stateMachineArn=deploying)["executionArn"]
    half = [{"VariantName": each, "DesiredWeight": 50} for each in ("v1", "v2")]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=half)
    settled(cloud, name)
    slow = config(cloud, variant("v3", model(cloud, "kept-bucket", START_SLEEP="400")))
    sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=slow)
    saved(cloud)
    cloud.kill()
    cloud.start_again()
    states = cloud.client("stepfunctions")

    failed = closed(cloud, execution)
    assert (failed["status"], failed["error"]) == ("FAILED", "Localcloud.Interrupted")
    assert "localcloud was stopped in the middle of this execution" in failed["cause"]
    (started,) = wait_for(lambda: states.list_executions(stateMachineArn=rolling_back)["executions"])
    rolled_back = closed(cloud, started["executionArn"])
    assert rolled_back["status"] == "SUCCEEDED", rolled_back
    given = json.loads(rolled_back["input"])
    assert given == {"endpoint": name, "execution": execution, "ended": "FAILED"}
    described = settled(cloud, name)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", canary)
    assert [each["CurrentWeight"] for each in described["ProductionVariants"]] == [1.0, 0.0]
    assert {invoke(cloud, name)["name"] for _ in range(20)} == {"champion"}
    cloud.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=alone)
    assert settled(cloud, name)["EndpointConfigName"] == alone
    received = cloud.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=1)
    assert "Messages" not in received


def test_what_was_captured_is_there_after_a_clean_stop(cloud: Cloud) -> None:
    good = model(cloud, "kept-bucket", NAME="good")
    capture = capturing("kept-bucket", "captured")
    name = endpoint(cloud, config(cloud, variant("v", good), DataCaptureConfig=capture))
    for _ in range(5):
        invoke(cloud, name)
    daemon.stop(cloud.running.directory)
    cloud.start_again()
    assert len(captured(cloud, "kept-bucket", f"captured/{name}/", 5)) == 5
    settled(cloud, name)
    assert invoke(cloud, name)["name"] == "good"


def test_a_quota_of_instances_is_kept(tmp_path: Path) -> None:
    quotas = {"ml.m5.large for endpoint usage": 2}
    with running_localcloud(tmp_path / "localcloud", images=[IMAGES], quotas=quotas) as cloud:
        cloud.role("job-role")
        cloud.client("s3").create_bucket(Bucket="quota-bucket")
        good = model(cloud, "quota-bucket")
        name = endpoint(cloud, config(cloud, variant("v", good)))
        with pytest.raises(ClientError, match=r"'ml\.m5\.large for endpoint usage' is 2 Instances, with current"):
            endpoint(cloud, config(cloud, variant("v", good, InitialInstanceCount=2)))
        cloud.client("sagemaker").update_endpoint(
            EndpointName=name, EndpointConfigName=config(cloud, variant("v", good, InitialInstanceCount=2))
        )
        assert settled(cloud, name)["ProductionVariants"][0]["CurrentInstanceCount"] == 2
