"""What the tests of models and endpoints share."""

import io
import json
import tarfile
from typing import Any

from localcloud.testing import Cloud, wait_for

from .localcloud_requests import ROLE, unique

IMAGE = "test/model-server:1"


def archive(files: dict[str, bytes] | None = None) -> bytes:
    """A model.tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in (files or {"weights.txt": b"1 2 3"}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def model(cloud: Cloud, bucket: str, **environment: str) -> str:
    """A model of the stub server that behaves as its environment says; its name."""
    name = unique("model")
    cloud.client("s3").put_object(Bucket=bucket, Key=f"{name}/model.tar.gz", Body=archive())
    cloud.client("sagemaker").create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": IMAGE,
            "ModelDataUrl": f"s3://{bucket}/{name}/model.tar.gz",
            "Environment": environment,
        },
    )
    return name


def variant(name: str, model_name: str, weight: float = 1.0, **more: Any) -> dict[str, Any]:
    """A production variant."""
    return {
        "VariantName": name,
        "ModelName": model_name,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": weight,
        **more,
    }


def config(cloud: Cloud, *variants: dict[str, Any], **more: Any) -> str:
    """An endpoint configuration; its name."""
    name = unique("config")
    cloud.client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=list(variants), **more)
    return name


def endpoint(cloud: Cloud, config_name: str, status: str = "InService", **more: Any) -> str:
    """An endpoint, once it has settled in a status; its name."""
    name = unique("endpoint")
    cloud.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config_name, **more)
    described = settled(cloud, name)
    assert described["EndpointStatus"] == status, described
    return name


def settled(cloud: Cloud, name: str, seconds: float = 300.0) -> dict[str, Any]:
    """The endpoint's description once nothing changes any more."""

    def look() -> dict[str, Any] | None:
        described: dict[str, Any] = cloud.client("sagemaker").describe_endpoint(EndpointName=name)
        return described if described["EndpointStatus"] in ("InService", "Failed") else None

    return wait_for(look, seconds)


def invoke(cloud: Cloud, name: str, body: bytes | str = b"{}", **more: Any) -> dict[str, Any]:
    """The stub's answer to a JSON request, with what the runtime adds."""
    answer = cloud.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name, Body=body, ContentType=more.pop("ContentType", "application/json"), **more
    )
    said: dict[str, Any] = json.loads(answer["Body"].read())
    return {**said, "variant": answer["InvokedProductionVariant"], "attributes": answer.get("CustomAttributes")}
