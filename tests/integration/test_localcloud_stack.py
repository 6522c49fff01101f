"""A stack with one of each kind of resource: created, changed and deleted, and the events that flow through it."""

import io
import json
import sys
import threading
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ended, processing, unique

HERE = Path(__file__).parent / "localcloud_stack"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SECONDS = 180  # for whatever starts processes, functions among them, beside whatever else the machine does


@pytest.fixture(scope="module")
def code(localcloud: Cloud, bucket: str) -> str:
    """The function's and the layer's code in the bucket."""
    for name, path, text in (
        ("function.zip", "app.py", (HERE / "app.py").read_text()),
        ("layer.zip", "python/greeting.py", 'GREETING = "hello"\n'),
    ):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(path, text)
        localcloud.client("s3").put_object(Bucket=bucket, Key=name, Body=packed.getvalue())
    return bucket


def parameters(code: str, flavour: str) -> list[dict[str, str]]:
    values = {"Python": PYTHON, "CodeBucket": code, "Flavour": flavour}
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


def deploy(cloud: Cloud, code: str, name: str, flavour: str, *, update: bool = False) -> dict[str, str]:
    """Create or update the stack; its outputs."""
    cloudformation = cloud.client("cloudformation")
    request = {
        "StackName": name,
        "TemplateBody": (HERE / "template.yaml").read_text(),
        "Parameters": parameters(code, flavour),
        "Capabilities": ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    (cloudformation.update_stack if update else cloudformation.create_stack)(**request)
    stack = wait_for(lambda: _settled(cloudformation, name), SECONDS)
    wanted = "UPDATE_COMPLETE" if update else "CREATE_COMPLETE"
    assert stack["StackStatus"] == wanted, _reasons(cloudformation, name)
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _settled(cloudformation: Any, name: str) -> dict[str, Any] | None:
    stack: dict[str, Any] = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack


def _reasons(cloudformation: Any, name: str) -> list[str]:
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    return [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
        for event in events
        if "FAILED" in event["ResourceStatus"]
    ]


@pytest.fixture(scope="module")
def stack(localcloud: Cloud, code: str) -> dict[str, str]:
    return deploy(localcloud, code, "events", "plain")


def recorded(cloud: Cloud, stack: dict[str, str], detail_type: str) -> list[dict[str, Any]]:
    """The events that the function has written down."""
    items = cloud.client("dynamodb").query(
        TableName=stack["Table"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": detail_type}},
    )["Items"]
    return [json.loads(item["event"]["S"]) for item in items]


def messages(cloud: Cloud, url: str) -> list[str]:
    received = cloud.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
    bodies = []
    for message in received.get("Messages", []):
        cloud.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        bodies.append(message["Body"])
    return bodies


# --- CloudFormation ---


def test_stack_is_created_changed_and_deleted(localcloud: Cloud, code: str) -> None:
    name = "lifecycle"
    cloudformation, sagemaker = localcloud.client("cloudformation"), localcloud.client("sagemaker")
    outputs = deploy(localcloud, code, name, "plain")
    assert outputs["Group"].endswith(f"model-package-group/{name}-models")
    assert outputs["GroupStatus"] == "Completed"
    assert sagemaker.list_tags(ResourceArn=outputs["Group"])["Tags"] == [{"Key": "flavour", "Value": "plain"}]
    localcloud.client("dynamodb").put_item(
        TableName=outputs["Table"], Item={"pk": {"S": "kept"}, "sk": {"S": "over the update"}}
    )

    changed = deploy(localcloud, code, name, "spiced", update=True)

    assert {key: value for key, value in changed.items() if key != "GroupStatus"} == {
        key: value for key, value in outputs.items() if key != "GroupStatus"
    }
    assert sagemaker.list_tags(ResourceArn=outputs["Group"])["Tags"] == [{"Key": "flavour", "Value": "spiced"}]
    function = localcloud.client("lambda").get_function_configuration(FunctionName=outputs["Function"])
    assert function["Environment"]["Variables"]["FLAVOUR"] == "spiced"
    machine = localcloud.client("stepfunctions").describe_state_machine(stateMachineArn=outputs["Machine"])
    assert "spiced" in machine["definition"]
    topic = localcloud.client("sns").get_topic_attributes(TopicArn=outputs["Topic"])["Attributes"]
    assert topic["DisplayName"] == "spiced"
    item = localcloud.client("dynamodb").get_item(
        TableName=outputs["Table"], Key={"pk": {"S": "kept"}, "sk": {"S": "over the update"}}
    )
    assert "Item" in item

    localcloud.client("s3").put_object(Bucket=outputs["Bucket"], Key="left", Body=b"over")
    cloudformation.delete_stack(StackName=name)
    stack = wait_for(lambda: _settled(cloudformation, name), SECONDS)
    assert stack["StackStatus"] == "DELETE_FAILED"
    assert any("not empty" in reason for reason in _reasons(cloudformation, name))
    _empty(localcloud.client("s3"), outputs["Bucket"])
    cloudformation.delete_stack(StackName=name)
    wait_for(lambda: _gone(cloudformation, name), SECONDS)
    assert sagemaker.list_model_package_groups(NameContains=name)["ModelPackageGroupSummaryList"] == []
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        localcloud.client("lambda").get_function(FunctionName=outputs["Function"])
    with pytest.raises(ClientError, match="404"):
        localcloud.client("s3").head_bucket(Bucket=outputs["Bucket"])


def _empty(s3: Any, bucket: str) -> None:
    found = s3.list_object_versions(Bucket=bucket)
    for item in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        s3.delete_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])


