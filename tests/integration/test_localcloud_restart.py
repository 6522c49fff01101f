"""What a killed localcloud has when it is started again: all that was answered, each service as it was."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud import daemon
from localcloud.testing import Cloud, localcloud, wait_for

from .localcloud_requests import ROLE, training

STUB = Path(__file__).parent / "localcloud_images/stub.toml"
ACCOUNT = "000000000000"

# Each wait has minutes, for a busy machine; several may come together.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with localcloud(tmp_path_factory.mktemp("mortal"), images=[STUB], keep=True) as cloud:
        cloud.client("s3").create_bucket(Bucket="plain-bucket")
        cloud.client("s3").create_bucket(Bucket="versioned-bucket")
        cloud.client("s3").put_bucket_versioning(
            Bucket="versioned-bucket", VersioningConfiguration={"Status": "Enabled"}
        )
        cloud.role(ROLE.rpartition("/")[2])
        saved(cloud)  # the first test kills it at once
        yield cloud


def saved(cloud: Cloud) -> None:
    """Wait until all that was done is on disk."""
    time.sleep(0.5)  # for what follows asynchronously
    wait_for(lambda: (daemon.snapshots(cloud.running) or {})["current"])


def restart(cloud: Cloud) -> None:
    """Kill it once all is saved, and start it again."""
    saved(cloud)
    cloud.kill()
    cloud.start_again()


def test_objects_keep_versions_tags_and_encryption(mortal: Cloud) -> None:
    s3 = mortal.client("s3")
    versions = {}
    for number in range(3):
        body = f"version {number}".encode()
        answer = s3.put_object(
            Bucket="versioned-bucket",
            Key="folder/key",
            Body=body,
            Tagging=f"number={number}",
            ServerSideEncryption="AES256",
            Metadata={"made": "here"},
            ContentType="text/plain",
        )
        versions[answer["VersionId"]] = (body, str(number))
    s3.put_object(Bucket="versioned-bucket", Key="deleted", Body=b"under a marker")
    s3.delete_object(Bucket="versioned-bucket", Key="deleted")
    for key in ("overwritten", "name.tmp", "name.commit.tmp", "name.meta.json", "a/b", "a"):
        s3.put_object(Bucket="plain-bucket", Key=key, Body=b"first")
        s3.put_object(Bucket="plain-bucket", Key=key, Body=f"content of {key}".encode())
    mortal.kill()  # at once: objects do not wait for a snapshot
    mortal.start_again()

    s3 = mortal.client("s3")
    for version, (body, number) in versions.items():
        which = {"Bucket": "versioned-bucket", "Key": "folder/key", "VersionId": version}
        answer = s3.get_object(**which)
        assert answer["Body"].read() == body
        assert (answer["ServerSideEncryption"], answer["Metadata"]) == ("AES256", {"made": "here"})
        assert answer["ContentType"] == "text/plain"
        assert s3.get_object_tagging(**which)["TagSet"] == [{"Key": "number", "Value": number}]
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="versioned-bucket", Key="deleted")
    listed = s3.list_objects_v2(Bucket="plain-bucket")["Contents"]
    assert {entry["Key"] for entry in listed} >= {"overwritten", "name.tmp", "name.commit.tmp", "name.meta.json", "a/b"}
    for entry in listed:
        body = s3.get_object(Bucket="plain-bucket", Key=entry["Key"])["Body"].read()
        assert body == f"content of {entry['Key']}".encode()


def test_upload_in_parts_goes_on(mortal: Cloud) -> None:
    s3 = mortal.client("s3")
    which: dict[str, Any] = {"Bucket": "plain-bucket", "Key": "large"}
    upload = s3.create_multipart_upload(**which)["UploadId"]
    first = s3.upload_part(**which, UploadId=upload, PartNumber=1, Body=b"a" * 5_242_880)["ETag"]
    restart(mortal)
    s3 = mortal.client("s3")
    second = s3.upload_part(**which, UploadId=upload, PartNumber=2, Body=b"b")["ETag"]
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
    s3.complete_multipart_upload(**which, UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(**which)["Body"].read() == b"a" * 5_242_880 + b"b"
    assert list((mortal.running.directory / "s3-uploads").iterdir()) == []
    s3.delete_object(**which)


def test_message_in_flight_comes_back(mortal: Cloud) -> None:
    sqs = mortal.client("sqs")
    url = sqs.create_queue(QueueName="in-flight")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="taken, but not deleted")
    sqs.receive_message(QueueUrl=url, VisibilityTimeout=3)
    restart(mortal)
    sqs = mortal.client("sqs")
    again = wait_for(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))
    assert again[0]["Body"] == "taken, but not deleted"


def test_function_with_a_layer_works_again(mortal: Cloud) -> None:
    functions = mortal.client("lambda")
    layer = functions.publish_layer_version(
        LayerName="words", Content={"ZipFile": zipped("python/words.py", "WORD = 'from the layer'")}
    )["LayerVersionArn"]
    functions.create_function(
        FunctionName="reader",
        Runtime=f"python3.{sys.version_info.minor}",
        Role=mortal.role("reader"),
        Handler="main.handler",
        Layers=[layer],
        Timeout=60,
        Code={"ZipFile": zipped("main.py", "import words\ndef handler(event, context):\n    return words.WORD\n")},
    )
    restart(mortal)
    answer = mortal.client("lambda").invoke(FunctionName="reader", Payload=b"{}")
    assert json.loads(answer["Payload"].read()) == "from the layer"


def zipped(name: str, text: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, text)
    return target.getvalue()


def test_items_parameters_and_keys_are_there(mortal: Cloud) -> None:
    items = mortal.client("dynamodb")
    items.create_table(
        TableName="items",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    item = {"pk": {"S": "a"}, "bytes": {"B": b"\x00\xff"}, "numbers": {"NS": ["1", "2"]}, "none": {"NULL": True}}
    items.put_item(TableName="items", Item=item)
    key = mortal.client("kms").create_key()["KeyMetadata"]["KeyId"]
    secret = mortal.client("kms").encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    mortal.client("secretsmanager").create_secret(Name="password", SecretString="1234")
    restart(mortal)
    assert mortal.client("dynamodb").get_item(TableName="items", Key={"pk": {"S": "a"}})["Item"] == item
    mortal.client("dynamodb").put_item(TableName="items", Item={"pk": {"S": "b"}})
    assert mortal.client("kms").decrypt(CiphertextBlob=secret)["Plaintext"] == b"secret"
    assert mortal.client("secretsmanager").get_secret_value(SecretId="password")["SecretString"] == "1234"


def test_interrupted_job_and_execution_fail_with_their_events(mortal: Cloud) -> None:
    inbox = mortal.client("sqs").create_queue(QueueName="events")["QueueUrl"]
    mortal.client("sqs").set_queue_attributes(QueueUrl=inbox, Attributes={"Policy": allow_events(inbox)})
    events = mortal.client("events")
    events.put_rule(Name="ends", EventPattern=json.dumps({"source": ["aws.states", "aws.sagemaker"]}))
    events.put_targets(Rule="ends", Targets=[{"Id": "1", "Arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:events"}])
    mortal.client("sagemaker").create_training_job(
        **training("cut-off", "plain-bucket", hyperparameters={"sleep": "600"})
    )
    states = mortal.client("stepfunctions")
    machine = states.create_state_machine(
        name="waits",
        roleArn=mortal.role("waits"),
        definition=json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}),
    )["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine, name="cut-off")["executionArn"]
    wait_for(
        lambda: (
            mortal.client("sagemaker").describe_training_job(TrainingJobName="cut-off")["SecondaryStatus"] == "Training"
        ),
    )
    restart(mortal)

    job = mortal.client("sagemaker").describe_training_job(TrainingJobName="cut-off")
    assert job["TrainingJobStatus"] == "Failed"
    assert "localcloud was stopped while the job ran" in job["FailureReason"]
    states = mortal.client("stepfunctions")
    ended = wait_for(lambda: (d := states.describe_execution(executionArn=execution))["status"] != "RUNNING" and d)
    assert (ended["status"], ended["error"]) == ("FAILED", "Localcloud.Interrupted")
    wait_for(lambda: states.get_execution_history(executionArn=execution)["events"][-1]["type"] == "ExecutionFailed")
    told: list[dict[str, Any]] = []

    def both() -> bool:
        messages = mortal.client("sqs").receive_message(QueueUrl=inbox, MaxNumberOfMessages=10).get("Messages", [])
        told.extend(json.loads(message["Body"])["detail"] for message in messages)
        ends = {(d.get("name"), d.get("status")) for d in told} | {
            (d.get("TrainingJobName"), d.get("TrainingJobStatus")) for d in told
        }
        return {("cut-off", "FAILED"), ("cut-off", "Failed")} <= ends

    wait_for(both)


def allow_events(url: str) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{url.rpartition('/')[2]}",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_stack_that_was_being_made_can_be_deleted(mortal: Cloud) -> None:
    waits = {
        "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
        "Wait": {
            "Type": "AWS::CloudFormation::WaitCondition",
            "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "3600"},
        },
    }
    stacks = mortal.client("cloudformation")
    stacks.create_stack(StackName="waits", TemplateBody=json.dumps({"Resources": waits}))
    restart(mortal)
    stacks = mortal.client("cloudformation")

    def failed() -> bool:
        return bool(stacks.describe_stacks(StackName="waits")["Stacks"][0]["StackStatus"] == "CREATE_FAILED")

    wait_for(failed)
    newest = stacks.describe_stack_events(StackName="waits")["StackEvents"][0]
    assert "localcloud was stopped" in newest["ResourceStatusReason"]
    stacks.delete_stack(StackName="waits")
    stacks.get_waiter("stack_delete_complete").wait(StackName="waits", WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def test_reset_is_not_undone_by_a_kill(mortal: Cloud) -> None:
    saved(mortal)
    daemon.reset(mortal.running.directory)
    mortal.kill()
    mortal.start_again()
    assert mortal.client("s3").list_buckets()["Buckets"] == []
    assert mortal.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


def test_forgetting_localcloud_leaves_nothing(tmp_path: Path) -> None:
    with localcloud(tmp_path / "cloud", keep=False) as cloud:
        cloud.client("s3").create_bucket(Bucket="bucket")
        cloud.client("s3").put_object(Bucket="bucket", Key="a", Body=b"x")
        assert daemon.snapshots(cloud.running) is None
        cloud.kill()
        cloud.start_again()
        assert cloud.client("s3").list_buckets()["Buckets"] == []
    assert not (tmp_path / "cloud/state").exists()
