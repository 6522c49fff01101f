"""Batch transform: what the server gets of each object, and what becomes of its answers."""

import gzip
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ROLE, log_lines, unique
from .serving import model

RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1}

# Each wait has minutes, for a busy machine; several may come together.
pytestmark = pytest.mark.timeout(900)


def start(cloud: Cloud, bucket: str, objects: dict[str, bytes], **more: Any) -> str:
    """Start a job over objects that are put below a prefix of its own; the job's name, and its prefix."""
    name = unique("transform")
    for key, body in objects.items():
        cloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/in/{key}", Body=body)
    environment = more.pop("model", {})
    given = more.pop("input", {})
    cloud.client("sagemaker").create_transform_job(
        TransformJobName=name,
        ModelName=model(cloud, bucket, **environment),
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{name}/in"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
            **given,
        },
        TransformOutput={"S3OutputPath": f"s3://{bucket}/{name}/out", "AssembleWith": "Line", **more.pop("output", {})},
        TransformResources=RESOURCES,
        **more,
    )
    return name


def ended(cloud: Cloud, name: str) -> dict[str, Any]:
    """The job's description once it has ended."""

    def look() -> dict[str, Any] | None:
        described: dict[str, Any] = cloud.client("sagemaker").describe_transform_job(TransformJobName=name)
        return described if described["TransformJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return wait_for(look, 240)


def outputs(cloud: Cloud, bucket: str, name: str) -> dict[str, str]:
    """The job's outputs, by their key below the output path."""
    s3, prefix = cloud.client("s3"), f"{name}/out/"
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {
        item["Key"][len(prefix) :]: s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().decode()
        for item in found
    }


def test_each_object_has_its_output(localcloud: Cloud, bucket: str) -> None:
    name = start(localcloud, bucket, {"a.csv": b"1,2\n3,4\n", "deep/b.csv": b"5,6\n"})
    described = ended(localcloud, name)
    assert described["TransformJobStatus"] == "Completed", described
    assert described["TransformEndTime"] >= described["TransformStartTime"] >= described["CreationTime"]
    assert outputs(localcloud, bucket, name) == {"a.csv.out": "3.0\n7.0\n", "deep/b.csv.out": "11.0\n"}
    listed = localcloud.client("sagemaker").list_transform_jobs(NameContains=name)["TransformJobSummaries"]
    assert [each["TransformJobStatus"] for each in listed] == ["Completed"]
    assert any("MaxConcurrentTransforms=1, MaxPayloadInMB=6" in line for line in data_log(localcloud, name))


def data_log(cloud: Cloud, name: str) -> list[str]:
    return log_lines(cloud, "/aws/sagemaker/TransformJobs", name)


def test_single_records_packed_inputs_and_several_at_once(localcloud: Cloud, bucket: str) -> None:
    rows = b"".join(b"%d,1\n" % number for number in range(30))
    name = start(
        localcloud,
        bucket,
        {"rows.csv.gz": gzip.compress(rows)},
        input={"CompressionType": "Gzip"},
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=4,
        MaxPayloadInMB=1,
    )
    assert ended(localcloud, name)["TransformJobStatus"] == "Completed"
    expected = "".join(f"{number + 1}.0\n" for number in range(30))
    assert outputs(localcloud, bucket, name) == {"rows.csv.gz.out": expected}


def test_inputs_are_filtered_and_joined(localcloud: Cloud, bucket: str) -> None:
    name = start(
        localcloud,
        bucket,
        {"a.csv": b"unit-1,1,2\nunit-2,3,4\n"},
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    )
    assert ended(localcloud, name)["TransformJobStatus"] == "Completed"
    assert outputs(localcloud, bucket, name) == {"a.csv.out": "unit-1,3.0\nunit-2,7.0\n"}


def test_json_is_joined_under_a_key_of_its_own(localcloud: Cloud, bucket: str) -> None:
    name = start(
        localcloud,
        bucket,
        {"a.json": b'{"id": 7, "features": [1, 2]}'},
        input={"ContentType": "application/json", "SplitType": "None"},
        output={"AssembleWith": "None"},
        DataProcessing={"InputFilter": "$.features", "JoinSource": "Input"},
    )
    assert ended(localcloud, name)["TransformJobStatus"] == "Completed"
    (text,) = outputs(localcloud, bucket, name).values()
    joined = json.loads(text)
    assert (joined["id"], joined["features"]) == (7, [1, 2])
    assert joined["SageMakerOutput"]["size"] == len("[1, 2]")


@pytest.mark.parametrize(("status", "kind"), [("400", "ClientError"), ("500", "AlgorithmError")])
def test_a_models_error_fails_the_job(localcloud: Cloud, bucket: str, status: str, kind: str) -> None:
    name = start(
        localcloud,
        bucket,
        {"a.csv": b"1,2\n"},
        model={"STATUS": status},
        ModelClientConfig={"InvocationsMaxRetries": 0},
    )
    described = ended(localcloud, name)
    assert described["TransformJobStatus"] == "Failed"
    assert described["FailureReason"] == f"{kind}: See job logs for more information"
    assert outputs(localcloud, bucket, name) == {}
    assert any(f"Bad HTTP status received from algorithm: {status}" in line for line in data_log(localcloud, name))


def test_a_server_that_does_not_start_fails_the_job(localcloud: Cloud, bucket: str) -> None:
    described = ended(localcloud, start(localcloud, bucket, {"a.csv": b"1\n"}, model={"CRASH": "1"}))
    assert described["TransformJobStatus"] == "Failed"
    assert described["FailureReason"] == "AlgorithmError: See job logs for more information"


def test_no_input_fails_the_job(localcloud: Cloud, bucket: str) -> None:
    described = ended(localcloud, start(localcloud, bucket, {}))
    assert "No S3 objects found" in described["FailureReason"]


def test_a_job_is_stopped(localcloud: Cloud, bucket: str) -> None:
    name = start(localcloud, bucket, {"a.csv": b"1\n"}, model={"SLEEP": "600"})
    localcloud.client("sagemaker").stop_transform_job(TransformJobName=name)
    assert ended(localcloud, name)["TransformJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="Stopped"):
        localcloud.client("sagemaker").stop_transform_job(TransformJobName=name)


def test_wrong_requests_are_refused(localcloud: Cloud, bucket: str) -> None:
    for more, why in (
        ({"input": {"SplitType": "RecordIO"}}, "RecordIO"),
        ({"MaxConcurrentTransforms": 20, "MaxPayloadInMB": 6}, "must not exceed 100 MB"),
        ({"DataProcessing": {"InputFilter": "$[["}}, "JSONPath"),
        ({"DataProcessing": {"JoinSource": "Input"}, "input": {"ContentType": "image/png"}}, "ContentType"),
    ):
        with pytest.raises(ClientError, match=why):
            start(localcloud, bucket, {}, **more)


def test_step_functions_wait_for_a_transform_job(localcloud: Cloud, bucket: str) -> None:
    states, name = localcloud.client("stepfunctions"), unique("transform")
    localcloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/in/a.csv", Body=b"1,2\n")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{name}/in"}
    definition = {
        "StartAt": "Transform",
        "States": {
            "Transform": {
                "Type": "Task",
                "Resource": "arn:aws:states:::sagemaker:createTransformJob.sync",
                "Parameters": {
                    "TransformJobName": name,
                    "ModelName": model(localcloud, bucket),
                    "TransformInput": {
                        "DataSource": {"S3DataSource": source},
                        "ContentType": "text/csv",
                        "SplitType": "Line",
                    },
                    "TransformOutput": {"S3OutputPath": f"s3://{bucket}/{name}/out"},
                    "TransformResources": RESOURCES,
                },
                "End": True,
            }
        },
    }
    machine = states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
    execution = states.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"]

    def look() -> dict[str, Any] | None:
        described: dict[str, Any] = states.describe_execution(executionArn=execution)
        return described if described["status"] != "RUNNING" else None

    described = wait_for(look, 240)
    assert described["status"] == "SUCCEEDED", described
    assert json.loads(described["output"])["TransformJobStatus"] == "Completed"
    assert outputs(localcloud, bucket, name) == {"a.csv.out": "3.0\n"}