def _gone(cloudformation: Any, name: str) -> bool:
    try:
        status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError:
        return True
    return bool(status == "DELETE_COMPLETE")


def test_resources_have_the_properties_of_the_template(localcloud: Cloud, stack: dict[str, str]) -> None:
    s3, sqs = localcloud.client("s3"), localcloud.client("sqs")
    assert s3.get_bucket_versioning(Bucket=stack["Bucket"])["Status"] == "Enabled"
    [rule] = s3.get_bucket_encryption(Bucket=stack["Bucket"])["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert s3.get_public_access_block(Bucket=stack["Bucket"])["PublicAccessBlockConfiguration"]["BlockPublicAcls"]
    assert "EventBridgeConfiguration" in s3.get_bucket_notification_configuration(Bucket=stack["Bucket"])
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=stack["Bucket"])["Policy"]
    assert s3.get_bucket_lifecycle_configuration(Bucket=stack["Bucket"])["Rules"][0]["ID"] == "old"
    key = localcloud.client("kms").describe_key(KeyId="alias/events")["KeyMetadata"]
    assert key["Description"] == "for plain"
    table = localcloud.client("dynamodb").describe_table(TableName=stack["Table"])["Table"]
    assert [part["AttributeName"] for part in table["KeySchema"]] == ["pk", "sk"]
    ttl = localcloud.client("dynamodb").describe_time_to_live(TableName=stack["Table"])["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    backups = localcloud.client("dynamodb").describe_continuous_backups(TableName=stack["Table"])
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"
    retention = sqs.get_queue_attributes(QueueUrl=stack["QueueUrl"], AttributeNames=["MessageRetentionPeriod"])
    assert retention["Attributes"]["MessageRetentionPeriod"] == "1209600"
    groups = localcloud.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{stack['Function']}")
    assert groups["logGroups"][0]["retentionInDays"] == 30
    schedule = localcloud.client("scheduler").get_schedule(Name=stack["Schedule"], GroupName=stack["ScheduleGroup"])
    assert (schedule["State"], schedule["ScheduleExpression"]) == ("DISABLED", "rate(1 minutes)")
    config = localcloud.client("lambda").get_function_event_invoke_config(
        FunctionName=stack["Function"], Qualifier="$LATEST"
    )
    assert config["MaximumRetryAttempts"] == 1
    machine = localcloud.client("stepfunctions").describe_state_machine(stateMachineArn=stack["Machine"])
    assert machine["loggingConfiguration"]["level"] == "ALL"
    assert machine["loggingConfiguration"]["destinations"]


# --- S3 to EventBridge to Lambda ---


@pytest.mark.parametrize("key", ["data/a+b.txt", "data/100%25.txt", "data/with blanks.txt", "data/Übergröße ü.txt"])
def test_upload_event_has_the_raw_key_its_version_and_a_sequencer(
    localcloud: Cloud, stack: dict[str, str], key: str
) -> None:
    put = localcloud.client("s3").put_object(Bucket=stack["Bucket"], Key=key, Body=b"abc")

    def look() -> dict[str, Any] | None:
        events = recorded(localcloud, stack, "Object Created")
        return next((event for event in events if event["detail"]["object"]["key"] == key), None)

    event = wait_for(look, SECONDS)
    assert event["source"] == "aws.s3"
    assert event["resources"] == [f"arn:aws:s3:::{stack['Bucket']}"]
    assert event["detail"]["bucket"]["name"] == stack["Bucket"]
    assert event["detail"]["reason"] == "PutObject"
    found = event["detail"]["object"]
    assert found["version-id"] == put["VersionId"]
    assert found["size"] == 3
    assert found["etag"] == put["ETag"].strip('"')
    assert len(found["sequencer"]) >= 16


def test_functions_run_in_warm_workers_with_their_layer(localcloud: Cloud, stack: dict[str, str]) -> None:
    client = localcloud.client("lambda")
    seen: set[int] = set()

    def served_again() -> bool:
        """Whether a process has served before; not which one, as an event may keep a worker busy meanwhile."""
        answer = json.loads(client.invoke(FunctionName=stack["Function"], Payload=b"{}")["Payload"].read())
        known = answer["pid"] in seen
        seen.add(answer["pid"])
        return known

    wait_for(served_again, SECONDS)


def test_failing_function_is_retried_and_then_its_destination_gets_the_event(
    localcloud: Cloud, stack: dict[str, str]
) -> None:
    localcloud.client("s3").put_object(Bucket=stack["Bucket"], Key="fail.txt", Body=b"")

    def look() -> dict[str, Any] | None:
        """The record of this upload: the function hears of whatever else happens in the cloud, too."""
        found = [json.loads(body) for body in messages(localcloud, stack["FailureQueueUrl"])]
        return next((each for each in found if "fail.txt" in json.dumps(each["requestPayload"])), None)

    failure = wait_for(look, SECONDS)
    assert failure["requestPayload"]["detail"]["object"]["key"] == "fail.txt"
    assert failure["requestContext"]["approximateInvokeCount"] == 2
    assert failure["responsePayload"]["errorMessage"] == "asked to fail"


# --- SageMaker to EventBridge ---


def test_jobs_and_packages_tell_eventbridge(localcloud: Cloud, stack: dict[str, str], bucket: str) -> None:
    sagemaker = localcloud.client("sagemaker")
    name = unique("events")
    sagemaker.create_processing_job(**processing(name, bucket, Tags=[{"Key": "a", "Value": "b"}]))
    job = ended(localcloud, "Processing", name, SECONDS)
    group = stack["Group"].rsplit("/", 1)[-1]
    arn = sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")

    def jobs() -> list[dict[str, Any]] | None:
        events = recorded(localcloud, stack, "SageMaker Processing Job State Change")
        mine = [event for event in events if event["detail"]["ProcessingJobName"] == name]
        return mine if any(event["detail"]["ProcessingJobStatus"] == "Completed" for event in mine) else None

    [*_, event] = sorted(wait_for(jobs, SECONDS), key=lambda event: event["detail"]["LastModifiedTime"])
    assert event["source"] == "aws.sagemaker"
    assert event["resources"] == [job["ProcessingJobArn"]]
    assert event["detail"]["Tags"] == {"a": "b"}

    def packages() -> dict[str, dict[str, Any]] | None:
        events = recorded(localcloud, stack, "SageMaker Model Package State Change")
        mine = [event["detail"] for event in events if event["resources"] == [arn]]
        found = {detail["ModelApprovalStatus"]: detail for detail in mine}
        return found if {"PendingManualApproval", "Approved"} <= found.keys() else None

    found = wait_for(packages, SECONDS)
    assert found.keys() == {"PendingManualApproval", "Approved"}
    created, approved = found["PendingManualApproval"], found["Approved"]
    assert created["LastModifiedTime"] <= approved["LastModifiedTime"]
    assert approved["UpdatedModelPackageFields"] == ["ModelApprovalStatus"]
    assert (approved["ModelPackageGroupName"], approved["ModelPackageVersion"]) == (group, 1)


# --- Step Functions ---


def test_execution_status_reaches_a_topic_through_an_input_transformer(
    localcloud: Cloud, stack: dict[str, str]
) -> None:
    states = localcloud.client("stepfunctions")
    name = unique("told")
    states.start_execution(stateMachineArn=stack["Machine"], name=name, input='{"seconds": 0}')
    told: list[str] = []

    def look() -> bool:
        told.extend(messages(localcloud, stack["QueueUrl"]))
        return {f'"{name} is RUNNING"', f'"{name} is SUCCEEDED"'} <= set(told)

    wait_for(look, SECONDS)


# --- Scheduler ---


def test_schedule_invokes_a_function(localcloud: Cloud, stack: dict[str, str]) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    function = localcloud.client("lambda").get_function_configuration(FunctionName=stack["Function"])
    localcloud.client("scheduler").create_schedule(
        Name="soon",
        ScheduleExpression=f"at({soon:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": function["FunctionArn"],
            "RoleArn": "arn:aws:iam::000000000000:role/scheduler",
            "Input": json.dumps({"detail-type": "scheduled"}),
        },
    )
    assert wait_for(lambda: recorded(localcloud, stack, "scheduled"), SECONDS) == [{"detail-type": "scheduled"}]


def test_many_uploads_at_once_lose_no_event(localcloud: Cloud, stack: dict[str, str]) -> None:
    s3 = localcloud.client("s3")
    names = [f"many/{number}" for number in range(8)]
    threads = [
        threading.Thread(target=s3.put_object, kwargs={"Bucket": stack["Bucket"], "Key": name, "Body": b"x"})
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def look() -> bool:
        events = recorded(localcloud, stack, "Object Created")
        return set(names) <= {event["detail"]["object"]["key"] for event in events}

    wait_for(look, SECONDS)
