"""Data Capture: what is kept of requests and answers, how it is written, and where."""

import base64
import json
import re
from typing import Any

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import unique
from .serving import config, endpoint, invoke, model, settled, variant

BOTH = [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]


def capturing(bucket: str, prefix: str, **more: Any) -> dict[str, Any]:
    """A DataCaptureConfig that keeps everything."""
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{bucket}/{prefix}",
        "CaptureOptions": BOTH,
        **more,
    }


def captured(cloud: Cloud, bucket: str, prefix: str, count: int) -> list[dict[str, Any]]:
    """The records below a prefix, once there are so many."""
    s3 = cloud.client("s3")

    def look() -> list[dict[str, Any]] | None:
        lines = []
        for item in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().decode()
            lines += [json.loads(line) for line in body.splitlines()]
        return lines if len(lines) >= count else None

    return wait_for(look)


def test_a_record_is_in_the_format_of_aws(localcloud: Cloud, bucket: str) -> None:
    prefix = unique("capture")
    types = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
    name = endpoint(
        localcloud,
        config(
            localcloud,
            variant("v", model(localcloud, bucket)),
            DataCaptureConfig=capturing(bucket, prefix, CaptureContentTypeHeader=types),
        ),
    )
    summary = localcloud.client("sagemaker").describe_endpoint(EndpointName=name)["DataCaptureConfig"]
    assert (summary["EnableCapture"], summary["CaptureStatus"]) == (True, "Started")
    assert summary["CurrentSamplingPercentage"] == 100
    localcloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name,
        Body="1,2\n",
        ContentType="text/csv",
        InferenceId="window-1",
        CustomAttributes="unit=7",
    )
    (record,) = captured(localcloud, bucket, prefix, 1)
    metadata = record["eventMetadata"]
    assert record["captureData"] == {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2\n", "encoding": "CSV"},
        "endpointOutput": {
            "observedContentType": "text/csv; charset=utf-8",
            "mode": "OUTPUT",
            "data": "3.0\n",
            "encoding": "CSV",
        },
    }
    assert (metadata["inferenceId"], metadata["customAttributes"]) == ("window-1", ["unit=7"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["inferenceTime"])
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata["eventId"])
    assert record["eventVersion"] == "0"
    (item,) = localcloud.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    hour = metadata["inferenceTime"][:13].replace("-", "/").replace("T", "/")
    assert re.fullmatch(rf"{prefix}/{name}/v/{hour}/\d\d-\d\d-\d\d\d-[0-9a-f-]{{36}}\.jsonl", item["Key"])


def test_bodies_of_types_that_are_not_listed_are_base64(localcloud: Cloud, bucket: str) -> None:
    prefix = unique("capture")
    capture = capturing(bucket, prefix, CaptureOptions=[{"CaptureMode": "Input"}])
    name = endpoint(localcloud, config(localcloud, variant("v", model(localcloud, bucket)), DataCaptureConfig=capture))
    invoke(localcloud, name, b"\xff\x00")
    (record,) = captured(localcloud, bucket, prefix, 1)
    side = record["captureData"].pop("endpointInput")
    assert (base64.b64decode(side["data"]), side["encoding"]) == (b"\xff\x00", "BASE64")
    assert record["captureData"] == {}


def test_every_record_arrives_once_also_when_the_endpoint_goes(localcloud: Cloud, bucket: str) -> None:
    prefix = unique("capture")
    name = endpoint(
        localcloud,
        config(
            localcloud,
            variant("v", model(localcloud, bucket)),
            variant("w", model(localcloud, bucket)),
            DataCaptureConfig=capturing(bucket, prefix),
        ),
    )
    for number in range(40):
        invoke(localcloud, name, InferenceId=f"n{number}")
    localcloud.client("sagemaker").delete_endpoint(EndpointName=name)
    records = captured(localcloud, bucket, prefix, 40)
    assert sorted(record["eventMetadata"]["inferenceId"] for record in records) == sorted(f"n{n}" for n in range(40))


def test_a_sample_is_a_sample_and_an_update_can_end_it(localcloud: Cloud, bucket: str) -> None:
    prefix = unique("capture")
    served = variant("v", model(localcloud, bucket))
    capture = capturing(bucket, prefix, InitialSamplingPercentage=30)
    name = endpoint(localcloud, config(localcloud, served, DataCaptureConfig=capture))
    for _ in range(100):
        invoke(localcloud, name)
    localcloud.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=config(localcloud, served))
    assert "DataCaptureConfig" not in settled(localcloud, name)
    for _ in range(20):
        invoke(localcloud, name)
    assert 8 < len(captured(localcloud, bucket, prefix, 9)) < 60  # 30 expected, standard deviation 4.6


def test_what_cannot_be_written_fails_no_request(localcloud: Cloud, bucket: str) -> None:
    capture = capturing("no-such-bucket-anywhere", "x")
    name = endpoint(localcloud, config(localcloud, variant("v", model(localcloud, bucket)), DataCaptureConfig=capture))
    assert invoke(localcloud, name)["variant"] == "v"
    metrics = localcloud.client("cloudwatch")

    def lost() -> bool:
        found = metrics.list_metrics(Namespace="localcloud/Endpoints", MetricName="CaptureRecordsLost")["Metrics"]
        return any({"Name": "EndpointName", "Value": name} in each["Dimensions"] for each in found)

    assert wait_for(lost)


def test_files_are_encrypted_with_the_key_given(localcloud: Cloud, bucket: str) -> None:
    key = localcloud.client("kms").create_key()["KeyMetadata"]["KeyId"]
    prefix = unique("capture")
    name = endpoint(
        localcloud,
        config(
            localcloud,
            variant("v", model(localcloud, bucket)),
            DataCaptureConfig=capturing(bucket, prefix, KmsKeyId=key),
        ),
    )
    invoke(localcloud, name)
    captured(localcloud, bucket, prefix, 1)
    (item,) = localcloud.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    head = localcloud.client("s3").head_object(Bucket=bucket, Key=item["Key"])
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"].endswith(key)
